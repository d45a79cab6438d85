"""A stack that is watched, for real: figures come from everything, a fault is one mail in time, and so is its end.

Two hosts watch, so that each mail could come twice; they send to a mail server and to URLs on the lab's client. Prometheus
tells one address, Nagios beside it another. The status page is made on the same two: what happens to the others must be seen on
it, and it must outlive one of them.
"""

from __future__ import annotations

import base64
import email
import email.policy
import http.client
import json
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alert_sink
import pytest
from alert_cases import as_files, example_rules, more_rules
from live_site import UP_S, LiveSite, with_the_shop
from ruamel.yaml import YAML

from nospof.apply.transport import Finished
from nospof.deployment import Deployment, lab_of
from nospof.drills import faults as _all_faults  # noqa: F401 - makes them known
from nospof.drills.fault import fault_of
from nospof.drills.ground import Ground
from nospof.explain.dashboard import expressions
from nospof.lab.machine import wait_until
from nospof.lab.places import CLIENT, CLIENT_ADDRESS

pytestmark = [pytest.mark.lab, pytest.mark.alone, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

TOLD_WITHIN_S, OVER_WITHIN_S, WATCHED_WITHIN_S = 60.0, 60.0, 120.0
# A moment more than the second of two waits for its turn (`turn_s`, 8 s).
TURN_S = 10.0
# Some seconds on a quiet machine; whatever else the machine does must not fail the test.
SHOWN_WITHIN_S = 180.0
PROMETHEUS, NAGIOS = "ops@example.com", "night@example.com"
WEB = f"http://{CLIENT_ADDRESS}:{alert_sink.WEB_PORT}"
STACK = f"""\
name: watched
domain: watched.example.com
hosts:
  one: {{zone: a}}
  two: {{zone: b}}
  three: {{zone: c}}
tiers:
  load-balancer: {{component: haproxy, hosts: [one, two], to: [web, www, status]}}
  status: {{component: status-page, hosts: [one, two]}}
  web: {{component: nginx, hosts: [two, three], to: app}}
  app: {{component: gunicorn, hosts: [two, three], source: ./app, module: "shop:app", to: database}}
  www: {{component: apache, hosts: [one], to: board}}
  board: {{component: php-fpm, hosts: [one], source: ./board, path: /board/}}
  database: {{component: mariadb, hosts: [one, two], witness: three}}
  cache: {{component: valkey, hosts: [one, two]}}
  store: {{component: memcached, hosts: [three]}}
  watch:
    component: nagios
    hosts: [two, three]
    alert: {{email: night@example.com, smtp: "{CLIENT_ADDRESS}:{alert_sink.MAIL_PORT}", smtp_tls: off}}
  monitoring:
    component: prometheus
    hosts: [one, two]
    alert:
      email: ops@example.com
      smtp: "{CLIENT_ADDRESS}:{alert_sink.MAIL_PORT}"
      smtp_tls: off
      webhook: {WEB}/alert
      heartbeat: {WEB}/heartbeat
options:
  alertmanager: {{more_after_s: 10, heartbeat_s: 10}}
"""


@dataclass(frozen=True)
class Mail:
    """One that came, with the clock's seconds at which it was there."""

    at: float
    to: str
    subject: str
    text: str


class Watched:
    """The stack, and what it has told people."""

    def __init__(self, live: LiveSite) -> None:
        self.live = live
        self.ground = Ground(Deployment.load(live.file))

    def sink(self) -> None:
        """Start what takes mails and documents."""
        program = Path(alert_sink.__file__).read_text().encode()
        self.ground.sh(CLIENT, f"echo {base64.b64encode(program).decode()} | base64 -d > /root/alert_sink.py")
        self.ground.sh(CLIENT, f"systemd-run --quiet --unit={alert_sink.UNIT} python3 /root/alert_sink.py /root/told")

    def page(self, path: str = "status.json", password: str | None = None) -> tuple[int, str]:
        """What the status page answers through the load balancers; with the right password unless another is given."""
        password = (self.live.folder / ".nospof/secrets/status.visitors").read_text().strip() if password is None else password
        told = base64.b64encode(f"nospof:{password}".encode()).decode()
        return self.live.ask(f"/status/{path}", more={"Authorization": f"Basic {told}"})

    def status(self) -> dict[str, Any]:
        """What is on the page; nothing while it is not answered."""
        try:
            status, text = self.page()
        except (OSError, http.client.HTTPException):
            return {}
        return json.loads(text) if status == 200 else {}

    def shows(self, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the page shows this; returns what it then does."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            document = self.status()
            found.append(document)
            return bool(document) and is_so(document)

        assert wait_until(look, SHOWN_WITHIN_S, step_s=0.5), found[-1]
        return found[-1]

    def told(self, kind: str, since: float = 0.0) -> list[tuple[float, str]]:
        """What came of this kind since then, the first first."""
        script = f"cd /root/told && for one in $(ls | grep ^{kind}-); do echo $one $(base64 -w0 $one); done"
        lines = [line.split() for line in self.ground.sh(CLIENT, script).splitlines()]
        found = [(float(name.removeprefix(f"{kind}-")), base64.b64decode(content).decode()) for name, content in lines]
        return sorted(one for one in found if one[0] >= since)

    def mails(self, since: float = 0.0, to: str = PROMETHEUS) -> list[Mail]:
        """What came to this address: who told of it."""
        parsed = [(at, email.message_from_string(text, policy=email.policy.default)) for at, text in self.told("mail", since)]
        mails = [Mail(at, one["To"], one["Subject"], one.get_body().get_content()) for at, one in parsed]
        return [mail for mail in mails if mail.to == to]

    def ask(self, query: str, host: str = "one") -> float:
        """The value of a PromQL query that has one, of the Prometheus on this host; NaN while there are no figures for it."""
        address = self.ground.topology.host(host).address
        said = self.ground.sh(host, f"curl -fsSG http://{address}:9090/api/v1/query --data-urlencode 'query={query}'")
        found = json.loads(said)["data"]["result"]
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else math.nan

    def firing(self) -> set[str]:
        names = {host: self.ground.sh(host, FIRING.format(self.ground.topology.host(host).address)) for host in ("one", "two")}
        return {name for said in names.values() for name in said.split()}


FIRING = (
    "curl -fsS http://{}:9090/api/v1/alerts | "
    'python3 -c \'import json, sys; [print(a["labels"]["alertname"]) for a in json.load(sys.stdin)["data"]["alerts"]]\''
)


def brought_up(live: LiveSite) -> Watched:
    """Bring everything up, with what takes mails in its place before anybody sends one: a failure is told of for minutes."""
    process = live.start("up", str(live.file))
    try:
        assert wait_until(lambda: is_there(live), UP_S, step_s=0.5), "the client's host was never there"
        made = Watched(live)
        made.sink()
        out, err = process.communicate(timeout=UP_S)
    finally:
        process.kill()
    assert process.returncode == 0, out + err
    return made


def is_there(live: LiveSite) -> bool:
    lab = lab_of(live.file)
    outcome = lab.run(CLIENT, ("systemctl", "is-active", "basic.target")) if lab else None
    return isinstance(outcome, Finished) and outcome.exit_code == 0


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    live = with_the_shop(tmp_path_factory.mktemp("watched"), STACK)
    (live.folder / "board").mkdir()
    (live.folder / "board" / "index.php").write_text("<?php echo 'ok';\n")
    try:
        yield brought_up(live)
    finally:
        live.down()


def test_every_rule_fires_when_it_must_and_not_when_it_must_not(watched: Watched) -> None:
    files = as_files(example_rules(), more_rules())
    write = [f"echo {base64.b64encode(text.encode()).decode()} | base64 -d > {name}" for name, text in files.items()]
    script = ["mkdir -p /tmp/rules && cd /tmp/rules", *write, "promtool test rules *-test.yml 2>&1 || true"]
    said = watched.ground.sh("one", "\n".join(script), timeout_s=120)
    assert said.count("SUCCESS") == len(files) // 2, said[-2000:]


def test_everything_is_measured_and_nothing_is_wrong(watched: Watched) -> None:
    endpoints = 3 + 3 + 2 + 2 + 2  # hosts, voters, load balancers, those who watch, those who tell
    endpoints += 3 + 2 + 2 + 1  # exporters of the databases, of nginx, of the caches, of Apache
    for host in ("one", "two"):
        comes(watched, "sum(up)", endpoints, host)
        comes(watched, "count(nospof_measured_at_seconds)", 3, host)
    comes(watched, "sum(nospof_vip_held)", 1)
    comes(watched, "min(nospof_instance_up)", 1)
    assert wait_until(lambda: watched.firing() == {"Watchdog"}, WATCHED_WITHIN_S, step_s=2.0), watched.firing()


FIGURES = {
    'count(mysql_global_variables_max_connections{tier="database"} > 0)': 3,
    'count(mysql_global_variables_read_only{tier="database"} == 0)': 1,
    'count({__name__="mysql_slave_status_slave_sql_running",tier="database"} == 1)': 2,
    'count(nginx_up{tier="web"} == 1)': 2,
    'count(apache_workers{tier="www",state="idle"} > 0)': 1,
    'count(redis_up{tier="cache"} == 1)': 2,
    'count(redis_memory_max_bytes{tier="cache"} > 0)': 2,
    'count(redis_max_clients{tier="cache"} > 0)': 2,
    'sum(redis_master_link_up{tier="cache"})': 1,
    'sum(nospof_takes_writes{tier="cache"})': 1,
    'sum(nospof_takes_writes{tier="database"})': 1,
    'count(memcached_limit_bytes{tier="store"} > 0)': 1,
    'count(phpfpm_idle_processes{tier="board"} > 0)': 1,
}


def test_figures_that_alerts_rest_on_come_from_every_server(watched: Watched) -> None:
    for query, value in FIGURES.items():
        comes(watched, query, value)


def test_alerts_that_count_know_of_every_host(watched: Watched) -> None:
    """Else they would keep still for ever: they say nothing while a host that answers has not told of what they count."""
    rules = YAML(typ="safe").load(watched.ground.sh("one", "cat /etc/nospof/prometheus/rules.yml"))
    written = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    known = {said for _, _, said in (one.partition(" and on () count(up{") for one in written) if "present_over_time" in said}
    assert len(known) > 15
    for said in sorted(known):
        assert not math.isnan(watched.ask(f"count(up{{{said}")), said


def test_exporter_shows_figures_to_nobody_without_a_certificate(watched: Watched) -> None:
    address = watched.ground.topology.host("one").address
    ask = f"curl -sS -k --max-time 5 -o /dev/null https://{address}:9104/metrics 2>&1 && echo shown || echo refused"
    assert watched.ground.sh("one", ask).split()[-1] == "refused"


def test_nagios_looks_at_everything_and_finds_it_well(watched: Watched) -> None:
    for host in ("two", "three"):
        assert wait_until(lambda host=host: not_well(watched, host) == {}, WATCHED_WITHIN_S, step_s=2.0), not_well(
            watched, host
        )
        assert len(nagios_states(watched, host)) > 40


def nagios_states(watched: Watched, host: str) -> dict[str, int]:
    """What Nagios on this host has of each service, and of each host under its name: 0 is well, 1 to 3 are not."""
    text = watched.ground.sh(host, "cat /run/nospof-nagios/status.dat")
    blocks = re.findall(r"(?ms)^(host|service)status \{\n(.*?)^\t\}", text)
    found = {}
    for _, block in blocks:
        told = dict(line.strip().split("=", 1) for line in block.splitlines() if "=" in line)
        name = f"{told['host_name']}: {told.get('service_description', '')}"
        found[name] = int(told["current_state"]) if told["has_been_checked"] == "1" else 3
    return found


def not_well(watched: Watched, host: str) -> dict[str, int]:
    return {name: state for name, state in nagios_states(watched, host).items() if state != 0}


def comes(watched: Watched, query: str, value: float, host: str = "one") -> None:
    """Wait until Prometheus answers with this: what has just begun has not been asked everywhere yet."""
    assert wait_until(lambda: watched.ask(query, host) == value, WATCHED_WITHIN_S, step_s=1.0), watched.ask(query, host)


def test_every_drawing_of_the_dashboard_has_figures(watched: Watched) -> None:
    """Which those are is for the daemons to say: what they call a figure may change with each version."""
    drawn = expressions(watched.ground.topology, "1m")
    address = watched.ground.topology.host("one").address
    queries = "\n".join(f"{'open' if is_open else 'full'} {query}" for query, is_open in drawn)
    script = f"echo {base64.b64encode(queries.encode()).decode()} | base64 -d | python3 -c {shlex.quote(ASK_ALL)} {address}"
    without: list[str] = []

    def has_all() -> bool:
        without[:] = watched.ground.sh("one", script, timeout_s=60).splitlines()
        return not without

    assert wait_until(has_all, WATCHED_WITHIN_S, step_s=5.0), "\n".join(without)


ASK_ALL = """
import json, sys, urllib.parse, urllib.request
for line in sys.stdin.read().splitlines():
    kind, _, query = line.partition(" ")
    url = f"http://{sys.argv[1]}:9090/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        found = json.load(urllib.request.urlopen(url, timeout=10))["data"]["result"]
        if kind == "full" and not found:
            print("nothing:", query)
    except Exception as error:
        print(error, query)
"""


def test_status_page_is_for_those_who_have_the_password(watched: Watched) -> None:
    assert watched.page(password="wrong")[0] == 401
    shown = watched.shows(lambda document: document["level"] == "good")
    assert watched.page("")[1].startswith("<!DOCTYPE html>")
    assert len(primaries(shown)) == 1
    assert [member["level"] for member in shown["tiers"]["web"]["members"].values()] == ["good", "good"]
    watched.live.ask()
    watched.shows(lambda document: document["requests_per_s"] is not None)


def test_sign_of_life_arrives_outside_and_nobody_gets_a_mail_of_it(watched: Watched) -> None:
    assert wait_until(lambda: len(watched.told("heartbeat")) > 1, WATCHED_WITHIN_S, step_s=1.0)
    assert not [mail for mail in watched.mails() if "Watchdog" in mail.text]


def test_setting_it_up_is_told_of_as_no_failure(watched: Watched) -> None:
    """Incident: a first `up` ended with a mail that every tier was down, of hosts that did not tell of their instances yet."""
    assert [mail.subject for to in (PROMETHEUS, NAGIOS) for mail in watched.mails(to=to)] == []


def test_fault_is_one_mail_in_time_and_so_is_its_end(watched: Watched) -> None:
    """Of the two that could tell only one does, also when the other had its turn: eight seconds later."""
    fault = fault_of({"fault": "process-stop", "target": "web/three"}, watched.ground.topology)
    begun = time.time()
    try:
        fault.inject(watched.ground)
        assert wait_until(lambda: watched.mails(begun), TOLD_WITHIN_S, step_s=0.5), f"no mail, but {watched.firing()} fires"
        assert wait_until(lambda: watched.mails(begun, NAGIOS), WATCHED_WITHIN_S, step_s=0.5), "Nagios tells nobody"
        wait_until(lambda: len(watched.mails(begun)) > 1, max(TURN_S, begun + 25 - time.time()), step_s=1.0)
        told, told_by_nagios = watched.mails(begun), watched.mails(begun, NAGIOS)
    finally:
        fault.heal(watched.ground)
    healed = time.time()
    for mail in told + told_by_nagios:
        sys.stdout.write(f"{mail.at - begun:.1f} s after the fault, to {mail.to}: {mail.subject}\n{mail.text}")
    assert len(told) == len(told_by_nagios) == 1
    assert told[0].at - begun <= TOLD_WITHIN_S
    assert "web has 1 of 2 healthy, without three" in told[0].subject
    assert "error" not in told[0].text.lower()
    assert "tier web has 1 of 2 healthy, without three" in told_by_nagios[0].text
    assert all("What to do:" in mail.text for mail in told + told_by_nagios)
    (document,) = watched.told("alert", begun)
    assert "RedundancyLost" in document[1]
    assert wait_until(lambda: watched.mails(healed), OVER_WITHIN_S, step_s=0.5), "the end is not told"
    assert wait_until(lambda: watched.mails(healed, NAGIOS), WATCHED_WITHIN_S, step_s=0.5), "Nagios tells no end"
    wait_until(lambda: len(watched.mails(healed)) > 1, TURN_S, step_s=1.0)
    (over,), (over_by_nagios,) = watched.mails(healed), watched.mails(healed, NAGIOS)
    for mail in (over, over_by_nagios):
        sys.stdout.write(f"{mail.at - healed:.1f} s after the healing, to {mail.to}: {mail.subject}\n{mail.text}")
        assert "over: " in mail.subject


@pytest.mark.long
def test_host_that_watches_and_goes_dark_is_told_of_by_the_other(watched: Watched) -> None:
    begun = time.time()
    watched.ground.lab.power_off("two")
    assert wait_until(lambda: watched.mails(begun), TOLD_WITHIN_S, step_s=0.5), "no mail"
    mail = watched.mails(begun)[0]
    sys.stdout.write(f"mail {mail.at - begun:.1f} s after the host went dark: {mail.subject}\n{mail.text}")
    assert mail.at - begun <= TOLD_WITHIN_S
    assert "two does not answer" in mail.text

    # The one that tells first is dark, too.
    def tells(words: str) -> bool:
        return any(words in mail.text for mail in watched.mails(begun, NAGIOS))

    assert wait_until(lambda: tells("tier web has 1 of 2 healthy, without two"), WATCHED_WITHIN_S, step_s=1.0), (
        "no mail of Nagios"
    )
    assert wait_until(lambda: tells("two does not answer"), WATCHED_WITHIN_S, step_s=1.0), watched.mails(begun, NAGIOS)
    for second in watched.mails(begun, NAGIOS):
        sys.stdout.write(f"Nagios: {second.at - begun:.1f} s after the host went dark: {second.subject}\n{second.text}")
    # One of the two that make the page is dark, and so is a web server: the other one answers, and says so.
    shown = watched.shows(lambda document: document["hosts"]["two"]["level"] == "bad")
    assert shown["made_on"] == "one"
    assert any("web" in one["says"] and "1 of 2 left, without two" in one["says"] for one in shown["sentences"])


def test_primary_that_was_replaced_is_on_the_status_page(watched: Watched) -> None:
    watched.ground.lab.power_on("two")
    watched.shows(lambda document: document["tiers"]["database"]["level"] == "good")
    before = watched.shows(lambda document: len(primaries(document)) == 1 and "could take over" in str(document["tiers"]))
    (old,) = primaries(before)
    (new,) = {"one", "two"} - {old}
    watched.ground.sh(old, "systemctl kill --signal=KILL mariadb.service")
    begun = time.monotonic()
    watched.shows(lambda document: primaries(document) == [new])
    sys.stdout.write(f"the new primary is on the page {time.monotonic() - begun:.1f} s after the old one was killed\n")
    shown = watched.shows(lambda document: len(document["failovers"]) > len(before["failovers"]))
    assert (shown["failovers"][0]["from"], shown["failovers"][0]["to"]) == (old, new)


def primaries(document: dict[str, Any]) -> list[str]:
    """The hosts that the page shows as primary."""
    return [host for host, member in document["tiers"]["database"]["members"].items() if member["role"] == "primary"]

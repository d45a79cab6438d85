"""The whole path, by the commands a user types: up, again, a change, a mistake, a crash, a dark host, down."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from live_site import INTERRUPT, KILL, LiveSite, kill_when

from nospof.lab.machine import wait_until

CHANGES = itertools.count(1)
DRAINING = "/run/nospof-draining/app"

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    site = LiveSite(tmp_path_factory.mktemp("stack"))
    try:
        yield site
    finally:
        site.down()


def test_first_up_ends_with_a_site_that_answers_over_https(site: LiveSite) -> None:
    said = site.nospof("up")
    assert "the site answers: 200" in said
    assert site.url in said
    assert str(site.folder / ".nospof/certificates/ca.crt") in said
    status, page = site.ask("/")
    assert status == 200
    assert "<form" in page


def test_site_is_reached_by_its_domain_at_the_vip_from_outside(site: LiveSite) -> None:
    deployment = site.deployment()
    ca = (site.folder / ".nospof/certificates/ca.crt").read_bytes()
    deployment.lab.run("client", ["tee", "/root/ca.crt"], ca)
    resolve = f"shop.example.com:443:{deployment.entrance_addresses[0]}"
    answer = site.on(
        "client", "curl", "-sS", "--cacert", "/root/ca.crt", "--resolve", resolve, "https://shop.example.com/health"
    )
    assert answer


def test_http_leads_to_https(site: LiveSite) -> None:
    (address,) = site.deployment().entrance_addresses
    head = site.on("client", "curl", "-sSI", "-H", "Host: shop.example.com", f"http://{address}/page?x=1")
    assert " 308 " in head
    assert "location: https://shop.example.com/page?x=1" in head.lower()


def test_old_tls_is_refused(site: LiveSite) -> None:
    (address,) = site.deployment().entrance_addresses
    script = f"curl -ksS --tls-max 1.1 https://{address}/ && exit 1; exit 0"
    site.on("client", "sh", "-c", script)


def test_second_up_has_nothing_to_change(site: LiveSite) -> None:
    before = site.units()
    assert "nothing to change" in site.nospof("up")
    assert "nothing to change" in site.nospof("plan")
    assert site.units() == before


def test_status_tells_roles_and_who_holds_the_address(site: LiveSite) -> None:
    status = site.settled_status()
    [vip] = status["vips"]
    assert vip["holder"] in ("lb1", "lb2")
    assert {entry["health"] for tier in status["tiers"].values() for entry in tier} == {"ok"}
    assert [entry["host"] for entry in status["tiers"]["database"] if entry["leads"]] == ["db1"]
    assert {host["state"] for host in status["hosts"].values()} == {"ok"}


def test_written_entry_is_read_back(site: LiveSite) -> None:
    token = secrets.token_hex(8)
    assert site.post_entry(token) == 201
    assert site.has_entry(token)


def test_change_of_one_setting_touches_exactly_the_files_and_units_it_concerns(site: LiveSite) -> None:
    before = site.units()
    site.edit("balance: roundrobin", "balance: leastconn")
    plan = site.json("plan")
    changes = {(change["host"], change["kind"], change["name"], change["change"]) for change in plan["changes"]}
    assert changes == {
        (host, kind, name, change)
        for host in ("lb1", "lb2")
        for kind, name, change in [("file", "/etc/haproxy/haproxy.cfg", "change"), ("unit", "haproxy.service", "reload")]
    }
    assert "-    balance roundrobin" in next(change["diff"] for change in plan["changes"] if change["diff"])
    saved = str(site.folder / "change.json")
    assert f"2 hosts; `nospof up --plan {saved}` makes them" in " ".join(site.nospof("plan", "--save", saved).split())
    site.edit("balance: leastconn", "balance: source")
    said = site.nospof("up", "--plan", saved, code=1)
    assert "nothing was begun" in said
    assert "differs         lb1      change file /etc/haproxy/haproxy.cfg  (load-balancer)" in said
    site.edit("balance: source", "balance: leastconn")
    with site.visited() as failed:
        site.nospof("up", "--plan", saved)
    assert failed == []
    assert site.units() == before
    assert "balance leastconn" in site.on("lb1", "cat", "/etc/haproxy/haproxy.cfg")


@pytest.mark.long
def test_another_ca_comes_without_an_outage(site: LiveSite) -> None:
    before = site.on("lb1", "sha256sum", "/etc/nospof/tls/ca.pem")
    written = site.post_entry("before-the-new-ca")
    with site.visited() as failed:
        said = site.nospof("rotate ca")
    assert failed == []
    assert written == 201
    assert site.has_entry("before-the-new-ca")
    for step in ("believes the next CA", "made anew, by the new CA", "old CA is believed no more"):
        assert step in said
    assert site.on("lb1", "sha256sum", "/etc/nospof/tls/ca.pem") != before
    assert site.on("db1", "grep", "-c", "BEGIN CERTIFICATE", "/etc/nospof/tls/ca.pem") == "1"
    assert {entry["health"] for entry in site.settled_status()["tiers"]["database"]} == {"ok"}
    assert "nothing to change" in site.nospof("up")


def test_other_passwords_come_without_an_outage_and_a_run_that_was_killed_goes_on(site: LiveSite) -> None:
    old = site.passwords()
    with site.visited() as failed, _written(site) as written:
        process = site.start("rotate", "passwords", str(site.file))
        kill_when(process, "uses the next passwords", signals=KILL, whole_group=True)
        halfway = {path.name: path.read_text() for path in (site.folder / ".nospof/secrets").iterdir()}
        assert "a change of passwords is not finished" in site.up_when_free()
        said = site.nospof("rotate passwords")
    assert failed == []
    assert [status for _, status in written if status != 201] == []
    assert all(site.has_entry(token) for token, _ in written)
    new = site.passwords()
    assert new.keys() == old.keys() == {"database.app", "database.figures", "database.replication"}
    assert halfway["database.app"].strip() == old["database.app"], "the old one stays until no host has it any more"
    assert not set(new.values()) & set(old.values())
    assert "uses the next passwords" in said
    assert "taken no more" in said
    assert "nothing to change" in site.nospof("up")
    for host in site.deployment().topology.hosts:
        assert site.told(host.name, ("grep", "-rlFf", "-", "/etc/nospof"), "\n".join(old.values())) == (1, "")
    assert site.told("web1", ("grep", "-rlFf", "-", "/etc/nospof"), new["database.app"]) == (0, "/etc/nospof/app.env")
    for port in (3306, 3307):
        assert site.database_takes("web1", port, old["database.app"]) == "1045"
        assert site.database_takes("web1", port, new["database.app"]) == "taken"


def test_database_fails_over_with_the_new_passwords(site: LiveSite) -> None:
    [primary] = [entry["host"] for entry in site.settled_status()["tiers"]["database"] if entry["leads"]]
    site.on(primary, "systemctl", "kill", "--signal=KILL", "--kill-whom=main", "mariadb.service")
    status = site.settled_status()
    [after] = [entry["host"] for entry in status["tiers"]["database"] if entry["leads"]]
    assert after != primary
    assert site.post_entry("after-the-new-passwords") == 201
    for database in ("db1", "db2", "w1"):
        has_it = lambda host=database: "after-the-new-passwords" in site.on(host, "mariadb", "-e", FIND)  # noqa: E731
        assert wait_until(has_it, 60, step_s=0.5), database
    site.nospof("switchover", "--to", "db1")
    site.settled_status()


@contextmanager
def _written(site: LiveSite) -> Iterator[list[tuple[str, int]]]:
    """Write an entry a few times a second; the list gets the token and status of each, 0 for no answer."""
    written: list[tuple[str, int]] = []
    is_over = threading.Event()

    def write() -> None:
        while not is_over.wait(0.2):
            token = secrets.token_hex(8)
            body = json.dumps({"name": "test", "message": f"entry {token}", "token": token}).encode()
            try:
                status = site.ask("/api/entries", body, timeout_s=35.0)[0]
            except (OSError, http.client.HTTPException):
                status = 0
            written.append((token, status))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
    finally:
        is_over.set()
        thread.join()
    assert written


FIND = "SELECT token FROM app.entries WHERE token = 'after-the-new-passwords'"


def test_host_that_is_about_to_change_gets_nobody(site: LiveSite) -> None:
    def servers() -> set[str]:
        return {site.answer("/")[1]["X-App-Server"] for _ in range(12)}

    site.on("web1", "mkdir", "-p", DRAINING)
    try:
        assert wait_until(lambda: servers() == {"web2"}, 20)
    finally:
        site.on("web1", "rmdir", DRAINING)
    assert wait_until(lambda: servers() == {"web1", "web2"}, 20)


def test_application_that_does_not_start_stops_at_the_first_host_and_the_old_one_serves(site: LiveSite) -> None:
    before = site.on("web2", "readlink", "/srv/nospof/app/current"), site.on("web1", "readlink", "/srv/nospof/app/current")
    drained = _times_drained(site)
    site.edit('"""', 'raise RuntimeError("planted by the test")\n"""', "app/shop.py")
    with site.visited() as failed:
        said = site.nospof("up", code=1)
    assert "RuntimeError: planted by the test" in said
    assert "host web1" in said
    assert "what was there before is back" in said
    after = site.on("web2", "readlink", "/srv/nospof/app/current"), site.on("web1", "readlink", "/srv/nospof/app/current")
    assert after == before
    assert failed == []
    # Nobody was to wait for it, and now it may be asked again.
    assert _times_drained(site) == drained + 1
    assert site.on("web1", "sh", "-c", f"ls {Path(DRAINING).parent} | wc -l").strip() == "0"
    assert {entry["health"] for entry in site.settled_status()["tiers"]["app"]} == {"ok"}


def _times_drained(site: LiveSite) -> int:
    said = site.on("web1", "sh", "-c", "journalctl --unit=nospof-draining.app --output=cat || true")
    return said.count("Started nospof-draining.app.service")


def test_corrected_application_is_rolled_out(site: LiveSite) -> None:
    shutil.copy(Path(__file__).parents[2] / "examples/distributed/app/shop.py", site.folder / "app/shop.py")
    site.edit("</body>", "<!-- a new release --></body>", "app/templates/" + _base_template(site))
    with site.visited() as failed:
        site.nospof("up")
    assert failed == []
    assert "a new release" in site.ask("/")[1]


def test_rollback_brings_back_the_release_before_and_up_the_folder(site: LiveSite) -> None:
    with site.visited() as failed:
        said = site.nospof("rollback", "app")
        assert "a new release" not in site.ask("/")[1]
        assert "the next `nospof up` rolls it out again" in said
        site.nospof("up")
    assert failed == []
    assert "a new release" in site.ask("/")[1]


def _base_template(site: LiveSite) -> str:
    return next(path.name for path in (site.folder / "app/templates").iterdir() if "</body>" in path.read_text())


def test_application_whose_health_fails_is_not_rolled_out(site: LiveSite) -> None:
    site.set_options("app", health="/no-such-health")
    with site.visited() as failed:
        said = site.nospof("up", code=1)
    assert "did not become healthy" in said
    assert "404" in said
    assert failed == []
    site.set_options("app", health=None)


PHASES = ("asking the hosts", "checking everything", "  app", "  web", "  load-balancer", "closing")


@pytest.mark.long
@pytest.mark.parametrize("whole_group", [True, False], ids=("all", "alone"))
@pytest.mark.parametrize("phase", PHASES)
def test_up_killed_in_any_phase_is_finished_by_the_next_and_the_site_serves_all_along(
    site: LiveSite, phase: str, whole_group: bool
) -> None:
    _kill_up_in(site, {phase: whole_group})


def test_up_killed_in_one_phase_after_the_other_is_finished_by_the_last_and_the_site_serves_all_along(site: LiveSite) -> None:
    """By turns with its children and alone; each run comes one phase further than the one before."""
    _kill_up_in(site, {phase: bool(number % 2) for number, phase in enumerate(PHASES)})


def _kill_up_in(site: LiveSite, phases: Mapping[str, bool]) -> None:
    """Kill an `up` in each of `phases`, with its children where it says True; what is left is done by one that nobody kills."""
    with site.visited() as failed:
        number = _change_three_tiers(site)
        for phase, whole_group in phases.items():
            site.wait_free()
            kill_when(site.start("up", str(site.file)), phase, signals=KILL, whole_group=whole_group)
        site.up_when_free()
    assert "nothing to change" in site.nospof("plan")
    assert f"{1000 + number % 9000}" in site.on("lb2", "cat", "/etc/haproxy/haproxy.cfg")
    assert failed == []


def _change_three_tiers(site: LiveSite) -> int:
    """Settings that make haproxy and nginx reload and the application restart, different ones each time; returns their number.

    Counted and not drawn: two numbers that agreed in their last digits once changed nothing, and the test asked for a failure.
    """
    number = next(CHANGES)
    site.set_options("load-balancer", max_connections_per_server=1000 + number % 9000)
    site.set_options("web", max_body_mib=1 + number % 90)
    site.set_options("app", timeout_s=31 + number % 90)
    return number


def test_interrupted_up_says_so_and_is_finished_by_the_next(site: LiveSite) -> None:
    _change_three_tiers(site)
    process = site.start("up", str(site.file))
    said = kill_when(process, "  app", signals=INTERRUPT, whole_group=True)
    assert process.returncode == 3, said
    assert "interrupted" in said
    assert "Traceback" not in said
    site.up_when_free()
    assert "nothing to change" in site.nospof("plan")


def test_second_up_at_once_says_who_holds_the_stack_since_when(site: LiveSite) -> None:
    site.set_options("load-balancer", max_connections_per_server=1000 + next(CHANGES))
    first = site.start("up", str(site.file))
    assert first.stdout is not None
    first.stdout.readline()
    said = site.nospof("up", code=1)
    assert f"nospof up by root@{os.uname().nodename}, process {first.pid}, since 20" in said
    out, err = first.communicate(timeout=240)
    assert first.returncode == 0, out + err


def test_status_with_a_dark_host_is_unknown_within_seconds_and_blocks_nothing(site: LiveSite) -> None:
    site.nospof("lab off", "w1")
    start = time.monotonic()
    status = site.json("status", code=3)
    took_s = time.monotonic() - start
    sys.stdout.write(f"status with a dark host: {took_s:.1f} s\n")
    assert status["hosts"]["w1"]["state"] == "unknown"
    assert status["hosts"]["db1"]["state"] == "ok"
    assert [entry["health"] for entry in status["tiers"]["database"]] == ["ok", "ok", "unknown"]
    assert site.ask("/")[0] == 200
    site.nospof("up")
    assert site.settled_status()["hosts"]["w1"]["state"] == "ok"


def test_full_disk_is_said_and_nothing_is_lost(site: LiveSite) -> None:
    before = site.on("web1", "sha256sum", "/etc/nginx/nginx.conf")
    # Without writing 8 GiB: blocks are only promised, in ever smaller pieces until there are none.
    fill = "i=0; for size in 1G 64M 4M 256K 4K; do while fallocate -l $size /var/fill/$i; do i=$((i+1)); done; done"
    site.on("web1", "sh", "-c", f"mkdir /var/fill; ({fill}) 2>/dev/null; true")
    site.set_options("web", max_body_mib=1 + next(CHANGES))
    try:
        said = site.nospof("up", code=1)
        assert "web1" in said
        assert "No space left on device" in said
        assert site.on("web1", "sha256sum", "/etc/nginx/nginx.conf") == before
        assert site.ask("/")[0] == 200
    finally:
        site.on("web1", "rm", "-r", "/var/fill")
    site.nospof("up")
    assert "nothing to change" in site.nospof("plan")


def test_tier_that_is_gone_leaves_nothing_running_and_its_ports_closed(site: LiveSite) -> None:
    """A second application comes and goes."""
    old = site.file.read_text()
    settings = 'source: ./app, module: "shop:app", port: 8010, path: /blog/, to: database'
    second = f"  blog:     {{component: gunicorn, hosts: [web2], {settings}}}\n"
    site.file.write_text(old.replace("web:      {", "web:      {", 1).replace("to: app}", "to: [app, blog]}") + second)
    site.nospof("up")
    assert site.on("web2", "systemctl", "is-active", "nospof-blog.service") == "active"
    site.file.write_text(old)
    site.nospof("up")
    state = site.on("web2", "sh", "-c", "systemctl is-active nospof-blog.service nospof-blog.socket; true")
    assert state.split() == ["inactive", "inactive"]
    site.on("web2", "sh", "-c", "test ! -e /etc/systemd/system/nospof-blog.service")
    assert "nothing to change" in site.nospof("plan")


def test_down_removes_the_lab_and_leaves_the_one_beside_it(site: LiveSite) -> None:
    name = site.deployment().lab.places.lab
    assert name in _traces()
    site.file.write_text("this is no stack file: [any more")
    site.nospof("down")
    assert name not in _traces()
    assert "nothing to take down" in site.nospof("down")


def _traces() -> str:
    commands = [
        ["ip", "netns", "list"],
        ["losetup", "--all"],
        ["mount"],
        ["ps", "-eo", "args"],
        ["find", "/var/lib/nospof", "/run/nospof", "/sys/fs/cgroup", "-maxdepth", "4", "-path", "*nospof*"],
    ]
    return "\n".join(subprocess.run(argv, capture_output=True, text=True, check=False).stdout for argv in commands)

"""What follows from a tier that watches: two that are the same, everything asked, secrets kept, alerts that say what to do."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from alert_cases import CASES, as_files, example_rules, more_rules, second_stack
from ruamel.yaml import YAML
from tests.unit.stacks import NOTHING_ALLOTTED, example

from nospof import component as c
from nospof.components.alert_keys import AlertKeys
from nospof.components.prometheus import PrometheusSettings
from nospof.explain.document import document
from nospof.render.firewall import input_rules
from nospof.render.host import render
from nospof.resolve import Resolved, resolve
from nospof.stack.load import load
from nospof.stack.model import Stack, Tier
from nospof.topology import InstanceId, Protocol, Tls

ROOT = Path(__file__).parents[3]
FACTS = c.Facts("3.13", "13.1", "x86_64", "host0", 16, 524288, 4096, 4)
BLOBS = {"base/onhost": "0123456789abcdef" * 4, "app/release": "1" * 64}
WATCHING = ("lb1", "web2")


@cache
def made() -> Resolved:
    return resolve(example(), NOTHING_ALLOTTED)


def files(tier: str, host: str, resolved: Resolved | None = None) -> dict[str, c.File]:
    manifest = render((resolved or made()).topology, host, FACTS, {"database/first-primary": "db1"}, BLOBS)
    return {Path(file.path).name: file for file in dict(manifest.parts)[InstanceId(tier, host)].files}


def with_alert(alert: AlertKeys | None) -> Resolved:
    """The example with other keys under `alert:`."""
    stack, settings = example(), PrometheusSettings.model_validate({"alert": alert})
    tiers = tuple(
        Tier(tier.name, tier.component, tier.hosts, settings) if tier.name == "monitoring" else tier for tier in stack.tiers
    )
    return resolve(Stack(stack.name, stack.domain, stack.hosts, tiers, stack.file), NOTHING_ALLOTTED)


def test_two_that_watch_are_the_same_but_for_the_label_that_is_taken_off_alerts() -> None:
    one, other = (files("monitoring", host) for host in WATCHING)
    assert one["rules.yml"] == other["rules.yml"]
    same = [text["prometheus.yml"].text.replace(host, "HOST", 2) for text, host in ((one, "lb1"), (other, "web2"))]
    assert same[0].splitlines()[1:] == same[1].splitlines()[1:]
    config = YAML(typ="safe").load(one["prometheus.yml"].text)
    assert config["global"]["external_labels"] == {"stack": "shop", "replica": "lb1"}
    assert config["alerting"]["alert_relabel_configs"] == [{"action": "labeldrop", "regex": "replica"}]


@pytest.mark.parametrize("host", WATCHING)
def test_every_endpoint_that_tells_figures_is_asked_once_as_its_host_expects(host: str) -> None:
    topology = made().topology
    config = YAML(typ="safe").load(files("monitoring", host)["prometheus.yml"].text)
    asked = [(job.get("scheme", "http"), one) for job in config["scrape_configs"] for one in job["static_configs"]]
    expected = {
        (
            "http" if endpoint.listen.tls is Tls.NONE else "https",
            f"{topology.host(endpoint.owner.host).address}:{endpoint.listen.port}",
            endpoint.owner,
        )
        for endpoint in topology.endpoints
        if endpoint.listen.speaks is Protocol.METRICS
    }
    assert {
        (scheme, one["targets"][0], InstanceId(one["labels"]["tier"], one["labels"]["host"])) for scheme, one in asked
    } == expected
    assert len(asked) == len(expected)
    for scheme, one in asked:
        assert one["labels"]["zone"] == topology.host(one["labels"]["host"]).zone, scheme


def test_alerts_go_to_everybody_who_delivers_with_a_certificate() -> None:
    for host in WATCHING:
        config = YAML(typ="safe").load(files("monitoring", host)["prometheus.yml"].text)
        (sent,) = config["alerting"]["alertmanagers"]
        addresses = sorted(f"{made().topology.host(other).address}:9093" for other in WATCHING)
        assert (sent["scheme"], sent["static_configs"]) == ("https", [{"targets": addresses}])
        assert set(sent["tls_config"]) == {"ca_file", "cert_file", "key_file"}


def test_figures_and_alerts_are_open_to_those_who_watch_and_to_nobody_else() -> None:
    topology = made().topology
    watching = {topology.host(host).address for host in WATCHING}
    for host in topology.hosts:
        rules = [
            rule for rule in input_rules(topology, host.name) if re.search(r"dport (9090|9093|9094|9100|8405|2381)\b", rule)
        ]
        assert rules
        for rule in rules:
            assert set(re.findall(r"198\.18\.[\d.]+", rule)) <= watching, rule


def test_those_who_deliver_are_a_mesh() -> None:
    topology = made().topology
    one, other = (topology.host(host).address for host in WATCHING)
    manifest = render(topology, "lb1", FACTS, {}, BLOBS)
    (unit,) = dict(manifest.parts)[InstanceId("alertmanager", "lb1")].units
    assert f"--cluster.listen-address={one}:9094" in (unit.text or "")
    assert f"--cluster.peer={other}:9094" in (unit.text or "")


SECRET = AlertKeys.model_validate(
    {
        "email": ("a@example.com", "b@example.com"),
        "smtp": "mail.example.com:587",
        "smtp_user": "shop",
        "smtp_password": 'it\'s "secret": #1',
        "webhook": "https://hooks.example.com/secret-path",
        "heartbeat": "https://beat.example.com/secret-path",
    }
)


def test_who_is_told_and_how_is_in_one_file_that_only_its_program_reads() -> None:
    resolved = with_alert(SECRET)
    found = {
        f"{host.name}:{file.path}": file
        for host in resolved.topology.hosts
        for _, parts in render(resolved.topology, host.name, FACTS, {"database/first-primary": "db1"}, BLOBS).parts
        for file in parts.files
        if "secret-path" in file.text or "it's" in file.text
    }
    assert set(found) == {f"{host}:/etc/nospof/alertmanager/alertmanager.yml" for host in WATCHING}
    for file in found.values():
        assert (file.mode, file.user) == (0o400, "prometheus")
        receivers = {one["name"]: one for one in YAML(typ="safe").load(file.text)["receivers"]}
        mails = receivers["people"]["email_configs"]
        assert [mail["to"] for mail in mails] == ["a@example.com", "b@example.com"]
        assert {mail["auth_password"] for mail in mails} == {SECRET.smtp_password}
        assert receivers["people"]["webhook_configs"][0]["url"] == SECRET.webhook
        assert receivers["heartbeat"]["webhook_configs"] == [{"url": SECRET.heartbeat, "send_resolved": False}]


def test_secrets_are_in_no_document(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    path = tmp_path / "stack.yaml"
    text = (ROOT / "examples/distributed/stack.yaml").read_text()
    told = 'email: ops@shop.example.com, smtp: "mail.example.com:587"'
    assert told in text
    path.write_text(text.replace(told, f"{told}, smtp_user: u, smtp_password: hidden1, webhook: https://h/hidden2"))
    stack = load(path, {name: kind.settings_type for name, kind in c.Component.kinds.items()})
    topology = resolve(stack, NOTHING_ALLOTTED).topology
    written = repr(document(topology, ()))
    assert "smtp_password" in written
    assert "a document to 1 URL (not shown), once" in written
    assert "hidden" not in written
    assert "hidden" not in repr([one.demands for one in topology.instances])


def test_without_anybody_to_tell_nobody_delivers() -> None:
    topology = with_alert(None).topology
    assert not topology.of_tier("alertmanager")
    config = YAML(typ="safe").load(files("monitoring", "lb1", with_alert(None))["prometheus.yml"].text)
    assert "alertmanagers" not in config["alerting"]


def test_mail_without_a_server_is_refused() -> None:
    problems = with_alert(AlertKeys.model_validate({"email": "a@example.com"})).problems
    assert [(problem.code, problem.path) for problem in problems] == [("S011", "tiers.monitoring.alert")]


# --- alerts --------------------------------------------------------------------------------------------------------------
@cache
def alerts() -> tuple[c.Alert, ...]:
    topology = made().topology
    return c.Context(topology, topology.of_tier("monitoring")[0], FACTS, {}, BLOBS).alerts()


def test_every_alert_says_what_it_is_what_it_means_and_what_to_do() -> None:
    for alert in alerts():
        for text in (alert.says, alert.means, alert.do):
            assert len(text) > 10 or alert.name == "Watchdog", alert.name
            assert "\n" not in text, alert.name
        assert re.fullmatch(r"[A-Z][A-Za-z]+", alert.name)


def test_alerts_of_one_name_can_be_told_apart() -> None:
    keys = [(alert.name, alert.urgency, alert.labels) for alert in alerts()]
    assert len(set(keys)) == len(keys)


def test_every_alert_is_tried_and_is_in_the_guide() -> None:
    rules = files("monitoring", "lb1")["rules.yml"].text
    assert rules == example_rules()
    assert len(as_files(rules, more_rules())) == 2 * len(CASES)
    guide = (ROOT / "docs/how-to/watch-the-stack.md").read_text()
    assert [name for name in CASES if name not in guide and name != "Watchdog"] == []


def test_every_component_that_says_alerts_is_among_those_that_are_tried() -> None:
    second = resolve(second_stack(), NOTHING_ALLOTTED).topology
    tried = {c.Component.kinds[one.component].alerts for one in (*made().topology.instances, *second.instances)}
    own = [kind for name, kind in c.Component.kinds.items() if not name.startswith("test-")]
    assert {kind.alerts for kind in own} <= tried | {c.Component.alerts}


def test_alerts_of_a_component_that_nobody_names_become_rules() -> None:
    rules = files("monitoring", "lb1")["rules.yml"].text
    said = {rule["alert"] for group in YAML(typ="safe").load(rules)["groups"] for rule in group["rules"]}
    assert said == {alert.name for alert in alerts()}


def test_each_tier_with_several_members_tells_when_it_has_fewer() -> None:
    told = {dict(alert.labels)["tier"] for alert in alerts() if alert.name == "RedundancyLost"}
    assert told == {
        "load-balancer",
        "web",
        "app",
        "database",
        "monitoring",
        "alertmanager",
        "keepalived",
        "etcd",
        "database-router",
    }

"""What Nagios is told to look at follows from the stack, and what is looked at is what Nagios knows."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from tests.unit.stacks import NOTHING_ALLOTTED, example

from nospof import component as c
from nospof.analysis.structure import Goal, Part, structure
from nospof.components.alert_keys import AlertKeys
from nospof.components.nagios import NagiosSettings
from nospof.explain.document import document
from nospof.onhost import nagios_checks, nagios_mail
from nospof.render.firewall import firewall_parts, input_rules
from nospof.render.host import packages_of, render
from nospof.resolve import resolve
from nospof.stack.model import Tier
from nospof.topology import InstanceId, Protocol, Topology

FACTS = c.Facts("3.13", "13.1", "x86_64", "host0", 16, 524288, 4096, 4)
BLOBS = {"base/onhost": "0123456789abcdef" * 4, "app/release": "1" * 64}
WATCHING = ("lb1", "web2")
TOLD = AlertKeys.model_validate(
    {
        "email": "ops@shop.example.com",
        "smtp": "mail.example.com:587",
        "smtp_user": "shop",
        "smtp_password": 'it\'s "hidden"',
        "webhook": "https://hooks.example.com/hidden",
    }
)


@cache
def watched(told: AlertKeys | None = TOLD, egress: tuple[str, ...] | None = None) -> Topology:
    """The example with Nagios in the place of Prometheus."""
    stack = example()
    settings = NagiosSettings.model_validate({"alert": told})
    tiers = tuple(
        Tier(tier.name, "nagios", tier.hosts, settings) if tier.name == "monitoring" else tier for tier in stack.tiers
    )
    found = resolve(replace(stack, tiers=tiers, egress=egress), NOTHING_ALLOTTED)
    assert found.problems == ()
    return found.topology


def files(host: str = "lb1", topology: Topology | None = None) -> dict[str, c.File]:
    manifest = render(topology or watched(), host, FACTS, {"database/first-primary": "db1"}, BLOBS)
    return {Path(file.path).name: file for file in dict(manifest.parts)[InstanceId("monitoring", host)].files}


def objects(text: str, kind: str) -> list[dict[str, str]]:
    """The definitions of one kind in Nagios' file, without the templates."""
    blocks = re.findall(rf"define {kind} \{{\n(.*?)\n\}}", text, re.DOTALL)
    found = [dict(line.split(None, 1) for line in block.splitlines()) for block in blocks]
    return [one for one in found if one.get("register") != "0"]


def results(host: str = "lb1") -> list[nagios_checks.Result]:
    """What a look makes of a stack in which nobody answers."""
    told = json.loads(files(host)["look.json"].text)
    return nagios_checks.results(nagios_checks.Watched(**told["watched"]), {}, {}, 0.0)


def test_every_result_has_its_service_and_every_service_its_result() -> None:
    """A service without one would be unknown for ever, and a result without a service is thrown away."""
    text = files()["objects.cfg"].text
    made = {(result.host, result.service) for result in results()}
    services = [(one["host_name"], one["service_description"]) for one in objects(text, "service")]
    hosts = [(one["host_name"], "") for one in objects(text, "host")]
    assert len(made) == len(results())
    assert sorted([*services, *hosts]) == sorted([*made, ("stack.shop", "look")])


def test_every_instance_address_tier_primary_and_site_is_looked_at() -> None:
    topology = watched()
    names = {(result.host, result.service) for result in results()}
    for one in topology.instances:
        assert (one.id.host, f"instance {one.id.tier}") in names or one.component == "node-exporter"
    stack = {service for host, service in names if host == "stack.shop"} - {""}
    tiers = {f"tier {one.id.tier}" for one in topology.instances if one.component != "node-exporter"}
    site = f"site shop.example.com/ at {topology.vips[0].address}"
    assert stack == {*tiers, "vip load-balancer", "primary database", "copies database", site}


def test_the_site_is_asked_for_at_each_of_several_addresses() -> None:
    """Where all load balancers work at once, a visitor may come to any of them."""
    stack = example()
    balancers = next(tier for tier in stack.tiers if tier.name == "load-balancer")
    all_at_once = replace(balancers, settings=balancers.settings.model_copy(update={"mode": "active-active"}))
    nagios = Tier("monitoring", "nagios", WATCHING, NagiosSettings.model_validate({"alert": TOLD}))
    others = tuple(tier for tier in stack.tiers if tier.name not in ("load-balancer", "monitoring"))
    topology = resolve(replace(stack, tiers=(all_at_once, *others, nagios)), NOTHING_ALLOTTED).topology
    told = json.loads(files(topology=topology)["look.json"].text)
    addresses = sorted(vip.address for vip in topology.vips)
    assert len(addresses) == 2
    assert sorted(entrance["address"] for entrance in told["entrances"].values()) == addresses
    assert {vip.name for vip in topology.vips} == set(told["watched"]["vips"])


def test_everything_that_is_told_has_a_text_and_instances_are_told_of_by_their_tier() -> None:
    for one in objects(files()["objects.cfg"].text, "service"):
        kind = one["service_description"].split(" ", 1)[0]
        is_quiet = one.get("notifications_enabled") == "0"
        assert is_quiet == (kind in ("instance", "look"))
        assert is_quiet or kind in nagios_mail.TEXTS, kind


def test_names_have_nothing_that_nagios_forbids() -> None:
    forbidden = set("`~!$%^&*|'\"<>?,()=")
    for result in results():
        assert not forbidden & set(result.host + result.service), result


def test_those_who_watch_are_the_same_but_for_who_tells_first() -> None:
    one, other = (files(host) for host in WATCHING)
    assert one["objects.cfg"] == other["objects.cfg"]
    first, second = (json.loads(found["look.json"].text) for found in (one, other))
    assert (first.pop("earlier"), second.pop("earlier")) == ([], ["lb1"])
    assert first == second


def test_hosts_are_asked_where_they_tell_figures_and_nothing_of_nagios_runs_there() -> None:
    topology = watched()
    figures = json.loads(files()["look.json"].text)["figures"]
    assert {host: where[:2] for host, where in figures.items()} == {host.name: [host.address, 9100] for host in topology.hosts}
    for host in topology.hosts:
        assert ("nagios4-core" in packages_of(topology, host.name)) == (host.name in WATCHING)


def test_without_prometheus_there_are_no_exporters() -> None:
    topology = watched()
    asked = {endpoint.owner.tier for endpoint in topology.endpoints if endpoint.listen.speaks is Protocol.METRICS}
    assert asked == {"node-exporter"}
    for host in topology.hosts:
        assert not [name for name in packages_of(topology, host.name) if re.search("(mysqld|nginx)-exporter", name)]


def test_figures_are_open_to_those_who_watch_only() -> None:
    topology = watched()
    watching = {topology.host(host).address for host in WATCHING}
    rules = [rule for rule in input_rules(topology, "db1") if "dport 9100" in rule]
    assert [set(re.findall(r"198\.18\.[\d.]+", rule)) for rule in rules] == [watching]


def test_the_site_is_reached_where_the_way_out_is_closed() -> None:
    topology = watched(egress=())
    (rules, *_) = firewall_parts(topology, "web2").files
    assert f"ip daddr {topology.vips[0].address} tcp dport 443 accept" in rules.text
    (rules, *_) = firewall_parts(topology, "db1").files
    assert "dport 443" not in rules.text


def test_who_is_told_and_how_is_in_one_file_that_only_its_user_reads() -> None:
    topology = watched()
    found = {
        f"{host.name}:{file.path}": file
        for host in topology.hosts
        for _, parts in render(topology, host.name, FACTS, {"database/first-primary": "db1"}, BLOBS).parts
        for file in parts.files
        if "hidden" in file.text
    }
    assert set(found) == {f"{host}:/etc/nospof/nagios/look.json" for host in WATCHING}
    for file in found.values():
        assert (file.mode, file.user) == (0o400, "nagios")
        assert json.loads(file.text)["told"]["smtp_password"] == TOLD.smtp_password
    written = repr(document(topology, ()))
    assert "hidden" not in written
    assert "a mail to" in written


@pytest.mark.parametrize(("told", "enabled"), [(TOLD, "1"), (None, "0")])
def test_people_are_told_only_where_the_file_names_somebody(told: AlertKeys | None, enabled: str) -> None:
    (contact,) = objects(files(topology=watched(told))["objects.cfg"].text, "contact")
    assert contact["host_notifications_enabled"] == contact["service_notifications_enabled"] == enabled


def test_mail_without_a_server_is_refused_and_nobody_to_tell_is_warned_of() -> None:
    tier = Tier("monitoring", "nagios", ("lb1",), NagiosSettings.model_validate({"alert": {"email": "a@example.com"}}))
    kind = c.Component.kinds["nagios"]
    assert [objection.code for objection in kind.objections(tier)] == ["S011"]
    for told, code in ((None, "F110"), (TOLD, "F111")):
        topology = watched(told)
        one = topology.of_tier("monitoring")[0]
        assert [caution.code for caution in kind(one).cautions(topology)] == [code]


def test_alerts_arrive_while_one_of_those_who_watch_lives() -> None:
    made = structure(watched())
    one, other = (Part("process", f"monitoring/{host}") for host in WATCHING)
    assert not made.fails(Goal.OBSERVE, [one])
    assert made.fails(Goal.OBSERVE, [one, other])
    assert Goal.OBSERVE not in structure(watched(None)).goals


def test_one_tier_that_tells_people_is_enough() -> None:
    """Prometheus that keeps figures only, beside Nagios that tells, is no stack of which nobody hears."""
    stack = example()
    prometheus = next(tier for tier in stack.tiers if tier.name == "monitoring")
    quiet = replace(prometheus, name="figures", settings=type(prometheus.settings)())
    nagios = Tier("monitoring", "nagios", prometheus.hosts, NagiosSettings.model_validate({"alert": TOLD}))
    others = tuple(tier for tier in stack.tiers if tier.name != "monitoring")
    topology = resolve(replace(stack, tiers=(*others, quiet, nagios)), NOTHING_ALLOTTED).topology
    one = topology.of_tier("figures")[0]
    assert c.Component.kinds["prometheus"](one).cautions(topology) == ()

from __future__ import annotations

import json
from functools import cache

from tests.unit.stacks import NOTHING_ALLOTTED, stack, tier

from nospof import component as c
from nospof.analysis.redundancy import voter_findings
from nospof.render.firewall import input_rules
from nospof.render.host import Manifest, render
from nospof.resolve import Resolved, component_of, resolve
from nospof.topology import InstanceId

FACTS = c.Facts("3.13", "13.1", "x86_64", "host0", 16, 524288, 4096, 4)
HOSTS = "d1:a d2:b d3:c x1:a"


class AskerSettings(c.Settings):
    """None."""


class Asker(c.Component[AskerSettings]):
    """Somebody who needs consensus."""

    name = "test-asker"
    wants = (c.Wants(c.Consensus(), c.Place.THREE_ZONES),)
    connects = (c.Connect(c.ProviderOf(c.Consensus), c.Protocol.CONTROL, "agreement", is_required=False),)


@cache
def made(hosts: str = HOSTS, askers: str = "d1 d2") -> Resolved:
    return resolve(stack(hosts, tier("database", "asker", askers)), NOTHING_ALLOTTED)


def manifest(host: str, resolved: Resolved | None = None) -> Manifest:
    return render((resolved or made()).topology, host, FACTS, {}, {"base/onhost": "0123456789abcdef" * 4})


def parts(host: str, resolved: Resolved | None = None) -> c.Parts:
    return dict(manifest(host, resolved).parts)[InstanceId("etcd", host)]


def variables(host: str, resolved: Resolved | None = None) -> dict[str, str]:
    text = next(file.text for file in parts(host, resolved).files if file.path.endswith("etcd.env"))
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def voters(resolved: Resolved) -> list[str]:
    return [instance.id.host for instance in resolved.topology.of_tier("etcd")]


def test_whoever_needs_consensus_gets_a_voter_in_each_of_three_zones() -> None:
    assert made().problems == ()
    assert voters(made()) == ["d1", "d2", "d3"]


def test_fewer_hosts_have_as_many_voters_as_there_are_and_a_finding_says_so() -> None:
    two = made("d1:a d2:b")
    codes = [problem.code for problem in voter_findings(stack("d1:a d2:b", tier("database", "asker", "d1 d2")), two.topology)]
    assert voters(two) == ["d1", "d2"]
    assert codes == ["F206"]
    assert set(json.loads(member_file("d1", two))["members"]) == {"d1", "d2"}


def member_file(host: str, resolved: Resolved | None = None) -> str:
    return next(file.text for file in parts(host, resolved).files if file.path.endswith("member.json"))


def test_one_host_alone_is_a_cluster_of_one() -> None:
    alone = made("d1:a", "d1")
    assert json.loads(member_file("d1", alone))["members"] == {"d1": alone.topology.host("d1").address}


def test_voters_are_open_to_each_other_and_to_those_who_ask_and_to_nobody_else() -> None:
    topology = made().topology
    address = {host.name: host.address for host in topology.hosts}
    rules = {rule.split(" tcp dport ")[1][:4]: rule for rule in input_rules(topology, "d1")}
    assert set(rules) == {"2379", "2380"}
    for rule in rules.values():
        assert all(address[host] in rule for host in ("d2", "d3"))
        assert address["x1"] not in rule


def test_asker_that_is_no_voter_reaches_the_clients_port_only() -> None:
    topology = made("d1:a d2:b d3:c z1:a", "d1 d2 d3 z1").topology
    address = topology.host("z1").address
    rules = {rule.split(" tcp dport ")[1][:4]: rule for rule in input_rules(topology, "d1")}
    assert address in rules["2379"]
    assert address not in rules["2380"]


def test_certificates_are_demanded_on_both_ports_and_peers_must_be_voters() -> None:
    set_ = variables("d1")
    assert set_["ETCD_CLIENT_CERT_AUTH"] == set_["ETCD_PEER_CLIENT_CERT_AUTH"] == "true"
    assert set_["ETCD_TRUSTED_CA_FILE"] == set_["ETCD_PEER_TRUSTED_CA_FILE"] == "/etc/nospof/tls/ca.pem"
    assert set_["ETCD_PEER_CERT_ALLOWED_HOSTNAME"] == "etcd"


def test_ports_are_open_on_the_hosts_own_address_only() -> None:
    address = made().topology.host("d1").address
    set_ = variables("d1")
    assert set_["ETCD_LISTEN_CLIENT_URLS"] == f"https://{address}:2379"
    assert set_["ETCD_LISTEN_PEER_URLS"] == f"https://{address}:2380"


def test_voter_without_data_begins_nothing_that_its_program_has_not_allowed() -> None:
    assert variables("d1")["ETCD_INITIAL_CLUSTER_STATE"] == "existing"
    assert "ETCD_INITIAL_CLUSTER" not in variables("d1")


def test_voters_that_come_and_go_restart_nobody() -> None:
    """Who is a member is etcd's own knowledge; the files that change with it make no unit notice."""
    before, after = parts("d1"), parts("d1", made("d1:a d2:b d4:c x1:a"))
    changed = [new for old, new in zip(before.files, after.files, strict=True) if old != new]
    assert [file.path for file in changed] == ["/etc/nospof/etcd/member.json"]
    assert changed[0].for_units == ()


def test_renewed_certificate_restarts_nobody() -> None:
    own = [file for file in parts("d1").files if file.path.startswith("/etc/nospof/tls/etcd")]
    assert [file.for_units for file in own] == [(), ()]


def test_new_version_of_nospofs_programs_restarts_nobody() -> None:
    unit = parts("d1").units[0]
    assert unit.text is not None
    assert "0123456789ab" not in unit.text


def test_key_is_readable_by_etcd_only() -> None:
    [key] = [file for file in parts("d1").files if file.path.endswith(".key")]
    assert (key.user, key.mode) == ("etcd", 0o400)


def test_leader_is_changed_last() -> None:
    topology = made().topology
    assert component_of(topology.instance(InstanceId("etcd", "d1"))).touch_last_if

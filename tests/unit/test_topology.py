from __future__ import annotations

import pytest
from tests.unit.stacks import UGLY_HOSTS, resolved, tier, topology, ugly_tiers

from nospof.topology import OUTSIDE, InstanceId, Protocol, Topology


@pytest.fixture(scope="module")
def ugly() -> Topology:
    return resolved(UGLY_HOSTS, *ugly_tiers()).topology


def test_instance_id_reads_as_tier_and_host() -> None:
    assert str(InstanceId("web", "web1")) == "web/web1"
    assert str(OUTSIDE) == "outside"


def test_host_that_does_not_exist_is_a_key_error(ugly: Topology) -> None:
    assert ugly.host("db1").zone == "a"
    with pytest.raises(KeyError):
        ugly.host("db9")
    with pytest.raises(KeyError):
        ugly.instance(InstanceId("database", "web1"))


def test_lookups_agree_with_the_plain_tuples(ugly: Topology) -> None:
    for instance in ugly.instances:
        assert ugly.instance(instance.id) == instance
        assert ugly.links_from(instance.id) == tuple(link for link in ugly.links if link.source == instance.id)
        assert ugly.links_to(instance.id) == tuple(link for link in ugly.links if link.target.owner == instance.id)
        assert all(endpoint.owner == instance.id for endpoint in ugly.endpoints_of(instance.id))
    assert sum(len(ugly.endpoints_of(one.id)) for one in ugly.instances) == len(ugly.endpoints)
    assert sum(len(ugly.on_host(host.name)) for host in ugly.hosts) == len(ugly.instances)
    assert sum(len(ugly.of_tier(name)) for name in {one.id.tier for one in ugly.instances}) == len(ugly.instances)


def test_links_are_told_apart_by_purpose(ugly: Topology) -> None:
    lb1 = InstanceId("balancer", "lb1")

    assert {link.purpose for link in ugly.links_from(lb1, "to")} == {"to"}
    assert ugly.links_from(lb1, "nothing") == ()


def test_links_into_a_host_leave_out_what_never_crosses_the_network(ugly: Topology) -> None:
    for host in ugly.hosts:
        expected = [link for link in ugly.links if link.target.owner.host == host.name and link.source.host != host.name]
        assert list(ugly.into(host.name)) == expected


def test_everything_is_sorted(ugly: Topology) -> None:
    assert [host.name for host in ugly.hosts] == sorted(host.name for host in ugly.hosts)
    assert [one.id for one in ugly.instances] == sorted(one.id for one in ugly.instances)
    keys = [(link.source, link.purpose, str(link.target)) for link in ugly.links]
    assert keys == sorted(set(keys))


def test_sites_behind_an_entrance_are_those_its_calls_lead_to() -> None:
    made = topology(
        "lb:a w1:a w2:b",
        tier("lb", "balancer", "lb", "web"),
        tier("web", "web", "w1 w2", "shop blog"),
        tier("shop", "application", "w1 w2"),
        tier("blog", "application", "w1", port=8001, path="/blog"),
        tier("other", "application", "w2", port=8002, path="/other"),
    )
    behind = {
        str(endpoint): [site.path for site in made.sites_behind(endpoint)]
        for endpoint in made.endpoints
        if endpoint.listen.speaks is Protocol.HTTP
    }

    assert behind["lb/lb:https"] == ["/", "/blog"]
    assert behind["web/w1:http"] == ["/", "/blog"]
    assert behind["blog/w1:http"] == ["/blog"]


def test_sites_are_found_though_calls_go_in_a_circle() -> None:
    """`sites_behind` follows links and must end where they lead back; the stack file forbids it, the graph need not."""
    made = resolved("w1:a w2:b", tier("one", "web", "w1", "two"), tier("two", "web", "w2", "one")).topology

    assert [made.sites_behind(endpoint) for endpoint in made.endpoints] == [(), ()]


def test_gossip_goes_over_both_wires_and_vrrp_over_none() -> None:
    assert Protocol.GOSSIP.wires == ("tcp", "udp")
    assert Protocol.VRRP.wires == ("vrrp",)
    assert Protocol.HTTP.wires == ("tcp",)


def test_what_carries_users_data_is_known() -> None:
    assert [protocol for protocol in Protocol if not protocol.carries_data] == [
        Protocol.METRICS,
        Protocol.GOSSIP,
        Protocol.SSH,
        Protocol.VRRP,
    ]

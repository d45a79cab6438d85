from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from typing import TypeVar

import pytest
from alert_cases import second_stack
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.kinds import Route
from tests.unit.stacks import (
    NOTHING_ALLOTTED,
    REPOSITORY,
    UGLY_HOSTS,
    example,
    resolved,
    stack,
    tier,
    topology,
    ugly_tiers,
)

from nospof.components.haproxy import HaproxySettings
from nospof.resolve import Allotment, Resolved, component_of, resolve
from nospof.stack.model import Tier
from nospof.stack.problems import Problem
from nospof.topology import ADMIN, OUTSIDE, Bind, InstanceId, Link, Protocol, Rank, Topology


def links_between(made: Topology, source: str, target: str) -> list[tuple[str, str, str]]:
    """(host that calls, endpoint that is called, purpose) of all links from one tier to another."""
    return [
        (link.source.host, str(link.target), link.purpose)
        for link in made.links
        if link.source.tier == source and link.target.owner.tier == target
    ]


def problem(found: Resolved) -> Problem:
    """The only problem of a stack."""
    assert len(found.problems) == 1, found.problems
    return found.problems[0]


# --- the ugly stack --------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def ugly() -> Topology:
    found = resolved(UGLY_HOSTS, *ugly_tiers())
    assert found.problems == ()
    return found.topology


def test_ugly_stack_has_every_instance_and_no_other(ugly: Topology) -> None:
    count = Counter(one.id.tier for one in ugly.instances)

    # Declared: on each of their hosts and on x1. Brought along: a mover beside each balancer, a router beside each
    # application host, a meter on every host, voters in three zones: five, since the database has a spare.
    assert count == {
        "balancer": 3,
        "web": 3,
        "front": 1,
        "shop": 3,
        "blog": 3,
        "database": 3,
        "archive": 1,
        "cache": 1,
        "monitoring": 2,
        "test-mover": 3,
        "test-router": 3,
        "test-meter": 10,
        "test-voter": 5,
    }
    assert len(ugly.instances) == 41


def test_ugly_stack_has_every_link_and_no_other(ugly: Topology) -> None:
    count = Counter((link.source.tier, link.purpose) for link in ugly.links)

    assert count == {
        ("outside", "visit"): 3 * 2,
        ("balancer", "to"): 3 * (3 + 1),
        # Each calls the application beside it and nothing else; the one apart from its application calls all three.
        ("web", "to"): 3,
        ("front", "to"): 3,
        ("shop", "database"): 3 * 2,
        ("shop", "cache"): 3,
        ("blog", "database"): 3 * 2,
        # Three servers of one database and one of the other, each also asked for its health.
        ("test-router", "to"): 3 * (3 + 1),
        ("test-router", "to-health"): 3 * (3 + 1),
        ("database", "replication"): 3 * 2,
        ("database", "agreement"): 3 * 5,
        ("archive", "agreement"): 5,
        ("test-mover", "peers"): 3 * 2,
        ("test-voter", "peers"): 5 * 4,
        # Balancers, web servers, the one in front, a meter on every host, and the other watcher.
        ("monitoring", "scrape"): 2 * (3 + 3 + 1 + 10 + 1),
        ("monitoring", "gossip"): 2,
    }
    assert len(ugly.links) == 153


def test_backup_server_is_a_spare_in_its_six_tiers_and_in_what_comes_along(ugly: Topology) -> None:
    spare = {one.id.tier for one in ugly.on_host("x1") if one.rank is Rank.SPARE}

    assert spare == {"balancer", "web", "shop", "blog", "database", "monitoring", "test-mover", "test-router"}


def test_provider_is_a_spare_only_where_all_who_need_it_are(ugly: Topology) -> None:
    assert ugly.instance(InstanceId("test-meter", "x1")).rank is Rank.NORMAL
    assert ugly.instance(InstanceId("test-mover", "lb1")).rank is Rank.NORMAL


def test_no_two_endpoints_of_a_host_have_one_address_and_port(ugly: Topology) -> None:
    places = Counter(
        (one.owner.host, one.listen.bind if one.listen.bind is not Bind.ROUTE else one.listen.answers, one.listen.port)
        for one in ugly.endpoints
        if one.listen.port
    )

    assert max(places.values()) == 1


# --- links -----------------------------------------------------------------------------------------------------------
def test_application_beside_is_called_by_its_socket_alone() -> None:
    made = topology("w1:a w2:b", tier("web", "web", "w1 w2", "app"), tier("app", "application", "w1 w2"))

    assert links_between(made, "web", "app") == [("w1", "app/w1:http", "to"), ("w2", "app/w2:http", "to")]
    assert all(link.is_local for link in made.links)


def test_application_elsewhere_is_called_over_tcp_on_all_its_hosts() -> None:
    made = topology("w1:a a1:a a2:b", tier("web", "web", "w1", "app"), tier("app", "application", "a1 a2"))

    assert links_between(made, "web", "app") == [("w1", "app/a1:http", "to"), ("w1", "app/a2:http", "to")]
    assert not any(link.is_local for link in made.links)


@pytest.mark.parametrize("kind", ["web", "application"])
def test_who_spreads_calls_all_over_the_network_also_the_one_beside(kind: str) -> None:
    """Incident: HAProxy beside an application knew that one alone, by a port on which it did not listen."""
    made = topology("a:a b:b", tier("lb", "balancer", "a", "behind"), tier("behind", kind, "a b"))

    local = {str(link.target): link.is_local for link in made.links if link.source.tier == "lb"}
    assert local == {"behind/a:http": False, "behind/b:http": False}


def test_database_is_reached_through_the_router_on_the_callers_host() -> None:
    made = topology("a1:a a2:b d1:a d2:b", tier("app", "application", "a1 a2", "db"), tier("db", "database", "d1 d2"))

    assert links_between(made, "app", "db") == []
    assert links_between(made, "app", "test-router") == [
        (host, f"test-router/{host}:db-{port}", "database") for host in ("a1", "a2") for port in (3306, 3307)
    ]
    assert {link.is_local for link in made.links if link.source.tier == "app"} == {True}
    assert made.routes == {"db": "127.0.1.1"}


def test_router_calls_every_server_and_asks_each_for_its_role() -> None:
    made = topology("a1:a d1:a d2:b", tier("app", "application", "a1", "db"), tier("db", "database", "d1 d2"))

    assert links_between(made, "test-router", "db") == [
        ("a1", "db/d1:sql", "to"),
        ("a1", "db/d2:sql", "to"),
        ("a1", "db/d1:role", "to-health"),
        ("a1", "db/d2:role", "to-health"),
    ]


def test_replication_goes_directly_to_the_other_servers() -> None:
    made = topology("d1:a d2:b", tier("db", "database", "d1 d2"))

    assert links_between(made, "db", "db") == [("d1", "db/d2:sql", "replication"), ("d2", "db/d1:sql", "replication")]


def test_router_is_only_where_a_caller_is() -> None:
    made = topology("w:a a1:a d1:a", tier("app", "application", "a1", "db"), tier("db", "database", "d1"))

    assert [one.id.host for one in made.of_tier("test-router")] == ["a1"]


def test_one_router_serves_two_databases_and_knows_who_wants_which() -> None:
    made = topology(
        "a1:a d1:a d2:b",
        tier("shop", "application", "a1", "one"),
        tier("blog", "application", "a1", "two", port=8001),
        tier("one", "database", "d1"),
        tier("two", "database", "d2"),
    )

    router = made.instance(InstanceId("test-router", "a1"))
    assert component_of(router).needs(Route) == [Route("one", 3306), Route("one", 3307), Route("two", 3306), Route("two", 3307)]
    assert {(link.source.tier, str(link.target)) for link in made.links if link.target.owner == router.id} == {
        ("shop", "test-router/a1:one-3306"),
        ("shop", "test-router/a1:one-3307"),
        ("blog", "test-router/a1:two-3306"),
        ("blog", "test-router/a1:two-3307"),
    }
    assert made.routes == {"one": "127.0.1.1", "two": "127.0.1.2"}


def test_movers_are_peers_only_where_they_move_the_same_address() -> None:
    made = topology(
        "a:a b:b c:a d:b",
        tier("one", "balancer", "a b", "web"),
        tier("two", "balancer", "c d", "web"),
        tier("web", "web", "a b"),
    )

    assert sorted(source + target[-6] for source, target, _ in links_between(made, "test-mover", "test-mover")) == [
        "ab",
        "ba",
        "cd",
        "dc",
    ]


def test_health_is_asked_where_the_target_says_else_at_the_target_itself() -> None:
    made = topology("lb:a w:a", tier("lb", "balancer", "lb", "web"), tier("web", "web", "w"))

    assert links_between(made, "lb", "web") == [("lb", "web/w:http", "to")]


def test_endpoint_that_nobody_calls_is_absent() -> None:
    quiet = topology("w:a", tier("web", "web", "w"))
    watched = topology("w:a m:a", tier("web", "web", "w"), tier("m", "watcher", "m"))

    assert quiet.endpoints == ()
    assert "web/w:metrics" in {str(endpoint) for endpoint in watched.endpoints}


def test_watcher_scrapes_everybody_but_itself_and_brings_a_meter_to_every_host() -> None:
    made = topology("w:a m:a idle:b", tier("web", "web", "w"), tier("m", "watcher", "m"))

    assert {str(link.target) for link in made.links if link.purpose == "scrape"} == {
        "web/w:metrics",
        "test-meter/idle:metrics",
        "test-meter/m:metrics",
        "test-meter/w:metrics",
    }


def test_visitors_call_entrances_only() -> None:
    made = topology("lb:a w:a", tier("lb", "balancer", "lb", "web"), tier("web", "web", "w"))

    assert {str(link.target) for link in made.links if link.source == OUTSIDE} == {"lb/lb:http", "lb/lb:https"}


def test_administrators_reach_real_servers_and_lab_hosts_only_when_named() -> None:
    def admins(hosts: str, **others: object) -> list[Link]:
        made = topology(hosts, tier("shell", "terminal", "a"), **others)
        return [link for link in made.links if link.source == ADMIN]

    assert len(admins("a:a:192.0.2.1")) == 1
    assert len(admins("a:a", admin=("198.51.100.0/24",))) == 1
    assert admins("a:a") == []


def test_every_link_ends_at_an_endpoint_that_exists(ugly: Topology) -> None:
    endpoints, instances = set(ugly.endpoints), {one.id for one in ugly.instances}

    assert all(link.target in endpoints for link in ugly.links)
    assert all(link.source in instances or link.source == OUTSIDE for link in ugly.links)


def test_witness_is_an_instance_on_the_host_that_the_setting_names() -> None:
    made = topology("d1:a d2:b w:c", tier("db", "database", "d1 d2", witness="w"))

    assert made.instance(InstanceId("db", "w")).rank is Rank.WITNESS
    assert ("w", "db/d1:sql", "replication") in links_between(made, "db", "db")


# --- what must not change later ----------------------------------------------------------------------------------------
def test_lab_addresses_follow_from_the_hosts_numbers() -> None:
    hosts = " ".join(f"h{number}:a" for number in range(600))
    made = resolved(hosts, tier("web", "web", "h0")).topology

    assert len({host.address for host in made.hosts}) == 600
    assert (made.host("h0").address, made.host("h0").number) == ("198.18.1.2", 1)
    assert made.host("h249").address == "198.18.2.1"
    assert all(not host.address.endswith((".0", ".255")) for host in made.hosts)


NAMES = st.lists(st.sampled_from([f"h{number}" for number in range(12)]), min_size=1, max_size=8, unique=True)


@given(first=NAMES, later=NAMES, shuffle=st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_hosts_that_come_and_go_never_change_anybodys_number_or_address(
    first: list[str], later: list[str], shuffle: random.Random
) -> None:
    def made(names: list[str], allotment: Allotment) -> Resolved:
        mixed = list(names)
        shuffle.shuffle(mixed)
        balancer, database = tier("lb", "balancer", mixed[0], "app"), tier("db", "database", " ".join(mixed))
        app = tier("app", "application", " ".join(mixed), "db")
        return resolved(" ".join(f"{name}:{name[-1]}" for name in mixed), balancer, app, database, allotment=allotment)

    before = made(first, NOTHING_ALLOTTED)
    after = made(later, before.allotment)
    again = made(first, after.allotment)

    numbers = [{host.name: (host.number, host.address) for host in one.topology.hosts} for one in (before, after, again)]
    for name in set(first) & set(later):
        assert numbers[0][name] == numbers[1][name]
    assert numbers[2] == numbers[0]
    everybody = {**numbers[0], **numbers[1]}
    assert len(set(everybody.values())) == len(everybody)
    vips = [[(vip.name, vip.address, vip.number) for vip in one.topology.vips] for one in (before, after)]
    assert vips[0] == vips[1]
    assert before.topology.routes == after.topology.routes


def test_number_of_a_host_that_was_removed_is_not_given_again() -> None:
    before = resolved("a:a b:a", tier("web", "web", "a"))
    after = resolved("a:a", tier("web", "web", "a"), allotment=before.allotment)
    later = resolved("a:a c:a", tier("web", "web", "a"), allotment=after.allotment)

    assert later.topology.host("c").number == 3


def test_balancer_tier_that_is_added_leaves_the_other_its_given_address() -> None:
    """Addresses under `vip:` went to tiers by the order of their names, so that adding one moved the others' addresses."""
    hosts = "a:a:192.0.2.1 b:b:192.0.2.2"
    web, second = tier("web", "web", "a b"), tier("m-second", "balancer", "a", "web")
    before = resolved(hosts, second, web, vip=("192.0.2.10/24",))
    first = tier("a-first", "balancer", "b", "web")

    after = resolved(hosts, second, first, web, vip=("192.0.2.10/24", "192.0.2.11/24"), allotment=before.allotment)

    assert {one.name: one.address for one in after.topology.vips} == {"m-second": "192.0.2.10", "a-first": "192.0.2.11"}


def test_lab_gives_vips_that_no_host_has() -> None:
    made = topology("a:a b:b", tier("one", "balancer", "a", "web"), tier("web", "web", "b"))

    assert [(one.name, one.address, one.number) for one in made.vips] == [("one", "198.18.0.1", 1)]


def test_what_is_chosen_once_is_the_first_host_for_ever() -> None:
    before = resolved("d1:a d2:b", tier("db", "database", "d1 d2"))
    after = resolved("d1:a d2:b", tier("db", "database", "d2 d1"), allotment=before.allotment)

    assert before.allotment.placed["db/first-primary"] == after.allotment.placed["db/first-primary"] == ("d1",)


def voters(found: Resolved) -> list[str]:
    return [one.id.host for one in found.topology.of_tier("test-voter")]


def test_voters_are_in_three_zones_on_hosts_of_the_tier_that_wants_them_first() -> None:
    found = resolved("a0:a c0:c d1:a d2:b z:c", tier("db", "database", "d1 d2"))

    assert voters(found) == ["c0", "d1", "d2"]


def test_voters_stay_where_they_are_when_hosts_are_added() -> None:
    before = resolved("d1:a d2:b z:c", tier("db", "database", "d1 d2"))
    after = resolved("d1:a d2:b a0:c z:c d0:d", tier("db", "database", "d0 d1 d2"), allotment=before.allotment)

    assert voters(after) == voters(before) == ["d1", "d2", "z"]


def test_voter_whose_host_is_gone_is_replaced_and_the_others_stay() -> None:
    """A choice that was kept named a host that had been removed, and nothing could be rendered any more."""
    before = resolved("d1:a d2:b z:c", tier("db", "database", "d1 d2"))
    after = resolved("d1:a d2:b y:c a0:a", tier("db", "database", "d1 d2"), allotment=before.allotment)

    assert voters(after) == ["d1", "d2", "y"]


def test_two_zones_still_have_three_voters() -> None:
    """Two voters in two zones stop when either host does: worse than a single one."""
    assert voters(resolved("d1:a d2:b d3:b", tier("db", "database", "d1 d2"))) == ["d1", "d2", "d3"]
    assert voters(resolved("d1:a d2:b", tier("db", "database", "d1 d2"))) == ["d1", "d2"]


def test_tier_with_a_spare_has_five_voters_of_whom_most_live_without_its_normal_hosts() -> None:
    """With three voters, two of them beside the databases, nobody could agree that the spare takes over from both."""
    made = voters(resolved("a1:a b1:b c1:c d1:a d2:b x:c", tier("db", "database", "d1 d2", spare="x")))
    assert made == ["a1", "b1", "d1", "d2", "x"]
    three = voters(resolved("a1:a b1:b c1:c d1:a d2:b d3:c x:c", tier("db", "database", "d1 d2 d3", spare="x")))
    assert len(three) == 5
    assert len({"d1", "d2", "d3"} & set(three)) == 2


def test_voters_become_five_beside_those_that_there_were_and_three_where_hosts_are_few() -> None:
    before = resolved("a1:a b1:b d1:a d2:b x:c", tier("db", "database", "d1 d2"))
    after = resolved("a1:a b1:b d1:a d2:b x:c", tier("db", "database", "d1 d2", spare="x"), allotment=before.allotment)
    assert set(voters(before)) < set(voters(after))
    assert len(voters(after)) == 5
    assert len(voters(resolved("a1:a d1:a d2:b x:c", tier("db", "database", "d1 d2", spare="x")))) == 3
    assert len(voters(resolved("a1:a b1:b d1:a x:c", tier("db", "database", "d1", spare="x")))) == 3


# --- contradictions ----------------------------------------------------------------------------------------------------
def test_port_wanted_twice_on_a_host_is_an_error_that_proposes_the_next_free_one() -> None:
    found = resolved(
        "w:a a:a",
        tier("web", "web", "w", "one two three"),
        tier("one", "application", "a"),
        tier("three", "application", "a", port=8001),
        tier("two", "application", "a"),
    )

    assert problem(found).code == "S305"
    assert problem(found).path == "tiers.two.port"
    assert "one and two" in problem(found).what
    assert problem(found).fix.startswith("port: 8002 ")


def test_port_that_nobody_calls_clashes_with_nothing() -> None:
    found = resolved("a:a", tier("one", "application", "a"), tier("two", "application", "a"))

    assert found.problems == ()


def test_clash_on_the_last_port_proposes_one_before() -> None:
    """65535 has no next port, and the search for one ended in a defect instead of a message."""
    apps = [tier(name, "application", "a", port=65535) for name in ("one", "two")]

    assert problem(resolved("w:a a:a", tier("web", "web", "w", "one two"), *apps)).fix.startswith("port: 65534 ")


def test_proposed_port_is_free_on_all_hosts_of_the_tier() -> None:
    found = resolved(
        "w:a a:a b:b",
        tier("web", "web", "w", "one two three"),
        tier("one", "application", "a"),
        tier("two", "application", "a b"),
        tier("three", "application", "b", port=8001),
    )

    assert problem(found).fix.startswith("port: 8002 ")


def test_routers_port_clashes_with_who_takes_it_on_every_address_only() -> None:
    """A port on all addresses takes the loopback ones of routes, too; one on the host's own address does not."""
    app, database = tier("app", "application", "a", "db"), tier("db", "database", "a")
    assert resolved("a:a", app, database).problems == ()

    routed = tier("db", "database", "d", port=4000)
    everywhere = resolved("a:a d:b", app, routed, tier("any", "balancer-on-3306", "a"))
    assert problem(everywhere).path == "options.test-router"
    assert "any and test-router" in problem(everywhere).what


def test_two_web_tiers_on_one_host_are_an_error() -> None:
    found = resolved("w:a", tier("one", "web", "w"), tier("two", "web", "w", port=9000))

    assert (problem(found).code, problem(found).path) == ("S304", "tiers.two.hosts")
    assert "one and two" in problem(found).what


def test_target_that_cannot_be_called_is_an_error() -> None:
    found = resolved("w:a d:a", tier("web", "web", "w", "db"), tier("db", "database", "d"))

    assert (problem(found).code, problem(found).path) == ("S303", "tiers.web.to")


def test_target_reached_through_a_router_counts_as_called() -> None:
    assert resolved("a:a d:a", tier("app", "application", "a", "db"), tier("db", "database", "d")).problems == ()


def test_need_that_nobody_provides_is_an_error() -> None:
    assert problem(resolved("a:a", tier("needy", "needy", "a"))).code == "S302"


@pytest.mark.parametrize(
    ("vip", "codes"),
    [((), ["S301"]), (("192.0.2.10/24",), ["S301"]), (("192.0.2.10/24", "192.0.2.11/24"), [])],
)
def test_real_servers_need_an_address_for_each_balancer_tier(vip: tuple[str, ...], codes: list[str]) -> None:
    balancers = [tier(name, "balancer", host, "web") for name, host in (("one", "a"), ("two", "b"))]
    found = resolved("a:a:192.0.2.1 b:b:192.0.2.2", *balancers, tier("web", "web", "a b"), vip=vip)

    assert [one.code for one in found.problems] == codes


def shared(hosts: str, spare: str = "", **others: object) -> Resolved:
    """Load balancers that all work at the same time, and a web server."""
    balancers = Tier(
        "lb",
        "haproxy",
        tuple(hosts.split()),
        HaproxySettings.model_validate({"mode": "active-active"}),
        ("web",),
        tuple(spare.split()),
    )
    names = " ".join(f"{name}:a" for name in [*hosts.split(), *spare.split(), "w1"])
    return resolved(names, balancers, tier("web", "web", "w1"), **others)  # type: ignore[arg-type]


def test_load_balancers_that_all_work_have_an_address_each_and_follow_each_other_in_a_ring() -> None:
    made = shared("c1 a1 b1", spare="x1").topology

    assert [(vip.name, vip.address, vip.home, vip.hosts) for vip in made.vips_of("lb")] == [
        ("lb", "198.18.0.1", "a1", ("a1", "b1", "c1", "x1")),
        ("lb.2", "198.18.0.2", "b1", ("b1", "c1", "a1", "x1")),
        ("lb.3", "198.18.0.3", "c1", ("c1", "a1", "b1", "x1")),
    ]


def test_address_of_one_load_balancer_at_a_time_is_kept_when_all_are_to_work() -> None:
    """DNS leads to it already."""
    before = resolved("a1:a b1:a w1:a", tier("lb", "balancer", "a1 b1", "web"), tier("web", "web", "w1"))
    after = shared("a1 b1", allotment=before.allotment).topology

    (kept,) = before.topology.vips
    assert kept.home == ""
    assert after.vips_of("lb")[0].address == kept.address


def test_lab_needs_no_vip_but_takes_no_half_of_them() -> None:
    tiers = [*(tier(name, "balancer", host, "web") for name, host in (("one", "a"), ("two", "b"))), tier("web", "web", "a b")]

    assert resolved("a:a b:b", *tiers).problems == ()
    assert problem(resolved("a:a b:b", *tiers, vip=("192.0.2.10/24",))).code == "S301"


# --- same input, same output; speed ----------------------------------------------------------------------------------
@given(shuffle=st.randoms(use_true_random=False))
@settings(max_examples=12, deadline=None)
def test_order_in_the_file_changes_nothing_that_was_allotted(shuffle: random.Random) -> None:
    whole = stack(UGLY_HOSTS, *ugly_tiers())
    first = resolve(whole, NOTHING_ALLOTTED)
    mixed = [replace(one, hosts=_mixed(one.hosts, shuffle), to=_mixed(one.to, shuffle)) for one in whole.tiers]
    shuffle.shuffle(mixed)
    other = replace(whole, hosts=_mixed(whole.hosts, shuffle), tiers=tuple(mixed))

    again = resolve(other, first.allotment)

    assert again.allotment == first.allotment
    assert _without_order_of_to(again.topology) == _without_order_of_to(first.topology)


T = TypeVar("T")


def _mixed(values: tuple[T, ...], shuffle: random.Random) -> tuple[T, ...]:
    mixed = list(values)
    shuffle.shuffle(mixed)
    return tuple(mixed)


def _without_order_of_to(made: Topology) -> Topology:
    """`to` is as the user wrote it: which application comes first may mean something to a component."""
    return replace(made, instances=tuple(replace(one, to=tuple(sorted(one.to))) for one in made.instances))


def test_hash_seed_changes_nothing(ugly: Topology) -> None:
    program = (
        "from tests.unit.stacks import *; import sys; t = resolved(UGLY_HOSTS, *ugly_tiers()).topology; "
        "sys.stdout.write(repr((t.instances, t.endpoints, t.links)))"
    )
    # This process has some seed, the other one 0, which none gets by chance.
    environment = {"PYTHONHASHSEED": "0", "PYTHONPATH": "."}

    other = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, env=environment, capture_output=True, text=True)

    assert other.stdout == repr((ugly.instances, ugly.endpoints, ugly.links))


def test_hundred_hosts_resolve_fast(capsys: pytest.CaptureFixture[str]) -> None:
    groups = {name: [f"{name}{number}" for number in range(size)] for name, size in (("lb", 4), ("w", 80), ("d", 12), ("m", 4))}
    hosts = " ".join(f"{name}:{'abc'[place % 3]}" for names in groups.values() for place, name in enumerate(names))
    lb, w, d, m = (" ".join(names) for names in groups.values())
    begun = time.perf_counter()

    made = topology(
        hosts,
        tier("lb", "balancer", lb, "web"),
        tier("web", "web", w, "app"),
        tier("app", "application", w, "db"),
        tier("db", "database", d),
        tier("m", "watcher", m),
    )

    with capsys.disabled():
        took_s = time.perf_counter() - begun
        sys.stdout.write(
            f"\n{len(made.hosts)} hosts, {len(made.instances)} instances, {len(made.links)} links: {took_s:.3f} s\n"
        )
    assert len(made.links) == 2 * 4 + 4 * 80 + 80 + 2 * 80 + 2 * 80 * 12 + 12 * 11 + 12 * 3 + 4 * 3 + 6 + 4 * 3 + 4 * (184 + 3)


def test_example_of_the_design_resolves_without_problems() -> None:
    found = resolve(example(), NOTHING_ALLOTTED)

    assert found.problems == ()
    assert {link.target.owner.tier for link in found.topology.links if link.source == OUTSIDE} == {"load-balancer"}
    measured = [link for link in found.topology.links if link.target.listen.speaks is Protocol.METRICS]
    assert {link.source.tier for link in measured} == {"monitoring"}
    assert {link.target.owner.host for link in measured} == {host.name for host in found.topology.hosts}


def test_a_port_for_figures_that_is_taken_is_named_by_its_own_key() -> None:
    """`port` would be the wrong one to change: it is not what clashes."""
    both = ("one", "two")
    # One of its tiers needs three hosts.
    on_both = [tier for tier in second_stack().tiers if set(tier.hosts) == set(both)]
    tiers = [Tier(tier.name, tier.component, both, tier.settings, tier.to) for tier in on_both]
    sessions = next(number for number, tier in enumerate(tiers) if tier.name == "sessions")
    clashing = tiers[sessions].settings.model_copy(update={"metrics_port": 9121})
    tiers[sessions] = replace(tiers[sessions], settings=clashing)
    problems = resolve(replace(second_stack(), tiers=tuple(tiers)), NOTHING_ALLOTTED).problems
    assert {(problem.code, problem.path) for problem in problems} == {("S305", "tiers.sessions.metrics_port")}
    assert all("metrics_port: 9" in problem.fix for problem in problems)

"""Cuts between two hosts that both live, against a second judgement in other words; and what follows for drills."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import pytest
from tests.unit.analysis.test_structure import ROOT, SEEDS, Said, drawn, topology_of

from nospof.analysis.paths import Harm, HostPath, harmful, harms, paths
from nospof.analysis.structure import Goal, Part, structure
from nospof.drills import faults as _all_faults  # noqa: F401 - makes them known
from nospof.drills.fault import Fault, fault_of
from nospof.drills.prediction import State, forecasts
from nospof.topology import Rank, Topology

EXAMPLE = ROOT / "examples" / "distributed" / "stack.yaml"
# Whether only a share notices, whether it is certain, and who must be primary.
Mark = tuple[bool, bool, str]


class Cuts:
    """What each cut does, said by hand for stacks of the kind that test_structure.py draws."""

    def __init__(self, topology: Topology) -> None:
        self.topology, self.said = topology, Said(topology)
        self.normal = {
            tier: [one.id.host for one in topology.of_tier(tier) if one.rank is Rank.NORMAL] for tier in self.said.hosts
        }

    def of(self, goal: Goal, one: str, other: str) -> set[Mark]:
        return {*self.ways(goal, one, other), *self.ways(goal, other, one)}

    def ways(self, goal: Goal, here: str, there: str) -> list[Mark]:
        hosts, found = self.said.hosts, []
        if here in self.normal["load-balancer"] and hosts["web"] == [there]:
            found.append((True, True, ""))
        if here in hosts["keepalived"] and there in hosts["keepalived"]:
            found.append((False, False, ""))
        if here in self.normal["web"] and there in self.said.servers:
            if len(self.said.servers) == 1:
                found.append((True, True, ""))
            elif goal is Goal.WRITE:
                found.append((True, True, there))
        if goal is Goal.WRITE and here in self.said.servers and set(hosts["database"]) == {here, there}:
            voters = hosts["etcd"]
            heard = len(voters) - 1 if here in voters and there in voters else len(voters)
            may = self.said.failover != "lossless" and heard * 2 > len(voters)
            found.append((False, False, "") if may else (False, True, here))
        return found


def marked(found: Iterable[Harm]) -> set[Mark]:
    return {(harm.is_share, harm.is_certain, (harm.primary or ("", ""))[1]) for harm in found}


def marks(topology: Topology) -> dict[tuple[str, str, Goal], set[Mark]]:
    return {
        (path.one, path.other, goal): marked(found)
        for path, done in harmful(topology, structure(topology)).items()
        for goal, found in done.items()
    }


@pytest.mark.parametrize("seed", range(SEEDS))
def test_cuts_do_what_is_said_by_hand(tmp_path: Path, seed: int) -> None:
    topology = drawn(tmp_path, seed)
    by_hand = Cuts(topology)
    made, expected = structure(topology), {}
    for one, other in combinations(sorted(host.name for host in topology.hosts), 2):
        for goal in (Goal.SERVE, Goal.WRITE):
            found = by_hand.of(goal, one, other)
            assert marked(harms(topology, made, HostPath(one, other), goal)) == found, (one, other, goal)
            alone = [name for name in (one, other) if not by_hand.said.holds(goal, frozenset({Part("host", name)}))]
            if found and not alone:
                expected[(one, other, goal)] = found
    assert marks(topology) == expected


def test_drawn_stacks_have_harm_of_every_kind(tmp_path: Path) -> None:
    """Else the test above would look at less than it says."""
    found = set().union(*(kinds for seed in range(SEEDS) for kinds in marks(drawn(tmp_path, seed)).values()))
    assert {(share, certain, bool(primary)) for share, certain, primary in found} >= {(False, False, False), (True, True, True)}
    every = set()
    for seed in range(SEEDS):
        topology = drawn(tmp_path, seed)
        made = structure(topology)
        for path in paths(topology):
            every |= {(harm.is_share, harm.is_certain, bool(harm.primary)) for harm in harms(topology, made, path, Goal.WRITE)}
    assert every == {(False, False, False), (True, True, True), (True, True, False), (False, True, True)}


@pytest.mark.parametrize("seed", range(0, SEEDS, 4))
def test_hosts_without_a_link_between_them_are_no_path(tmp_path: Path, seed: int) -> None:
    topology, chance = drawn(tmp_path, seed), random.Random(seed)
    linked = {frozenset((link.source.host, link.target.owner.host)) for link in topology.links}
    for path in paths(topology):
        assert frozenset((path.one, path.other)) in linked
    names = [host.name for host in topology.hosts]
    for one, other in (sorted(chance.sample(names, 2)) for _ in range(20) if len(names) > 1):
        if frozenset((one, other)) not in linked:
            assert harms(topology, structure(topology), HostPath(one, other), Goal.WRITE) == ()


# --- the example, and a middle tier ------------------------------------------------------------------------------------
def test_web_server_that_alone_does_not_reach_the_primary_fails_its_writes() -> None:
    topology = topology_of(EXAMPLE)
    found = harmful(topology, structure(topology))
    assert {str(path): {goal.value for goal in done} for path, done in found.items()} == {
        "db1 + web1": {"write"}, "db1 + web2": {"write"}, "db2 + web1": {"write"}, "db2 + web2": {"write"},
        "lb1 + lb2": {"serve", "write"},
    }  # fmt: skip


APART = """\
name: apart
domain: apart.example.com
hosts: {{lb1: {{zone: a}}, web1: {{zone: a}}, web2: {{zone: b}}, app1: {{zone: a}}, app2: {{zone: b}}}}
tiers:
  load-balancer: {{component: haproxy, hosts: [lb1], to: web}}
  web: {{component: nginx, hosts: [{web}], to: app}}
  app: {{component: gunicorn, hosts: [{app}], source: ./app, module: "a:b"}}
"""


@pytest.mark.parametrize(
    ("web", "app", "expected"),
    [
        ("web1, web2", "app1, app2", set()),
        # The load balancer's health check goes through web1 to the application, so that web2 has the work.
        ("web1, web2", "app1", set()),
        ("web1", "app1, app2", {"lb1 + web1"}),
        ("web1", "app1", {"lb1 + web1", "app1 + web1"}),
    ],
)
def test_cut_that_a_health_check_goes_through_is_noticed(tmp_path: Path, web: str, app: str, expected: set[str]) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "stack.yaml").write_text(APART.format(web=web, app=app))
    topology = topology_of(tmp_path / "stack.yaml")
    made = structure(topology)
    assert {str(path) for path in paths(topology) if harms(topology, made, path, Goal.SERVE)} == expected


# --- what is foretold of the drill -------------------------------------------------------------------------------------
def cut(topology: Topology, one: str, other: str) -> Fault:
    return fault_of({"fault": "path-cut", "target": one, "to": other}, topology)


@pytest.mark.parametrize(
    ("one", "other", "primary", "serve", "write"),
    [
        ("web1", "db1", "db1", State.UP, State.DOWN),
        ("db1", "web1", "db1", State.UP, State.DOWN),
        ("web1", "db1", "db2", State.UP, State.UP),
        ("web1", "db1", "", State.UP, State.UNKNOWN),
        ("lb1", "web1", "db1", State.UP, State.UP),
        ("db1", "db2", "db1", State.UP, State.UP),
        ("lb1", "lb2", "db1", State.UNKNOWN, State.UNKNOWN),
    ],
)
def test_drill_of_a_cut_is_foretold_by_who_is_primary(one: str, other: str, primary: str, serve: State, write: State) -> None:
    topology = topology_of(EXAMPLE)
    known = [("database", primary)] if primary else []
    foretold = forecasts(topology, structure(topology).of_visitors(), [cut(topology, one, other)], known)
    assert {forecast.goal: forecast.state for forecast in foretold} == {"serve": serve, "write": write}
    assert all(forecast.why for forecast in foretold if forecast.state is not State.UP)


def test_of_a_cut_with_another_fault_nothing_is_foretold() -> None:
    topology = topology_of(EXAMPLE)
    both = [cut(topology, "web1", "db1"), fault_of({"fault": "host-off", "target": "web2"}, topology)]
    assert {forecast.state for forecast in forecasts(topology, structure(topology), both)} == {State.UNKNOWN}


def test_fault_without_another_host_takes_the_first_it_has_a_link_with() -> None:
    topology = topology_of(EXAMPLE)
    for host in topology.hosts:
        fault = fault_of({"fault": "path-cut", "target": host.name}, topology)
        assert host.name in fault.hosts(topology)
        assert fault.severs(topology) in paths(topology)

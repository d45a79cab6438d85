"""The structure function against brute force, and against what was said of the same stacks in other words."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nospof.analysis.structure import Condition, Gate, Goal, Part, Structure, structure
from nospof.component import Component
from nospof.resolve import Allotment, resolve
from nospof.stack.load import load
from nospof.topology import Rank, Topology

ROOT = Path(__file__).parents[3]
PARTS = tuple(Part("host", name) for name in "abcdef")


def topology_of(path: Path) -> Topology:
    kinds = {name: kind.settings_type for name, kind in Component.kinds.items()}
    resolved = resolve(load(path, kinds), Allotment())
    assert not resolved.problems
    return resolved.topology


def example(name: str) -> Structure:
    return structure(topology_of(ROOT / "examples" / name / "stack.yaml"))


def host(name: str) -> Part:
    return Part("host", name)


def singles(made: Structure, goal: Goal) -> set[str]:
    return {str(part) for cut in made.cut_sets(goal, 1) for part in cut}


def shared_addresses() -> Topology:
    """Two load balancers that both work, before two web servers."""
    from tests.unit.components import web_stacks

    balancers = web_stacks.tier("load-balancer", "haproxy", ["lb1", "lb2"], ("web",), mode="active-active")
    webs = web_stacks.tier("web", "nginx", ["web1", "web2"], ("app",))
    return web_stacks.topology(balancers, webs, web_stacks.folder("app"))


# --- several addresses ---------------------------------------------------------------------------------------------------
def test_each_of_two_load_balancers_that_both_work_may_be_lost_and_not_both() -> None:
    made = structure(shared_addresses())
    lost = [{host("lb1")}, {host("lb2")}, {Part("process", "keepalived/lb1")}, {Part("process", "load-balancer/lb2")}]

    assert not any(made.fails(Goal.SERVE, one) for one in lost)
    assert made.fails(Goal.SERVE, {host("lb1"), host("lb2")})
    assert made.fails(Goal.SERVE, {Part("process", "keepalived/lb1"), Part("process", "load-balancer/lb2")})


def test_address_that_one_host_alone_may_hold_is_lost_with_it() -> None:
    """A visitor whose browser took that address is not helped by the other."""
    graph = shared_addresses()
    alone = replace(graph, vips=(graph.vips[0], replace(graph.vips[1], hosts=("lb2",))))
    made = structure(alone)

    assert not made.fails(Goal.SERVE, {host("lb1")})
    assert made.fails(Goal.SERVE, {host("lb2")})
    assert "nobody answers at 198.18.0.2" in made.reason(Goal.SERVE, {host("lb2")})


# --- trees of conditions -------------------------------------------------------------------------------------------------
def conditions() -> st.SearchStrategy[Condition]:
    leaves = st.sampled_from(PARTS)

    def joined(causes: st.SearchStrategy[Condition | Part]) -> st.SearchStrategy[Condition]:
        several = st.lists(causes, min_size=1, max_size=4).map(tuple)
        simple = st.builds(lambda gate, args: Condition("it", gate, args), st.sampled_from((Gate.ANY, Gate.ALL)), several)
        counted = several.flatmap(
            lambda args: st.integers(1, len(args)).map(lambda least: Condition("it", Gate.AT_LEAST, args, least))
        )
        return simple | counted

    return joined(st.recursive(leaves, joined, max_leaves=12))


def states() -> Iterable[frozenset[Part]]:
    return (frozenset(state) for state in chain.from_iterable(combinations(PARTS, size) for size in range(len(PARTS) + 1)))


def happens(condition: Condition | Part, lost: frozenset[Part]) -> bool:
    if isinstance(condition, Part):
        return condition in lost
    return sum(happens(cause, lost) for cause in condition.causes) >= condition.needed


@given(conditions())
@settings(max_examples=150, deadline=None)
def test_cut_sets_are_the_smallest_of_all_states_that_fail(top: Condition) -> None:
    made = Structure({Goal.SERVE: top}, PARTS)
    failing = [state for state in states() if happens(top, state)]
    smallest = {state for state in failing if not any(other < state for other in failing)}
    assert set(made.cut_sets(Goal.SERVE, len(PARTS))) == smallest
    assert set(made.cut_sets(Goal.SERVE, 2)) == {state for state in smallest if len(state) <= 2}


@given(conditions(), st.sets(st.sampled_from(PARTS)))
@settings(max_examples=150, deadline=None)
def test_reason_begins_with_a_loss_and_ends_with_the_goal(top: Condition, lost: set[Part]) -> None:
    made = Structure({Goal.SERVE: Condition("pages fail", Gate.ANY, (top,))}, PARTS)
    reason = made.reason(Goal.SERVE, lost)
    assert bool(reason) == happens(top, frozenset(lost)) == made.fails(Goal.SERVE, lost)
    if reason:
        assert reason[0] in {f"host {part.name} is dark" for part in lost}
        assert reason[-1] == "pages fail"


def test_chain_of_a_thousand_conditions_is_no_problem() -> None:
    top = Condition("it", Gate.ANY, (PARTS[0],))
    for _ in range(5000):
        top = Condition("it", Gate.ANY, (top,))
    assert Structure({Goal.SERVE: top}, PARTS).cut_sets(Goal.SERVE, 1) == (frozenset({PARTS[0]}),)


# --- whole stacks, judged in other words ---------------------------------------------------------------------------------
def drawn(folder: Path, seed: int) -> Topology:
    """A stack of the usual kind; sizes, zones, what shares hosts, spares and the database's settings are drawn."""
    chance = random.Random(seed)
    zones = "abcd"[: chance.randint(1, 4)]
    of = {kind: [f"{kind}{number}" for number in range(1, chance.randint(1, most) + 1)] for kind, most in SIZES.items()}
    shape = chance.choice(("apart", "apart", "edge on the web servers", "all on two hosts"))
    if shape == "edge on the web servers":
        of["lb"] = of["web"]
    is_small = shape == "all on two hosts"
    if is_small:
        of = {kind: ["n1", "n2"] for kind in SIZES}
    # By name behind the witness, so that their order alone does not put them before it.
    spare = {kind: f", spare: [x{kind}1]" if chance.random() < 0.3 and not is_small else "" for kind in SIZES}
    database = "mode: single"
    if len(of["db"]) > 1:
        witness = ", witness: w1" if chance.random() < 0.6 and not is_small else ""
        failover = chance.choice(["", ", failover: available", ", failover: lossless"])
        database = f"mode: primary-replica{witness}{failover}{spare['db']}"
    port = ", port: 8080" if shape != "apart" else ""
    tiers = f"""\
  load-balancer: {{component: haproxy, hosts: [{", ".join(of["lb"])}]{spare["lb"]}, to: web}}
  web: {{component: nginx, hosts: [{", ".join(of["web"])}]{spare["web"]}, to: app{port}}}
  app: {{component: gunicorn, hosts: [{", ".join(of["web"])}]{spare["web"]}, source: ./app, module: "a:b", to: database}}
  database: {{component: mariadb, hosts: [{", ".join(of["db"])}], {database}}}
"""
    hosts = sorted(set(re.findall(r"\b(?:x?lb|x?web|x?db|n|w)[0-9]\b", tiers)))
    if not is_small:
        hosts = sorted({*hosts, "w1"})
    watching = chance.sample(hosts, min(len(hosts), chance.randint(0, 2)))
    if watching:
        told = 'alert: {email: a@example.com, smtp: "mail.example.com:25"}'
        tiers += f"  monitoring: {{component: prometheus, hosts: [{', '.join(watching)}], {told}}}\n"
    placed = "".join(f"  {name}: {{zone: {chance.choice(zones)}}}\n" for name in hosts)
    (folder / "app").mkdir(exist_ok=True)
    path = folder / "stack.yaml"
    path.write_text(f"name: drawn\ndomain: drawn.example.com\nhosts:\n{placed}tiers:\n{tiers}")
    return topology_of(path)


SIZES = {"lb": 3, "web": 3, "db": 4}
SEEDS = 40


class Said:
    """The same judgement, made forwards and by hand for this kind of stack."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.hosts = {tier: [i.id.host for i in topology.of_tier(tier)] for tier in {i.id.tier for i in topology.instances}}
        settings_ = topology.of_tier("database")[0].settings
        self.is_single = getattr(settings_, "mode") == "single"  # noqa: B009
        self.failover = getattr(settings_, "failover")  # noqa: B009
        self.witness = getattr(settings_, "witness")  # noqa: B009
        self.spares = {one.id.host for one in topology.of_tier("database") if one.rank is Rank.SPARE}

    def holds(self, goal: Goal, lost: frozenset[Part]) -> bool:
        def lives(tier: str, name: str) -> bool:
            zone = self.topology.host(name).zone
            return not {Part("process", f"{tier}/{name}"), Part("host", name), Part("zone", zone)} & lost

        if goal is Goal.OBSERVE:
            watching = [name for name in self.hosts["monitoring"] if lives("monitoring", name)]
            return bool(watching) and any(lives("alertmanager", name) for name in self.hosts["alertmanager"])
        enters = any(lives("load-balancer", name) and lives("keepalived", name) for name in self.hosts["load-balancer"])
        serves = any(all(lives(tier, name) for tier in ("web", "app", "database-router")) for name in self.hosts["web"])
        return enters and serves and all(self.database(goal, first, lives) for first in self.servers)

    @property
    def servers(self) -> list[str]:
        return [name for name in self.hosts["database"] if name != self.witness and name not in self.spares]

    def database(self, goal: Goal, primary: str, lives: object) -> bool:
        assert callable(lives)
        others = [name for name in sorted(self.hosts["database"]) if name != primary]
        others.sort(key=lambda name: 2 if name in self.spares else 1 if name == self.witness else 0)
        if self.is_single:
            return bool(lives("database", primary))
        voters = others[:2]
        alone = self.failover == "available" or (self.failover is None and len(others) < 2)
        etcd = [bool(lives("etcd", name)) for name in self.hosts["etcd"]]
        agree = sum(etcd) * 2 > len(etcd)
        answering = [name for name in voters if lives("database", name)]
        if lives("database", primary):
            goes_on = goal is Goal.SERVE or bool(answering) or (alone and agree)
            if goes_on:
                return True
        can_promote = agree and answering == voters
        return can_promote and (len(voters) > 1 or alone)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_structure_says_what_is_said_by_hand(tmp_path: Path, seed: int) -> None:
    topology = drawn(tmp_path, seed)
    made, said, chance = structure(topology), Said(topology), random.Random(seed)
    few = [frozenset(lost) for size in (0, 1, 2) for lost in combinations(made.parts, size)]
    many = [frozenset(chance.sample(made.parts, min(len(made.parts), chance.randint(3, 8)))) for _ in range(100)]
    assert set(made.goals) == {goal for goal in Goal if goal.is_visited or "monitoring" in said.hosts}
    for goal in made.goals:
        failing = [lost for lost in few if not said.holds(goal, lost)]
        assert set(made.cut_sets(goal, 2)) == {lost for lost in failing if not any(other < lost for other in failing)}
        for lost in [*chance.sample(few, min(len(few), 100)), *many]:
            assert made.fails(goal, lost) == (not said.holds(goal, lost)), (goal, sorted(map(str, lost)))


def test_drawn_stacks_have_quorums_spares_and_zones_of_every_kind(tmp_path: Path) -> None:
    """Else the test above would look at less than it says."""
    stacks = [drawn(tmp_path, seed) for seed in range(SEEDS)]
    assert {len(one.of_tier("etcd")) for one in stacks} == {0, 2, 3, 5}
    spared = {one.id.tier for stack in stacks for one in stack.instances if one.rank is Rank.SPARE}
    assert {"load-balancer", "web", "app", "database", "keepalived", "database-router"} <= spared
    assert {len({host.zone for host in one.hosts}) for one in stacks} == {1, 2, 3, 4}
    doubled = [one for one in stacks if len({one.host(voter.id.host).zone for voter in one.of_tier("etcd")}) == 2]
    assert any(len(one.of_tier("etcd")) == 3 for one in doubled), "a majority in one of two zones"


# --- the examples --------------------------------------------------------------------------------------------------------
PAIRS = {("lb1", "lb2"), ("web1", "web2"), ("db1", "db2"), ("db1", "w1"), ("db2", "w1")}


@pytest.mark.parametrize(("goal", "pairs"), [(Goal.SERVE, PAIRS), (Goal.WRITE, PAIRS), (Goal.OBSERVE, {("lb1", "web2")})])
def test_distributed_has_no_single_point_of_failure(goal: Goal, pairs: set[tuple[str, ...]]) -> None:
    made = example("distributed")
    assert singles(made, goal) == set()
    cuts = [cut for cut in made.cut_sets(goal, 2) if {part.kind for part in cut} == {"host"}]
    assert {tuple(sorted(part.name for part in cut)) for cut in cuts} == pairs


# --- a backup server with all of it ------------------------------------------------------------------------------------
HOSTS_OF = {
    "load-balancer": "lb1 lb2", "web": "web1 web2", "app": "app1 app2", "database": "db1 db2", "cache": "ca1 ca2",
    "monitoring": "mon1 mon2",
}  # fmt: skip


def with_backup_server(folder: Path, witness: str = ", witness: w1", cache: str = "") -> Structure:
    """Each tier on two hosts of its own in two zones, and x1, in a third one, is the spare of all."""
    (folder / "app").mkdir(exist_ok=True)
    hosts = {name: "ab"[int(name[-1]) - 1] for names in HOSTS_OF.values() for name in names.split()}
    placed = "".join(f"  {name}: {{zone: {zone}}}\n" for name, zone in {**hosts, "x1": "c", "w1": "c"}.items())
    on = {tier: f"hosts: [{names.replace(' ', ', ')}], spare: x1" for tier, names in HOSTS_OF.items()}
    watched = 'alert: {email: a@example.com, smtp: "mail.example.com:25"}'
    path = folder / "stack.yaml"
    path.write_text(f"""\
name: backed
domain: backed.example.com
hosts:
{placed if witness else placed.replace("  w1: {zone: c}" + chr(10), "")}tiers:
  load-balancer: {{component: haproxy, {on["load-balancer"]}, to: web}}
  web: {{component: nginx, {on["web"]}, to: app}}
  app: {{component: gunicorn, {on["app"]}, source: ./app, module: "a:b", to: [database, cache], needs_cache: on}}
  database: {{component: mariadb, {on["database"]}{witness}}}
  cache: {{component: valkey, {on["cache"]}{cache}}}
  monitoring: {{component: prometheus, {on["monitoring"]}, {watched}}}
""")
    return structure(topology_of(path))


@pytest.mark.parametrize("goal", list(Goal))
def test_backup_server_takes_over_from_both_hosts_of_a_tier(tmp_path: Path, goal: Goal) -> None:
    made = with_backup_server(tmp_path)
    for tier, names in HOSTS_OF.items():
        both = [host(name) for name in names.split()]
        if tier != "database":
            assert not made.fails(goal, both), tier
            lost = [*both, host("x1")]
            is_its_work = (goal is Goal.OBSERVE) == (tier == "monitoring")
            assert made.fails(goal, lost) == is_its_work, tier
    assert not made.fails(goal, [host("x1")])
    pages = [host(name) for tier in ("load-balancer", "web", "app") for name in HOSTS_OF[tier].split()]
    assert not made.fails(goal, pages), "one host carries several tiers"


@pytest.mark.parametrize("goal", [Goal.SERVE, Goal.WRITE])
def test_spare_of_a_database_is_no_part_of_what_it_rests_on_beside_a_witness(tmp_path: Path, goal: Goal) -> None:
    """Of a primary and a voter lost at once nobody knows whether the voter alone had the last write: nobody is promoted."""
    made = with_backup_server(tmp_path)
    cuts = {tuple(sorted(part.name for part in cut)) for cut in made.cut_sets(goal, 2) if {p.kind for p in cut} == {"host"}}
    assert cuts == {("db1", "db2"), ("db1", "w1"), ("db2", "w1")}
    reason = made.reason(goal, [host("db1"), host("db2")])
    assert "a copy that may have acknowledged the last writes cannot be heard" in reason


@pytest.mark.parametrize("goal", [Goal.SERVE, Goal.WRITE])
def test_spare_of_a_database_is_the_second_voter_where_there_is_no_witness(tmp_path: Path, goal: Goal) -> None:
    made = with_backup_server(tmp_path, witness="")
    assert singles(made, goal) == set()
    cuts = {tuple(sorted(part.name for part in cut)) for cut in made.cut_sets(goal, 2) if {p.kind for p in cut} == {"host"}}
    assert cuts == {("db1", "db2"), ("db1", "x1"), ("db2", "x1")}


def test_alerts_need_one_who_watches_and_one_who_delivers_on_whichever_hosts() -> None:
    made = example("distributed")
    watcher, teller = Part("process", "monitoring/lb1"), Part("process", "alertmanager/web2")
    assert not made.fails(Goal.OBSERVE, [watcher, teller])
    assert made.fails(Goal.OBSERVE, [watcher, Part("process", "monitoring/web2")])
    assert made.reason(Goal.OBSERVE, [teller, Part("process", "alertmanager/lb1")])[-1] == "alerts do not arrive"
    assert set(made.of_visitors().goals) == {Goal.SERVE, Goal.WRITE}


@pytest.mark.parametrize("goal", [Goal.SERVE, Goal.WRITE])
def test_simple_has_exactly_its_single_points_of_failure(goal: Goal) -> None:
    assert singles(example("simple"), goal) == {
        "host lb1", "process load-balancer/lb1", "process keepalived/lb1",
        "host db1", "process database/db1",
        "zone a", "zone b",
    }  # fmt: skip


@pytest.mark.parametrize(("failover", "expected"), [("lossless", {"host db1", "host db2"}), ("available", set())])
def test_two_copies_outlive_a_loss_only_if_one_may_go_on_alone(tmp_path: Path, failover: str, expected: set[str]) -> None:
    """Without a third copy nobody acknowledges what the one that is left writes."""
    (tmp_path / "app").mkdir()
    path = tmp_path / "stack.yaml"
    path.write_text(f"""\
name: two
domain: two.example.com
hosts:
  {{lb1: {{zone: a}}, lb2: {{zone: b}}, web1: {{zone: a}}, web2: {{zone: b}},
   db1: {{zone: a}}, db2: {{zone: b}}, x1: {{zone: c}}}}
tiers:
  load-balancer: {{component: haproxy, hosts: [lb1, lb2], to: app}}
  app: {{component: gunicorn, hosts: [web1, web2], source: ./app, module: "a:b", to: database}}
  database: {{component: mariadb, hosts: [db1, db2], failover: {failover}}}
""")
    found = singles(structure(topology_of(path)), Goal.WRITE)
    assert {part for part in found if part.startswith("host")} == expected


def test_reason_tells_how_a_loss_becomes_a_failure() -> None:
    assert example("distributed").reason(Goal.WRITE, [host("db1"), host("w1")])[:4] == (
        "host w1 is dark",
        "etcd on w1 does not run",
        "etcd has 1 of 3 voters, no majority",
        "nobody can be promoted",
    )


def test_reason_tells_why_what_still_lives_fails_too(tmp_path: Path) -> None:
    """Incident: of two hosts with everything, the reason was that the lost one's load balancer does not run."""
    (tmp_path / "app").mkdir()
    path = tmp_path / "stack.yaml"
    path.write_text("""\
name: two
domain: two.example.com
hosts: {a1: {zone: a}, b1: {zone: b}}
tiers:
  load-balancer: {component: haproxy, hosts: [a1, b1], to: app}
  app: {component: gunicorn, hosts: [a1, b1], source: ./app, module: "a:b", to: database}
  database: {component: mariadb, hosts: [a1, b1]}
""")
    made = structure(topology_of(path))
    for name in ("a1", "b1"):
        assert "etcd has 1 of 2 voters, no majority" in made.reason(Goal.WRITE, [host(name)])


def test_goal_that_a_stack_does_not_have_is_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    (tmp_path / "app").mkdir()
    path.write_text("""\
name: pages
domain: pages.example.com
hosts:
  web1: {zone: a}
tiers:
  load-balancer: {component: haproxy, hosts: [web1], to: app}
  app: {component: gunicorn, hosts: [web1], source: ./app, module: "a:b"}
""")
    assert set(structure(topology_of(path)).goals) == {Goal.SERVE}

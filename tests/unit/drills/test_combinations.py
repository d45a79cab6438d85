"""Which drills settle what: the boundary is enough where everything is as foretold, and never claims what is not so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest
from examples_read import topology_of
from hypothesis import given, settings
from hypothesis import strategies as st

from nospof.analysis.structure import Part, structure
from nospof.drills import faults as _all_faults  # noqa: F401
from nospof.drills.combinations import Lost, boundary, extent, orders, roles, settle
from nospof.drills.prediction import State
from nospof.drills.proving import plan
from nospof.errors import WrongInput
from nospof.topology import InstanceId

NAMES = "abcdef"
GOAL = "serve"
Fails = Callable[[frozenset[str]], bool]


def lost(names: tuple[str, ...], fails: Fails) -> Lost:
    instances = frozenset(InstanceId("tier", name) for name in names)
    state = State.DOWN if fails(frozenset(names)) else State.UP
    return Lost(tuple(Part("host", name) for name in names), instances, ((GOAL, state),))


def all_of(fails: Fails, most: int) -> tuple[Lost, ...]:
    return tuple(lost(names, fails) for size in range(1, most + 1) for names in combinations(NAMES, size))


def monotone() -> st.SearchStrategy[Fails]:
    """Down as soon as all of one of some sets are lost."""
    cuts = st.lists(st.frozensets(st.sampled_from(NAMES), min_size=1, max_size=4), max_size=5)

    def made(sets: list[frozenset[str]]) -> Fails:
        return lambda names: any(cut <= names for cut in sets)

    return cuts.map(made)


def settled(found: tuple[Lost, ...], drilled: tuple[Lost, ...], truth: Fails) -> dict[Lost, tuple[State, bool]]:
    seen = {one: State.DOWN if truth(frozenset(part.name for part in one.parts)) else State.UP for one in drilled}
    answers = {one: settle(one, GOAL, seen) for one in found}
    return {one: (state, contradicts) for one, (state, _, contradicts) in answers.items()}


@given(monotone(), st.integers(1, len(NAMES)))
@settings(max_examples=120, deadline=None)
def test_boundary_settles_everything_where_all_is_as_foretold(fails: Fails, most: int) -> None:
    found = all_of(fails, most)
    for one, (state, contradicts) in settled(found, boundary(found), fails).items():
        assert state is one.state(GOAL)
        assert not contradicts


@given(monotone(), monotone(), st.integers(1, len(NAMES)))
@settings(max_examples=120, deadline=None)
def test_nothing_is_settled_that_is_not_so_whatever_was_foretold(foretold: Fails, truth: Fails, most: int) -> None:
    found = all_of(foretold, most)
    for one, (state, contradicts) in settled(found, boundary(found), truth).items():
        is_down = truth(frozenset(part.name for part in one.parts))
        assert state in (State.UNKNOWN, State.DOWN if is_down else State.UP)
        assert not contradicts


@given(monotone(), st.integers(2, len(NAMES)))
@settings(max_examples=60, deadline=None)
def test_no_pair_or_larger_of_the_boundary_can_be_left_out(fails: Fails, most: int) -> None:
    found = all_of(fails, most)
    drilled = boundary(found)
    for one in drilled:
        if len(one.parts) > 1:
            others = tuple(other for other in drilled if other is not one)
            assert settled(found, others, fails)[one][0] is State.UNKNOWN


def test_stack_that_contradicts_itself_settles_nothing_there() -> None:
    up = lost(("a", "b", "c"), lambda _: False)
    down = lost(("a",), lambda _: True)
    between = lost(("a", "b"), lambda _: False)
    assert settle(between, GOAL, {up: State.UP, down: State.DOWN}) == (State.UNKNOWN, (down, up), True)


def test_distributed_is_settled_by_few_drills_and_each_host_is_lost_as_primary_and_as_replica() -> None:
    topology = topology_of("distributed")
    made = structure(topology).of_visitors()
    found = extent(topology, made, 2, has_all_hosts=False)
    assert len(found) == 75
    drilled = boundary(found)
    assert len(drilled) < 55
    (db1,) = (one for one in drilled if one.name == "host db1")
    assert list(roles(topology, db1)) == [(("database", "db1"),), (("database", "db2"),)]
    (pair,) = (one for one in drilled if one.name == "host db1 + host lb2")
    assert [tuple(map(str, parts)) for parts in orders(topology, pair)] == [("host db1", "host lb2"), ("host lb2", "host db1")]
    assert list(roles(topology, pair)) == [(("database", "db1"),)]


def test_every_set_of_hosts_needs_no_more_drills_than_pairs_do() -> None:
    """Since the largest that are outlived say so of all that are smaller."""
    topology = topology_of("distributed")
    pairs, sets = plan(topology, 2), plan(topology, 2, has_all_hosts=True)
    assert len(sets.extent) > 2 * len(pairs.extent)
    assert len(sets.drills) <= len(pairs.drills)


def test_subsets_of_too_many_hosts_are_refused_before_anybody_waits_for_them() -> None:
    """Incident: the limit was written down and held to by nobody, so that --all on thirty hosts never began."""
    topology = topology_of("distributed")
    more = tuple(replace(topology.hosts[0], name=f"more{number}") for number in range(10))
    large = replace(topology, hosts=(*topology.hosts, *more))
    with pytest.raises(WrongInput, match="17 hosts have 131072 subsets"):
        extent(large, structure(large), 1, has_all_hosts=True)


def test_host_and_its_zone_are_no_pair() -> None:
    topology = topology_of("simple")
    names = {one.name for one in extent(topology, structure(topology), 2, has_all_hosts=False)}
    assert "host lb1 + zone b" in names
    assert "host lb1 + zone a" not in names


@pytest.mark.parametrize("example", ["simple", "distributed"])
def test_what_is_foretold_has_a_hash_that_any_change_changes(example: str) -> None:
    topology = topology_of(example)
    assert plan(topology, 1).foretold_sha256 == plan(topology, 1).foretold_sha256
    assert plan(topology, 1).foretold_sha256 != plan(topology, 2).foretold_sha256

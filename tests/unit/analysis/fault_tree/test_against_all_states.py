"""Random small trees, compared with what comes out when every state of their events is looked at."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from math import prod

import pytest
from gate_by_gate import cut_sets_bottom_up
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nospof.analysis.fault_tree.budget import Budget
from nospof.analysis.fault_tree.formula import Formula, Formulas, Kind, nodes
from nospof.analysis.fault_tree.importance import importances
from nospof.analysis.fault_tree.structure import NotMonotone, StructureFunction

State = frozenset[str]
EVENTS = "abcdefg"
PROBABILITIES = dict(zip(EVENTS, (0.1, 0.25, 0.5, 0.02, 0.9, 0.3, 0.7), strict=True))
COHERENT = ("and", "or", "atleast", "house")
ALL = (*COHERENT, "not", "xor", "iff", "imply", "nand", "nor", "cardinality")
Step = tuple[str, list[int], int, int]


def trees(connectives: tuple[str, ...]) -> st.SearchStrategy[list[Step]]:
    """Gates one after another, each with arguments among the events and the gates before it: so gates are shared."""
    arguments = st.lists(st.integers(0, 30), min_size=1, max_size=4)
    return st.lists(
        st.tuples(st.sampled_from(connectives), arguments, st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9
    )


def built(steps: list[Step]) -> tuple[Formulas, Formula, Callable[[State], bool]]:
    """The formula, and the same computed from a state without any of what is tested."""
    formulas = Formulas()
    made = [formulas.event(name) for name in EVENTS]

    def is_true(state: State) -> bool:
        values = [name in state for name in EVENTS]
        for connective, numbers, low, high in steps:
            values.append(value_of(connective, [values[number % len(values)] for number in numbers], low, high))
        return values[-1]

    for connective, numbers, low, high in steps:
        made.append(gate(formulas, connective, [made[number % len(made)] for number in numbers], low, high))
    return formulas, made[-1], is_true


def gate(formulas: Formulas, connective: str, args: list[Formula], low: int, high: int) -> Formula:
    match connective:
        case "and":
            return formulas.all_of(args)
        case "or":
            return formulas.any_of(args)
        case "atleast":
            return formulas.at_least(low, args)
        case "house":
            return formulas.any_of([formulas.constant(value=low == 0), *args])
        case "not":
            return formulas.negated(args[0])
        case "xor":
            return formulas.odd(args)
        case "iff":
            return formulas.same(args[0], args[-1])
        case "imply":
            return formulas.implied(args[0], args[-1])
        case "nand":
            return formulas.negated(formulas.all_of(args))
        case "nor":
            return formulas.negated(formulas.any_of(args))
    return formulas.between(low, high, args)


def value_of(connective: str, args: list[bool], low: int, high: int) -> bool:
    return {
        "and": all(args),
        "or": any(args),
        "atleast": sum(args) >= low,
        "house": low == 0 or any(args),
        "not": not args[0],
        "xor": sum(args) % 2 == 1,
        "iff": args[0] == args[-1],
        "imply": not args[0] or args[-1],
        "nand": not all(args),
        "nor": not any(args),
        "cardinality": low <= sum(args) <= high,
    }[connective]


STATES = [frozenset(chosen) for size in range(len(EVENTS) + 1) for chosen in combinations(EVENTS, size)]


def minimal(states: Iterable[State]) -> set[State]:
    kept: list[State] = []
    for state in sorted(states, key=len):
        if not any(smaller <= state for smaller in kept):
            kept.append(state)
    return set(kept)


def chance(state: State, probabilities: Mapping[str, float]) -> float:
    return prod(p if event in state else 1 - p for event, p in probabilities.items())


def total(is_true: Callable[[State], bool], probabilities: Mapping[str, float]) -> float:
    return sum(chance(state, probabilities) for state in STATES if is_true(state))


@settings(max_examples=80, deadline=None)
@given(trees(COHERENT))
def test_cut_sets_are_the_smallest_states_that_bring_the_top_event(steps: list[Step]) -> None:
    formulas, top, is_true = built(steps)

    sets = StructureFunction.of(formulas, top, Budget()).cut_sets()

    expected = minimal(state for state in STATES if is_true(state))
    listed = [frozenset(one) for one in sets]
    assert set(listed) == expected
    assert len(listed) == sets.number == len(expected)
    assert [len(one) for one in listed] == sorted(len(one) for one in expected)
    assert sets.orders == {size: [len(one) for one in listed].count(size) for size in {len(one) for one in listed}}
    assert list(sets.smallest(3)) == list(sets)[:3]


def drawn(seed: int) -> list[Step]:
    """A larger coherent tree, in which most gates are used by several others."""
    chance = random.Random(seed)
    steps: list[Step] = []
    for gates in range(12):
        numbers = [chance.randrange(max(0, gates - 2), len(EVENTS) + gates) for _ in range(chance.randint(2, 3))]
        steps.append((chance.choice(("and", "or", "and", "or", "atleast")), numbers, 2, 0))
    return steps


@pytest.mark.parametrize("seed", range(60))
def test_cut_sets_of_larger_trees_with_shared_gates(seed: int) -> None:
    formulas, top, is_true = built(drawn(seed))
    function = StructureFunction.of(formulas, top, Budget())
    failures = minimal(state for state in STATES if is_true(state))
    absences = minimal(absent for absent in STATES if not is_true(frozenset(EVENTS) - absent))
    assert sorted(map(sorted, function.cut_sets())) == sorted(map(sorted, failures))
    assert sorted(map(sorted, function.path_sets())) == sorted(map(sorted, absences))
    assert function.probability(PROBABILITIES) == pytest.approx(total(is_true, PROBABILITIES), abs=1e-12)


@pytest.mark.parametrize("seed", [1, 5, 6])
def test_event_in_every_cut_set_is_worth_infinitely_much_to_remove(seed: int) -> None:
    # In these trees rounding leaves a rest of some 1e-18, which must not become a worth of 1e15.
    formulas, top, is_true = built(drawn(seed))
    function = StructureFunction.of(formulas, top, Budget())
    in_all = {event for event in EVENTS if all(event in state for state in STATES if is_true(state))}
    for step in range(1, 6):
        p = {event: (0.07 * step + 0.05 * place) % 1 for place, event in enumerate(EVENTS)}
        assert {one.event for one in importances(function, None, p) if one.rrw is None} == in_all


@settings(max_examples=60, deadline=None)
@given(trees(COHERENT))
def test_path_sets_are_the_smallest_absences_that_prevent_the_top_event(steps: list[Step]) -> None:
    formulas, top, is_true = built(steps)
    function = StructureFunction.of(formulas, top, Budget())

    paths = list(function.path_sets())

    expected = minimal(absent for absent in STATES if not is_true(frozenset(EVENTS) - absent))
    assert {frozenset(one) for one in paths} == expected
    assert len(paths) == len(expected)
    for path in paths:
        assert not is_true(frozenset(function.tolerated(path)))
        for event in path:
            assert is_true(frozenset(EVENTS) - frozenset(path) | {event})


@settings(max_examples=80, deadline=None)
@given(trees(ALL))
def test_probability_and_importances_are_exact(steps: list[Step]) -> None:
    formulas, top, is_true = built(steps)
    function = StructureFunction.of(formulas, top, Budget())
    whole = total(is_true, PROBABILITIES)

    assert function.probability(PROBABILITIES) == pytest.approx(whole, abs=1e-12)
    birnbaum = function.birnbaum(PROBABILITIES)
    for one in importances(function, None, PROBABILITIES):
        with_it = total(is_true, {**PROBABILITIES, one.event: 1.0})
        without = total(is_true, {**PROBABILITIES, one.event: 0.0})
        assert one.birnbaum == birnbaum[one.event] == pytest.approx(with_it - without, abs=1e-12)
        if whole > 1e-9:
            assert one.raw == pytest.approx(with_it / whole)
            assert one.criticality == pytest.approx((whole - without) / whole, abs=1e-9)
            assert one.rrw == (None if without == 0 else pytest.approx(whole / without, rel=1e-6))


@settings(max_examples=80, deadline=None)
@given(trees(ALL))
def test_monotone_is_what_no_event_ever_prevents(steps: list[Step]) -> None:
    formulas, top, is_true = built(steps)
    function = StructureFunction.of(formulas, top, Budget())

    expected = all(is_true(state | {event}) for state in STATES if is_true(state) for event in EVENTS)

    assert function.is_monotone == expected
    if not expected:
        with pytest.raises(NotMonotone, match="this tree has no minimal cut sets"):
            function.cut_sets()
        with pytest.raises(NotMonotone, match="this tree has no minimal path sets"):
            function.path_sets()


@settings(max_examples=80, deadline=None)
@given(trees(ALL))
def test_least_failures_bring_the_top_event_while_nothing_else_happens(steps: list[Step]) -> None:
    formulas, top, is_true = built(steps)
    function = StructureFunction.of(formulas, top, Budget())

    sets = function.least_failures()

    listed = [frozenset(one) for one in sets]
    assert set(listed) == minimal(state for state in STATES if is_true(state))
    assert len(listed) == sets.number
    by_hand = [prod(PROBABILITIES[event] for event in one) for one in listed]
    assert sets.rare_event_sum(PROBABILITIES) == pytest.approx(sum(by_hand))
    assert sets.upper_bound(PROBABILITIES) == pytest.approx(1 - prod(1 - p for p in by_hand), rel=1e-4)
    assert sets.upper_bound(PROBABILITIES) >= function.probability(PROBABILITIES) - 1e-12
    for event, share in sets.shares(PROBABILITIES).items():
        of_it = sum(p for p, one in zip(by_hand, listed, strict=True) if event in one)
        assert share == pytest.approx(of_it / sum(by_hand))


@settings(max_examples=60, deadline=None)
@given(trees(ALL))
def test_indispensable_events_are_in_every_state_of_the_top_event(steps: list[Step]) -> None:
    formulas, top, is_true = built(steps)
    function = StructureFunction.of(formulas, top, Budget())
    expected = {event for event in function.events if all(event in state for state in STATES if is_true(state))}
    assert function.indispensable() == expected


@settings(max_examples=60, deadline=None)
@given(trees(COHERENT))
def test_cut_sets_gate_by_gate_are_the_same(steps: list[Step]) -> None:
    formulas, top, _ = built(steps)
    assume(all(one.kind is not Kind.CONSTANT or one is top for one in nodes(top)))

    families, family, leaves = cut_sets_bottom_up(top, Budget())

    def members(node: int) -> set[State]:
        if node <= 1:
            return {frozenset()} if node else set()
        name = leaves[families.variable[node]].name
        return members(families.low[node]) | {one | {name} for one in members(families.high[node])}

    cut_sets = StructureFunction.of(formulas, top, Budget()).cut_sets()
    assert members(family) == {frozenset(one) for one in cut_sets}

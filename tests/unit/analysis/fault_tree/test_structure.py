"""Trees whose answers are known by formula, deep trees, and trees that are too expensive."""

from __future__ import annotations

from itertools import pairwise
from math import comb

import pytest

from nospof.analysis.fault_tree.budget import Budget, TooExpensive
from nospof.analysis.fault_tree.formula import Formula, Formulas, nodes
from nospof.analysis.fault_tree.importance import importances
from nospof.analysis.fault_tree.structure import StructureFunction

DEEP = 2_000


def function(formulas: Formulas, top: Formula, budget: Budget | None = None) -> StructureFunction:
    return StructureFunction.of(formulas, top, budget or Budget())


def test_equal_formulas_are_one_object() -> None:
    formulas = Formulas()
    a, b = formulas.event("a"), formulas.event("b")
    assert formulas.all_of([a, b]) is formulas.all_of([b, a, a])
    assert formulas.negated(formulas.negated(a)) is a
    assert formulas.any_of([a, formulas.negated(a)]) is formulas.true
    assert formulas.odd([a, a, b]) is b
    assert formulas.at_least(2, [a, formulas.true, b]) is formulas.any_of([a, b])


def test_k_out_of_n_agrees_with_the_binomial_formula() -> None:
    formulas = Formulas()
    names = [f"server {number}" for number in range(12)]
    voted = function(formulas, formulas.at_least(5, [formulas.event(name) for name in names]))
    p = dict.fromkeys(names, 0.2)

    assert voted.cut_sets().orders == {5: comb(12, 5)}
    assert voted.path_sets().orders == {8: comb(12, 8)}
    assert voted.probability(p) == pytest.approx(sum(comb(12, k) * 0.2**k * 0.8 ** (12 - k) for k in range(5, 13)))
    assert voted.birnbaum(p)["server 3"] == pytest.approx(comb(11, 4) * 0.2**4 * 0.8**7)


def test_boundary_of_a_web_stack_is_9_cut_sets_and_72_tolerated_ones() -> None:
    formulas = Formulas()

    def group(name: str, least: int, number: int) -> Formula:
        return formulas.at_least(least, [formulas.event(f"{name}{place}") for place in range(number)])

    top = formulas.any_of(
        [group("lb", 2, 2), group("web", 2, 3), group("db", 2, 2), group("quorum", 2, 3), group("redis", 2, 2)]
    )
    stack = function(formulas, top)

    assert stack.cut_sets().number == 9
    assert stack.path_sets().number == 72
    assert all(len(stack.tolerated(path)) == 5 for path in stack.path_sets())


def test_numbers_of_cut_sets_have_any_number_of_digits() -> None:
    formulas = Formulas()
    columns = [formulas.any_of([formulas.event(f"{row} {column}") for row in range(10)]) for column in range(400)]
    sets = function(formulas, formulas.all_of(columns)).cut_sets()
    assert sets.orders == {400: 10**400}
    assert len(next(iter(sets.smallest(1)))) == 400


def test_smallest_sets_come_first_and_at_once_however_many_there_are() -> None:
    formulas = Formulas()
    columns = [formulas.any_of([formulas.event(f"{row} {column}") for row in range(10)]) for column in range(20)]
    pair = formulas.all_of([formulas.event("x"), formulas.event("y")])
    sets = function(formulas, formulas.any_of([pair, formulas.all_of(columns)])).cut_sets()
    assert [len(one) for one in sets.smallest(4)] == [2, 20, 20, 20]
    assert list(sets.smallest(0)) == []


def test_tree_of_thousands_of_levels_in_modules() -> None:
    formulas = Formulas()
    top = formulas.event("e0")
    for level in range(1, DEEP):
        event = formulas.event(f"e{level}")
        top = formulas.all_of([event, top]) if level % 2 else formulas.any_of([event, top])
    deep = function(formulas, top)
    assert deep.cut_sets().number == DEEP // 2
    assert deep.probability(dict.fromkeys(deep.events, 0.5)) == pytest.approx(1 / 3)


def test_diagram_of_thousands_of_levels_in_one_module() -> None:
    """Two neighbours of a row bring the top event: no event can be cut off, so there is one diagram with a level for each."""
    formulas = Formulas()
    row = [formulas.event(f"e{place}") for place in range(DEEP)]
    top = formulas.false
    for one, other in pairwise(row):
        top = formulas.any_of([top, formulas.all_of([one, other])])
    deep = function(formulas, top)
    assert len(deep.modules) == 1
    assert deep.cut_sets().orders == {2: DEEP - 1}
    assert deep.probability(dict.fromkeys(deep.events, 0.001)) == pytest.approx(0.001995, rel=1e-2)
    assert len(deep.birnbaum(dict.fromkeys(deep.events, 0.001))) == DEEP


def test_walk_of_shared_gates_takes_each_once() -> None:
    formulas = Formulas()
    top = formulas.event("a")
    for level in range(200):
        top = formulas.odd(
            [formulas.all_of([top, formulas.event(f"b{level}")]), formulas.any_of([top, formulas.event(f"c{level}")])]
        )
    assert len(list(nodes(top))) < 2000


def test_constant_tree_has_the_empty_cut_set_or_none() -> None:
    formulas = Formulas()
    always, never = function(formulas, formulas.true), function(formulas, formulas.false)
    assert (always.cut_sets().orders, always.probability({}), list(always.path_sets())) == ({0: 1}, 1.0, [])
    assert (never.cut_sets().orders, never.probability({}), list(never.path_sets())) == ({}, 0.0, [()])


def wide(formulas: Formulas) -> Formula:
    """Every second event of a ring with its opposite: large under every order that follows the formula."""
    row = [formulas.event(f"e{place}") for place in range(40)]
    return formulas.any_of(
        [formulas.all_of([row[place], row[(place * 7 + 3) % 40], row[(place * 11 + 5) % 40]]) for place in range(40)]
    )


def test_tree_beyond_the_budget_is_unknown_and_says_so() -> None:
    formulas = Formulas()
    with pytest.raises(TooExpensive) as caught:
        function(formulas, wide(formulas), Budget(nodes=2_000))
    assert str(caught.value) == (
        "this analysis needs more than the 2000 nodes it may use\n"
        "  why: under every order of its events that was tried the diagram of this tree, or of its cut sets, is larger\n"
        "  fix: allow more nodes, if there is memory for them: each takes some 200 bytes"
    )
    assert caught.value.exit_code == 3


def test_budget_holds_for_many_small_steps_too() -> None:
    formulas = Formulas()
    with pytest.raises(TooExpensive):
        function(formulas, formulas.at_least(2, [formulas.event(name) for name in "abc"]), Budget(nodes=3))


def test_events_that_prevent_something_that_does_not_matter_prevent_nothing() -> None:
    formulas = Formulas()
    a, b, c, d = (formulas.event(name) for name in "abcd")
    # b or c but not both is a module, of which the whole, a or (a and …), does not depend.
    top = formulas.any_of(
        [formulas.all_of([a, d, formulas.odd([b, c])]), formulas.all_of([a, d]), formulas.negated(formulas.negated(a))]
    )
    assert function(formulas, top).is_monotone
    assert list(function(formulas, top).cut_sets()) == [("a",)]


def test_module_that_is_never_true_does_not_make_a_tree_incoherent() -> None:
    # Incident: "exactly one of a, a, a" is never true, yet what negates it was said to be not coherent.
    formulas = Formulas()
    a, b = formulas.event("a"), formulas.event("b")
    top = formulas.all_of([b, formulas.negated(formulas.between(1, 1, [a, a, a]))])
    whole = function(formulas, top)
    assert whole.is_monotone
    assert list(whole.cut_sets()) == [("b",)]
    assert list(whole.path_sets()) == [("b",)]


def test_equally_important_events_come_by_name() -> None:
    formulas = Formulas()
    names = [f"e{place}" for place in range(9)]
    voted = function(formulas, formulas.at_least(4, [formulas.event(name) for name in reversed(names)]))
    for p in (0.013, 0.1, 0.37):
        assert [one.event for one in importances(voted, None, dict.fromkeys(names, p))] == names


def test_analysis_that_is_late_ends() -> None:
    formulas = Formulas()
    with pytest.raises(TooExpensive, match="the time for this analysis was over before it was finished"):
        function(formulas, wide(formulas), Budget(is_late=lambda: True))


def test_bounds_of_certain_events() -> None:
    formulas = Formulas()
    sets = function(formulas, formulas.any_of([formulas.event("a"), formulas.event("b")])).cut_sets()
    assert sets.upper_bound({"a": 1.0, "b": 0.5}) == 1.0
    assert 0.9995 <= sets.upper_bound({"a": 0.999, "b": 0.5}) <= 1.0
    assert sets.upper_bound({"a": 0.0, "b": 0.0}) == 0.0
    assert sets.shares({"a": 0.0, "b": 0.0}) == {}

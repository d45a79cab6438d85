"""The Aralia fault trees: real ones, with published answers; skipped where the folder is not beside the project.

What nobody published is computed in a second way: gate by gate without function diagrams, or, where that takes minutes, under
another order of the events.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from aralia import FOLDER, answers, number_of_sets, tree
from gate_by_gate import cut_sets_bottom_up

from nospof.analysis.fault_tree.budget import Budget
from nospof.analysis.fault_tree.building import Function, built
from nospof.analysis.fault_tree.families import Families
from nospof.analysis.fault_tree.formula import Kind, nodes
from nospof.analysis.fault_tree.report import Report, report
from nospof.analysis.open_psa.model import Model

PUBLISHED = answers()
# Gate by gate these take from ten seconds to more than a minute.
BY_ANOTHER_ORDER = {"baobab1", "edf9203", "edfpa14p"}
SLOW_THE_SECOND_WAY = {"edf9203", "edfpa14p", "edfpa15q"}
NOT_COHERENT = {"das9601"}

pytestmark = pytest.mark.skipif(not PUBLISHED, reason=f"no fault trees in {FOLDER}")
_reports: dict[str, Report] = {}


def analysed(name: str) -> Report:
    if name not in _reports:
        model = tree(name)
        _reports[name] = report(model.formulas, model.formula, model.probabilities, Budget(), most=1000)
    return _reports[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_number_and_probability_are_the_published_ones(name: str) -> None:
    answer, found = PUBLISHED[name], analysed(name)
    if answer.minimal_cut_sets is not None:
        assert found.cut_sets is not None
        assert found.cut_sets.number == answer.minimal_cut_sets
    if answer.probability is not None:
        assert found.probability == pytest.approx(answer.probability, rel=1e-5)


@pytest.mark.parametrize("name", PUBLISHED)
def test_probability_is_under_its_bounds(name: str) -> None:
    found = analysed(name)
    assert found.probability is not None
    assert found.upper_bound is not None
    assert found.rare_event_sum is not None
    assert 0 < found.probability <= found.upper_bound * (1 + 1e-9) <= found.rare_event_sum * (1 + 2e-9)


@pytest.mark.parametrize("name", PUBLISHED)
def test_listed_cut_sets_bring_the_top_event_and_none_can_be_spared(name: str) -> None:
    model, sets = tree(name), analysed(name).cut_sets or analysed(name).least_failures
    assert sets is not None
    for one in sets.smallest[:: max(1, len(sets.smallest) // 20)]:
        assert is_true(model, set(one.events))
        assert not any(is_true(model, set(one.events) - {event}) for event in one.events)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if name in SLOW_THE_SECOND_WAY else ())
        for name in PUBLISHED
        if name not in NOT_COHERENT
    ],
)
def test_second_way_finds_as_many_cut_sets(name: str) -> None:
    model, found = tree(name), analysed(name).cut_sets
    if name in BY_ANOTHER_ORDER:
        number, probability = in_the_order_of_the_file(model)
        assert probability == pytest.approx(analysed(name).probability, rel=1e-9)
    else:
        families, family, _ = cut_sets_bottom_up(model.formula, Budget())
        number = number_of_sets(families, family)
    assert found is not None
    assert found.number == number


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in BY_ANOTHER_ORDER])
def test_second_order_finds_the_same_probability(name: str) -> None:
    function = whole(tree(name))
    assert probability(function) == pytest.approx(analysed(name).probability, rel=1e-9)


def test_tree_that_is_not_coherent_says_so() -> None:
    found = analysed("das9601")
    assert (found.is_monotone, found.cut_sets) == (False, None)
    assert found.least_failures is not None


def test_command_prints_one_document() -> None:
    start = "from nospof.cli import main\nmain.main()"
    argv = [sys.executable, "-c", start, "analyse", str(FOLDER / "chinese.xml"), "--json", "--most", "3"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(done.stdout)
    assert (found["minimal_cut_sets"], found["probability"]) == (392, pytest.approx(1.17058e-3, rel=1e-5))
    assert len(found["importance"]) == 25


def is_true(model: Model, happened: set[str]) -> bool:
    values: dict[object, bool] = {}
    for formula in nodes(model.formula):
        true = sum(values[arg] for arg in formula.args)
        values[formula] = {
            Kind.EVENT: formula.name in happened,
            Kind.AND: true == len(formula.args),
            Kind.OR: true > 0,
            Kind.NOT: true == 0,
            Kind.XOR: true % 2 == 1,
            Kind.ATLEAST: true >= formula.value,
        }[formula.kind]
    return values[model.formula]


def whole(model: Model) -> Function:
    """The tree as one diagram, without modules, its events in the order of the file."""
    leaves = tuple(formula for formula in nodes(model.formula) if formula.kind is Kind.EVENT)
    return built(model.formula, leaves, Budget())


def probability(function: Function) -> float:
    values = {0: 0.0, 1: 1.0}
    diagram = function.diagram
    for node in diagram.below(function.root):
        values[node] = 0.99 * values[diagram.low[node]] + 0.01 * values[diagram.high[node]]
    return values[function.root]


def in_the_order_of_the_file(model: Model) -> tuple[int, float]:
    function = whole(model)
    families = Families(Budget())
    return number_of_sets(families, families.least_true(function.diagram, function.root)), probability(function)

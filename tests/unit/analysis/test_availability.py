"""Minutes a year, against what is known by hand and against all states."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from tests.unit.analysis.test_structure import PARTS, ROOT, conditions, topology_of

from nospof.analysis.availability import MINUTES_A_YEAR, Assumptions, Rate, _formula, availability
from nospof.analysis.fault_tree.budget import Budget, TooExpensive
from nospof.analysis.fault_tree.formula import Formulas
from nospof.analysis.fault_tree.structure import StructureFunction
from nospof.analysis.structure import Condition, Goal, Part, Structure, structure
from nospof.analysis.year import minutes_said, percent


def example(name: str) -> Path:
    return ROOT / "examples" / name / "stack.yaml"


@given(conditions())
@settings(max_examples=100, deadline=None)
def test_probability_is_that_of_all_states_that_fail(top: Condition) -> None:
    made, p = Structure({Goal.SERVE: top}, PARTS), dict(zip(PARTS, (0.5, 0.25, 0.1, 0.01, 0.3, 0.9), strict=True))
    expected = 0.0
    for state in product((False, True), repeat=len(PARTS)):
        lost = {part for part, is_lost in zip(PARTS, state, strict=True) if is_lost}
        if made.fails(Goal.SERVE, lost):
            expected += math.prod(p[part] if part in lost else 1 - p[part] for part in PARTS)
    formulas = Formulas()
    function = StructureFunction.of(formulas, _formula(formulas, top), Budget())
    assert function.probability({str(part): p[part] for part in PARTS}) == pytest.approx(expected, abs=1e-12)


def test_single_points_of_failure_are_the_sum_of_their_absences() -> None:
    """In `simple` everything but the pair of web servers is in a row."""
    topology = topology_of(example("simple"))
    assumed = Assumptions(zone=Rate(1e12, 1.0), process=Rate(1e12, 1.0))
    found = availability(topology, structure(topology), Goal.SERVE, assumed)
    lost = assumed.host.share_lost
    expected = 1 - (1 - lost) ** 2 * (1 - lost**2)
    assert found.failing_min == pytest.approx(expected * MINUTES_A_YEAR, rel=1e-6)
    assert {str(part) for part in list(found.by_part_min)[:2]} == {"host db1", "host lb1"}


def test_coverage_decides_in_a_redundant_stack() -> None:
    topology = topology_of(example("distributed"))
    made = structure(topology)
    good, bad = (availability(topology, made, Goal.WRITE, Assumptions(coverage=c)) for c in (1.0, 0.9))
    assert good.stuck_min == 0
    assert bad.stuck_min > 10 * good.minutes
    assert good.failing_min == bad.failing_min
    assert good.is_moving_measured


def test_parts_that_no_goal_needs_cost_nothing() -> None:
    topology = topology_of(example("distributed"))
    made = structure(topology)
    extra = Structure(made.goals, (*made.parts, Part("host", "idle")))
    assert Part("host", "idle") not in availability(topology, extra, Goal.SERVE, Assumptions()).by_part_min


@pytest.mark.parametrize("name", ["simple", "distributed"])
def test_singles_and_pairs_alone_say_nearly_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = topology_of(example(name))
    exact = availability(topology, structure(topology), Goal.WRITE, Assumptions())
    monkeypatch.setattr("nospof.analysis.availability.MOST_EXACT", 0)
    nearly = availability(topology, structure(topology), Goal.WRITE, Assumptions())
    assert exact.failing_min <= nearly.failing_min <= 1.02 * exact.failing_min
    assert nearly.minutes == pytest.approx(exact.minutes, rel=0.02)


def test_too_large_a_diagram_is_said() -> None:
    topology = topology_of(example("distributed"))
    with pytest.raises(TooExpensive):
        availability(topology, structure(topology), Goal.SERVE, Assumptions(), Budget(10))


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.5, "50 %"), (0.9987, "99.87 %"), (0.99998, "99.9980 %"), (0.9998, "99.980 %"), (1.0, "100 %")],
)
def test_as_many_digits_as_there_are_nines(share: float, said: str) -> None:
    assert percent(share) == said


@pytest.mark.parametrize(("minutes", "said"), [(180.0, "3.0 h"), (13.14, "13.1 min"), (0.05, "3.0 s")])
def test_durations_are_said_in_a_unit_that_fits(minutes: float, said: str) -> None:
    assert minutes_said(minutes) == said

"""What drills showed of others taking over: the intervals by hand, and what they make of the year."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.analysis.test_structure import ROOT, topology_of

from nospof.analysis.availability import Assumptions, availability, between, taking_over_s
from nospof.analysis.structure import Goal, Part, Structure, structure
from nospof.analysis.takeovers import Span, Takeovers, Tried
from nospof.apply.state import State
from nospof.cli import check
from nospof.cli.stack_argument import deployment
from nospof.topology import Topology

BOTH = ("serve", "write")
EXAMPLE = ROOT / "examples" / "distributed"


def tried(*parts: str, is_up: bool = True, took_s: float = 0.5) -> Tried:
    return Tried(parts, is_up, dict.fromkeys(BOTH, took_s), at=1.8e9, run="1")


def ends(span: Span) -> tuple[float, float]:
    return span.low, span.high


def seen(*drills: Tried, topology: str = "") -> Takeovers:
    return Takeovers(topology, drills)


def of_all(topology: Topology, made: Structure, times: int = 1) -> Takeovers:
    return seen(*(tried(str(part)) for part in made.parts for _ in range(times)), topology=topology.sha256)


# --- the intervals -------------------------------------------------------------------------------------------------------
def test_coverage_is_that_of_all_drills_together() -> None:
    """The rule of three: of 20 without a failure, 1 - 0.025^(1/20) may fail."""
    found = seen(*(tried(f"host h{number}") for number in range(20)))
    assert found.coverage("host h1") == found.coverage()
    assert ends(found.coverage()) == pytest.approx((0.025 ** (1 / 20), 1.0), abs=1e-9)


def test_part_whose_own_drill_failed_is_judged_by_its_own_drills() -> None:
    """19 others that went well say nothing for the one that did not: what is broken there is no chance that all share."""
    found = seen(*(tried(f"host h{number}") for number in range(19)), tried("host bad", is_up=False))
    assert ends(found.coverage("host bad")) == pytest.approx((0.0, 0.975), abs=1e-9)
    assert found.coverage("host h1") == found.coverage()
    assert found.coverage("host h1").low < seen(*(tried("host h1") for _ in range(20))).coverage().low


def test_times_lie_between_the_shortest_and_the_longest_that_was_seen() -> None:
    six = [tried("host a", "host b", took_s=seconds) for seconds in (0.3, 0.1, 0.2, 0.7, 0.4, 0.5)]
    assert seen(*six).took_s("host a", "serve", told_s=3.0) == Span(0.1, 0.7)


def test_five_drills_are_too_few_to_contradict_what_was_told() -> None:
    five = [tried("host a", took_s=seconds) for seconds in (0.3, 0.1, 0.2, 0.7, 0.4)]
    assert seen(*five).took_s("host a", "serve", told_s=3.0) == Span(0.1, 3.0)
    assert seen(*five).took_s("host a", "serve", told_s=0.2) == Span(0.1, 0.7)


def test_drills_of_other_parts_or_goals_or_that_were_not_outlived_say_nothing_of_the_time() -> None:
    found = seen(
        tried("host b"), tried("host a", is_up=False, took_s=0.0), Tried(("host a",), is_up=True, outage_s={"write": 1.0})
    )
    assert found.took_s("host a", "serve", told_s=0.3) is None


def test_runs_of_the_same_stack_add_up_and_a_run_that_goes_on_is_counted_once() -> None:
    first, second = (seen(replace(tried("host a"), run=run), topology="f00d") for run in "12")
    longer = seen(replace(tried("host a"), run="1"), replace(tried("host b"), run="1"), topology="f00d")
    assert first.followed_by(second).tries == 2
    assert first.followed_by(longer).tries == 2
    assert first.followed_by(second).followed_by(longer).tries == 3
    assert first.followed_by(replace(second, topology="c0de")).tries == 1


def test_drills_of_long_ago_are_dropped() -> None:
    old = seen(replace(tried("host a"), at=1.8e9 - 31 * 86_400, run="0"))
    assert old.followed_by(seen(tried("host a"))).tries == 1


# --- the year ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("goal", [Goal.SERVE, Goal.WRITE])
def test_year_at_the_worse_end_is_what_the_formula_gives_by_hand(goal: Goal) -> None:
    topology = topology_of(EXAMPLE / "stack.yaml")
    made, assumed = structure(topology), Assumptions()
    shown = of_all(topology, made, times=6)
    best, worst = between(topology, made, goal, assumed, shown)
    alone = availability(topology, made, goal, assumed)
    low = shown.coverage().low
    losses = alone.stuck_min / (1 - assumed.coverage) / (60 * assumed.helped_h)
    assert worst.stuck_min == pytest.approx(losses * (1 - low) * 60 * assumed.helped_h)
    assert worst.moving_min == pytest.approx(losses * low * 0.5 / 60)
    assert best.stuck_min == 0
    assert best.moving_min == pytest.approx(losses * 0.5 / 60)
    assert best.failing_min == worst.failing_min == alone.failing_min, "no drill measures how often something is lost"


def test_part_that_was_never_drilled_is_not_said_to_be_measured() -> None:
    topology = topology_of(EXAMPLE / "stack.yaml")
    made, assumed = structure(topology), Assumptions()
    some = seen(*(tried("host lb1") for _ in range(400)))
    alone = availability(topology, made, Goal.SERVE, assumed)
    best, worst = between(topology, made, Goal.SERVE, assumed, some)
    other = Part("host", "web1")
    assert best.by_part_min[other] == worst.by_part_min[other] == alone.by_part_min[other]
    lb1 = Part("host", "lb1")
    assert best.by_part_min[lb1] < worst.by_part_min[lb1] < alone.by_part_min[lb1]
    assert taking_over_s(topology, lb1)[0] < 0.5


def test_few_drills_never_make_the_worse_end_better_than_what_is_assumed() -> None:
    topology = topology_of(EXAMPLE / "stack.yaml")
    made = structure(topology)
    alone = availability(topology, made, Goal.SERVE, Assumptions())
    for number in (1, 2):
        _, worst = between(topology, made, Goal.SERVE, Assumptions(), seen(*(tried("host lb1") for _ in range(number))))
        assert worst.minutes > 10 * alone.minutes


# --- what users read -----------------------------------------------------------------------------------------------------
@pytest.fixture
def stack(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLE, tmp_path / "shop", ignore=shutil.ignore_patterns(".nospof"))
    State(tmp_path / "shop" / "stack.yaml").begin("shop")
    return tmp_path / "shop" / "stack.yaml"


def year(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    check.run(path, as_json=True)
    (found,) = [one for one in json.loads(capsys.readouterr().out) if one["code"] == "F214"]
    return dict(found)


def test_check_says_what_was_assumed_before_a_proof_and_what_was_seen_after_it(
    stack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = year(stack, capsys)
    assert "(1 of 100 times, assumed: the number that decides)" in before["why"]
    topology = deployment(stack).topology
    State(stack).write_takeovers(of_all(topology, structure(topology)))
    after = year(stack, capsys)
    count = len(structure(topology).parts)
    assert f"measured: they did in {count} of {count} drills, the last on 2027-01-15" in after["why"]
    assert "(measured in those drills)" in after["why"]
    assert "(rates assumed)" in after["why"]
    assert " min to " in after["what"]
    assert after["what"] != before["what"]


def test_drills_of_another_stack_are_not_used_and_it_is_said(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = year(stack, capsys)
    topology = deployment(stack).topology
    State(stack).write_takeovers(replace(of_all(topology, structure(topology)), topology="f00d"))
    after = year(stack, capsys)
    assert (after["what"], after["why"]) == (before["what"], before["why"])
    assert "the drills of 2027-01-15 were of another stack" in after["fix"]

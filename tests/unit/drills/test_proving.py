"""What a whole run of drills comes to: the certificate, from results made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from examples_read import topology_of

from nospof.analysis.availability import Assumptions, between
from nospof.analysis.structure import Goal
from nospof.cli.prove import exit_code
from nospof.drills import engine
from nospof.drills import faults as _all_faults  # noqa: F401
from nospof.drills.proving import About, Course, Plan, Planned, assemble, plan, takeovers
from nospof.drills.result import Agreement, Check, DrillResult, GoalSeen, Proof

PLAN = plan(topology_of("distributed"))
LOST = Check(name="lost writes", about="", result="fail", reason="2 are missing", count=2)
ABOUT = About("shop", "shop.example.com", {"haproxy": "3.0"}, "2 CPUs", foretold_at=100.0)


def as_foretold(planned: Planned, number: int, seen: Mapping[str, str] | None = None, **more: object) -> DrillResult:
    """A drill in which each goal was as foretold, but for those in `seen`."""
    goals = []
    for forecast in planned.foretold:
        state = (seen or {}).get(forecast.goal, forecast.state.value)
        agrees = state == forecast.state.value
        wrong = Agreement.OPTIMISTIC if state == "down" else Agreement.PESSIMISTIC
        goals.append(GoalSeen(
            goal=forecast.goal, predicted=forecast.state.value, predicted_outage_s=forecast.outage_s, why=forecast.why,
            seen=state, outage_s=0.5, outage_error_s=0.02, asked=100, bad=0, reasons={}, p50_s=0.1, p99_s=0.2,
            agreement=Agreement.AGREES if agrees else wrong, bins=(),
        ))  # fmt: skip
    told: dict[str, object] = {"begun_at": 200.0 + number, "acknowledged": 10, "goals": tuple(goals), **more}
    return DrillResult.model_validate({"number": number, "name": planned.drill.name, "faults": (), **told})


def results(chosen: Plan = PLAN) -> dict[int, DrillResult]:
    return {number: as_foretold(planned, number) for number, planned in enumerate(chosen.drills, 1)}


def number_of(name: str) -> int:
    return next(number for number, planned in enumerate(PLAN.drills, 1) if planned.drill.name.startswith(name))


def with_result(number: int, seen: Mapping[str, str] | None = None, **more: object) -> Proof:
    return assemble(PLAN, {**results(), number: as_foretold(PLAN.drills[number - 1], number, seen, **more)}, ABOUT)


def settled(proof: Proof, *parts: str) -> tuple[str, dict[str, str]]:
    found = next(one for one in proof.combinations if one.parts == parts)
    return found.settled, found.seen


def test_where_all_is_as_foretold_everything_is_settled() -> None:
    proof = assemble(PLAN, results(), ABOUT)
    assert len(proof.combinations) == len(PLAN.extent)
    assert not proof.unproven
    assert not proof.wrong
    assert exit_code(proof) == 0
    assert proof.acknowledged == 10 * len(PLAN.drills)
    assert settled(proof, "host lb1", "host lb2") == ("drilled", {"serve": "down", "write": "down"})
    assert settled(proof, "host lb1", "host web1") == ("implied", {"serve": "up", "write": "up"})
    assert proof.measured is not None
    assert proof.measured.tries == proof.measured.successes > 20


def test_takeovers_are_those_drills_that_were_foretold_to_be_outlived() -> None:
    shown = takeovers(PLAN, results())
    foretold_up = [one for one in PLAN.drills if {forecast.state.value for forecast in one.foretold} == {"up"}]
    assert [drill.parts for drill in shown.drills] == [tuple(map(str, one.lost.parts)) for one in foretold_up]
    assert shown.successes == shown.tries == len(foretold_up)
    # The longest gap of a drill is known to within the time between two requests.
    assert all(drill.outage_s == {"serve": 0.52, "write": 0.52} for drill in shown.drills)
    assert shown.topology == PLAN.topology.sha256


def test_loss_that_was_not_outlived_counts_against_its_parts_and_one_that_says_nothing_is_left_out() -> None:
    number = number_of("host-off lb1")
    down = as_foretold(PLAN.drills[number - 1], number, {"write": "down"})
    shown = takeovers(PLAN, {**results(), number: down})
    assert shown.successes == shown.tries - 1
    assert [drill.parts for drill in shown.drills if not drill.is_up] == [tuple(map(str, PLAN.drills[number - 1].lost.parts))]
    invalid = as_foretold(PLAN.drills[number - 1], number, invalid="the fault was not in force")
    assert takeovers(PLAN, {**results(), number: invalid}).tries == shown.tries - 1


def test_certificate_has_the_year_at_both_ends_of_what_was_seen() -> None:
    proof = assemble(PLAN, results(), ABOUT)
    for goal in proof.availability:
        best, worst = between(PLAN.topology, PLAN.made, Goal(goal.goal), Assumptions(), takeovers(PLAN, results()))
        assert (goal.low_min, goal.high_min) == (best.minutes, worst.minutes)
        assert goal.low_min < goal.assumed_min < goal.high_min


def test_nothing_is_settled_by_what_was_foretold_alone() -> None:
    proof = assemble(PLAN, {}, ABOUT)
    assert len(proof.unproven) == len(PLAN.extent)
    assert exit_code(proof) == 3
    assert proof.measured is None


def test_zone_that_is_down_takes_what_followed_from_it_with_it() -> None:
    """A dependency that the topology does not have: a pair that only followed from the zone is unproven, not wrong."""
    proof = with_result(number_of("zone-off a"), {"serve": "down"})
    assert settled(proof, "zone a") == ("drilled", {"serve": "down", "write": "up"})
    assert settled(proof, "host lb1", "host web1")[0] == "unproven"
    assert exit_code(proof) == 5


@pytest.mark.parametrize(("field", "code"), [("invalid", 3), ("not_healed", 4)])
def test_drill_that_says_nothing_settles_nothing(field: str, code: int) -> None:
    proof = with_result(number_of("host-off web1, then host-off web2"), None, **{field: "not seen"})
    assert settled(proof, "host web1", "host web2")[0] == "unproven"
    assert exit_code(proof) == code


def test_pair_foretold_down_is_settled_by_one_order_and_pair_foretold_up_by_both() -> None:
    down = number_of("host-off db1, then host-off db2")
    proof = with_result(down, {"serve": "up", "write": "up"})
    assert settled(proof, "host db1", "host db2") == ("drilled", {"serve": "down", "write": "down"})
    assert exit_code(proof) == 0
    one_order = number_of("host-off db1, then host-off lb2")
    left = {number: result for number, result in results().items() if number != one_order}
    assert settled(assemble(PLAN, left, ABOUT), "host db1", "host lb2")[0] == "unproven"


def test_lost_writes_are_counted_and_fail_the_proof() -> None:
    proof = with_result(1, checks=(LOST,))
    assert proof.lost == 2
    assert exit_code(proof) == 1


# --- tried once more -----------------------------------------------------------------------------------------------------
def after(monkeypatch: pytest.MonkeyPatch, *tries: DrillResult) -> tuple[DrillResult, int]:
    """What becomes of a drill whose tries say these, one after the other, and how many tries there were."""
    left = list(tries)
    monkeypatch.setattr(engine, "attempt", lambda *_: left.pop(0))
    nothing: Any = None
    course = Course(nothing, PLAN, Path(), nothing, nothing, nothing, nothing)
    return course._tried(PLAN.drills[0], 1), len(tries) - len(left)


def slow(result: DrillResult) -> DrillResult:
    """The same of visitors who waited a second before anything was broken."""
    return result.model_copy(update={"goals": tuple(goal.model_copy(update={"before_p50_s": 1.0}) for goal in result.goals)})


def test_what_was_not_as_foretold_on_an_overloaded_machine_is_tried_once_more_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    well, ill = as_foretold(PLAN.drills[0], 1), as_foretold(PLAN.drills[0], 1, {"serve": "down"})
    seen, tries = after(monkeypatch, slow(ill), well)
    assert (tries, seen.tries, seen.conclusion) == (2, 2, well.conclusion)
    told = seen.goal("serve")
    assert told is not None
    assert told.note == "at the first try it was down: 0 of 100 bad, longest gap 0.50 s"
    assert after(monkeypatch, ill, well) == (ill, 1), "a machine at rest has no excuse"
    assert after(monkeypatch, slow(well), ill) == (slow(well), 1), "nothing is wrong"


def test_lost_writes_are_the_fault_of_no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    well = as_foretold(PLAN.drills[0], 1)
    for first in (
        slow(as_foretold(PLAN.drills[0], 1, {"serve": "down"}, checks=(LOST,))),
        well.model_copy(update={"checks": (LOST,)}),
    ):
        assert after(monkeypatch, first, well) == (first, 1)
    invalid = as_foretold(PLAN.drills[0], 1, invalid="the load did not end", checks=(LOST,))
    assert after(monkeypatch, invalid, well) == (invalid, 1)

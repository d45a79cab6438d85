"""Drills and proofs as lines of a terminal. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from nospof.drills.outcome import Level, claims, in_trouble, next_steps, troubles, verdict
from nospof.drills.phrases import goal_words, number, printable, seconds
from nospof.drills.result import Agreement, Conclusion, DrillResult, GoalSeen, Proof

SIGNS = {Level.BAD: "✗", Level.WEAK: "▲", Level.OPEN: "?", Level.GOOD: "✓"}
NAME_WIDTH, GOAL_WIDTH = 32, 24
MOST_DRILLS, MOST_UNPROVEN, MOST_WRONG = 5, 4, 3


def line(result: DrillResult, of: int | None = None) -> str:
    """What became of a drill, in one line, for progress. `of`: so many there are; None where nobody knows."""
    place = f"{result.number:>3}/{of}" if of else f"{result.number:>3}"
    goals = "  ".join(f"{_goal(goal):<{GOAL_WIDTH}}" for goal in result.goals)
    return printable(f"{place}  {result.name:<{NAME_WIDTH}}  {goals}{'  ' if goals else ''}{_comes_to(result)}")


def sentences(result: DrillResult) -> list[str]:
    """What a single drill's end is told by: what came of each goal, what is wrong, who took over, and the conclusion."""
    found = [_goal_sentence(goal) for goal in result.goals]
    for taken in result.taken:
        phases = ", ".join(f"{name} {ms}" for name, ms in taken.ms.items())
        took = f" in {sum(taken.ms.values())} ms ({phases})" if taken.ms else ""
        found.append(f"{taken.to} became primary of {taken.tier} instead of {taken.origin}{took}: {taken.why}")
    found += [f"{SIGNS[claim.level]} {claim.figure}: {claim.says}" for claim in troubles(result)]
    passed = sum(check.result == "pass" for check in result.checks)
    found.append(f"{passed} of {len(result.checks)} checks passed; the drill: {result.conclusion.value}")
    return [printable(one) for one in found]


def campaign_sentences(results: Sequence[DrillResult]) -> list[str]:
    """What many random drills came to: how they ended, what was lost, and in which drills something was wrong."""
    conclusions = Counter(result.conclusion for result in results)
    ended = ", ".join(f"{conclusions[one]} {one.value}" for one in Conclusion if conclusions[one])
    writes, lost = sum(result.acknowledged for result in results), sum(result.lost for result in results)
    found = [f"{len(results)} drills: {ended or 'none'}; {number(lost)} of {number(writes)} acknowledged writes lost"]
    goals = [(goal, result.number) for result in results for goal in result.goals]
    foretold = Counter(goal.agreement for goal, _ in goals)
    found.append("predictions: " + (", ".join(f"{foretold[one]} {one.value}" for one in Agreement if foretold[one]) or "none"))
    for agreement in (Agreement.OPTIMISTIC, Agreement.PESSIMISTIC, Agreement.TIMING_OFF):
        where = sorted({drill for goal, drill in goals if goal.agreement is agreement})
        found += [f"{agreement.value}: drill {', '.join(map(str, where))}"] if where else []
    checks = [(check.name, result.number) for result in results for check in result.checks if check.result == "fail"]
    for name in sorted({name for name, _ in checks}):
        found.append(f"{name} failed: drill {', '.join(str(drill) for check, drill in checks if check == name)}")
    return [printable(one) for one in found]


def summary(proof: Proof) -> str:
    """What a proof says, in about fifteen lines: what failed first, what is unproven, what to do now."""
    said = verdict(proof)
    lines = [f"{SIGNS[said.level]} {said.figure}: {said.says}"]
    lines += [f"  {SIGNS[claim.level]} {_with_figure(claim.figure, claim.says)}" for claim in claims(proof)]
    lines += _troubled(proof)
    lines += _listed("as nobody foretold", [" + ".join(one.parts) for one in proof.wrong], MOST_WRONG)
    lines += _listed("unproven", [" + ".join(one.parts) for one in proof.unproven], MOST_UNPROVEN)
    lines += [f"{'now:' if place == 0 else '    '} {step}" for place, step in enumerate(next_steps(proof))]
    return "\n".join(printable(one) for one in lines)


def _troubled(proof: Proof) -> Iterator[str]:
    found = in_trouble(proof)
    for drill in found[:MOST_DRILLS]:
        worst = troubles(drill)[0]
        yield f"  {SIGNS[worst.level]} drill {drill.number}, {drill.name}: {worst.figure}: {worst.says}"
    if len(found) > MOST_DRILLS:
        yield f"    and {number(len(found) - MOST_DRILLS)} more drills"


def _listed(what: str, names: list[str], most: int) -> Iterator[str]:
    if names:
        rest = f" and {number(len(names) - most)} more" if len(names) > most else ""
        yield f"{what}: {'; '.join(names[:most])}{rest}"


def _with_figure(figure: str, says: str) -> str:
    """A claim as one sentence: most begin with their figure."""
    return f"{figure} {says}" if says[:1].islower() else says


def _goal(goal: GoalSeen) -> str:
    if goal.outage_s is None:
        return f"{goal.goal} {goal.seen}"
    most = f" (≤ {goal.predicted_outage_s:.1f})" if goal.predicted_outage_s is not None else ""
    return f"{goal.goal} {goal.seen} {goal.outage_s:.2f} s{most}"


def _goal_sentence(goal: GoalSeen) -> str:
    return f"{goal_words(goal.goal)}: {'; '.join(_of_goal(goal))}"


def _of_goal(goal: GoalSeen) -> Iterator[str]:
    yield f"foretold {goal.predicted}, seen {goal.seen}: {goal.agreement.value}"
    if goal.outage_s is not None:
        most = f", foretold at most {seconds(goal.predicted_outage_s)}" if goal.predicted_outage_s is not None else ""
        yield f"{seconds(goal.outage_s)} ± {seconds(goal.outage_error_s)} without a good answer{most}"
    reasons = ", ".join(f"{count} × {why}" for why, count in goal.reasons.items())
    yield f"{number(goal.bad)} of {number(goal.asked)} requests were bad{': ' if reasons else ''}{reasons}"


def _comes_to(result: DrillResult) -> str:
    """The conclusion, in the word that says most."""
    if result.conclusion is not Conclusion.PASSED:
        about = troubles(result)
        return f"{result.conclusion.value}: {about[0].says}" if about else result.conclusion.value
    return "timing off" if any(goal.agreement is Agreement.TIMING_OFF for goal in result.goals) else "agrees"

"""What a proof and a drill come to: claims, counts and what is wrong, for whoever writes them down. Pure.

A claim that nothing speaks against, but nothing speaks for either, is *open*, and never good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from nospof.drills.phrases import counted, goal_fails, goal_words, listed, number, seconds
from nospof.drills.result import LOST_WRITES, Agreement, Combination, Conclusion, DrillResult, GoalSeen, Proof


class Level(IntEnum):
    """How a claim stands, the worst first."""

    BAD = 0
    """A promise is broken, or what was foretold was wrong."""
    WEAK = 1
    """As foretold, and not what one wants."""
    OPEN = 2
    """Nobody knows."""
    GOOD = 3


@dataclass(frozen=True)
class Claim:
    """One sentence about the whole proof. `figure`: its number, to be read at a glance."""

    level: Level
    figure: str
    says: str


# --- a whole proof ---------------------------------------------------------------------------------------------------
def claims(proof: Proof) -> tuple[Claim, ...]:
    """What the proof says, the worst first."""
    found = [*_healing(proof), _singles(proof), _writes(proof), _predictions(proof), _promises(proof), _times(proof)]
    return tuple(sorted(found, key=lambda claim: claim.level))


def verdict(proof: Proof) -> Claim:
    """All of it in one sentence."""
    said = Counter(drill.conclusion for drill in proof.drills)
    worst = claims(proof)[0].level
    if said[Conclusion.NOT_HEALED]:
        return Claim(Level.BAD, "Not proven", "something that was broken on purpose could not be put right again.")
    if proof.lost:
        return Claim(Level.BAD, "Not proven", "writes were lost that had been acknowledged.")
    if said[Conclusion.FAILED]:
        return Claim(Level.BAD, "Not proven", "a promise was broken.")
    if worst is Level.BAD:
        return Claim(Level.BAD, "Not proven", f"{proof.stack} does not behave as its topology foretells.")
    if worst is Level.OPEN or (worst is Level.WEAK and any(claim.level is Level.OPEN for claim in claims(proof))):
        return Claim(Level.OPEN, "Not yet proven", "nothing speaks against it, but some of it nobody knows.")
    if worst is Level.WEAK:
        return Claim(Level.WEAK, "Proven, with weak spots", "all that matters is as foretold, and not all of it is good.")
    return Claim(Level.GOOD, "Proven", f"n{_singles(proof).says[1:]}")


def is_foretold_in_time(proof: Proof) -> bool:
    """Whether the predictions were written down before the first drill; one that is made afterwards is none."""
    return all(proof.foretold_at <= drill.begun_at for drill in proof.drills)


def _healing(proof: Proof) -> Iterator[Claim]:
    left = [drill for drill in proof.drills if drill.conclusion is Conclusion.NOT_HEALED]
    if left:
        yield Claim(Level.BAD, number(len(left)), f"{counted(len(left), 'drill')} left something broken: nospof drill --heal")


def _singles(proof: Proof) -> Claim:
    """Whether one loss alone takes a goal away."""
    single = [one for one in proof.combinations if len(one.parts) == 1]
    down = [one for one in single if "down" in one.seen.values()]
    unsure = [one for one in single if one not in down and not _is_up(one)]
    ups = f"{number(len(single) - len(down) - len(unsure))} of {number(len(single))}"
    kinds = listed(_kinds(single), "or")
    if down:
        level = Level.BAD if any(one.is_wrong for one in down) else Level.WEAK
        names = listed((_name(one) for one in down), "or", most=4)
        goals = dict.fromkeys(goal for one in down for goal, state in one.seen.items() if state == "down")
        return Claim(level, ups, f"With {names} alone lost, {listed(map(goal_fails, goals), 'or')}.")
    if not single:
        return Claim(Level.OPEN, "?", "No single loss was looked at.")
    if unsure:
        names = listed((_name(one) for one in unsure), "and", most=4)
        return Claim(Level.OPEN, ups, f"Nobody knows whether {proof.stack} outlives the loss of {names}.")
    return Claim(Level.GOOD, ups, f"No single {kinds} takes {proof.stack} down.")


def _writes(proof: Proof) -> Claim:
    figure = f"{number(proof.lost)} of {number(proof.acknowledged)}"
    unsure = sum(check.name == LOST_WRITES and check.result == "unknown" for one in proof.drills for check in one.checks)
    if proof.lost:
        return Claim(Level.BAD, figure, f"{counted(proof.lost, 'acknowledged write')} lost.")
    if not proof.acknowledged:
        return Claim(Level.OPEN, "?", "No write was acknowledged, so that nothing is known about losing one.")
    if unsure:
        cannot = f"{counted(unsure, 'drill')} cannot tell"
        return Claim(Level.OPEN, figure, f"No acknowledged write is known to be lost, but {cannot}.")
    return Claim(Level.GOOD, figure, "acknowledged writes lost.")


def _predictions(proof: Proof) -> Claim:
    """Of each combination whether what was foretold is what was seen."""
    settled = Counter(one.settled for one in proof.combinations if _is_right(one))
    right, wrong = settled.total(), len(proof.wrong)
    figure = f"{number(right)} of {number(len(proof.combinations))}"
    rest = ((wrong, "wrong"), (len(proof.combinations) - right - wrong, "unproven"))
    said = "".join(f"; {number(count)} {what}" for count, what in rest if count)
    ways = f"{number(settled['drilled'])} were tried, {number(settled['implied'])} follow from those"
    if not is_foretold_in_time(proof):
        late = "but they were written down after the first drill, so that they prove nothing"
        return Claim(Level.BAD, figure, f"predictions right{said}; {late}.")
    level = Level.BAD if wrong else Level.OPEN if said or not right else Level.GOOD
    return Claim(level, figure, f"predictions right{said}: {ways}.")


def _times(proof: Proof) -> Claim:
    """Whether gaps were as short as foretold."""
    ups = [goal for drill in proof.drills for goal in drill.goals if goal.predicted == goal.seen == "up"]
    told = [goal for goal in ups if goal.predicted_outage_s is not None]
    longer = sum(goal.agreement is Agreement.TIMING_OFF for goal in told)
    level = Level.WEAK if longer else Level.GOOD if told else Level.OPEN
    return Claim(level, f"{number(len(told) - longer)} of {number(len(told))}", "gaps no longer than foretold.")


def _promises(proof: Proof) -> Claim:
    better = {drill.number for drill in proof.drills if is_better_than_foretold(proof, drill)}
    said = Counter(drill.conclusion for drill in proof.drills if drill.number not in better)
    figure = f"{number(said[Conclusion.PASSED])} of {number(len(proof.drills))}"
    rest = "".join(f"; {number(said[one])} {one.value}" for one in Conclusion if one is not Conclusion.PASSED and said[one])
    bad = said[Conclusion.FAILED] + said[Conclusion.NOT_HEALED] + said[Conclusion.WRONG]
    level = Level.BAD if bad else Level.GOOD if proof.drills and not rest else Level.OPEN
    more = f"; {number(len(better))} went better than foretold of the worst case" if better else ""
    return Claim(level, figure, f"drills passed{rest}{more}.")


def is_better_than_foretold(proof: Proof, drill: DrillResult) -> bool:
    """Whether its prediction was for the worst case only: it stayed up, and another drill showed the case to be so."""
    if drill.conclusion is not Conclusion.WRONG or any(goal.agreement is Agreement.OPTIMISTIC for goal in drill.goals):
        return False
    concerned = [one for one in proof.combinations if drill.number in one.by]
    return bool(concerned) and not any(one.is_wrong for one in concerned)


def _is_right(one: Combination) -> bool:
    is_seen = bool(one.predicted) and all(one.seen.get(goal) == state for goal, state in one.predicted.items())
    return is_seen and one.settled != "unproven"


def _is_up(one: Combination) -> bool:
    return bool(one.predicted) and all(one.seen.get(goal) == "up" for goal in one.predicted)


def _kinds(combinations: Iterable[Combination]) -> list[str]:
    found = {one.parts[0].partition(" ")[0] for one in combinations}
    usual = [kind for kind in ("host", "zone", "process") if kind in found]
    return usual + sorted(found - set(usual))


def _name(one: Combination) -> str:
    return " + ".join(one.parts)


# --- one drill -------------------------------------------------------------------------------------------------------
def troubles(result: DrillResult) -> list[Claim]:
    """What is not as it should be in this drill, the worst first; nothing where it passed in time."""
    found = [Claim(Level.BAD, "not healed", result.not_healed)] if result.not_healed else []
    found += [Claim(Level.OPEN, "invalid", result.invalid)] if result.invalid else []
    for check in result.checks:
        if check.result != "pass":
            level = Level.BAD if check.result == "fail" else Level.OPEN
            found.append(Claim(level, check.name, check.reason + _examples(check.examples)))
    found += [_disagreement(goal) for goal in result.goals if goal.agreement is not Agreement.AGREES]
    return sorted(found, key=lambda claim: claim.level)


def in_trouble(proof: Proof) -> list[DrillResult]:
    """The drills that something is to be said of, the worst first."""
    order = list(Conclusion)
    found = [drill for drill in proof.drills if troubles(drill) and not is_better_than_foretold(proof, drill)]
    return sorted(found, key=lambda drill: (order.index(drill.conclusion), drill.number))


def next_steps(proof: Proof) -> list[str]:
    """What somebody does now, the most urgent first."""
    said = Counter(drill.conclusion for drill in proof.drills)
    agreed = Counter(goal.agreement for drill in proof.drills for goal in drill.goals)
    steps = [
        (said[Conclusion.NOT_HEALED], "heal what is left broken: nospof drill --heal; then look with: nospof status"),
        (proof.lost or said[Conclusion.FAILED], f"run alone what failed, and look at it: {_again(proof, Conclusion.FAILED)}"),
        (
            agreed[Agreement.OPTIMISTIC],
            f"find what it needs that the stack file does not show; it goes down with: {_again(proof, Conclusion.WRONG)}",
        ),
        (_stayed_up(proof), "what stayed up although it was foretold down: ask why before relying on it"),
        (agreed[Agreement.TIMING_OFF], "what took longer than foretold: run it again on a machine that does nothing else"),
        (said[Conclusion.INVALID], "run again what says nothing: nospof prove tries it once more"),
        (len(proof.unproven), "settle what is left: nospof prove goes on where it was"),
        (_singles(proof).level is Level.WEAK, "end what alone takes it down: nospof check says which change of the file does"),
    ]
    return [step for applies, step in steps if applies] or ["nothing; prove it again when the stack file has changed"]


def _stayed_up(proof: Proof) -> bool:
    return any(one.predicted.get(goal) == "down" and state == "up" for one in proof.wrong for goal, state in one.seen.items())


def _again(proof: Proof, conclusion: Conclusion) -> str:
    """How the first drill that came to `conclusion` is run alone."""
    first = next((drill for drill in proof.drills if drill.conclusion is conclusion), None)
    if first is None or len(first.faults) != 1:
        return "nospof drill" if first is None else f"nospof drill FILE.yaml, with the faults of drill {first.number}"
    return f"nospof drill {first.faults[0].get('fault', '')} {first.faults[0].get('target', '')}"


def _disagreement(goal: GoalSeen) -> Claim:
    words = f"“{goal_words(goal.goal)}”"
    if goal.agreement is Agreement.TIMING_OFF:
        took = f"{seconds(goal.outage_s)} without a good answer, foretold at most {seconds(goal.predicted_outage_s)}"
        return Claim(Level.WEAK, "slower than foretold", f"{words}: {took}")
    said = f"{words}: foretold {goal.predicted}, seen {goal.seen}"
    if goal.agreement is Agreement.UNKNOWN:
        return Claim(Level.OPEN, "unknown", f"{words}: {goal.note}" if goal.note else said)
    return Claim(Level.BAD, f"prediction too {goal.agreement.value}", said)


def _examples(examples: Sequence[str]) -> str:
    return f" ({', '.join(examples[:3])})" if examples else ""

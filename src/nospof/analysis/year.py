"""The finding of how much of the year each goal holds: what it rests on, and which of that was assumed and which was seen."""

from __future__ import annotations

import math

from nospof.analysis.availability import Assumptions, Availability, availability, between
from nospof.analysis.codes import finding
from nospof.analysis.fault_tree.budget import TooExpensive
from nospof.analysis.structure import Goal, Structure
from nospof.analysis.takeovers import Takeovers
from nospof.stack.model import Stack
from nospof.stack.problems import Problem
from nospof.stack.words import listed
from nospof.topology import Topology

MOST_DEAR = 4
# Both ends of what was seen; the same twice where nothing was.
Ends = tuple[Availability, Availability]


def year_finding(stack: Stack, topology: Topology, made: Structure, takeovers: Takeovers | None) -> Problem:
    """What is to be expected in a year. `takeovers`: what drills showed; of another topology than this they say nothing."""
    assumed = Assumptions()
    seen = takeovers if takeovers and takeovers.drills and takeovers.topology == topology.sha256 else None
    try:
        found = [_ends(topology, made, goal, assumed, seen) for goal in made.goals]
    except TooExpensive as error:
        what = f"how much of the year the site is up is unknown: {error.what}"
        why = "the stack is too large for an exact answer"
        fix = "nothing to do in this file: what is said of single losses and pairs is exact"
        return finding(stack, "F214", "tiers", what, why=why, fix=fix)
    worst = max(found, key=lambda ends: ends[1].minutes)
    told = ", ".join(f"{ends[0].goal.fails} for {_span(ends, 'minutes')} (up {_up(ends)})" for ends in found)
    dearest = listed(f"{part} ({minutes_said(spent)})" for part, spent in list(worst[1].by_part_min.items())[:MOST_DEAR])
    why = (
        f"of the time in which {worst[0].goal.fails}: {_span(worst, 'failing_min')} because too much is lost at once (rates "
        f"assumed), {_span(worst, 'stuck_min')} because others should take over and do not ({_coverage(assumed, seen)}: the "
        f"number that decides), {_span(worst, 'moving_min')} while they take over ({_moving(worst[1], seen)}); what costs most"
        f"{', at the worst' if seen else ''}: {dearest}"
    )
    fix = f"nothing to do in this file: what was assumed stands in docs/reference/availability.md; {_next(takeovers, seen)}"
    return finding(stack, "F214", "tiers", f"expected in a year: {told}", why=why, fix=fix)


def percent(share: float) -> str:
    """With two digits of what is missing: 99.87 %, 99.9980 %."""
    missing = 100 * (1 - share)
    digits = min(max(0, 1 - math.floor(math.log10(missing))), 9) if missing > 0 else 0
    return f"{100 * share:.{digits}f} %"


def minutes_said(minutes: float) -> str:
    """In the unit that fits: 3.0 h, 13.1 min, 3.0 s."""
    return f"{minutes / 60:.1f} h" if minutes >= 120 else f"{minutes:.1f} min" if minutes >= 0.1 else f"{60 * minutes:.1f} s"


def _ends(topology: Topology, made: Structure, goal: Goal, assumed: Assumptions, seen: Takeovers | None) -> Ends:
    if seen:
        return between(topology, made, goal, assumed, seen)
    alone = availability(topology, made, goal, assumed)
    return alone, alone


def _span(ends: Ends, what: str) -> str:
    low, high = (minutes_said(getattr(end, what)) for end in ends)
    return low if low == high else f"{low} to {high}"


def _up(ends: Ends) -> str:
    best, worst = (percent(end.share) for end in ends)
    return best if best == worst else f"{worst} to {best}"


def _coverage(assumed: Assumptions, seen: Takeovers | None) -> str:
    if seen is None:
        return f"1 of {1 / (1 - assumed.coverage):.0f} times, assumed"
    missing = [100 * (1 - share) for share in (seen.coverage().high, seen.coverage().low)]
    return (
        f"measured: they did in {seen.successes} of {seen.tries} drills, the last on {seen.day}, so that with 95 % certainty "
        f"they fail {missing[0]:.2g} to {missing[1]:.2g} of 100 times"
    )


def _moving(worst: Availability, seen: Takeovers | None) -> str:
    where = "measured in those drills" if seen else "measured"
    return where if worst.is_moving_measured else "partly assumed"


def _next(takeovers: Takeovers | None, seen: Takeovers | None) -> str:
    if seen:
        return "more drills narrow what was measured: nospof prove --fresh"
    if takeovers and takeovers.drills:
        return f"the drills of {takeovers.day} were of another stack than this file now describes: nospof prove tries this one"
    return "nospof prove tries it on the running stack, and then this says what was seen"

"""From what visitors saw to what is said of each goal. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from nospof.analysis.structure import Goal
from nospof.drills.prediction import Forecast, State
from nospof.drills.record import Record, Visits
from nospof.drills.result import Agreement, Bin, GoalSeen, Served
from nospof.drills.workloads.http_get import History, Request

# A goal counts as down when it is not met from so long after the fault until the healing.
JUDGED_AFTER_S = 10.0
ANSWERED_WITHIN_S = 1.0
# Of the requests in that time at least so many must be answered well.
MET = 0.99
FEWEST_JUDGED = 10
# Whoever waited until the healing waited for longer, but for those who asked last.
SLOW_S = 2.0
BIN_S = 0.2
# A machine that stood still for longer says nothing about times.
MOST_LATE_S = 0.5
# Visitors who wait longer in the median while nothing is broken ask too much of the machine: what they see then says little.
OVERLOADED_S = 0.5
# Of the time before the fault so much counts: the first visitors of a machine that was at rest may wait longer.
BEFORE_S = 4.0


def goals_seen(record: Record, foretold: Iterable[Forecast]) -> tuple[GoalSeen, ...]:
    """What was seen of each goal, beside what was foretold of it."""
    return tuple(_goal(record, forecast, record.of(Goal(forecast.goal))) for forecast in foretold)


def _goal(record: Record, forecast: Forecast, visits: Sequence[Visits]) -> GoalSeen:
    histories = [one.history for one in visits]
    requests = [request for history in histories for request in history.between(record.injected, record.healing).requests]
    seen = _worst(state(history, record.held_from, record.healing) for history in histories)
    outage = max((outage_s(history, record.injected, record.healing) for history in histories), default=None)
    late_s = max((history.most_late_s for history in histories), default=0.0)
    whole = History.of(requests)
    good = [request.latency_s for request in whole.requests if request.is_good]
    before_s = _before_s(histories, record.injected)
    return GoalSeen(
        goal=forecast.goal,
        predicted=forecast.state.value,
        predicted_outage_s=forecast.outage_s,
        why=forecast.why,
        seen=seen.value,
        outage_s=outage,
        outage_error_s=max((_period_s(history) for history in histories), default=0.0),
        asked=len(requests),
        bad=len(whole.bad),
        reasons=dict(whole.reasons().most_common(4)),
        p50_s=_quantile(good, 0.5),
        p99_s=_quantile(good, 0.99),
        before_p50_s=before_s,
        agreement=agreement(forecast, seen, outage, late_s),
        bins=tuple(_bins(histories)),
        note=_note(histories, late_s, before_s or 0.0),
    )


def _before_s(histories: Iterable[History], injected: float) -> float | None:
    """The median answer right before anything was broken, of those visitors who waited longest."""
    before = [history.between(injected - BEFORE_S, injected) for history in histories]
    medians = (_quantile([one.latency_s for one in history.requests if one.is_good], 0.5) for history in before)
    return max((median for median in medians if median is not None), default=None)


def is_doubtful(goal: GoalSeen, most_late_s: float) -> bool:
    """Whether a machine that had too much to do may have brought about what was not foretold."""
    is_overloaded = most_late_s > MOST_LATE_S or (goal.before_p50_s or 0.0) > OVERLOADED_S
    return goal.agreement is Agreement.TIMING_OFF or (goal.agreement is not Agreement.AGREES and is_overloaded)


def state(history: History, held_from: float, healing: float) -> State:
    """Whether the goal was met from ten seconds after the last fault until healing began.

    Unknown where too few asked in that time. What one in a hundred visitors misses is not met, and neither is what was answered
    only because healing had begun: who asked in the last second before it is not judged, since there was no time to answer. On
    a busy machine some of the others are a little too slow as well, and say nothing.
    """
    asked = history.between(held_from + JUDGED_AFTER_S, healing - ANSWERED_WITHIN_S).requests
    judged = len(asked) - sum(request.is_good and request.ended > healing and request.latency_s < SLOW_S for request in asked)
    if judged < FEWEST_JUDGED:
        return State.UNKNOWN
    good = sum(request.is_good and request.ended <= healing for request in asked)
    return State.UP if good / judged >= MET else State.DOWN


def outage_s(history: History, injected: float, healing: float) -> float:
    """The longest time without a good answer while the fault was in force, as visitors saw it; it may end after the healing.

    From the last good answer before to the first one after, of requests that were meant to begin before the healing.
    """
    return history.between(-math.inf, healing).longest_gap(injected, healing).length_s


def agreement(forecast: Forecast, seen: State, outage: float | None, late_s: float) -> Agreement:
    """What was foretold against what was seen."""
    if State.UNKNOWN in (forecast.state, seen):
        return Agreement.UNKNOWN
    if forecast.state is not seen:
        return Agreement.OPTIMISTIC if seen is State.DOWN else Agreement.PESSIMISTIC
    is_longer = forecast.outage_s is not None and outage is not None and outage > forecast.outage_s
    if seen is State.UP and is_longer and late_s <= MOST_LATE_S:
        return Agreement.TIMING_OFF
    return Agreement.AGREES


def served(record: Record, first: float) -> tuple[Served, ...]:
    """Who answered visitors, by tier and in turn; where several share the work, each for as long as it took part."""
    answered: dict[tuple[str, str], list[float]] = {}
    for visits in record.visits:
        for request in visits.history.requests:
            if request.is_good:
                for tier, server in request.servers.items():
                    answered.setdefault((tier, server), []).append(request.ended)
    return tuple(
        Served(tier=tier, server=server, from_s=begin - first, to_s=end - first)
        for (tier, server), times in sorted(answered.items())
        for begin, end in _spans(sorted(times))
    )


def _spans(times: Sequence[float], pause_s: float = 1.0) -> Iterator[tuple[float, float]]:
    """Runs of moments that are no more than `pause_s` apart."""
    begin = last = times[0]
    for at in times[1:]:
        if at - last > pause_s:
            yield begin, last
            begin = at
        last = at
    yield begin, last


def _bins(histories: Sequence[History]) -> Iterator[Bin]:
    requests = sorted((request for history in histories for request in history.requests), key=lambda one: one.intended)
    if not requests:
        return
    first = requests[0].intended
    for number, group in groupby(requests, key=lambda request: int((request.intended - first) / BIN_S)):
        yield _bin(number * BIN_S, list(group))


def _bin(at_s: float, requests: Sequence[Request]) -> Bin:
    good = [request.latency_s for request in requests if request.is_good]
    slowest_s = round(max(good, default=0.0), 4)
    return Bin(at_s=round(at_s, 3), good=len(good), bad=len(requests) - len(good), slowest_s=slowest_s)


def _quantile(values: Sequence[float], share: float) -> float | None:
    ordered = sorted(values)
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 4) if ordered else None


def _worst(states: Iterable[State]) -> State:
    found = Counter(states)
    if not found:
        return State.UNKNOWN
    return next(one for one in (State.DOWN, State.UNKNOWN, State.UP) if found[one])


def _period_s(history: History) -> float:
    requests = history.requests
    period_s = (requests[-1].intended - requests[0].intended) / (len(requests) - 1) if len(requests) > 1 else 0.0
    # Of several addresses each is asked only in its turn.
    return period_s * len(history.by_address())


def _note(histories: Sequence[History], late_s: float, before_s: float) -> str:
    if not histories:
        return "nobody asked: no application of the stack says how to try a write (trial_write)"
    if late_s > MOST_LATE_S:
        return f"the machine stood still for {late_s:.1f} s, so that times say little"
    if before_s > OVERLOADED_S:
        return f"half of the answers took over {before_s:.1f} s before anything was broken: too much is asked of this machine"
    return ""

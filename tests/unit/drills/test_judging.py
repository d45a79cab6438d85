"""What is said of a goal, from what visitors saw of it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from nospof.analysis.structure import Goal
from nospof.drills.judging import JUDGED_AFTER_S, agreement, goals_seen, is_doubtful, outage_s, served, state
from nospof.drills.prediction import Forecast, State
from nospof.drills.record import Record, Visits
from nospof.drills.result import Agreement, GoalSeen
from nospof.drills.workloads.http_get import History, Outcome, Request

INJECTED, HEALING, END, PERIOD = 5.0, 18.0, 25.0, 0.05
UP, DOWN, UNKNOWN = State.UP, State.DOWN, State.UNKNOWN


def visited(*bad: tuple[float, float], late_s: float = 0.0, end: float = END) -> History:
    """A request each 50 ms, good but for those that begin within one of the spans `bad`."""
    requests = []
    for number in range(round(end / PERIOD)):
        at = number * PERIOD
        is_bad = any(begin <= at < until for begin, until in bad)
        outcome = Outcome.UNKNOWN if is_bad else Outcome.OK
        requests.append(Request(at, at + 0.01, outcome, at, None if is_bad else 200, "no answer" if is_bad else ""))
    return History.of(requests, late_s)


def record(history: History) -> Record:
    return Record((Visits(Goal.SERVE, "app", history),), INJECTED, INJECTED, HEALING + 1, HEALING, END)


def test_goal_is_up_when_it_was_away_for_less_than_ten_seconds() -> None:
    assert state(visited((INJECTED, INJECTED + 9.5)), INJECTED, HEALING) is UP


def test_goal_is_down_when_it_was_not_met_from_ten_seconds_on() -> None:
    assert state(visited((INJECTED, HEALING)), INJECTED, HEALING) is DOWN


def test_goal_that_one_visitor_in_twenty_misses_is_down() -> None:
    """Incident to be: with a server in rotation that is dead, half of the visitors are answered."""
    history = visited()
    some = [replace(one, outcome=Outcome.FAILED) if at % 20 == 0 else one for at, one in enumerate(history.requests)]
    assert state(History.of(some), INJECTED, HEALING) is DOWN


def test_what_happens_after_the_healing_does_not_count() -> None:
    assert state(visited((HEALING, END)), INJECTED, HEALING) is UP


def test_answer_that_came_only_after_healing_had_begun_does_not_count() -> None:
    """Incident: both load balancers were dark, and whoever waited long enough was answered by one that had just booted."""
    history = visited()
    waited = [replace(one, ended=20.0) if INJECTED <= one.intended < HEALING else one for one in history.requests]
    assert state(History.of(waited), INJECTED, HEALING) is DOWN


def test_those_that_were_a_little_late_say_nothing_and_those_that_waited_do() -> None:
    """Incident: on a busy machine some of twenty writes took 1.3 s just before the healing, and none failed: called down."""
    history = visited()
    last = HEALING - 1.0 - PERIOD

    def with_late(since: float, outcome: Outcome = Outcome.OK) -> History:
        late = [
            replace(one, ended=HEALING + 0.3, outcome=outcome)
            for one in history.requests
            if since <= one.intended < HEALING - 1
        ]
        others = [one for one in history.requests if not since <= one.intended < HEALING - 1]
        return History.of([*others, *late])

    assert state(with_late(last), INJECTED, HEALING) is UP
    assert state(with_late(last - 0.5), INJECTED, HEALING) is UP
    assert state(with_late(last - 1.5), INJECTED, HEALING) is DOWN
    assert state(with_late(last, Outcome.FAILED), INJECTED, HEALING) is DOWN


def test_too_few_requests_to_judge_are_unknown() -> None:
    assert state(visited(end=INJECTED + JUDGED_AFTER_S + 0.2), INJECTED, HEALING) is UNKNOWN
    assert state(visited(), INJECTED, INJECTED + JUDGED_AFTER_S + 1.2) is UNKNOWN
    assert state(History.of(()), INJECTED, HEALING) is UNKNOWN


def test_outage_is_the_longest_gap_between_good_answers_while_the_fault_was_in_force() -> None:
    history = visited((1.0, 4.0), (7.0, 7.5), (9.0, 9.2), (20.0, 24.0))
    assert outage_s(history, INJECTED, HEALING) == pytest.approx(0.5 + PERIOD, abs=0.011)


def test_outage_of_a_site_that_never_came_back_is_as_long_as_the_fault() -> None:
    assert outage_s(visited((INJECTED, END)), INJECTED, HEALING) == pytest.approx(HEALING - INJECTED, abs=2 * PERIOD)


@pytest.mark.parametrize(
    ("foretold", "most_s", "seen", "outage", "late_s", "said"),
    [
        (UP, 1.0, UP, 0.9, 0.0, Agreement.AGREES),
        (UP, 1.0, UP, 1.1, 0.0, Agreement.TIMING_OFF),
        (UP, None, UP, 9.0, 0.0, Agreement.AGREES),
        (UP, 1.0, UP, 1.1, 0.6, Agreement.AGREES),
        (UP, 1.0, DOWN, 13.0, 0.0, Agreement.OPTIMISTIC),
        (DOWN, None, UP, 0.1, 0.0, Agreement.PESSIMISTIC),
        (DOWN, None, DOWN, 13.0, 0.0, Agreement.AGREES),
        (UNKNOWN, None, UP, 0.1, 0.0, Agreement.UNKNOWN),
        (UP, 1.0, UNKNOWN, None, 0.0, Agreement.UNKNOWN),
    ],
)
def test_agreement(
    foretold: State, most_s: float | None, seen: State, outage: float | None, late_s: float, said: Agreement
) -> None:
    assert agreement(Forecast("serve", foretold, most_s), seen, outage, late_s) is said


def test_goal_nobody_asked_for_is_unknown_and_says_why() -> None:
    (seen,) = goals_seen(Record((), INJECTED, INJECTED, HEALING, HEALING, END), [Forecast("write", UP, 1.0)])
    assert (seen.seen, seen.agreement, seen.outage_s) == ("unknown", Agreement.UNKNOWN, None)
    assert "trial_write" in seen.note


def test_of_two_sites_the_worse_counts() -> None:
    well, ill = Visits(Goal.SERVE, "a", visited()), Visits(Goal.SERVE, "b", visited((INJECTED, HEALING)))
    both = replace(record(visited()), visits=(well, ill))
    (seen,) = goals_seen(both, [Forecast("serve", UP, 1.0)])
    assert (seen.seen, seen.agreement) == ("down", Agreement.OPTIMISTIC)


def test_bins_count_every_request_once() -> None:
    (seen,) = goals_seen(record(visited((6.0, 7.0))), [Forecast("serve", UP, 1.5)])
    assert sum(one.good + one.bad for one in seen.bins) == round(END / PERIOD)
    assert sum(one.bad for one in seen.bins) == round(1.0 / PERIOD)
    assert math.isclose(seen.outage_error_s, PERIOD)


def test_who_answered_is_told_in_spans() -> None:
    history = visited()
    by = [replace(one, servers={"app": "web2" if 8 <= one.intended <= 20 else "web1"}) for one in history.requests]
    spans = [(one.server, round(one.from_s), round(one.to_s)) for one in served(record(History.of(by)), 0.0)]
    assert spans == [("web1", 0, 8), ("web1", 20, 25), ("web2", 8, 20)]


# --- a machine that has too much to do -----------------------------------------------------------------------------------
def seen_as_down(before_s: float, late_s: float = 0.0) -> GoalSeen:
    """A goal that was foretold to be up and was down, of visitors who waited so long before the fault."""
    requests = visited((INJECTED, HEALING), late_s=late_s).requests
    slow = [replace(one, ended=one.intended + before_s) if one.intended < INJECTED else one for one in requests]
    (goal,) = goals_seen(record(History.of(slow, late_s)), (Forecast(Goal.SERVE.value, UP),))
    return goal


def test_what_is_seen_of_a_machine_that_was_slow_before_anything_was_broken_is_doubtful_and_says_why() -> None:
    """Incident: its pages took a second before a voter was stopped, and the drill was said to be wrong."""
    goal = seen_as_down(0.7)
    assert goal.before_p50_s == pytest.approx(0.7)
    assert is_doubtful(goal, 0.0)
    assert goal.note == "half of the answers took over 0.7 s before anything was broken: too much is asked of this machine"


def test_what_is_seen_of_a_machine_that_is_quick_or_as_foretold_is_not() -> None:
    goal = seen_as_down(0.3)
    assert not is_doubtful(goal, 0.0)
    assert not goal.note
    assert is_doubtful(goal, 0.6), "it stood still"
    assert not is_doubtful(seen_as_down(0.7).model_copy(update={"agreement": Agreement.AGREES}), 0.6)
    assert is_doubtful(goal.model_copy(update={"agreement": Agreement.TIMING_OFF}), 0.0)

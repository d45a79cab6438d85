"""Who acknowledged what, and when, is explained by one primary at a time, or it is not."""

from __future__ import annotations

import random

from sql_histories import write

from nospof.drills.checkers.two_primaries import longest_turns, two_primaries
from nospof.drills.verdict import Result
from nospof.drills.workloads.http_get import Outcome
from nospof.drills.workloads.sql_write import History, Write


def servers(*writes: Write) -> list[int | None]:
    return [found.server_id for found in longest_turns(writes)]


def test_one_server_alone_is_no_two_primaries() -> None:
    assert two_primaries(History.of([write("a", 1, 2), write("b", 2, 3)])).is_pass


def test_second_server_after_the_first_is_a_failover() -> None:
    verdict = two_primaries(History.of([write("a", 1, 2, 1), write("b", 3, 4, 2), write("c", 5, 6, 2)]))
    assert verdict.is_pass
    assert verdict.reason == "acknowledged by server 1, then server 2"


def test_old_primary_that_acknowledges_what_began_after_the_new_one_had_is_found() -> None:
    verdict = two_primaries(History.of([write("a", 1, 2, 1), write("b", 3, 4, 2), write("c", 5, 6, 1)]))
    assert (verdict.result, verdict.count) == (Result.FAIL, 1)
    assert verdict.examples == ("server 1 acknowledged c, begun 1000.0 ms after server 2 had acknowledged b",)


def test_late_acknowledgement_of_what_began_before_the_failover_is_no_contradiction() -> None:
    """The old primary may have committed it at any time since it began."""
    assert two_primaries(History.of([write("a", 1, 2, 1), write("late", 2, 9, 1), write("b", 3, 4, 2)])).is_pass


def test_writes_that_were_under_way_at_once_contradict_nobody() -> None:
    assert two_primaries(History.of([write("a", 1, 5, 1), write("b", 1, 5, 2), write("c", 4, 9, 1)]), 1).is_pass


def test_begin_in_the_very_moment_of_an_end_is_at_once() -> None:
    assert servers(write("a", 1, 2, 1), write("b", 2, 3, 2)) in ([1], [2])


def test_old_primary_is_found_between_two_writes_of_the_new_one() -> None:
    found = two_primaries(History.of([write("b", 3, 4, 2), write("c", 5, 6, 1), write("d", 7, 8, 2)]))
    assert found.result is Result.FAIL


def test_changes_that_were_caused_are_not_held_against_it() -> None:
    there_and_back = History.of([write("a", 1, 2, 1), write("b", 3, 4, 2), write("c", 5, 6, 1)])
    assert two_primaries(there_and_back, most_changes=2).is_pass
    assert two_primaries(there_and_back, most_changes=1).result is Result.FAIL


def test_without_any_change_a_second_server_is_one_too_many() -> None:
    assert two_primaries(History.of([write("a", 1, 2, 1), write("b", 3, 4, 2)]), most_changes=0).result is Result.FAIL


def test_what_was_not_acknowledged_tells_nothing_of_who_is_primary() -> None:
    other = (write("b", 3, 4, 2, Outcome.UNKNOWN), write("c", 3, 4, 2, Outcome.FAILED))
    assert two_primaries(History.of([write("a", 1, 2), *other, write("d", 5, 6)]), 0).is_pass


def test_nothing_acknowledged_is_unknown() -> None:
    assert two_primaries(History.of([write("a", 1, 2, outcome=Outcome.UNKNOWN)])).result is Result.UNKNOWN


def test_two_that_acknowledge_for_long_are_found_without_end_or_fuss() -> None:
    both = [write(f"{server}-{at}", at + server / 4, at + server / 4 + 0.1, server) for at in range(5000) for server in (1, 2)]
    verdict = two_primaries(History.of(both))
    assert verdict.count == 9998
    assert len(verdict.reason) < 200


def test_no_true_history_of_one_primary_is_called_two() -> None:
    """Of random clients, each write being done by who is primary at a random moment of its time."""
    for seed in range(200):
        chance = random.Random(seed)
        changes = sorted(chance.uniform(0, 10) for _ in range(chance.randint(0, 4)))
        writes = []
        for number in range(200):
            begin = chance.uniform(0, 10)
            end = begin + chance.expovariate(4)
            server = _primary_at(chance.uniform(begin, end), changes)
            writes.append(write(str(number), begin, end, server))
        assert two_primaries(History.of(writes), most_changes=len(changes)).is_pass, seed


def _primary_at(moment: float, changes: list[float]) -> int:
    return sum(change <= moment for change in changes) % 3

"""Every checker over random records: a thousand good ones pass, and what goes wrong is found by the one that is for it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nospof.analysis.structure import Goal
from nospof.drills.checker import Checker
from nospof.drills.checkers import Copy
from nospof.drills.checkers import all as _all_checkers  # noqa: F401
from nospof.drills.record import Record, Visits
from nospof.drills.verdict import Result
from nospof.drills.workloads import sql_write
from nospof.drills.workloads.http_get import History, Outcome, Request

HOSTS = ("db1", "db2", "w1")
LOOKED: dict[str, Any] = {
    "leftovers": {"db1": ["mount: / rw"], "lb1": ["firewall: table inet nospof"]},
    "log patterns": {"db1": [], "lb1": ["1.0 old trouble: segfault"]},
    "one holder": {"load-balancer": ["lb1"]},
    "one primary of the cache": {"sessions": 3},
}


def good(seed: int) -> Record:
    """What is seen of a stack that keeps its promises through up to three changes of the primary."""
    chance = random.Random(seed)
    changes = chance.randint(0, 3)
    ends = sorted(chance.uniform(0, 20) for _ in range(changes))
    writes: list[sql_write.Write] = []
    requests: list[Request] = []
    for client in range(chance.randint(1, 4)):
        at = chance.uniform(0, 0.1)
        while at < 20:
            took = chance.uniform(0.001, 0.2)
            # A write is of one primary's time, or it is not acknowledged.
            term = sum(end < at for end in ends)
            crosses = term != sum(end < at + took for end in ends)
            outcome = chance.choice((Outcome.FAILED, Outcome.UNKNOWN)) if crosses else Outcome.OK
            writes.append(sql_write.Write(client, f"aa-{client}-{len(writes)}", at, at + took, outcome, 1 + term % 2))
            at += took + chance.uniform(0, 0.3)
    for number in range(chance.randint(1, 60)):
        at = number / 3
        outcome = chance.choices((Outcome.OK, Outcome.FAILED, Outcome.UNKNOWN), (8, 1, 1))[0]
        back = chance.choice((200, None, 503)) if outcome is Outcome.OK else None
        requests.append(Request(at, at + 0.1, outcome, at, 201, "", {}, f"drill-{number}", back))
    requests.append(Request(20, 20.1, Outcome.OK, 20, 201, "", {}, "drill-last", 200))
    record = Record(
        (Visits(Goal.WRITE, "app", History.of(requests)),), 5, 5, 19, 18, 20,
        writes=sql_write.History.of(writes), changes=changes, collected={name: (seen, seen) for name, seen in LOOKED.items()},
        cached=sql_write.History.of(turns(2)[:1]),
    )  # fmt: skip
    kept = [write.token for write in record.all_writes.writes if write.is_good]
    kept += [write.token for write in record.all_writes.writes if write.outcome is Outcome.UNKNOWN and chance.random() < 0.5]
    return replace(record, copies={"database": {host: Copy(tuple(sorted(kept)), {"content": "x"}) for host in HOSTS}})


def turns(count: int) -> list[sql_write.Write]:
    """Writes that two servers acknowledge one after the other."""
    return [sql_write.Write(9, f"aa-9-{n}", 30 + n, 30.5 + n, Outcome.OK, 1 + n % 2) for n in range(count)]


def verdicts(record: Record) -> dict[str, Result]:
    judged = {name: checker().judge(record) for name, checker in Checker.kinds.items()}
    return {name: verdict.result for name, verdict in judged.items() if verdict is not None}


@given(st.integers(0, 2**32))
@settings(max_examples=1000, deadline=None)
def test_record_of_a_stack_that_keeps_its_promises_passes(seed: int) -> None:
    assert set(verdicts(good(seed)).values()) == {Result.PASS}, verdicts(good(seed))


# --- what goes wrong ---------------------------------------------------------------------------------------------------------
def copies_with(record: Record, host: str, copy: Copy | None) -> Record:
    return replace(record, copies={"database": {**record.copies["database"], host: copy}})


def tokens(record: Record) -> tuple[str, ...]:
    copy = record.copies["database"]["db1"]
    assert copy is not None
    return copy.tokens


def one_lost_on_one_copy(record: Record) -> Record:
    """As MariaDB loses it when a voter's disk forgets what it acknowledged."""
    acknowledged = {write.token for write in record.all_writes.acknowledged}
    gone = min(acknowledged)
    return copies_with(record, "db2", Copy(tuple(token for token in tokens(record) if token != gone), {"content": "x"}))


def one_lost_everywhere(record: Record) -> Record:
    gone = min(write.token for write in record.all_writes.acknowledged)
    left = tuple(token for token in tokens(record) if token != gone)
    return replace(record, copies={"database": dict.fromkeys(HOSTS, Copy(left, {"content": "x"}))})


def one_twice(record: Record) -> Record:
    twice = (*tokens(record), tokens(record)[0])
    return replace(record, copies={"database": dict.fromkeys(HOSTS, Copy(twice, {"content": "x"}))})


def one_sent_by_nobody(record: Record) -> Record:
    more = (*tokens(record), "drill-nobody")
    return replace(record, copies={"database": dict.fromkeys(HOSTS, Copy(more, {"content": "x"}))})


def one_that_failed_is_there(record: Record) -> Record:
    """What was certainly refused is stored all the same."""
    assert record.writes is not None
    refused = sql_write.Write(0, "aa-0-refused", 1, 1.1, Outcome.FAILED)
    more = (*tokens(record), refused.token)
    writes = sql_write.History.of((*record.writes.writes, refused))
    return replace(record, writes=writes, copies={"database": dict.fromkeys(HOSTS, Copy(more, {"content": "x"}))})


def content_differs(record: Record) -> Record:
    return copies_with(record, "w1", Copy(tokens(record), {"content": "y"}))


def two_take_turns(record: Record) -> Record:
    """Split brain: two servers acknowledge one after the other, more often than the role moved."""
    more = turns(record.changes + 4)
    kept = (*tokens(record), *(write.token for write in more))
    assert record.writes is not None
    return replace(
        record,
        writes=sql_write.History.of((*record.writes.writes, *more)),
        copies={"database": dict.fromkeys(HOSTS, Copy(kept, {"content": "x"}))},
    )


def two_of_the_cache_take_turns(record: Record) -> Record:
    """An old primary that was cut off goes on with those who reach it, after another has begun."""
    return replace(record, cached=sql_write.History.of(turns(2)))


def one_stale(record: Record) -> Record:
    (visits,) = record.visits
    last = visits.history.requests[-1]
    stale = replace(last, read_back=404)
    return replace(record, visits=(replace(visits, history=History.of((*visits.history.requests[:-1], stale))),))


def not_redundant(record: Record) -> Record:
    return replace(record, redundant=None, lacking="web/web2 is failed")


def after(name: str, seen: object) -> Callable[[Record], Record]:
    return lambda record: replace(record, collected={**record.collected, name: (record.collected[name][0], seen)})


WRONG: list[tuple[Callable[[Record], Record], str]] = [
    (one_lost_on_one_copy, "lost writes"),
    (one_lost_everywhere, "lost writes"),
    (one_twice, "phantoms"),
    (one_sent_by_nobody, "phantoms"),
    (one_that_failed_is_there, "phantoms"),
    (content_differs, "copies equal"),
    (two_take_turns, "one primary"),
    (two_of_the_cache_take_turns, "one primary of the cache"),
    (one_stale, "stale reads"),
    (not_redundant, "redundant again"),
    (after("leftovers", {"db1": ["mount: / rw", "failed: x.service"], "lb1": ["firewall: table inet nospof"]}), "leftovers"),
    (after("log patterns", {"db1": ["2.0 panic: corrupt page"], "lb1": []}), "log patterns"),
    (after("one holder", {"load-balancer": ["lb1", "lb2"]}), "one holder"),
    (after("one holder", {"load-balancer": []}), "one holder"),
]


@pytest.mark.parametrize(("spoil", "name"), WRONG, ids=lambda value: getattr(value, "__name__", str(value)))
@pytest.mark.parametrize("seed", range(20))
def test_what_goes_wrong_is_found_by_the_checker_for_it(spoil: Callable[[Record], Record], name: str, seed: int) -> None:
    assert verdicts(spoil(good(seed)))[name] is Result.FAIL


@pytest.mark.parametrize("seed", range(20))
def test_copy_that_could_not_be_read_is_unknown_and_never_passes(seed: int) -> None:
    found = verdicts(copies_with(good(seed), "db2", None))
    assert {found[name] for name in ("lost writes", "phantoms", "copies equal")} == {Result.UNKNOWN}


def test_with_no_application_left_nobody_can_write_and_nobody_watches() -> None:
    assert "one primary" not in verdicts(replace(good(1), writes=None, had_writer=False))
    assert verdicts(replace(good(1), writes=None))["one primary"] is Result.UNKNOWN


def test_each_change_of_a_caches_primary_explains_one_turn() -> None:
    record = replace(good(1), cached=sql_write.History.of(turns(2)))

    assert verdicts(after("one primary of the cache", {"sessions": 4})(record))["one primary of the cache"] is Result.PASS


def test_with_no_cache_written_nobody_watches_it() -> None:
    assert "one primary of the cache" not in verdicts(replace(good(1), cached=None, had_cache_writer=False))
    assert verdicts(replace(good(1), cached=None))["one primary of the cache"] is Result.UNKNOWN


@pytest.mark.parametrize("name", sorted(LOOKED))
def test_host_that_did_not_answer_is_unknown(name: str) -> None:
    seen = None if name == "one holder" else dict.fromkeys(LOOKED[name])
    assert verdicts(after(name, seen)(good(1)))[name] is Result.UNKNOWN


def test_every_checker_has_something_it_finds() -> None:
    assert {name for _, name in WRONG} == set(Checker.kinds)


def test_checker_that_crashes_has_judged_nothing() -> None:
    from nospof.drills.engine import _judged

    class Broken(Checker):
        name = "broken for a test"
        about = ""

        def judge(self, record: Record) -> None:
            raise ZeroDivisionError

    try:
        verdict = _judged(Broken(), good(1))
    finally:
        del Checker.kinds[Broken.name]
    assert verdict is not None
    assert verdict.result is Result.UNKNOWN

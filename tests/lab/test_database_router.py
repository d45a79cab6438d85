"""The router on a real host, between real HAProxy and role servers whose notes the test writes: what applications notice."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator

import pytest
from routed_lab import APP, DATABASES, HAPROXY, LEAD, READS, WRITES, Call, Calls, RoutedLab

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]


@pytest.fixture(scope="module")
def lab() -> Iterator[RoutedLab]:
    made = RoutedLab()
    try:
        made.up()
        yield made
    finally:
        made.down()


class Terms:
    """Numbers the terms of this module's tests."""

    now = 1


@pytest.fixture(autouse=True)
def first_is_primary(lab: RoutedLab) -> None:
    Terms.now += 1
    lab.flip("db1", Terms.now)
    until(lambda: limit(lab, WRITES) > 0 and writer(lab) == "db1")


def until(holds: Callable[[], bool], limit_s: float = 20.0) -> None:
    end_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end_s, "not within the limit"
        time.sleep(0.02)


def limit(lab: RoutedLab, to: tuple[str, int]) -> int:
    """How many connections HAProxy takes there; 0 = new ones wait."""
    rows = (line.split(",") for line in lab.haproxy("show stat -1 1 -1").splitlines())
    return next(int(row[6]) for row in rows if row[0] == f"database-{to[1]}")


def writer(lab: RoutedLab) -> str:
    rows = (line.split() for line in lab.haproxy("show servers state database-primary").splitlines())
    return " ".join(row[3] for row in rows if len(row) > 18 and row[5] == "2" and row[6] == "0")


def lead_process(lab: RoutedLab) -> str:
    return lab.run(APP, "systemctl", "show", "-P", "MainPID", LEAD)


def failed(calls: list[Call]) -> list[Call]:
    return [call for call in calls if call.error]


def during(calls: list[Call], begin_s: float, end_s: float) -> list[Call]:
    return [call for call in calls if begin_s < call.begun_s < end_s]


def test_the_role_moves_sixty_times_and_no_connection_fails_but_what_a_move_cuts(lab: RoutedLab) -> None:
    """Incident: HAProxy 3.0.11 let clients wait for ever whose sessions were ended while they were connecting to the server."""
    calls = Calls(lab, WRITES, 200), Calls(lab, READS, 200)
    until(lambda: writer(lab) == "db1")
    moves = []
    for number in range(60):
        Terms.now += 1
        to = DATABASES[(number + 1) % 2]
        moves.append((lab.flip(to, Terms.now), to))
        time.sleep(0.1)
    writes, reads = calls[0].stop(), calls[1].stop()
    assert len(writes) > 800
    assert failed(reads) == []
    # Without a pause before it, as here, a move may end what is just being opened to the old primary.
    assert [call for call in failed(writes) if not any(abs(call.begun_s - at_s) < 0.02 for at_s, _ in moves)] == []
    ends = [next_s for next_s, _ in moves[1:]] + [float("inf")]
    firsts_s = [next(call.answered_s for call in writes if call.answered_s >= at_s and call.host == to) for at_s, to in moves]
    took_s = sorted(first_s - at_s for first_s, (at_s, _) in zip(firsts_s, moves, strict=True))
    print(f"role moved to first answer: p50 {1e3 * took_s[30]:.1f} ms, longest {1e3 * took_s[-1]:.1f} ms")  # noqa: T201
    # Once the new one has answered, nobody is led to the old one, until it is told to be primary again.
    for first_s, next_s, (_, to) in zip(firsts_s, ends, moves, strict=True):
        assert {call.host for call in during(writes, first_s, next_s) if call.answered_s < next_s} <= {to}


def test_connections_of_a_handover_wait_and_none_fails(lab: RoutedLab) -> None:
    calls = Calls(lab, WRITES, 1000)
    lab.note("db1", "primary", Terms.now, is_moving=True)
    until(lambda: limit(lab, WRITES) == 0)
    begun_s = lab.note("db1", "primary", Terms.now, is_moving=True, takes_writes=False)
    time.sleep(0.5)
    Terms.now += 1
    moved_s = lab.flip("db2", Terms.now)
    until(lambda: limit(lab, WRITES) > 0)
    done = calls.stop()
    assert failed(done) == []
    waited = during(done, begun_s, moved_s)
    assert len(waited) > 100
    assert {call.host for call in waited} == {"db2"}
    assert all(call.answered_s > moved_s for call in waited)


def test_reads_go_on_without_a_primary_and_on_the_primary_without_a_replica(lab: RoutedLab) -> None:
    reads = Calls(lab, READS, 200)
    lab.note("db1", "none", Terms.now)
    until(lambda: limit(lab, WRITES) == 0)
    lab.note("db2", "none", Terms.now, is_moving=True)
    Terms.now += 1
    lab.note("db2", "primary", Terms.now)
    until(lambda: writer(lab) == "db2")
    time.sleep(0.5)
    assert failed(reads.stop()) == []


def test_an_old_primary_is_not_believed_even_by_a_router_that_was_started_again(lab: RoutedLab) -> None:
    lab.note("db2", "primary", Terms.now + 5)
    until(lambda: writer(lab) == "db2")
    lab.note("db2", "none", Terms.now + 5)
    lab.note("db1", "primary", Terms.now)
    before = lead_process(lab)
    lab.run(APP, "kill", "-9", before)
    until(lambda: lead_process(lab) not in ("0", before))
    until(lambda: limit(lab, WRITES) == 0)
    assert "only db1 of term" in lab.run(APP, "journalctl", "-q", "-o", "cat", "-n", "20", "-u", LEAD)
    Terms.now += 5


@pytest.mark.parametrize("how", ["-KILL", "-STOP"])
def test_a_router_that_dies_in_a_pause_does_not_leave_connections_waiting(lab: RoutedLab, how: str) -> None:
    lab.note("db1", "primary", Terms.now, is_moving=True, takes_writes=False)
    until(lambda: limit(lab, WRITES) == 0)
    calls = Calls(lab, WRITES, 100)
    before = lead_process(lab)
    lab.run(APP, "kill", how, before)
    lab.note("db1", "primary", Terms.now)
    until(lambda: limit(lab, WRITES) > 0, limit_s=8)
    until(lambda: lead_process(lab) not in ("0", before))
    assert failed(calls.stop()) == []


def test_a_frozen_router_does_not_keep_a_dead_primary(lab: RoutedLab) -> None:
    before = lead_process(lab)
    lab.run(APP, "systemctl", "kill", "-s", "STOP", LEAD)
    lab.note("db1", "none", Terms.now)
    until(lambda: writer(lab) == "", limit_s=8)
    # The watchdog replaces it some time later, which is not to happen to the next test's connections.
    until(lambda: lead_process(lab) not in ("0", before))


@pytest.mark.parametrize("is_paused", [False, True], ids=["steady", "paused"])
def test_haproxy_forgets_nothing_when_it_is_reloaded(lab: RoutedLab, is_paused: bool) -> None:
    if is_paused:
        lab.note("db1", "primary", Terms.now, is_moving=True, takes_writes=False)
        until(lambda: limit(lab, WRITES) == 0)
    calls = Calls(lab, WRITES, 200), Calls(lab, READS, 200)
    lab.run(APP, "systemctl", "reload", HAPROXY)
    time.sleep(0.5)
    if is_paused:
        assert limit(lab, WRITES) == 0
        lab.note("db1", "primary", Terms.now)
    until(lambda: limit(lab, WRITES) > 0)
    assert [failed(one.stop()) for one in calls] == [[], []]
    assert writer(lab) == "db1"


def test_a_role_server_that_dies_costs_nothing(lab: RoutedLab) -> None:
    calls = Calls(lab, WRITES, 200), Calls(lab, READS, 200)
    lab.run("db1", "systemctl", "kill", "-s", "KILL", "roles")
    time.sleep(1.5)
    assert [failed(one.stop()) for one in calls] == [[], []]


def test_both_programs_are_small(lab: RoutedLab) -> None:
    for host, unit in ((APP, LEAD), ("db1", "roles")):
        process = lab.run(host, "systemctl", "show", "-P", "MainPID", unit)
        told = lab.run(host, "cat", f"/proc/{process}/smaps_rollup")
        size = re.search(r"^Pss: +(\d+) kB", told, re.MULTILINE)
        assert size
        print(f"{unit}: {int(size[1]) / 1024:.1f} MiB")  # noqa: T201
        assert int(size[1]) < 24 * 1024

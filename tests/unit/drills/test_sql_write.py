"""The writing load says what really happened, whatever a server does; and its history is read without flattery."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fake_mysql import Does, FakeServer, fake_server
from sql_histories import write

from nospof.apply.transport import Finished, Unknown, Unreachable
from nospof.apply.transport import Outcome as Ended
from nospof.drills.workloads import sql_write
from nospof.drills.workloads.http_get import Outcome
from nospof.drills.workloads.sql_write import History, Kind, Load, Running, parse_history, running

PASSWORD = "s3cret-and-long"


# --- reading ---------------------------------------------------------------------------------------------------------
def test_gap_is_between_two_acknowledgements() -> None:
    bad = write("c", 1.2, 1.3, outcome=Outcome.FAILED)
    gap = History.of([write("a", 1.0, 1.1), write("b", 1.1, 1.2), bad, write("d", 1.4, 2.0)]).longest_gap()
    assert gap.began == pytest.approx(1.2)
    assert gap.length_s == pytest.approx(0.8)


def test_gap_of_all_clients_ends_with_the_first_that_writes_again() -> None:
    found = History.of([write("a", 0, 1), write("b", 0, 1, client=1), write("c", 1, 2), write("d", 1, 4, client=1)])
    assert found.longest_gap().length_s == pytest.approx(2.0)
    assert found.longest_gap_of_a_client().length_s == pytest.approx(3.0)


def test_client_that_hangs_to_the_end_has_a_gap_although_others_go_on() -> None:
    others = [write(str(at), at, at + 1) for at in range(9)]
    hanging = [write("x", 0, 1, client=1), write("y", 1, 9, client=1, outcome=Outcome.UNKNOWN)]
    assert History.of(others + hanging).longest_gap().length_s == pytest.approx(1.0)
    assert History.of(others + hanging).longest_gap_of_a_client().length_s == pytest.approx(8.0)


def test_gap_that_was_over_before_the_fault_is_not_its_doing() -> None:
    found = History.of([write("a", 0, 1), write("b", 4, 5), write("c", 5, 5.5), write("d", 5.5, 6)])
    assert found.longest_gap(5.2).length_s == pytest.approx(0.5)
    assert found.longest_gap(0, 4.0).length_s == pytest.approx(4.0)


def test_writes_in_flight_are_those_begun_and_not_ended() -> None:
    found = History.of([write("a", 0, 1), write("b", 0.5, 2, outcome=Outcome.UNKNOWN), write("c", 1.5, 2)]).in_flight(1.2)
    assert [one.token for one in found.writes] == ["b"]
    assert found.count(Outcome.UNKNOWN) == 1


def test_empty_history_has_no_gap() -> None:
    assert History.of([]).longest_gap().length_s == 0
    assert History.of([]).longest_gap_of_a_client().length_s == 0


def test_history_survives_being_written_down() -> None:
    found = History.of([write("a", 0, 1), write("b", 1, 2, None, Outcome.FAILED)], 0.25)
    assert parse_history("\n".join(found.lines())) == found


def test_history_that_was_cut_off_is_not_believed() -> None:
    lines = list(History.of([write("a", 0, 1), write("b", 1, 2)]).lines())
    for part in (lines[:-1], lines[1:], []):
        with pytest.raises(ValueError, match="did not come to its end"):
            parse_history("\n".join(part))


# --- the load itself -------------------------------------------------------------------------------------------------
def here(argv: Sequence[str], stdin: bytes, limit_s: float) -> Ended:
    """Run on this machine what a host would run."""
    words = [sys.executable if word == "python3" else word for word in argv]
    done = subprocess.run(words, input=stdin, capture_output=True, timeout=limit_s, check=False)
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeServer], Load]:
    monkeypatch.setattr(sql_write, "FOLDER", str(tmp_path))

    def against(server: FakeServer, reads: FakeServer | None = None) -> Load:
        url = f"mysql://app:{PASSWORD}@127.0.0.1"
        environment = tmp_path / "app.env"
        environment.write_text(
            f'SECRET_KEY="with \\"quotes\\" = and more"\nDATABASE_URL="{url}:{server.port}/app"\n'
            f'DATABASE_READ_URL="{url}:{(reads or server).port}/app"\n'
        )
        return Load(clients=2, seconds=20, environment=str(environment), answer_timeout_s=0.5)

    return against


def until(run: Running, server: FakeServer, writes: int = 0, connections: int = 0) -> History:
    """Let it run until the server has seen so many, and return the history."""
    until_seen(server, writes, connections)
    return run.finish()


def until_seen(server: FakeServer, writes: int = 0, connections: int = 0) -> None:
    end = time.monotonic() + 10
    while (server.seen < writes or server.connections < connections) and time.monotonic() < end:
        time.sleep(0.01)


def sabotaged(number: int, does: Does) -> Callable[[int], Does]:
    return lambda seen: does if seen == number else Does.ACKNOWLEDGE


def test_what_is_acknowledged_is_what_the_server_holds(load: Callable[..., Load]) -> None:
    with fake_server() as server, running(load(server), here) as run:
        history = until(run, server, 50)
    assert sorted(one.token for one in history.acknowledged) == sorted(server.held)
    assert {one.server_id for one in history.writes} == {7}
    assert history.clients == (0, 1)
    assert not history.bad


def test_clients_that_are_calmed_write_ten_times_a_second_and_lose_nothing(load: Callable[..., Load]) -> None:
    with fake_server() as server, running(load(server), here) as run:
        until_seen(server, 50)
        run.calm()
        time.sleep(0.5)
        before, since = server.seen, time.monotonic()
        time.sleep(1.0)
        written, took_s = server.seen - before, time.monotonic() - since
        history = run.finish()
    assert 1 <= written <= 2 * (10 * took_s + 1)
    assert len(history.acknowledged) == server.seen


def test_each_client_keeps_its_connection(load: Callable[..., Load]) -> None:
    with fake_server() as server, running(load(server), here) as run:
        until(run, server, 50)
    assert server.connections == 3, "two clients, and the one that made the table"


def test_fresh_clients_have_a_connection_for_each_write(load: Callable[..., Load]) -> None:
    with fake_server() as server, running(replace(load(server), is_fresh=True), here) as run:
        history = until(run, server, 20)
    assert server.connections == len(history.writes) + 1


def test_write_to_a_read_only_server_has_failed_and_the_next_has_a_new_connection(load: Callable[..., Load]) -> None:
    with fake_server(sabotaged(10, Does.REFUSE)) as server, running(load(server), here) as run:
        history = until(run, server, 50)
    (refused,) = history.bad
    assert (refused.outcome, refused.server_id) == (Outcome.FAILED, 7)
    assert refused.token not in server.held
    assert server.connections == 4


@pytest.mark.parametrize("does", [Does.KEEP_AND_DIE, Does.DROP_AND_DIE, Does.HANG])
def test_write_without_an_answer_is_unknown_whether_it_was_kept_or_not(load: Callable[..., Load], does: Does) -> None:
    with fake_server(sabotaged(10, does)) as server, running(load(server), here) as run:
        history = until(run, server, 50, connections=4)
    (lost,) = history.bad
    assert server.connections == 4, "the client did not go on"
    assert lost.outcome is Outcome.UNKNOWN
    assert (lost.token in server.held) is (does is Does.KEEP_AND_DIE)
    assert len(history.acknowledged) >= 45


def test_write_that_found_no_connection_has_failed(load: Callable[..., Load]) -> None:
    with fake_server() as server, running(load(server), here) as run:
        end = time.monotonic() + 10
        # The load began with the first write of any client; on a busy machine the other one has not connected then.
        while len({token.split("-")[1] for token in tuple(server.held)}) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        server.is_closed = True
        end = time.monotonic() + 10
        while server.turned_away < 5 and time.monotonic() < end:
            time.sleep(0.01)
        history = run.finish()
    unknown = [one for one in history.bad if one.outcome is Outcome.UNKNOWN]
    failed = [one for one in history.bad if one.outcome is Outcome.FAILED]
    assert len(unknown) == 2, "the connections that were open when it began"
    assert len(failed) == server.turned_away >= 5
    assert {one.server_id for one in failed} == {None}


def test_password_is_in_no_argument_and_no_history(load: Callable[..., Load]) -> None:
    seen: list[str] = []

    def remembering(argv: Sequence[str], stdin: bytes, limit_s: float) -> Ended:
        seen.extend(argv)
        return here(argv, stdin, limit_s)

    with fake_server(sabotaged(3, Does.REFUSE)) as server, running(load(server), remembering) as run:
        history = until(run, server, 20)
    assert PASSWORD not in " ".join(seen) + "".join(history.lines())


@pytest.mark.parametrize(("kind", "asked"), [(Kind.CONNECT, 0), (Kind.READ, 1)])
def test_questions_go_over_their_own_route_at_fixed_times(load: Callable[..., Load], kind: Kind, asked: int) -> None:
    with fake_server() as writes, fake_server() as reads:
        wanted = replace(load(writes, reads), kind=kind, every_ms=20)
        with running(wanted, here) as run:
            assert run.is_good_after(time.monotonic() + 0.2, 10)
            history = run.finish()
    servers = (writes, reads)
    assert servers[asked].connections == len(history.writes) > 8
    assert servers[1 - asked].connections == 0
    steps = [after.invoked - before.invoked for before, after in zip(history.writes, history.writes[1:], strict=False)]
    assert steps == pytest.approx([0.02] * len(steps))


def test_load_that_crashes_is_not_believed(load: Callable[..., Load]) -> None:
    with fake_server() as server:
        wanted = replace(load(server), environment="/nowhere/app.env")
        with pytest.raises(TimeoutError, match="nowhere"), running(wanted, here):
            pass


@pytest.mark.parametrize("ended", [Unreachable("off"), Unknown("died"), Finished(1, b"", b"crashed")])
def test_load_whose_end_is_unknown_is_not_believed(load: Callable[..., Load], ended: Ended) -> None:
    def lying(argv: Sequence[str], stdin: bytes, limit_s: float) -> Ended:
        done = here(argv, stdin, limit_s)
        whole = replace(ended, stdout=done.stdout) if isinstance(ended, Finished) and isinstance(done, Finished) else ended
        return whole if stdin else done

    with (
        fake_server() as server,
        running(load(server), lying) as run,
        pytest.raises(ValueError, match="did not come to its end"),
    ):
        until(run, server, 20)

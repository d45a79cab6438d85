"""MariaDB as the agent drives it: what rows say, and which statements are sent in which order."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest

from nospof.onhost.agent import connections as kernel
from nospof.onhost.agent import mariadb
from nospof.onhost.agent.connections import Connection, again, connections, end, find
from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.mariadb import MariadbEngine, MariadbPlaces
from nospof.onhost.agent.mariadb_seen import feeds_of, furthest, position_of, received_of, source_of
from nospof.onhost.agent.model import BEGINNING, Position

PASSWORD = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6"
PLACES = MariadbPlaces(
    tier="database",
    host="db1",
    members={"db1": "198.18.1.1", "db2": "198.18.1.2", "w1": "198.18.1.3"},
    port=3306,
    copy_port=4444,
    server_id=1,
    replication_user="nospof_replication",
    replication_password=PASSWORD,
    ca="/ca.pem",
    certificate="/db.crt",
    key="/db.key",
)
ROW: dict[str, Any] = {
    "Master_Host": "198.18.1.2",
    "Master_Port": 3306,
    "Master_User": "nospof_replication",
    "Master_SSL_CA_File": "/ca.pem",
    "Master_SSL_Cert": "/db.crt",
    "Master_SSL_Key": "/db.key",
    "Master_SSL_Verify_Server_Cert": "Yes",
    "Using_Gtid": "Slave_Pos",
    "Slave_IO_Running": "Yes",
    "Slave_SQL_Running": "Yes",
    "Gtid_IO_Pos": "0-2-7",
    "Seconds_Behind_Master": 0,
    "Last_IO_Errno": 0,
    "Last_IO_Error": "",
    "Last_SQL_Errno": 0,
    "Last_SQL_Error": "",
}
NOW = {"is_read_only": 1, "waits_for_voters": 0, "acknowledges": 1, "binlog_pos": "0-2-7", "slave_pos": "0-2-7"}


class FakeSql:
    """Answers by the beginning of a statement; an exception is raised once."""

    def __init__(self, **answers: Any) -> None:
        self.source: list[dict[str, Any]] = answers.pop("source", [])
        self.now: dict[str, Any] = {**NOW, **answers.pop("now", {})}
        self.other: dict[str, Any] = answers.pop("other", {})
        self.asked: list[str] = []
        self.is_forgotten = False

    def take_over(self) -> None:
        self.asked.append("(takes over)")

    def forget(self) -> None:
        self.is_forgotten = True

    def rows(self, statement: str) -> list[dict[str, Any]]:
        if statement.startswith("SHOW REPLICA STATUS"):
            return self.source
        if "gtid_binlog_pos AS binlog_pos" in statement:
            return [self.now]
        if not statement.startswith(("SHOW", "SELECT")):
            self.asked.append(statement.partition(" MASTER_HOST")[0])
        for start, said in self.other.items():
            if start in statement:
                if isinstance(said, Exception):
                    del self.other[start]
                    raise said
                return list(said)
        return []


def engine_on(sql: FakeSql, places: MariadbPlaces = PLACES) -> MariadbEngine:
    engine = MariadbEngine(places)
    engine._acting = engine._looking = sql  # type: ignore[assignment]
    return engine


# --- what rows say -------------------------------------------------------------------------------------------------------
def test_position_has_the_highest_number_and_its_writer() -> None:
    assert position_of("0-1-25,0-2-26") == Position((("0", 26),), "2")
    assert position_of("") == BEGINNING


def test_of_two_positions_the_further_one_counts() -> None:
    assert furthest(position_of("0-1-5"), position_of("0-2-7")) == position_of("0-2-7")
    assert furthest(position_of("0-1-5"), BEGINNING) == position_of("0-1-5")


def test_server_that_just_started_has_received_what_it_applied() -> None:
    """Gtid_IO_Pos is empty then; what lay unapplied in its relay log is forgotten by the next start of replication."""
    assert received_of({**ROW, "Gtid_IO_Pos": ""}, position_of("0-1-5")) == position_of("0-1-5")


@pytest.mark.parametrize("change", [{"Master_User": "root"}, {"Using_Gtid": "No"}, {"Master_SSL_Verify_Server_Cert": "No"}])
def test_source_with_other_settings_is_not_ours(change: dict[str, Any]) -> None:
    assert source_of(ROW, PLACES.settings).is_ours
    assert not source_of({**ROW, **change}, PLACES.settings).is_ours


def test_only_a_copy_helps_when_histories_differ_and_not_while_it_connects() -> None:
    stopped = {"Slave_IO_Running": "No", "Last_IO_Errno": 1236, "Last_IO_Error": "not in the binlog"}
    assert source_of({**ROW, **stopped}, PLACES.settings).needs_copy
    assert source_of({**ROW, "Slave_SQL_Running": "No", "Last_SQL_Errno": 1950}, PLACES.settings).needs_copy
    assert not source_of({**ROW, "Slave_IO_Running": "Connecting", "Last_IO_Errno": 1236}, PLACES.settings).needs_copy


def test_feed_of_a_host_is_its_newest() -> None:
    rows = [{"id": 9, "host": "198.18.1.2:50"}, {"id": 12, "host": "198.18.1.2:40"}, {"id": 10, "host": "198.18.1.3:60"}]
    assert feeds_of(rows, PLACES.settings) == {"db2": (12, "198.18.1.2:40"), "w1": (10, "198.18.1.3:60")}


# --- statements and their order ------------------------------------------------------------------------------------------
def test_primary_waits_for_voters_before_it_takes_the_first_write() -> None:
    sql = FakeSql()
    engine_on(sql).be_primary(waits_for_voters=True, takes_writes=True)
    assert sql.asked == [
        "(takes over)",
        "SET GLOBAL rpl_semi_sync_slave_enabled = OFF",
        "SET GLOBAL rpl_semi_sync_master_enabled = ON",
        "SET GLOBAL read_only = OFF",
    ]


def test_primary_that_may_not_write_stops_writes_before_it_releases_who_waits() -> None:
    sql = FakeSql(
        now={"waits_for_voters": 1, "is_read_only": 0}, other={"read_only": pymysql.err.OperationalError(1969, "time")}
    )
    with pytest.raises(EngineError):
        engine_on(sql).be_primary(waits_for_voters=False, takes_writes=False)
    assert not [statement for statement in sql.asked if "master_enabled" in statement]


def test_semi_sync_that_gave_up_by_itself_is_switched_off_and_on() -> None:
    """ON alone changes nothing then: the variable still says ON, and nobody waits."""
    sql = FakeSql(now={"waits_for_voters": 1}, other={"Rpl_semi_sync_master_status": [{"Value": "OFF"}]})
    engine_on(sql).be_primary(waits_for_voters=True, takes_writes=True)
    switched = [statement[-3:].strip() for statement in sql.asked if "master_enabled" in statement]
    assert switched == ["OFF", "ON"]


def test_promotion_is_refused_while_something_received_is_not_applied() -> None:
    sql = FakeSql(source=[{**ROW, "Slave_SQL_Running": "No", "Slave_IO_Running": "No"}], now={"slave_pos": "0-2-5"})
    with pytest.raises(EngineError, match="applied"):
        engine_on(sql).be_primary(waits_for_voters=True, takes_writes=True)
    assert sql.asked == ["(takes over)"]


def test_follower_forgets_nothing_it_received_unless_it_may() -> None:
    behind = {"source": [{**ROW, "Slave_SQL_Running": "No", "Slave_IO_Running": "No"}], "now": {"slave_pos": "0-2-5"}}
    sql = FakeSql(**behind)
    with pytest.raises(EngineError):
        engine_on(sql).follow("w1", acknowledges=False, may_forget=False)
    assert sql.asked == ["(takes over)"]
    sql = FakeSql(**behind)
    engine_on(sql).follow("w1", acknowledges=False, may_forget=True)
    assert sql.asked[-2:] == ["CHANGE MASTER TO", "START REPLICA"]


class OtherReplica:
    """Another server of the tier, which has the next of `has` each time it is asked, and the last from then on."""

    def __init__(self, *has: str) -> None:
        self.has = list(has)
        self.is_forgotten = False

    def applied(self, wait_for: str) -> Position:
        return position_of(self.has.pop(0) if len(self.has) > 1 else self.has[0])

    def position(self, told: str) -> Position:
        return position_of(told)

    def forget(self) -> None:
        self.is_forgotten = True


def engine_beside(sql: FakeSql, other: OtherReplica) -> MariadbEngine:
    engine = engine_on(sql)
    engine._replica = lambda address: other  # type: ignore[method-assign, assignment, return-value]
    return engine


def test_voter_goes_ahead_only_to_who_has_all_that_is_here() -> None:
    """A source refuses a replica that has more than itself, and does not take it back when it has come."""
    sql, late = FakeSql(source=[ROW]), OtherReplica("0-2-6", "0-2-6", "0-2-7")
    engine_beside(sql, late).follow("w1", acknowledges=True, may_forget=False, goes_ahead=True)
    assert sql.asked[-2:] == ["CHANGE MASTER TO", "START REPLICA"]
    assert late.is_forgotten
    sql = FakeSql(source=[ROW])
    with pytest.raises(EngineError, match="w1 is behind"):
        engine_beside(sql, OtherReplica("0-2-6")).follow("w1", acknowledges=True, may_forget=False, goes_ahead=True)
    assert sql.asked == ["(takes over)", "STOP REPLICA IO_THREAD"], "it receives again from whom it did"


def test_what_the_asked_replica_has_is_seen_at_the_next_look() -> None:
    fed = {"Binlog Dump": [{"id": 5, "host": "198.18.1.2:40000"}]}
    engine = engine_beside(FakeSql(now={"waits_for_voters": 0}, other=fed), OtherReplica("0-2-7"))
    assert engine.look().feeds == {"db2": BEGINNING}
    engine.ask_replica("db2")
    assert engine.look().feeds == {"db2": position_of("0-2-7")}
    with pytest.raises(EngineError, match="w1 is not fed"):
        engine.ask_replica("w1")


def test_nobody_follows_while_clients_wait() -> None:
    sql = FakeSql(other={"Waiting for semi-sync": [{"query_id": 7}]})
    with pytest.raises(EngineError, match="wait"):
        engine_on(sql).follow("w1", acknowledges=False, may_forget=True)
    assert sql.asked == ["(takes over)"]


def test_former_primary_counts_its_own_log_as_received() -> None:
    sql = FakeSql(now={"binlog_pos": "0-1-9", "slave_pos": "0-2-4"})
    engine_on(sql).follow("db2", acknowledges=False, may_forget=False)
    assert "SET GLOBAL gtid_slave_pos = '0-1-9'" in sql.asked


def test_copy_without_a_log_keeps_the_position_it_came_with() -> None:
    sql = FakeSql(now={"binlog_pos": "", "slave_pos": "0-2-4"})
    engine_on(sql).follow("db2", acknowledges=False, may_forget=False)
    assert not [statement for statement in sql.asked if "gtid_slave_pos" in statement]


def test_torn_files_are_made_anew() -> None:
    sql = FakeSql(other={"START REPLICA": pymysql.err.OperationalError(1201, "torn")})
    engine_on(sql).follow("db2", acknowledges=False, may_forget=False)
    assert sql.asked[-4:] == ["START REPLICA", "RESET REPLICA ALL", "CHANGE MASTER TO", "START REPLICA"]


def test_receiving_is_not_resumed_while_nothing_is_applied() -> None:
    sql = FakeSql(source=[{**ROW, "Slave_SQL_Running": "No", "Slave_IO_Running": "No"}])
    with pytest.raises(EngineError, match="forgotten"):
        engine_on(sql).resume_receiving()
    assert sql.asked == ["(takes over)"]


def test_acknowledging_is_switched_while_nothing_is_received() -> None:
    sql = FakeSql(source=[ROW])
    engine_on(sql).acknowledge(on=True)
    assert sql.asked[1:] == [
        "STOP REPLICA IO_THREAD",
        "SET GLOBAL sync_relay_log = 1",
        "SET GLOBAL rpl_semi_sync_slave_enabled = ON",
        "START REPLICA IO_THREAD",
    ]


def test_freeze_that_takes_too_long_is_no_and_every_other_refusal_an_error() -> None:
    assert not engine_on(FakeSql(other={"read_only": pymysql.err.OperationalError(1969, "time is up")})).freeze(0.3)
    with pytest.raises(EngineError):
        engine_on(FakeSql(other={"read_only": pymysql.err.OperationalError(1227, "denied")})).freeze(0.3)
    assert engine_on(FakeSql()).freeze(0.3)


def test_only_who_waits_for_what_the_voter_has_is_released() -> None:
    waiting = {"Waiting for semi-sync": [{"query_id": 7}]}
    sql = FakeSql(now={"binlog_pos": "0-1-9"}, other=dict(waiting))
    assert engine_on(sql).release(position_of("0-1-8")) == 0
    assert sql.asked == ["(takes over)"]
    sql = FakeSql(now={"binlog_pos": "0-1-9"}, other=dict(waiting))
    assert engine_on(sql).release(position_of("0-1-9")) == 1
    assert sql.asked[-1] == "KILL QUERY ID 7"


def test_backup_lock_is_given_back_when_commits_do_not_end() -> None:
    sql = FakeSql(other={"BLOCK_COMMIT": pymysql.err.OperationalError(1969, "time is up")})
    with pytest.raises(EngineError):
        engine_on(sql).barrier()
    assert sql.asked[-1] == "BACKUP STAGE END"


def test_password_is_in_no_error() -> None:
    sql = FakeSql(other={"CHANGE MASTER": pymysql.err.OperationalError(1210, "wrong arguments")})
    with pytest.raises(EngineError) as raised:
        engine_on(sql).follow("db2", acknowledges=False, may_forget=False)
    assert PASSWORD not in f"{raised.value!r} {PLACES!r} {PLACES.settings!r}"


# --- numbers of starts ---------------------------------------------------------------------------------------------------
def test_each_start_has_a_number_that_no_other_start_of_any_host_has(tmp_path: Path) -> None:
    """Incident: a server skipped its own acknowledged writes when they came back to it, since they bore its number."""
    db1 = engine_on(FakeSql(), replace(PLACES, keep=tmp_path / "1"))
    db2 = engine_on(FakeSql(), replace(PLACES, keep=tmp_path / "2", server_id=2))
    numbers = [engine._new_server_id() for engine in (db1, db2) for _ in range(3)]
    assert len(set(numbers)) == 6
    assert all(0 < number < 1 << 32 for number in numbers)
    assert db1._new_server_id() > max(numbers[:3])


# --- the kernel's connections --------------------------------------------------------------------------------------------
@contextmanager
def talking() -> Iterator[tuple[socket.socket, socket.socket, int]]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as caller:
            called, _ = door.accept()
            with called:
                yield caller, called, port


def receive(caller: socket.socket, ended: list[OSError]) -> None:
    try:
        caller.recv(1)
    except OSError as error:
        ended.append(error)


def test_what_came_over_a_connection_is_seen_and_it_can_be_ended() -> None:
    with talking() as (caller, called, port):
        called.sendall(b"12345")
        assert caller.recv(5) == b"12345"
        (seen,) = [one for one in connections(peer_port=port) if one.is_established]
        assert seen.received == 5
        called.sendall(b"6")
        assert caller.recv(1) == b"6"
        later = again(seen)
        assert later is not None
        assert later.received == 6
        ended: list[OSError] = []
        waiting = threading.Thread(target=receive, args=(caller, ended))
        waiting.start()
        try:
            assert end(seen)
        except PermissionError:
            caller.shutdown(socket.SHUT_RDWR)
            pytest.skip("needs root")
        waiting.join(10)
        assert ended
        assert again(seen) is None


def test_connection_is_found_by_its_two_ends_and_a_door_is_none() -> None:
    with talking() as (caller, called, port):
        here, there = ("127.0.0.1", port), ("127.0.0.1", caller.getsockname()[1])
        found = find(here, there)
        assert found is not None
        assert (found.local_port, found.peer, found.peer_port, found.repeats) == (port, "127.0.0.1", there[1], 0)
        called.sendall(b"12345")
        caller.sendall(b"123")
        assert called.recv(3) == b"123"
        assert (found := find(here, there)) is not None
        assert found.received == 3
        # Somebody listens at this end, but nobody is connected from the other.
        assert find(here, ("127.0.0.2", there[1])) is None


def test_only_what_is_sent_again_counts_as_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer without room is asked again and again, too, and answers."""
    with talking() as (caller, _, port):
        ends = ("127.0.0.1", port), ("127.0.0.1", caller.getsockname()[1])
        (body,) = list(kernel._answers(kernel.SOCK_DIAG_BY_FAMILY, kernel.REQUEST, asked_of(*ends)))
    for timer, count, repeats in ((1, 3, 3), (4, 3, 0), (2, 3, 0), (0, 0, 0)):
        assert kernel._connection(body[:2] + bytes([timer, count]) + body[4:]).repeats == repeats


def asked_of(local: tuple[str, int], peer: tuple[str, int]) -> bytes:
    found = find(local, peer)
    assert found is not None
    asked = kernel.BODY.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, kernel.ALL_STATES)
    return asked + found.key


@pytest.mark.parametrize(("repeats", "is_dark"), [(0, False), (1, False), (2, True), (9, True), (None, False)])
def test_replica_that_confirms_nothing_is_dark(monkeypatch: pytest.MonkeyPatch, repeats: int | None, *, is_dark: bool) -> None:
    asked: list[object] = []

    def found(local: tuple[str, int], peer: tuple[str, int]) -> Connection | None:
        asked.append((local, peer))
        return None if repeats is None else Connection(3306, "198.18.1.2", 56840, 0, 0, b"", repeats=repeats)

    monkeypatch.setattr(mariadb, "find", found)
    assert engine_on(FakeSql())._is_dark("198.18.1.2:56840") is is_dark
    assert asked == [(("198.18.1.1", 3306), ("198.18.1.2", 56840))]
    assert not engine_on(FakeSql())._is_dark("localhost")


# --- ending the server ---------------------------------------------------------------------------------------------------
@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[MariadbEngine, Path]]:
    """An engine whose unit's control group holds a process called like the server; and that group's list."""
    program = tmp_path / "mariadbd"
    shutil.copy("/bin/sleep", program)
    group = tmp_path / "mariadb.service"
    group.mkdir()
    with subprocess.Popen([program, "60"]) as server:
        (group / "cgroup.procs").write_text(f"{server.pid}\n")
        engine, end = engine_on(FakeSql(), replace(PLACES, units=tmp_path)), time.monotonic() + 10
        # A process has its new name a moment after it was started.
        while engine.pid() != server.pid and time.monotonic() < end:
            time.sleep(0.001)
        yield engine, group / "cgroup.procs"
        server.kill()


def test_process_that_is_not_the_server_yet_is_looked_at_again(running: tuple[MariadbEngine, Path], tmp_path: Path) -> None:
    """systemd starts something of its own in the unit's group, which becomes the server without another number."""
    engine, group = running
    server = engine.pid()
    with subprocess.Popen(["/bin/sleep", "60"]) as other:
        group.write_text(f"{other.pid}\n")
        assert engine.pid() is None
        group.write_text(f"{other.pid}\n{server}\n")
        assert engine.pid() == engine.pid() == server
        group.write_text("")
        assert engine.pid() is None
        other.kill()


def put_systemctl(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    (folder / "systemctl").write_text(f"#!/bin/sh\n{does}\necho 'Job for mariadb.service canceled.' >&2\nexit 1\n")
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_stop_that_the_next_start_cancels_is_no_failure(
    running: tuple[MariadbEngine, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Incident: a server that was to restart with new settings was started by the loop before systemd had stopped it."""
    engine, group = running
    put_systemctl(tmp_path, monkeypatch, f": > {group}")
    engine.kill()


def test_stop_that_ends_nothing_is_an_error(
    running: tuple[MariadbEngine, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_systemctl(tmp_path, monkeypatch, ":")
    with pytest.raises(EngineError, match="canceled"):
        running[0].kill()

"""MySQL 9 as the agent drives it: what is seen of it, and the statements that give it a role, bounded and in a safe order.

What is the same as with MariaDB (its process, its connections, the lock that acting holds) is taken from there. What differs,
each tried with 9.7: there is no role at the start, so a server that crashed keeps what nobody acknowledged, and must be copied
when its successor lacks that; a waiting transaction is in no variable, so the log is read; a client that waits is let go by no
KILL, but by the next write that is acknowledged; `super_read_only` waits behind a waiting client, so it gets a deadline.
Source: https://dev.mysql.com/doc/refman/9.7/en/replication-semisync.html
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pymysql

from nospof.onhost.agent import mariadb_copy, mysql_copy
from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.mariadb import (
    DRAIN_S,
    LONG_TRANSACTIONS,
    READ_ONLY_S,
    START_S,
    MariadbEngine,
    MariadbPlaces,
    Replica,
    _code,
    _on,
    _systemctl,
    _told,
    _wait_until_gone,
)
from nospof.onhost.agent.mariadb_seen import Row, feeds_of
from nospof.onhost.agent.model import Position, Role, Server, Source
from nospof.onhost.agent.mysql_gtids import Gtids, gtids
from nospof.onhost.agent.mysql_log import LogEnd
from nospof.onhost.agent.mysql_seen import (
    FEEDS,
    IN_THE_MIDST,
    SEMI_SYNC,
    SOURCE,
    VARIABLES,
    WAITING,
    WAITS,
    received_of,
    source_of,
)
from nospof.onhost.mariadb_server import Server as Sql
from nospof.onhost.mariadb_server import quoted

RELEASE_S = 1.0
# What came whole is handed out to those who apply it in less; how long they take does not count.
IN_PART_S = 0.2
INTERRUPTED = 1317


@dataclass(frozen=True)
class MysqlPlaces(MariadbPlaces):
    """Where the server is, and how the hosts of its tier replicate from each other."""

    unit: str = "mysql.service"


class MysqlEngine(MariadbEngine):
    """The local server. One thread looks, one acts, one beats; each has connections of its own."""

    program = "mysqld"

    def __init__(self, places: MysqlPlaces, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(places, clock)
        self._log = self._new_log()
        self._compared_to = ""

    # --- looking -------------------------------------------------------------------------------------------------
    def look(self) -> Server:
        """See the server in two statements, a primary in five; about 2 ms."""
        if self._looked_at != (pid := self.pid()):
            self._looking.forget()  # it led to the process before
            # What was torn when that ended is cut off: another transaction has its number now.
            self._looked_at, self._log, self._compared_to = pid, self._new_log(), ""
        with _told("no answer to a look", self._looking):
            # What was received before what is applied: never the other way round, or it would seem to be drained.
            rows = self._looking.rows(SOURCE)
            now = self._looking.rows(VARIABLES)[0]
            is_semi_sync = bool(now["waits_for_voters"]) and self._looking.rows(SEMI_SYNC)[0]["Value"] == "ON"
            waiting = int(self._looking.rows(WAITS)[0]["Value"]) if is_semi_sync else 0
            fed = [] if rows else [row for row in self._looking.rows(FEEDS) if row["host"] not in self._dark]
            executed = gtids(now["executed"])
            received = received_of(rows[0], executed) if rows else executed
            written = executed if rows else self._logged(executed)
        return Server(
            is_running=True,
            answers=True,
            is_read_only=bool(now["is_read_only"]),
            waits_for_voters=is_semi_sync,
            waiting=waiting,
            acknowledges=bool(now["acknowledges"]),
            source=self._compared(rows[0], executed) if rows else None,
            written=written.position,
            received=received.position,
            applied=executed.position,
            feeds={node: self._confirmed_by(node, place) for node, (_, place) in feeds_of(fed, self.settings).items()},
        )

    def _logged(self, executed: Gtids) -> Gtids:
        """With what is in the log and waits to be committed."""
        last = self._log.read()
        return executed.up_to(last.source, last.number) if last else executed

    def _new_log(self) -> LogEnd:
        return LogEnd(self.places.data.data, self.places.data.binlog)

    def _compared(self, row: Row, executed: Gtids) -> Source:
        """See the source; until it was found to have all that is here, it counts as one from which nothing comes.

        The source itself looks for its own writes only, and would feed a replica that has others which nobody else has. Its own
        are left out here: one that waits for a voter is not among what it has executed.
        """
        source = source_of(row, self.settings)
        if not source.is_receiving or self._compared_to == source.node or source.node not in self.places.members:
            return source
        upstream = self._replica(self.places.members[source.node])
        try:
            theirs = upstream.applied("")
        except (pymysql.Error, OSError) as error:
            return replace(source, is_receiving=False, error=f"{source.node} does not say what it has: {error}")
        finally:
            upstream.forget()
        if theirs.covers(executed.without_source(row["Source_UUID"]).position):
            self._compared_to = source.node
            return source
        return replace(source, is_receiving=False, needs_copy=True, error=f"has transactions that {source.node} does not have")

    # --- starting and ending -------------------------------------------------------------------------------------
    def start(self, role: Role) -> None:
        """Start by systemd; there is no role at the start. The unit's file is there only as long as this takes."""
        mariadb_copy.recover(self.places.data)
        mysql_copy.be_somebody(self.places.data)
        allowed = self.places.role_file
        allowed.parent.mkdir(parents=True, exist_ok=True)
        allowed.write_text(f"# {role.value}\n")
        try:
            _systemctl("start", self.places.unit, limit_s=START_S)
        finally:
            allowed.unlink(missing_ok=True)
        if self.pid() is None:
            raise EngineError(f"{self.places.unit} did not start: journalctl -u {self.places.unit}")
        self._acting.forget()
        sql = Sql(self.places.socket)
        with _told("the started server does not answer", sql):
            is_read_only = sql.rows("SELECT @@GLOBAL.super_read_only AS it")[0]["it"]
        sql.forget()
        if not is_read_only:
            raise EngineError("the server started writable: its configuration is not ours")

    # --- as a replica --------------------------------------------------------------------------------------------
    def resume_receiving(self) -> None:
        """Not while nothing is applied, as with MariaDB."""
        with self._acts("receiving was not started") as sql:
            row = _source_row(sql)
            if row is None or row["Replica_SQL_Running"] != "Yes":
                raise EngineError("receiving is not started: nothing is applied")
            sql.rows("START REPLICA IO_THREAD")

    def follow(self, node: str, *, acknowledges: bool, may_forget: bool, goes_ahead: bool = False) -> None:
        """Also what a former primary does that waits for nobody any more: what it has executed counts as received.

        What is received is forgotten by CHANGE REPLICATION SOURCE, so it must be applied, or `may_forget`. Files that a power
        cut left torn are made anew then.
        """
        change = self._change_source(node)
        with self._acts(f"cannot follow {node}") as sql:
            if sql.rows(WAITING):
                raise EngineError(f"cannot follow {node}: clients wait for an acknowledgement")
            row = _source_row(sql)
            if row is not None and not may_forget:
                self._drain(sql, row)
            if goes_ahead:
                self._let_come(node, sql)
            self._read_only(sql, READ_ONLY_S)
            sql.rows("SET GLOBAL rpl_semi_sync_source_enabled = OFF")
            self._stop(sql)
            self._compared_to = ""
            self._set_acknowledging(sql, on=acknowledges)
            try:
                sql.rows(change)
                sql.rows("START REPLICA")
            except pymysql.Error:
                # Torn, or of the host that the data was copied from.
                if not may_forget and row is not None:
                    raise
                sql.rows("RESET REPLICA ALL")
                sql.rows(change)
                sql.rows("START REPLICA")

    def acknowledge(self, *, on: bool) -> None:
        """Switched while nothing is received, so that what `look` says of it is true at every moment."""
        with self._acts("acknowledging was not switched") as sql:
            row = _source_row(sql)
            is_asking = row is not None and row["Replica_IO_Running"] != "No"
            if is_asking:
                self._stop_receiving(sql)
            self._set_acknowledging(sql, on=on)
            if is_asking and row is not None and row["Replica_SQL_Running"] == "Yes":
                sql.rows("START REPLICA IO_THREAD")

    # --- as the primary ------------------------------------------------------------------------------------------
    def be_primary(self, *, waits_for_voters: bool, takes_writes: bool) -> None:
        """Waiting goes on before writes are taken, and goes off, which releases who waits, only after they are stopped.

        Raises EngineError, still a replica, while what was received is not applied.
        """
        with self._acts("is not made primary") as sql:
            row = _source_row(sql)
            if row is not None:
                self._drain(sql, row)
                self._stop(sql)
                sql.rows("RESET REPLICA ALL")
            sql.rows("SET GLOBAL rpl_semi_sync_replica_enabled = OFF")
            if not takes_writes:
                self._read_only(sql, READ_ONLY_S)
            self._wait_for_voters(sql, on=waits_for_voters)
            if takes_writes:
                sql.rows("SET GLOBAL read_only = OFF")

    def freeze(self, within_s: float) -> bool:
        """`super_read_only` waits for all commits, a session without an acknowledgement too, and holds others up meanwhile."""
        with self._acts("writes were not stopped") as sql:
            try:
                self._read_only(sql, within_s)
            except pymysql.Error as error:
                if _code(error) != INTERRUPTED:
                    raise
                return False
        return True

    def may_hand_over(self) -> str:
        """Ask what would hold `freeze` up, or be lost by it."""
        with self._acts("cannot say whether it may hand over") as sql:
            long = sql.rows(LONG_TRANSACTIONS)
            if long:
                return f"connection {long[0]['id']} has a transaction open for {long[0]['age_s']:.0f} s"
            change = sql.rows(TABLE_CHANGES)
            if change:
                return f"connection {change[0]['id']} changes a table"
            return "a backup is made" if sql.rows(LOCKED_AS_A_WHOLE) else ""

    def barrier(self) -> Position:
        """All that is in the log: what comes later begins with waiting for voters on, so it waits."""
        with self._acts("cannot say what is written") as sql:
            return self._logged(gtids(sql.rows(VARIABLES)[0]["executed"])).position

    def release(self, received: Position) -> int:
        """Write a row, as no KILL lets anybody go: with its acknowledgement all that was written before it is acknowledged.

        Not the row of `beat`, which may wait itself and holds its row locked, nor that of an earlier call.
        """
        sql, number = Sql(self.places.socket, RELEASE_S), 2 + int(10 * self.clock()) % 120
        with _told("who waits was not released", sql):
            waiting = {row["id"] for row in sql.rows(WAITING)}
            sql.rows(f"REPLACE INTO nospof.pulse VALUES ({number}, CURRENT_TIMESTAMP(3))")
            waiting -= {row["id"] for row in sql.rows(WAITING)}
        sql.forget()
        return len(waiting)

    def load_certificates(self) -> None:
        """Have the server read its certificate again; this is never written to the log."""
        sql = Sql(self.places.socket)
        with _told("certificates were not loaded", sql):
            sql.rows("ALTER INSTANCE RELOAD TLS")
        sql.forget()

    # --- coming back ---------------------------------------------------------------------------------------------
    def save_beyond(self, keeps: Position, into: Path) -> int:
        return mysql_copy.save_beyond(self.places.data, keeps, into)

    def copy_from(self, node: str, progress: Callable[[str], None]) -> None:
        mysql_copy.copy_from(self.places.data, node, self.settings, progress)

    def first_data(self) -> None:
        mysql_copy.first_data(self.places.data)

    # --- steps ---------------------------------------------------------------------------------------------------
    def _drain(self, sql: Sql, row: Row) -> None:
        """Stop receiving and wait until all is applied; else receive again if it did, and raise EngineError."""
        was_asking = row["Replica_IO_Running"] != "No"
        if was_asking:
            self._stop_receiving(sql)
        row = _source_row(sql) or row
        received, executed = self._has(sql, row)
        if row["Replica_SQL_Running"] == "Yes" and not executed.covers(received):
            sql.rows(f"SELECT WAIT_FOR_EXECUTED_GTID_SET({_quoted(row['Retrieved_Gtid_Set'])}, {DRAIN_S})")
            received, executed = self._has(sql, row)
        if executed.covers(received):
            return
        if was_asking and row["Replica_SQL_Running"] == "Yes":
            sql.rows("START REPLICA IO_THREAD")
        raise EngineError(f"has received {received} and applied {executed}")

    def _stop(self, sql: Sql) -> None:
        """Stop receiving, then applying; both may be stopped already.

        Of a transaction that came in part STOP REPLICA waits a minute for the rest, which nobody sends any more. KILL ends that
        at once, and what was begun is rolled back, but no longer does so after STOP REPLICA. So who is still in the midst of a
        transaction after a moment is ended before.
        """
        self._stop_receiving(sql)
        until_s = self.clock() + IN_PART_S
        while rows := sql.rows(IN_THE_MIDST):
            if self.clock() > until_s:
                with suppress(pymysql.Error):  # it ended by itself
                    sql.rows(f"KILL {int(rows[0]['id'])}")
                _wait_until_gone(sql, int(rows[0]["id"]), self.clock)
                break
            time.sleep(0.005)
        sql.rows("STOP REPLICA")

    def _has(self, sql: Sql, row: Row) -> tuple[Position, Position]:
        executed = gtids(sql.rows(VARIABLES)[0]["executed"])
        return received_of(row, executed).position, executed.position

    def _read_only(self, sql: Sql, within_s: float) -> None:
        """Raises pymysql.Error, INTERRUPTED, with everything as before, when it could not be had in time.

        No setting of the server's bounds this in less than a second, so another connection ends the statement.
        """
        own = int(sql.rows("SELECT CONNECTION_ID() AS it")[0]["it"])
        try:
            with _ended_after(within_s, own, Sql(self.places.socket)):
                sql.rows("SET GLOBAL super_read_only = ON")
        finally:
            with suppress(pymysql.Error):  # what came too late to end that statement ends this one
                sql.rows("DO 0")

    def _set_acknowledging(self, sql: Sql, *, on: bool) -> None:
        sql.rows(f"SET GLOBAL sync_relay_log = {1 if on and self.places.syncs_relay_log else 0}")
        sql.rows(f"SET GLOBAL rpl_semi_sync_replica_enabled = {_on(on)}")

    def _wait_for_voters(self, sql: Sql, *, on: bool) -> None:
        """A server that gave up waiting by itself is switched off first: else ON would change nothing."""
        is_on = bool(sql.rows(VARIABLES)[0]["waits_for_voters"])
        if is_on and (not on or sql.rows(SEMI_SYNC)[0]["Value"] != "ON"):
            sql.rows("SET GLOBAL rpl_semi_sync_source_enabled = OFF")
            is_on = False
        if on and not is_on:
            sql.rows("SET GLOBAL rpl_semi_sync_source_enabled = ON")

    def _change_source(self, node: str) -> str:
        set_to = self.settings
        return (
            f"CHANGE REPLICATION SOURCE TO SOURCE_HOST = {quoted(set_to.members[node])}, SOURCE_PORT = {set_to.port}, "
            f"SOURCE_USER = {quoted(set_to.user)}, SOURCE_PASSWORD = {quoted(set_to.password)}, "
            f"SOURCE_SSL = 1, SOURCE_SSL_VERIFY_SERVER_CERT = 1, SOURCE_SSL_CA = {quoted(set_to.ca)}, "
            f"SOURCE_SSL_CERT = {quoted(set_to.certificate)}, SOURCE_SSL_KEY = {quoted(set_to.key)}, "
            "SOURCE_AUTO_POSITION = 1, SOURCE_HEARTBEAT_PERIOD = 0.2, SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 86400"
        )

    def _wait_for(self, sql: Sql) -> str:
        return "".join(str(sql.rows(VARIABLES)[0]["executed"]).split())

    def _replica(self, address: str) -> Replica:
        return MysqlReplica(address, self.settings)


class MysqlReplica(Replica):
    """Another server of the tier, asked over the network what it has executed."""

    wait, ask = "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)", "SELECT @@GLOBAL.gtid_executed"

    def position(self, told: str) -> Position:
        return gtids(told).position


@contextmanager
def _ended_after(limit_s: float, connection: int, other: Sql) -> Iterator[None]:
    """End the connection's statement, over the other one, if it takes longer; nothing that comes after it is ended."""
    is_over = threading.Event()

    def end_it() -> None:
        if not is_over.wait(limit_s):
            with suppress(pymysql.Error, OSError):
                other.rows(f"KILL QUERY {connection}")

    other.rows("DO 0")
    helper = threading.Thread(target=end_it, daemon=True)
    helper.start()
    try:
        yield
    finally:
        is_over.set()
        helper.join()
        other.forget()


def _source_row(sql: Sql) -> Row | None:
    rows = sql.rows(SOURCE)
    return rows[0] if rows else None


def _quoted(told: str) -> str:
    return quoted("".join(told.split()))


TABLE_CHANGES = """
SELECT id AS id FROM performance_schema.processlist
WHERE command = 'Query' AND time > 0
  AND info REGEXP '^[[:space:]]*(ALTER|CREATE|OPTIMIZE|DROP|TRUNCATE|REPAIR|RENAME)[[:space:]]'
"""
# FLUSH TABLES WITH READ LOCK.
LOCKED_AS_A_WHOLE = """
SELECT 1 AS it FROM performance_schema.metadata_locks
WHERE object_type IN ('GLOBAL', 'COMMIT') AND lock_type = 'SHARED'
"""

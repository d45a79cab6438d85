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
from nospof.onhost.agent.mariadb import (
    DRAIN_S,
    MariadbEngine,
    MariadbPlaces,
    Replica,
    _told,
    _wait_until_gone,
)
from nospof.onhost.agent.mariadb_seen import Row, feeds_of, waits_of
from nospof.onhost.agent.model import Position, Role, Server, Source
from nospof.onhost.agent.mysql_gtids import Gtids, gtids
from nospof.onhost.agent.mysql_log import LogEnd
from nospof.onhost.agent.mysql_seen import (
    FEEDS,
    IN_THE_MIDST,
    MYSQL,
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
SOON_S = 0.005


@dataclass(frozen=True)
class MysqlPlaces(MariadbPlaces):
    """Where the server is, and how the hosts of its tier replicate from each other."""

    unit: str = "mysql.service"


class MysqlEngine(MariadbEngine):
    """The local server. One thread looks, one acts, one beats; each has connections of its own."""

    program = "mysqld"
    says = MYSQL

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
            is_semi_sync, waiting = waits_of(self._looking.rows(WAITS)) if now["waits_for_voters"] else (False, 0)
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
        mysql_copy.be_somebody(self.places.data, self._kept)
        self._start(f"# {role.value}\n")

    # --- as the primary ------------------------------------------------------------------------------------------
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

    # --- coming back ---------------------------------------------------------------------------------------------
    def save_beyond(self, keeps: Position, into: Path) -> int:
        return mysql_copy.save_beyond(self.places.data, keeps, into)

    def copy_from(self, node: str, progress: Callable[[str], None]) -> None:
        mysql_copy.copy_from(self.places.data, node, self.settings, self._kept, progress)

    def first_data(self) -> None:
        mysql_copy.first_data(self.places.data, self._kept)

    @property
    def _kept(self) -> Path:
        return self.places.keep / self.places.tier

    # --- steps ---------------------------------------------------------------------------------------------------
    def _wait_applied(self, sql: Sql, row: Row) -> None:
        sql.rows(f"SELECT WAIT_FOR_EXECUTED_GTID_SET({_quoted(row['Retrieved_Gtid_Set'])}, {DRAIN_S})")

    def _stop_applying(self, sql: Sql) -> None:
        """Nothing is received any more. Whom it follows next is compared anew.

        Of a transaction that came in part STOP REPLICA waits a minute for the rest, which nobody sends any more. KILL ends that
        at once, and what was begun is rolled back, but no longer does so after STOP REPLICA. So who is still in the midst of a
        transaction after a moment is ended before.
        """
        until_s = self.clock() + IN_PART_S
        while rows := sql.rows(IN_THE_MIDST):
            if self.clock() > until_s:
                with suppress(pymysql.Error):  # it ended by itself
                    sql.rows(f"KILL {int(rows[0]['id'])}")
                _wait_until_gone(sql, int(rows[0]["id"]), self.clock)
                break
            time.sleep(SOON_S)
        sql.rows("STOP REPLICA")
        self._compared_to = ""

    def _may_begin_anew(self, error: pymysql.Error, *, may_forget: bool) -> bool:
        """Torn files, or those of the host that the data was copied from."""
        return may_forget

    def _is_backed_up(self, sql: Sql) -> bool:
        return bool(sql.rows(LOCKED_AS_A_WHOLE))

    def _know_own_log(self, sql: Sql) -> None:
        """What it has executed it knows by itself."""

    def _has(self, sql: Sql, row: Row) -> tuple[Position, Position]:
        executed = gtids(sql.rows(VARIABLES)[0]["executed"])
        return received_of(row, executed).position, executed.position

    def _read_only(self, sql: Sql, within_s: float) -> None:
        """Raises pymysql.Error (1317), with everything as before, when it could not be had in time.

        No setting of the server's bounds this in less than a second, so another connection ends the statement.
        """
        own = int(sql.rows("SELECT CONNECTION_ID() AS it")[0]["it"])
        try:
            with _ended_after(within_s, own, Sql(self.places.socket)):
                sql.rows("SET GLOBAL super_read_only = ON")
        finally:
            with suppress(pymysql.Error):  # what came too late to end that statement ends this one
                sql.rows("DO 0")

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


def _quoted(told: str) -> str:
    return quoted("".join(told.split()))


# FLUSH TABLES WITH READ LOCK.
LOCKED_AS_A_WHOLE = """
SELECT 1 AS it FROM performance_schema.metadata_locks
WHERE object_type IN ('GLOBAL', 'COMMIT') AND lock_type = 'SHARED'
"""

"""MariaDB 11.8 as the agent drives it: what is seen of it, and the statements that give it a role, bounded and in a safe order.

Every statement about replication goes over one connection that holds a lock of the server's (`GET_LOCK`): whoever takes it
first ends the connection that had it and waits until that is gone, so that no statement of an earlier connection, of this agent
or of one that died, can still have an effect. What the server really does is tried in tests/lab/test_mariadb_facts.py.
Source: https://mariadb.com/docs/server/ha-and-performance/standard-replication
"""

from __future__ import annotations

import os
import select
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import pymysql.cursors

from nospof.onhost.agent import mariadb_copy
from nospof.onhost.agent.connections import Connection, again, connections, end, find
from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.mariadb_reception import Donor
from nospof.onhost.agent.mariadb_seen import (
    FEEDS,
    MARIADB,
    QUESTIONS,
    SOURCE,
    VARIABLES,
    WAITING,
    WAITS,
    Row,
    Settings,
    feeds_of,
    furthest,
    position_of,
    received_of,
    source_of,
    waits_of,
)
from nospof.onhost.agent.model import BEGINNING, Position, Role, Server
from nospof.onhost.mariadb_server import SOCKET, quoted
from nospof.onhost.mariadb_server import Server as Sql

LOOK_S, ASK_S, APPLY_S = 0.9, 0.3, 0.1
# Another replica of the same primary is given so many times APPLY_S to come to where this one is.
COMES_TRIES = 4
# Recovery reads the whole redo log back; a process that waits for a stalled disk does not end before the disk goes on.
START_S, END_S = 900.0, 10.0
DRAIN_S, BARRIER_S, READ_ONLY_S = 1.0, 1.0, 0.3
LONG_TRANSACTION_S = 1.0
# What is on its way to a replica, heartbeats at least, is sent again after 0.2 s, and after 0.4 s more.
MOST_REPEATS = 2
# Hosts of one stack have numbers up to 1023; the other 22 bits are minutes since 2026, which repeat after eight years.
NUMBER_BITS, EPOCH_MINUTES = 10, 29_453_760
LOCK, LOCK_S = "'nospof_acts'", 2.0
# The files that say whom a replica follows, or what it received, cannot be read: a power cut leaves them so.
TORN = {29, 1201, 1872}
NO_SUCH_DATABASE, NO_SUCH_TABLE = 1049, 1146
PULSE = (
    "CREATE DATABASE IF NOT EXISTS nospof",
    "CREATE TABLE IF NOT EXISTS nospof.pulse (id TINYINT PRIMARY KEY, beaten_at TIMESTAMP(3) NOT NULL) ENGINE=InnoDB",
)
BEAT = "REPLACE INTO nospof.pulse VALUES (1, CURRENT_TIMESTAMP(3))"


@dataclass(frozen=True)
class MariadbPlaces:
    """Where the server is, and how the hosts of its tier replicate from each other. `members`: host → address."""

    tier: str
    host: str
    members: Mapping[str, str]
    port: int
    copy_port: int
    server_id: int
    replication_user: str
    replication_password: str = field(repr=False)
    ca: str
    certificate: str
    key: str
    syncs_relay_log: bool = True
    """Whether an acknowledgement says that the write is on this host's disk."""
    socket: str = SOCKET
    unit: str = "mariadb.service"
    run: Path = Path("/run/nospof")
    keep: Path = Path("/var/lib/nospof")
    units: Path = Path("/sys/fs/cgroup/system.slice")
    data: mariadb_copy.Places = field(default_factory=mariadb_copy.Places)

    @property
    def role_file(self) -> Path:
        """What the server's unit reads its role from; without it nobody can start the server."""
        return self.run / self.tier / "server.env"

    @property
    def settings(self) -> Settings:
        return Settings(
            members=self.members,
            port=self.port,
            user=self.replication_user,
            password=self.replication_password,
            ca=self.ca,
            certificate=self.certificate,
            key=self.key,
        )


class MariadbEngine:
    """The local server. One thread looks, one acts, one beats; each has connections of its own."""

    program = "mariadbd"
    says = MARIADB

    def __init__(self, places: MariadbPlaces, clock: Callable[[], float] = time.monotonic) -> None:
        self.places, self.settings, self.clock = places, places.settings, clock
        self._looking = Sql(places.socket, LOOK_S)
        self._acting = Acting(places.socket)
        self._beating = Sql(places.socket, None)
        self._asking = Sql(places.socket)
        self._counting = Sql(places.socket, LOOK_S)
        self._dark: frozenset[str] = frozenset()
        self._looked_at: int | None = None
        self._replicas: dict[str, Replica] = {}
        self._confirmed: dict[str, tuple[str, Position]] = {}
        self._received: dict[bytes, Connection] = {}
        self._heard = 0
        self._processes = places.units / places.unit / "cgroup.procs"
        self._server: tuple[str, int] | None = None

    # --- looking -------------------------------------------------------------------------------------------------
    def pid(self) -> int | None:
        """Read from the unit's control group, where nothing else ever runs for long.

        A process of this list that was the server once is it as long as the list is the same; one that was not may become it.
        """
        try:
            found = self._processes.read_text()
        except OSError:
            return None
        if self._server is None or self._server[0] != found:
            pid = next((int(pid) for pid in found.split() if _name_of(pid) == self.program), None)
            if pid is None:
                return None
            self._server = (found, pid)
        return self._server[1]

    def look(self) -> Server:
        """See the server in two statements, a primary in five; about 1 ms."""
        if self._looked_at != (pid := self.pid()):
            self._looking.forget()  # it led to the process before
            self._looked_at = pid
        with _told("no answer to a look", self._looking):
            # What was received before what is applied: never the other way round, or it would seem to be drained.
            rows = self._looking.rows(SOURCE)
            now = self._looking.rows(VARIABLES)[0]
            is_semi_sync, waiting = waits_of(self._looking.rows(WAITS)) if now["waits_for_voters"] else (False, 0)
            fed = [] if rows else [row for row in self._looking.rows(FEEDS) if row["host"] not in self._dark]
            feeds = feeds_of(fed, self.settings)
        written, slave = position_of(now["binlog_pos"]), position_of(now["slave_pos"])
        applied = slave if rows else furthest(written, slave)
        return Server(
            is_running=True,
            answers=True,
            is_read_only=bool(now["is_read_only"]),
            waits_for_voters=is_semi_sync,
            waiting=waiting,
            acknowledges=bool(now["acknowledges"]),
            source=source_of(rows[0], self.settings) if rows else None,
            written=written,
            received=received_of(rows[0], applied) if rows else applied,
            applied=applied,
            feeds={node: self._confirmed_by(node, place) for node, (_, place) in feeds.items()},
        )

    def heard(self) -> object:
        """Count whenever bytes came over a connection of the server to a primary: its heartbeats, which come each 0.2 s."""
        try:
            now = {one.key: one for one in map(again, self._received.values()) if one}
            if not self._is_more(now):
                now = {one.key: one for one in self._to_primary() if one.received}
        except OSError as error:
            raise EngineError(f"the kernel does not tell its connections: {error}") from error
        self._heard += self._is_more(now)
        self._received = now
        return self._heard

    def questions(self) -> tuple[int, int]:
        with _told("cannot say how much is asked", self._counting):
            asked = int(self._counting.rows(QUESTIONS)[0]["Value"])
        ours = (self._looking, self._acting, self._beating, self._asking, self._counting)
        return asked, sum(sql.sent for sql in ours)

    def has_data(self) -> bool:
        return mariadb_copy.has_data(self.places.data)

    # --- starting and ending -------------------------------------------------------------------------------------
    def start(self, role: Role) -> None:
        """Start by systemd, with the role on the command line. The role's file is there only as long as this takes.

        In role SLAVE after a power cut the server cuts off transactions of its own that were acknowledged and that the new
        primary has. It would skip those when they come back, silently, since they bear its own number: so it gets a new one.
        """
        mariadb_copy.recover(self.places.data)
        self._start(f"NOSPOF_ROLE=--init-rpl-role={role.value} --server-id={self._new_server_id()}\n")

    def _start(self, allowed: str) -> None:
        """Start the unit, which does not without its role's file, and see that it is read-only. Raises EngineError."""
        role_file = self.places.role_file
        role_file.parent.mkdir(parents=True, exist_ok=True)
        role_file.write_text(allowed)
        try:
            _systemctl("start", self.places.unit, limit_s=START_S)
        finally:
            role_file.unlink(missing_ok=True)
        if self.pid() is None:
            raise EngineError(f"{self.places.unit} did not start: journalctl -u {self.places.unit}")
        self._acting.forget()
        sql = Sql(self.places.socket)
        with _told("the started server does not answer", sql):
            is_read_only = sql.rows(f"SELECT @@GLOBAL.{self.says.read_only} AS it")[0]["it"]
        sql.forget()
        if not is_read_only:
            raise EngineError("the server started writable: its configuration is not ours")

    def kill(self) -> None:
        """By its own handle, then have systemd know that it is gone, and forget any start that waits."""
        pid = self.pid()
        if pid is not None:
            _kill(pid)
        try:
            _systemctl("stop", self.places.unit, limit_s=END_S)
        except EngineError:
            # The loop may start it again meanwhile, which cancels the stop: the server that was to end is gone all the same.
            if pid is None or self.pid() == pid:
                raise
        self._acting.forget()

    # --- as a replica --------------------------------------------------------------------------------------------
    def stop_receiving(self) -> None:
        """With a primary whose host is dark this takes 4 ms, not one second: see `_hastened`."""
        with self._acts("receiving was not stopped") as sql:
            self._stop_receiving(sql)

    def resume_receiving(self) -> None:
        """Not while nothing is applied: with both threads stopped the server forgets what it received."""
        with self._acts("receiving was not started") as sql:
            row = _source_row(sql)
            if row is None or not self._applies(row):
                raise EngineError("receiving is not started: nothing is applied, so what was received would be forgotten")
            sql.rows("START REPLICA IO_THREAD")

    def follow(self, node: str, *, acknowledges: bool, may_forget: bool, goes_ahead: bool = False) -> None:
        """Also what a former primary does that waits for nobody any more: what it has written counts as received.

        What is received is forgotten by CHANGE MASTER, so it must be applied, or `may_forget`. Files that a power cut left torn
        are made anew then.
        """
        change = self._change_source(node)
        with self._acts(f"cannot follow {node}") as sql:
            if sql.rows(self.says.waiting):
                raise EngineError(f"cannot follow {node}: clients wait for an acknowledgement")
            row = _source_row(sql)
            if row is not None and not may_forget:
                self._drain(sql, row)
            if goes_ahead:
                self._let_come(node, sql)
            self._read_only(sql, READ_ONLY_S)
            sql.rows(f"SET GLOBAL {self.says.waits} = OFF")
            self._stop(sql)
            self._set_acknowledging(sql, on=acknowledges)
            if row is None:
                self._know_own_log(sql)
            try:
                sql.rows(change)
                sql.rows("START REPLICA")
            except pymysql.Error as error:
                if not self._may_begin_anew(error, may_forget=may_forget or row is None):
                    raise
                sql.rows("RESET REPLICA ALL")
                sql.rows(change)
                sql.rows("START REPLICA")

    def acknowledge(self, *, on: bool) -> None:
        """Switched while nothing is received, so that what `look` says of it is true at every moment."""
        with self._acts("acknowledging was not switched") as sql:
            row = _source_row(sql)
            is_asking = row is not None and self._asks(row)
            if is_asking:
                self._stop_receiving(sql)
            self._set_acknowledging(sql, on=on)
            if is_asking and row is not None and self._applies(row):
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
                self._stop_applying(sql)
                sql.rows("RESET REPLICA ALL")
            sql.rows(f"SET GLOBAL {self.says.acknowledges} = OFF")
            if not takes_writes:
                self._read_only(sql, READ_ONLY_S)
            self._wait_for_voters(sql, on=waits_for_voters)
            if takes_writes:
                sql.rows("SET GLOBAL read_only = OFF")

    def freeze(self, within_s: float) -> bool:
        """Read-only waits for all commits, a session without an acknowledgement too, and holds others up meanwhile."""
        with self._acts("writes were not stopped") as sql:
            try:
                self._read_only(sql, within_s)
            except pymysql.Error as error:
                if _code(error) not in self.says.took_too_long:
                    raise
                return False
        return True

    def may_hand_over(self) -> str:
        """Ask what would hold `freeze` up, or be lost by it."""
        with self._acts("cannot say whether it may hand over") as sql:
            long = sql.rows(LONG_TRANSACTIONS)
            if long:
                return f"connection {long[0]['id']} has a transaction open for {long[0]['age_s']:.0f} s"
            change = sql.rows(self.says.table_changes)
            if change:
                return f"connection {change[0]['id']} changes a table"
            return "a backup is made" if self._is_backed_up(sql) else ""

    def barrier(self) -> Position:
        """Hold commits for some milliseconds. Raises EngineError while one waits for a voter, or a backup is made."""
        with self._acts("cannot wait for commits to end") as sql:
            try:
                for stage in ("START", "BLOCK_COMMIT"):
                    sql.rows(f"SET STATEMENT max_statement_time = {BARRIER_S} FOR BACKUP STAGE {stage}")
                return position_of(sql.rows(VARIABLES)[0]["binlog_pos"])
            finally:
                with suppress(pymysql.Error):
                    sql.rows("BACKUP STAGE END")

    def end_feeds(self, nodes: frozenset[str]) -> None:
        """One at a time, each until it is gone: two changes at once have made the primary hang (decision 0006)."""
        addresses = {self.places.members[node] for node in nodes if node in self.places.members}
        with self._acts("a feed was not ended") as sql:
            for feed in sql.rows(FEEDS):
                if str(feed["host"]).rpartition(":")[0] in addresses:
                    with suppress(pymysql.Error):  # it ended by itself
                        sql.rows(f"KILL {int(feed['id'])}")
                    _wait_until_gone(sql, int(feed["id"]), self.clock)

    def beat(self) -> None:
        """Write a row, as an application would."""
        with _told("the row was not written", self._beating):
            try:
                self._beating.rows(BEAT)
            except pymysql.Error as error:
                if _code(error) not in (NO_SUCH_DATABASE, NO_SUCH_TABLE):
                    raise
                for statement in PULSE:
                    self._beating.rows(statement)

    def ask_replicas(self) -> None:
        """Over connections to them that stay open: the server itself does not tell what a replica has."""
        with _told("cannot say who is fed", self._asking):
            rows = self._asking.rows(FEEDS)
            self._dark = frozenset(str(row["host"]) for row in rows if self._is_dark(str(row["host"])))
            self._end_one_dark_feed(rows)
            feeds = feeds_of([row for row in rows if row["host"] not in self._dark], self.settings)
            written = self._wait_for(self._asking)
        self._ask_replicas(feeds, written)

    def ask_replica(self, node: str) -> None:
        """Over the connection of `ask_replicas`, which is open already."""
        with self._acts(f"{node} was not asked what it has") as sql:
            feeds = feeds_of(sql.rows(FEEDS), self.settings)
            if node not in feeds:
                raise EngineError(f"{node} is not fed from here")
            self._ask_replica(node, feeds[node][1], self._wait_for(sql))

    def _wait_for(self, sql: Sql) -> str:
        """What replicas are to have, as the server writes it."""
        return str(sql.rows(VARIABLES)[0]["binlog_pos"])

    def _is_dark(self, place: str) -> bool:
        """Whether the replica at `place` ("address:port") does not confirm what is sent to it, heartbeats at least."""
        address, _, port = place.rpartition(":")
        if address not in self.places.members.values():
            return False
        here = (self.places.members[self.places.host], self.places.port)
        feed = find(here, (address, int(port)))
        return feed is not None and feed.repeats >= MOST_REPEATS

    def _end_one_dark_feed(self, rows: list[dict[str, Any]]) -> None:
        """Before the replica is back, and one at a time: else every new connection to the primary may hang (decision 0006)."""
        for row in rows:
            if row["host"] in self._dark:
                with suppress(pymysql.Error):  # it ended by itself
                    self._asking.rows(f"KILL {int(row['id'])}")
                return

    def release(self, received: Position) -> int:
        """Let those clients go whose writes are all within `received`; returns how many.

        For the return of a lone voter that got everything before it acknowledged: the server asks it for no acknowledgement of
        what it sent before, so its clients would wait for ever. Only for what the published voter itself says to have.
        """
        with self._acts("who waits was not released") as sql:
            waiting = sql.rows(WAITING)
            # Read after the list: all that they wait for is within it.
            if not received.covers(position_of(sql.rows(VARIABLES)[0]["binlog_pos"])):
                return 0
            for query in waiting:
                with suppress(pymysql.Error):  # it was acknowledged meanwhile
                    sql.rows(f"KILL QUERY ID {int(query['query_id'])}")
            return len(waiting)

    def load_certificates(self) -> None:
        """Have the server read its certificate again; this is never written to the log."""
        sql = Sql(self.places.socket)
        with _told("certificates were not loaded", sql):
            sql.rows(self.says.loads_certificates)
        sql.forget()

    # --- coming back ---------------------------------------------------------------------------------------------
    def save_beyond(self, keeps: Position, into: Path) -> int:
        return mariadb_copy.save_beyond(self.places.data, keeps, into)

    def copy_from(self, node: str, progress: Callable[[str], None]) -> None:
        places = self.places
        donor = Donor(node, places.members[node], places.copy_port, places.tier, places.ca, places.certificate, places.key)
        mariadb_copy.copy_from(places.data, donor, progress)

    def first_data(self) -> None:
        mariadb_copy.first_data(self.places.data)

    # --- steps ---------------------------------------------------------------------------------------------------
    def _new_server_id(self) -> int:
        """A number that no host has and this one never had: its own in the low bits, above them one that only grows."""
        kept = self.places.keep / self.places.tier / "server-starts"
        last = int(kept.read_text()) if kept.exists() else 0
        starts = max(last + 1, int(time.time()) // 60 - EPOCH_MINUTES)
        _write_for_good(kept, f"{starts}\n")
        return (starts % (1 << 32 - NUMBER_BITS) << NUMBER_BITS) | self.places.server_id

    @contextmanager
    def _acts(self, what: str) -> Iterator[Sql]:
        with _told(what, self._acting):
            self._acting.take_over()
            yield self._acting

    def _stop_receiving(self, sql: Sql) -> None:
        with self._hastened():
            sql.rows("STOP REPLICA IO_THREAD")

    @contextmanager
    def _hastened(self) -> Iterator[None]:
        """End the server's connections to a primary for as long as this lasts.

        A voter that stops asks its primary to end the feed, over a new connection, and waits one second for one that is dark.
        """
        is_over = threading.Event()

        def end_them() -> None:
            while not is_over.wait(0.001):
                try:
                    for connection in self._to_primary():
                        end(connection)
                except OSError:
                    return  # a kernel that cannot do this: one second it is

        helper = threading.Thread(target=end_them, daemon=True)
        helper.start()
        try:
            yield
        finally:
            is_over.set()
            helper.join()

    def _let_come(self, node: str, sql: Sql) -> None:
        """Wait until `node` has all that is here: else it would refuse this replica, as one with another history."""
        here, other = self._wait_for(sql), self._replica(self.places.members[node])
        try:
            if not any(other.applied(here).covers(other.position(here)) for _ in range(COMES_TRIES)):
                raise EngineError(f"{node} is behind")
        finally:
            other.forget()

    def _asks(self, row: Row) -> bool:
        return bool(row[self.says.receives] != "No")

    def _applies(self, row: Row) -> bool:
        return bool(row[self.says.applies] == "Yes")

    def _drain(self, sql: Sql, row: Row) -> None:
        """Stop receiving and wait until all is applied; else receive again if it did, and raise EngineError."""
        was_asking = self._asks(row)
        if was_asking:
            self._stop_receiving(sql)
        row = _source_row(sql) or row
        received, applied = self._has(sql, row)
        if self._applies(row) and not applied.covers(received):
            self._wait_applied(sql, row)
            received, applied = self._has(sql, row)
        if applied.covers(received):
            return
        if was_asking and self._applies(row):
            sql.rows("START REPLICA IO_THREAD")
        raise EngineError(f"has received {received} and applied {applied}")

    def _has(self, sql: Sql, row: Row) -> tuple[Position, Position]:
        """What it has received, and applied, in this order."""
        return position_of(row["Gtid_IO_Pos"]), position_of(sql.rows(VARIABLES)[0]["slave_pos"])

    def _wait_applied(self, sql: Sql, row: Row) -> None:
        sql.rows(f"SELECT MASTER_GTID_WAIT({quoted(row['Gtid_IO_Pos'])}, {DRAIN_S})")

    def _stop(self, sql: Sql) -> None:
        """Stop receiving, then applying; both may be stopped already."""
        row = _source_row(sql)
        if row is not None and self._asks(row):
            self._stop_receiving(sql)
        self._stop_applying(sql)

    def _stop_applying(self, sql: Sql) -> None:
        sql.rows("STOP ALL REPLICAS")

    def _may_begin_anew(self, error: pymysql.Error, *, may_forget: bool) -> bool:
        """Whether what this server remembers of whom it follows may go, after it could not be changed."""
        return _code(error) in TORN

    def _is_backed_up(self, sql: Sql) -> bool:
        try:
            sql.rows("SET STATEMENT max_statement_time = 0.05 FOR BACKUP STAGE START")
            sql.rows("BACKUP STAGE END")
        except pymysql.Error as error:
            if _code(error) not in self.says.took_too_long:
                raise
            return True
        return False

    def _know_own_log(self, sql: Sql) -> None:
        """A former primary's own log says how far it is; never less than it knows.

        Not by MASTER_DEMOTE_TO_SLAVE, which counts only what bears the server's present number.
        """
        now = sql.rows(VARIABLES)[0]
        written, known = position_of(now["binlog_pos"]), position_of(now["slave_pos"])
        if written.covers(known) and written != known:
            sql.rows(f"SET GLOBAL gtid_slave_pos = {quoted(now['binlog_pos'])}")

    def _read_only(self, sql: Sql, within_s: float) -> None:
        sql.rows(f"SET STATEMENT max_statement_time = {within_s} FOR SET GLOBAL read_only = ON")

    def _set_acknowledging(self, sql: Sql, *, on: bool) -> None:
        """While nothing is received. Who acknowledges syncs each event it received; who does not would only fall behind."""
        sql.rows(f"SET GLOBAL sync_relay_log = {1 if on and self.places.syncs_relay_log else 0}")
        sql.rows(f"SET GLOBAL {self.says.acknowledges} = {_on(on)}")

    def _wait_for_voters(self, sql: Sql, *, on: bool) -> None:
        """A server that gave up waiting by itself, for want of memory, is switched off first: else ON would change nothing."""
        is_on = bool(sql.rows(self.says.variables)[0]["waits_for_voters"])
        if is_on and (not on or sql.rows(self.says.semi_sync)[0]["Value"] != "ON"):
            sql.rows(f"SET GLOBAL {self.says.waits} = OFF")
            is_on = False
        if on and not is_on:
            sql.rows(f"SET GLOBAL {self.says.waits} = ON")

    def _change_source(self, node: str) -> str:
        set_to = self.settings
        return (
            f"CHANGE MASTER TO MASTER_HOST = {quoted(set_to.members[node])}, MASTER_PORT = {set_to.port}, "
            f"MASTER_USER = {quoted(set_to.user)}, MASTER_PASSWORD = {quoted(set_to.password)}, "
            f"MASTER_SSL = 1, MASTER_SSL_VERIFY_SERVER_CERT = 1, MASTER_SSL_CA = {quoted(set_to.ca)}, "
            f"MASTER_SSL_CERT = {quoted(set_to.certificate)}, MASTER_SSL_KEY = {quoted(set_to.key)}, "
            "MASTER_USE_GTID = slave_pos, MASTER_HEARTBEAT_PERIOD = 0.2, MASTER_CONNECT_RETRY = 1"
        )

    def _is_more(self, now: Mapping[bytes, Connection]) -> bool:
        """Whether anything came, or something that had come was taken: a server that is slow to take it hears too."""
        before = self._received
        return any(
            key not in before or one.received > before[key].received or one.unread < before[key].unread
            for key, one in now.items()
        )

    def _to_primary(self) -> list[Connection]:
        """The server's own connections to another one: replication uses nothing else."""
        pid = self.pid()
        if pid is None:
            return []
        uid = Path(f"/proc/{pid}").stat().st_uid
        return [one for one in connections(peer_port=self.places.port) if one.uid == uid]

    # --- what replicas have --------------------------------------------------------------------------------------
    def _confirmed_by(self, node: str, place: str) -> Position:
        """What it said over this very feed; nothing of an earlier one, since which it may have forgotten something."""
        known_place, position = self._confirmed.get(node, ("", BEGINNING))
        return position if known_place == place else BEGINNING

    def _replica(self, address: str) -> Replica:
        return Replica(address, self.settings)

    def _ask_replicas(self, feeds: Mapping[str, tuple[int, str]], written: str) -> None:
        for node in set(self._replicas) - set(feeds):
            self._replicas.pop(node).forget()
        for node, (_, place) in feeds.items():
            if node in self.places.members:
                with suppress(pymysql.Error, OSError):
                    # Mostly it has everything, and need not be told to wait for it.
                    self._ask_replica(node, place, "")
                    if not self._confirmed[node][1].covers(self._replicas[node].position(written)):
                        self._ask_replica(node, place, written)

    def _ask_replica(self, node: str, place: str, written: str) -> None:
        replica = self._replicas.setdefault(node, self._replica(self.places.members[node]))
        self._confirmed[node] = (place, replica.applied(written))


class Acting(Sql):
    """The connection over which roles are changed: the only one of its kind, since it holds the lock."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._has_lock_of: object = None

    def take_over(self) -> None:
        """Hold the lock, ending whoever has it. Raises EngineError while an earlier statement still runs."""
        if self._connection is not None and self._has_lock_of is self._connection:
            return
        holder = self.rows(f"SELECT IS_USED_LOCK({LOCK}) AS it")[0]["it"]
        if holder is not None:
            with suppress(pymysql.Error):  # it is gone already
                self.rows(f"KILL {int(holder)}")
        if self.rows(f"SELECT GET_LOCK({LOCK}, {LOCK_S}) AS it")[0]["it"] != 1:
            raise EngineError("an earlier connection of the agent's still runs a statement")
        self._has_lock_of = self._connection


class Replica:
    """A replica that is fed from here, asked over the network how far it is, with the account of replication."""

    wait, ask = "SELECT MASTER_GTID_WAIT(%s, %s)", "SELECT @@GLOBAL.gtid_slave_pos"

    def __init__(self, address: str, settings: Settings) -> None:
        self._address, self._settings, self._lock = address, settings, threading.Lock()
        self._connection: pymysql.Connection[pymysql.cursors.Cursor] | None = None

    def applied(self, wait_for: str) -> Position:
        """What it has applied, and thereby on its disk, after it was given a moment for `wait_for` ("": none); needs no right.

        Raises pymysql.Error or OSError, within 0.3 s. Two threads may ask.
        """
        with self._lock:
            return self._applied(wait_for)

    def _applied(self, wait_for: str) -> Position:
        if self._connection is None:
            context = ssl.create_default_context(cafile=self._settings.ca)
            context.load_cert_chain(self._settings.certificate, self._settings.key)
            self._connection = pymysql.connect(
                host=self._address,
                port=self._settings.port,
                user=self._settings.user,
                password=self._settings.password,
                ssl=context,
                autocommit=True,
                connect_timeout=ASK_S,
                read_timeout=ASK_S,
                write_timeout=ASK_S,
            )
        try:
            with self._connection.cursor() as cursor:
                if wait_for:
                    cursor.execute(self.wait, (wait_for, APPLY_S))
                cursor.execute(self.ask)
                row = cursor.fetchone()
        except (pymysql.Error, OSError):
            self.forget()
            raise
        return self.position(row[0] if row else "")

    def position(self, told: str) -> Position:
        return position_of(told)

    def forget(self) -> None:
        if self._connection is not None:
            self._connection._force_close()  # type: ignore[attr-defined]
            self._connection = None


def _write_for_good(path: Path, text: str) -> None:
    """Replace the file so that a power cut right afterwards does not bring the old one back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    with new.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(path)
    for folder in (path.parent, path.parent.parent):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# --- the server's process ------------------------------------------------------------------------------------------------
def _name_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _kill(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        if not select.select([handle], [], [], END_S)[0]:
            raise EngineError(f"the server does not end within {END_S:.0f} s of SIGKILL: its disk does not answer")
    finally:
        os.close(handle)


def _systemctl(verb: str, unit: str, *, limit_s: float) -> None:
    try:
        done = subprocess.run(["systemctl", verb, unit], capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"systemctl {verb} {unit} takes longer than {limit_s:.0f} s") from error
    if done.returncode != 0:
        raise EngineError(f"systemctl {verb} {unit}: {done.stderr.strip()}")


# --- SQL -----------------------------------------------------------------------------------------------------------------
@contextmanager
def _told(what: str, sql: Sql) -> Iterator[None]:
    """Turn the client's errors into EngineError; the connection is not used again."""
    try:
        yield
    except (pymysql.Error, OSError) as error:
        sql.forget()
        raise EngineError(f"{what}: {error.args[-1] if error.args else type(error).__name__}") from error


def _source_row(sql: Sql) -> Row | None:
    rows = sql.rows(SOURCE)
    return rows[0] if rows else None


def _wait_until_gone(sql: Sql, thread: int, clock: Callable[[], float]) -> None:
    until_s = clock() + LOCK_S
    while sql.rows(f"SELECT id FROM information_schema.processlist WHERE id = {thread}"):
        if clock() > until_s:
            raise EngineError(f"feed {thread} does not end")
        time.sleep(0.005)


def _code(error: pymysql.Error) -> object:
    return error.args[0] if error.args else None


def _on(value: bool) -> str:
    return "ON" if value else "OFF"


LONG_TRANSACTIONS = f"""
SELECT trx_mysql_thread_id AS id, TIMESTAMPDIFF(MICROSECOND, trx_started, NOW(6)) / 1e6 AS age_s
FROM information_schema.innodb_trx
WHERE trx_rows_modified > 0 AND TIMESTAMPDIFF(MICROSECOND, trx_started, NOW(6)) > {LONG_TRANSACTION_S * 1e6:.0f}
"""

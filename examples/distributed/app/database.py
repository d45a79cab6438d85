"""The guestbook's entries in MariaDB: writes go to the primary, reads to a replica.

Three things are kept apart because their callers must act differently: a write the database acknowledged (`Written`), one
that certainly did not happen (`Unavailable`), and one of which nobody knows (`OutcomeUnknown`).

Each request has a connection of its own: a fresh one always leads to the server that is primary now, and a failure to
connect is known to have written nothing. It costs a TLS handshake, some milliseconds.

Source: https://mariadb.com/kb/en/gtid/, https://mariadb.com/kb/en/master_gtid_wait/
"""

import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from threading import BoundedSemaphore
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import pymysql
from pymysql.constants import ER

CONNECT_TIMEOUT_S = 2
ANSWER_TIMEOUT_S = 5
PROBE_TIMEOUT_S = 1
# No further attempt to read begins after this time, so that a page is answered, if only with regret.
LAST_ATTEMPT_S = 6
# How long a replica may take to catch up with a visitor's own entry before the primary is asked instead.
CATCH_UP_S = 0.2
# Writes wait for a replica's acknowledgement. Without this limit they would occupy every thread while none answers, and
# pages that only read, and /health, would stop too.
WRITES_AT_ONCE = 8
WRITE_QUEUE_S = 0.2

# As a position to read from: nothing older than what the primary has.
PRIMARY_ONLY = ""

READ_ONLY = {ER.OPTION_PREVENTS_STATEMENT, 1836}  # 1836: ER_READ_ONLY_MODE, which PyMySQL does not name
# Errors after which nothing was written. An error that is not listed leaves the outcome unknown: a killed connection
# or a shutdown, for example, may end the wait for a replica after the entry was committed.
REFUSED = {
    ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK, ER.NO_SUCH_TABLE, ER.TABLEACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR,
    ER.RECORD_FILE_FULL, ER.DISK_FULL,
}  # fmt: skip

log = logging.getLogger("guestbook")


class Route(StrEnum):
    WRITE = "write"
    READ = "read"


class Cursor(Protocol):
    @property
    def rowcount(self) -> int: ...
    @property
    def lastrowid(self) -> int: ...
    def execute(self, query: str, args: tuple[Any, ...] | None = None, /) -> int: ...
    def fetchall(self) -> Sequence[tuple[Any, ...]]: ...


class Connection(Protocol):
    def cursor(self) -> Cursor: ...
    def close(self) -> None: ...


# (route, seconds to wait for an answer) -> a connection that commits each statement by itself
Connect = Callable[[Route, float], Connection]


class Unavailable(Exception):
    """The database did not do it, for certain; trying again later is safe."""


class NoPrimary(Unavailable):
    """The server reached is read-only: nobody is primary right now."""


class OutcomeUnknown(Exception):
    """The entry was sent and no answer came: it may or may not be in the book."""


@dataclass(frozen=True)
class Entry:
    token: str
    name: str
    message: str
    id: int = 0
    written_at: datetime | None = None


@dataclass(frozen=True)
class Server:
    name: str
    is_primary: bool

    @property
    def role(self) -> str:
        return "primary" if self.is_primary else "replica"


@dataclass(frozen=True)
class Written:
    id: int
    is_new: bool
    position: str
    server: Server | None


@dataclass(frozen=True)
class Answer:
    entries: tuple[Entry, ...]
    server: Server
    is_current: bool


@dataclass(frozen=True)
class Probe:
    duration_ms: float
    server: Server | None
    error: str | None


def connect_with(environment: Mapping[str, str]) -> Connect:
    """Return what opens connections to DATABASE_URL (write) and DATABASE_READ_URL (read), over TLS that is verified."""
    write_url = environment["DATABASE_URL"]
    urls = {Route.WRITE: write_url, Route.READ: environment.get("DATABASE_READ_URL", write_url)}

    def connect(route: Route, answer_timeout_s: float) -> Connection:
        url = urlsplit(urls[route])
        ca = parse_qs(url.query).get("ssl_ca", [None])[0]
        return pymysql.connect(
            host=url.hostname or "",
            port=url.port or 3306,
            user=unquote(url.username or ""),
            password=unquote(url.password or ""),
            database=url.path.lstrip("/"),
            # The authority and the host name are verified; read anew each time, since certificates are renewed.
            ssl=ssl.create_default_context(cafile=ca) if ca else None,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=answer_timeout_s,
            write_timeout=answer_timeout_s,
        )

    return connect


class Database:
    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._writers = BoundedSemaphore(WRITES_AT_ONCE)

    def write(self, entry: Entry) -> Written:
        """Store `entry` and return once the database acknowledged it.

        The same token again stores nothing and returns the first entry's id, with the same guarantee.
        Raises Unavailable when nothing was written, OutcomeUnknown when that cannot be said.
        """
        if not self._writers.acquire(timeout=WRITE_QUEUE_S):
            raise Unavailable("too many writes are waiting for the database")
        try:
            with self._connected(Route.WRITE, ANSWER_TIMEOUT_S) as connection:
                cursor = connection.cursor()
                _insert(cursor, entry)
                written_id, is_new = cursor.lastrowid, cursor.rowcount == 1
                position, server = _position_of_write(cursor)
                return Written(written_id, is_new, position, server)
        finally:
            self._writers.release()

    def newest(self, before: int | None, limit: int, since: str | None) -> Answer:
        """Return up to `limit` entries, the newest first, older than the id `before`; None means from the start.

        `since` is the position of the visitor's own write: where no server that has it answers, `is_current` is False.
        """
        return self._read(NEWEST, (before, before, limit), since)

    def find(self, column: str, value: str | int, since: str | None) -> Answer:
        """Return the entry whose `column` (id or token) is `value`, or none.

        That there is none is said by the primary only, since a replica may not have it yet; else raises Unavailable.
        """
        answer = self._read(FIND[column], (value,), since)
        return answer if answer.entries else self._read_primary(FIND[column], (value,))

    def after(self, after: int, limit: int) -> Answer:
        """Return up to `limit` entries with ids above `after`, oldest first, complete as of now: from the primary."""
        return self._read_primary(AFTER, (after, limit))

    def probe(self, route: Route) -> Probe:
        """Ask who answers on `route`; the write route is well only if that is a primary."""
        begin = time.monotonic()
        server, error = None, None
        try:
            with self._connected(route, PROBE_TIMEOUT_S) as connection:
                server = _server(connection.cursor())
            if route is Route.WRITE and not server.is_primary:
                error = "read-only: no primary right now"
        except (Unavailable, pymysql.MySQLError, OSError) as problem:
            error = str(problem)
        return Probe(round((time.monotonic() - begin) * 1000, 1), server, error)

    def prepare(self) -> None:
        """Create the table if it is missing and the primary answers; otherwise the first write does it."""
        try:
            with self._connected(Route.WRITE, ANSWER_TIMEOUT_S) as connection:
                cursor = connection.cursor()
                try:
                    # CREATE … IF NOT EXISTS would be written to the binary log at every start.
                    cursor.execute("SELECT 1 FROM entries LIMIT 1")
                except pymysql.ProgrammingError:
                    cursor.execute(CREATE)
        except (Unavailable, pymysql.MySQLError, OSError) as problem:
            log.warning("the table was not prepared: %s", problem)

    @contextmanager
    def _connected(self, route: Route, answer_timeout_s: float) -> Iterator[Connection]:
        try:
            connection = self._connect(route, answer_timeout_s)
        except (pymysql.MySQLError, OSError) as problem:
            log.warning("%s route: %s", route, problem)
            raise Unavailable(f"no connection on the {route} route") from problem
        try:
            yield connection
        finally:
            connection.close()

    def _read(self, query: str, arguments: tuple[Any, ...], since: str | None) -> Answer:
        """Read from the read route; from the primary if that does not answer or is behind `since`."""
        begin = time.monotonic()
        answer = None
        try:
            answer = self._read_twice(Route.READ, query, arguments, since, begin)
            if answer.is_current:
                return answer
        except Unavailable:
            pass
        try:
            return self._read_twice(Route.WRITE, query, arguments, since, begin)
        except Unavailable:
            if answer is None:
                raise
            return answer

    def _read_primary(self, query: str, arguments: tuple[Any, ...]) -> Answer:
        answer = self._read_twice(Route.WRITE, query, arguments, PRIMARY_ONLY, time.monotonic())
        if not answer.is_current:
            raise NoPrimary(f"{answer.server.name} is read-only")
        return answer

    def _read_twice(self, route: Route, query: str, arguments: tuple[Any, ...], since: str | None, begin: float) -> Answer:
        for _ in range(2):
            if time.monotonic() - begin > LAST_ATTEMPT_S:
                break
            try:
                with self._connected(route, ANSWER_TIMEOUT_S) as connection:
                    return _ask(connection.cursor(), query, arguments, since)
            except Unavailable:
                continue
            except (pymysql.MySQLError, OSError) as problem:
                log.warning("%s route: %s", route, problem)
        raise Unavailable(f"no answer on the {route} route")


def _insert(cursor: Cursor, entry: Entry) -> None:
    arguments = (entry.token, entry.name, entry.message)
    try:
        try:
            cursor.execute(INSERT, arguments)
        except pymysql.ProgrammingError as problem:
            if problem.args[0] != ER.NO_SUCH_TABLE:
                raise
            _create(cursor)
            cursor.execute(INSERT, arguments)
    except (pymysql.MySQLError, OSError) as problem:
        log.warning("write: %s", problem)
        code = problem.args[0] if problem.args else None
        if code in READ_ONLY:
            raise NoPrimary("the server is read-only") from problem
        if code in REFUSED:
            raise Unavailable(f"refused with error {code}") from problem
        raise OutcomeUnknown from problem


def _create(cursor: Cursor) -> None:
    try:
        cursor.execute(CREATE)
    except (pymysql.MySQLError, OSError) as problem:
        if problem.args and problem.args[0] in READ_ONLY:
            raise
        raise Unavailable("the table is missing and could not be created") from problem


def _position_of_write(cursor: Cursor) -> tuple[str, Server | None]:
    """Return where the write is in the binary log; PRIMARY_ONLY if the server died after acknowledging it."""
    try:
        cursor.execute("SELECT @@last_gtid")
        return cursor.fetchall()[0][0] or PRIMARY_ONLY, _server(cursor)
    except (pymysql.MySQLError, OSError):
        return PRIMARY_ONLY, None


def _ask(cursor: Cursor, query: str, arguments: tuple[Any, ...], since: str | None) -> Answer:
    server = _server(cursor)
    is_current = since is None or server.is_primary or _has_applied(cursor, since)
    try:
        cursor.execute(query, arguments)
        rows = cursor.fetchall()
    except pymysql.ProgrammingError as problem:
        if problem.args[0] != ER.NO_SUCH_TABLE:
            raise
        rows = ()  # Nobody has written yet.
    return Answer(tuple(Entry(*row) for row in rows), server, is_current)


def _server(cursor: Cursor) -> Server:
    cursor.execute("SELECT @@hostname, @@global.read_only")
    name, read_only = cursor.fetchall()[0]
    return Server(name, str(read_only) in ("0", "OFF"))  # MariaDB 12 answers with a word


def _has_applied(cursor: Cursor, position: str) -> bool:
    # Asked of replicas only: on a primary the function waits for a position that never comes.
    if position == PRIMARY_ONLY:
        return False
    cursor.execute("SELECT MASTER_GTID_WAIT(%s, %s)", (position, CATCH_UP_S))
    return bool(cursor.fetchall()[0][0] == 0)


CREATE = """CREATE TABLE IF NOT EXISTS entries (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  token VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE,
  name VARCHAR(80) NOT NULL,
  message VARCHAR(2000) NOT NULL,
  written_at DATETIME(3) NOT NULL,
  attempts INT UNSIGNED NOT NULL DEFAULT 1
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4"""

# A repeated token changes `attempts`, so that its answer too waits for a replica's acknowledgement. A mere SELECT could see
# an entry that a cut-off primary committed and nobody else has.
INSERT = """INSERT INTO entries (token, name, message, written_at) VALUES (%s, %s, %s, UTC_TIMESTAMP(3))
ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id), attempts = attempts + 1"""

SELECT = "SELECT token, name, message, id, written_at FROM entries "
NEWEST = SELECT + "WHERE (%s IS NULL OR id < %s) ORDER BY id DESC LIMIT %s"
AFTER = SELECT + "WHERE id > %s ORDER BY id LIMIT %s"
FIND = {"id": SELECT + "WHERE id = %s", "token": SELECT + "WHERE token = %s"}

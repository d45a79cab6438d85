"""The program of the SQL loads. It runs on an application's host, on its own: standard library and PyMySQL (1.1 or later) only.

`python3 -I - OPTIONS < sql_client.py` reads DATABASE_URL and DATABASE_READ_URL in the application's environment file, as the
application has them, and uses the same route: name, port, TLS verified with the stack's CA. Secrets are in no argument.

    write    clients that write one row after the other (closed loop), each over a connection that it keeps
    connect  at fixed times: a new connection over the route for writes, one question, close (open loop)
    read     the same over the route for reads

What became of each attempt stays in memory until the end, and then goes to standard output as JSON lines: see `sql_write.py`.
Beside that, the folder has `progress` (JSON, replaced ten times a second); the load ends once `stop` is there, and
its clients take breath between two writes once `calm` is.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pymysql

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
# Errors of the server after which nothing was written: read-only (1290, 1836), lock wait and deadlock (1205, 1213), no such
# table (1146), no right (1142, 1044). After any other, as that of a shutdown or a killed session, it may have been.
REFUSED = {1290, 1836, 1205, 1213, 1146, 1142, 1044}
PROGRESS_EVERY_S, SLEEPER_S, CALM_S = 0.1, 0.005, 0.1
# Attempts of an open loop that hang at once; what finds no place is written down as not sent.
MOST_AT_ONCE = 200
TABLE_WITHIN_S = 20.0


@dataclass(frozen=True)
class Options:
    kind: str
    folder: Path
    environment: Path
    table: str
    clients: int
    every_ms: float
    seconds: float
    pause_ms: float
    connect_timeout_s: float
    answer_timeout_s: float
    is_fresh: bool


@dataclass(frozen=True)
class Attempt:
    """One write or one question; times in seconds of CLOCK_MONOTONIC."""

    client: int
    token: str
    invoked: float
    ended: float
    outcome: str
    server_id: int | None = None
    error: str = ""


@dataclass
class Seen:
    """What happened so far. Appending is one step for all threads; only counts are read meanwhile."""

    attempts: list[Attempt] = field(default_factory=list)
    good: int = 0
    last_good: float = 0.0
    most_late_s: float = 0.0
    pause_s: float = 0.0
    """Between a good write and the next one."""
    crashes: list[str] = field(default_factory=list)
    """Of the load itself: what it saw then is not to be believed."""

    def add(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        if attempt.outcome == OK:
            self.good += 1
            self.last_good = max(self.last_good, attempt.ended)


@dataclass(frozen=True)
class Route:
    """How the application reaches the database."""

    url: str = field(repr=False)
    connect_timeout_s: float
    answer_timeout_s: float
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, name: str, options: Options) -> Route:
        url = read_environment(options.environment)[name]
        ca = parse_qs(urlsplit(url).query).get("ssl_ca", [""])[0]
        tls = ssl.create_default_context(cafile=ca) if ca else None
        return cls(url, options.connect_timeout_s, options.answer_timeout_s, tls)

    def connect(self) -> Session:
        url = urlsplit(self.url)
        connection = pymysql.connect(
            host=url.hostname or "",
            port=url.port or 3306,
            user=unquote(url.username or ""),
            password=unquote(url.password or ""),
            database=url.path.lstrip("/"),
            ssl=self.tls,
            autocommit=True,
            connect_timeout=self.connect_timeout_s,
            read_timeout=self.answer_timeout_s,
            write_timeout=self.answer_timeout_s,
        )
        return Session(connection)


class Session:
    """A connection and the server at its other end, which does not change while it lives."""

    def __init__(self, connection: pymysql.Connection[Any]) -> None:
        self._connection = connection
        self.server_id = 0
        try:
            self.server_id = int(self.ask("SELECT @@server_id")[0])
        except BaseException:
            self.close()
            raise

    def ask(self, statement: str, *values: str | int) -> tuple[Any, ...]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchone() or ()

    def close(self) -> None:
        with suppress(pymysql.Error, OSError):
            self._connection.close()


def read_environment(path: Path) -> dict[str, str]:
    """Read a file of systemd's form NAME="value"."""
    lines = [line.partition("=") for line in path.read_text().splitlines() if "=" in line]
    return {name: "".join(shlex.split(value)) for name, _, value in lines}


# --- writing ---------------------------------------------------------------------------------------------------------
class Writer:
    """A client that writes one row after the other until it is told to stop."""

    def __init__(self, number: int, route: Route, options: Options) -> None:
        self.number, self.route, self.options = number, route, options
        self.session: Session | None = None
        self.statement = f"INSERT INTO `{options.table}` (token, written_by) VALUES (%s, @@server_id)"  # noqa: S608 - of the drill

    def write(self, token: str) -> Attempt:
        """Write one row; whatever happens is in the result, and after anything but success the connection is closed."""
        invoked, server_id, outcome, error = time.monotonic(), None, FAILED, ""
        try:
            self.session = self.session or self.route.connect()
            server_id, outcome = self.session.server_id, UNKNOWN
            self.session.ask(self.statement, token)
            outcome = OK
        except (pymysql.Error, OSError) as caught:
            outcome = FAILED if was_refused(caught) else outcome
            error = said(caught)
        ended = time.monotonic()
        if outcome != OK or self.options.is_fresh:
            self.close()
        return Attempt(self.number, token, invoked, ended, outcome, server_id, error)

    def close(self) -> None:
        if self.session:
            self.session.close()
        self.session = None

    def run(self, seen: Seen, stop: threading.Event) -> None:
        count = 0
        while not stop.is_set():
            attempt = self.write(f"{self.options.folder.name}-{self.number}-{count}")
            seen.add(attempt)
            count += 1
            stop.wait(seen.pause_s if attempt.outcome == OK else self.options.pause_ms / 1000)
        self.close()


def was_refused(error: Exception) -> bool:
    return isinstance(error, pymysql.MySQLError) and bool(error.args) and error.args[0] in REFUSED


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(part) for part in error.args)}"[:200]


def make_table(route: Route, table: str) -> None:
    """Make the table, trying until the database takes it. Raises the last error after 20 s."""
    until = time.monotonic() + TABLE_WITHIN_S
    while True:
        try:
            session = route.connect()
            # `token` is not unique: a row that is there twice is to be seen.
            session.ask(
                f"CREATE TABLE IF NOT EXISTS `{table}` (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, "
                "token VARCHAR(40) NOT NULL, written_by INT UNSIGNED NOT NULL)"
            )
        except (pymysql.Error, OSError):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return session.close()


def run_writers(options: Options, seen: Seen, stop: threading.Event) -> None:
    route = Route.of("DATABASE_URL", options)
    make_table(route, options.table)
    with each_in_a_thread([Writer(number, route, options).run for number in range(options.clients)], seen, stop):
        stop.wait()


Loop = Callable[[Seen, threading.Event], None]


@contextmanager
def each_in_a_thread(loops: Sequence[Loop], seen: Seen, stop: threading.Event) -> Iterator[None]:
    """Run the loops beside what is in the block, and have all of them end after it, or when one crashes."""
    threads = [threading.Thread(target=crashing_aloud, args=(loop, seen, stop)) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def crashing_aloud(loop: Loop, seen: Seen, stop: threading.Event) -> None:
    try:
        loop(seen, stop)
    except Exception as error:
        seen.crashes.append(said(error))
        stop.set()


# --- asking at fixed times -------------------------------------------------------------------------------------------
def ask_once(number: int, intended: float, route: Route) -> Attempt:
    """Open a connection, which asks for the server's number, and close it. No outcome is unknown: nothing was to change."""
    try:
        session = route.connect()
    except (pymysql.Error, OSError) as error:
        return Attempt(0, str(number), intended, time.monotonic(), FAILED, None, said(error))
    ended = time.monotonic()
    session.close()
    return Attempt(0, str(number), intended, ended, OK, session.server_id)


def run_questions(options: Options, seen: Seen, stop: threading.Event) -> None:
    route = Route.of("DATABASE_READ_URL" if options.kind == "read" else "DATABASE_URL", options)
    first, number = time.monotonic(), 0
    places = threading.Semaphore(MOST_AT_ONCE)

    def one(number: int, intended: float) -> None:
        crashing_aloud(lambda seen, _: seen.add(ask_once(number, intended, route)), seen, stop)
        places.release()

    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        while not stop.wait(max(0.0, first + number * options.every_ms / 1000 - time.monotonic())):
            intended = first + number * options.every_ms / 1000
            if places.acquire(blocking=False):
                pool.submit(one, number, intended)
            else:
                seen.add(Attempt(0, str(number), intended, time.monotonic(), FAILED, None, "not sent: too many hang"))
            number += 1


# --- beside the load -------------------------------------------------------------------------------------------------
def watch(options: Options, seen: Seen, stop: threading.Event) -> None:
    """Stop the load when its time is over or the file `stop` is there, and tell how far it is until then."""
    until = time.monotonic() + options.seconds
    while not stop.wait(PROGRESS_EVERY_S):
        tell(options.folder, seen)
        if time.monotonic() > until or (options.folder / "stop").exists():
            stop.set()
        if (options.folder / "calm").exists():
            seen.pause_s = CALM_S
    tell(options.folder, seen)


def tell(folder: Path, seen: Seen) -> None:
    new = folder / "progress.new"
    new.write_text(json.dumps({"attempts": len(seen.attempts), "good": seen.good, "last_good": seen.last_good}))
    new.rename(folder / "progress")


def sleep_lightly(seen: Seen, stop: threading.Event) -> None:
    """Wake up each 5 ms and note the longest delay: how long the machine, or this program, stood still."""
    before = time.monotonic()
    while not stop.is_set():
        time.sleep(SLEEPER_S)
        now = time.monotonic()
        seen.most_late_s = max(seen.most_late_s, now - before - SLEEPER_S)
        before = now


def main() -> None:
    options = parsed(sys.argv[1:])
    options.folder.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):
        os.nice(-5)
    seen, stop = Seen(), threading.Event()
    beside: list[Loop] = [lambda seen, stop: watch(options, seen, stop), sleep_lightly]
    with each_in_a_thread(beside, seen, stop):
        (run_writers if options.kind == "write" else run_questions)(options, seen, stop)
    if seen.crashes:
        sys.exit("\n".join(seen.crashes))
    lines = [asdict(attempt) for attempt in seen.attempts]
    end = {"count": len(lines), "at": time.monotonic(), "most_late_s": seen.most_late_s}
    sys.stdout.write("".join(json.dumps(line) + "\n" for line in [*lines, end]))


def parsed(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="sql_client")
    parser.add_argument("kind", choices=("write", "connect", "read"))
    for name in ("folder", "environment"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--table", default="")
    parser.add_argument("--clients", type=int, default=1)
    for name in ("every-ms", "seconds", "pause-ms", "connect-timeout-s", "answer-timeout-s"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--fresh", action="store_true", dest="is_fresh")
    return Options(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()

"""Accounts and orders in MariaDB: whoever writes hears whether it was written, was not, or cannot be known.

Each call has a connection of its own: a fresh one always leads to the server that is primary now, and a failure to connect is
known to have written nothing. What somebody must see of their own is read from the primary, which has it; what is for
everybody from a copy, which may be some milliseconds behind.
"""

import json
import logging
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pymysql
from pymysql.constants import ER

CONNECT_TIMEOUT_S = 2
ANSWER_TIMEOUT_S = 5
PROBE_TIMEOUT_S = 1
# A write waits for a copy's acknowledgement. Without this limit writes would occupy every thread while none answers.
WRITES_AT_ONCE = 8
WRITE_QUEUE_S = 0.2
SHOWN_ORDERS = 20

READ_ONLY = {ER.OPTION_PREVENTS_STATEMENT, 1836}  # 1836: ER_READ_ONLY_MODE, which PyMySQL does not name
# Errors after which nothing was written. Any other leaves the outcome unknown: a shutdown may end the wait for a copy's
# acknowledgement after the order was committed.
REFUSED = {
    *READ_ONLY, ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK, ER.NO_SUCH_TABLE, ER.TABLEACCESS_DENIED_ERROR,
    ER.DBACCESS_DENIED_ERROR, ER.RECORD_FILE_FULL, ER.DISK_FULL, ER.DUP_ENTRY,
}  # fmt: skip

log = logging.getLogger("shop")


class Route(StrEnum):
    WRITE = "write"
    READ = "read"


# (route, seconds to wait for an answer) -> a connection of PyMySQL's that commits each statement by itself
Connect = Callable[[Route, float], Any]


class Unavailable(Exception):
    """The database did not do it, for certain; trying again is safe."""


class OutcomeUnknown(Exception):
    """It was sent and no answer came: it may or may not have been done."""


class NameTaken(Exception):
    """Somebody else has an account of that name."""


@dataclass(frozen=True)
class Account:
    id: int
    name: str
    password_hash: str


@dataclass(frozen=True)
class Order:
    """`items`: how many of each of the goods. `token` is the order's own, whoever sends it again orders nothing twice."""

    token: str
    customer: str
    items: dict[str, int]
    cents: int
    account_id: int | None = None
    id: int = 0
    ordered_at: datetime | None = None


def connect_with(environment: Mapping[str, str]) -> Connect:
    """Return what opens connections to DATABASE_URL (write) and DATABASE_READ_URL (read), over TLS that is verified."""
    urls = {Route.WRITE: environment["DATABASE_URL"], Route.READ: environment["DATABASE_READ_URL"]}

    def connect(route: Route, answer_timeout_s: float) -> Any:
        url = urlsplit(urls[route])
        # Read anew each time, since certificates are renewed.
        tls = ssl.create_default_context(cafile=parse_qs(url.query)["ssl_ca"][0])
        return pymysql.connect(
            host=url.hostname or "",
            port=url.port or 3306,
            user=unquote(url.username or ""),
            password=unquote(url.password or ""),
            database=url.path.lstrip("/"),
            ssl=tls,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=answer_timeout_s,
            write_timeout=answer_timeout_s,
        )

    return connect


class Orders:
    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._writers = BoundedSemaphore(WRITES_AT_ONCE)

    def place(self, order: Order) -> tuple[int, bool]:
        """Store an order; returns its number, and whether it is new: the same token again orders nothing.

        Raises Unavailable when nothing was written, OutcomeUnknown when that cannot be said.
        """
        values = (order.token, order.account_id, order.customer, json.dumps(order.items), order.cents)
        with self._writing() as cursor:
            cursor.execute(PLACE, values)
            return cursor.lastrowid, cursor.rowcount == 1

    def add_account(self, name: str, password_hash: str) -> Account:
        """Raises NameTaken, and as `place` does."""
        try:
            with self._writing() as cursor:
                cursor.execute("INSERT INTO accounts (name, password) VALUES (%s, %s)", (name, password_hash))
                return Account(cursor.lastrowid, name, password_hash)
        except Unavailable as problem:
            cause = problem.__cause__
            if isinstance(cause, pymysql.MySQLError) and cause.args[0] == ER.DUP_ENTRY:
                raise NameTaken(name) from None
            raise

    def account(self, name: str) -> Account | None:
        """From the primary: whoever has just joined can sign in."""
        rows = self._read(Route.WRITE, "SELECT id, name, password FROM accounts WHERE name = %s", (name,))
        return Account(*rows[0]) if rows else None

    def of_account(self, account_id: int) -> list[Order]:
        """The newest orders of an account, from the primary: what was ordered a moment ago is among them."""
        return [_order(row) for row in self._read(Route.WRITE, OF_ACCOUNT, (account_id, SHOWN_ORDERS))]

    def find(self, token: str) -> Order | None:
        """That there is none only the primary can say."""
        rows = self._read(Route.WRITE, FIND, (token,))
        return _order(rows[0]) if rows else None

    def count(self) -> int:
        """How many orders there are, from a copy."""
        return int(self._read(Route.READ, "SELECT COUNT(*) FROM orders", ())[0][0])

    def probe(self, route: Route) -> str:
        """Who answers on `route`; raises Unavailable where nobody does, or where a write would be refused."""
        with self._reading(route, PROBE_TIMEOUT_S) as cursor:
            cursor.execute("SELECT @@hostname, @@global.read_only")
            name, read_only = cursor.fetchall()[0]
        if route is Route.WRITE and str(read_only) not in ("0", "OFF"):  # MariaDB 12 answers with a word
            raise Unavailable("read-only: no primary right now")
        return str(name)

    def _read(self, route: Route, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        # A second attempt leads to who has taken the place of a server that died in the middle of the first.
        for _ in range(2):
            try:
                with self._reading(route, ANSWER_TIMEOUT_S) as cursor:
                    cursor.execute(query, values)
                    return list(cursor.fetchall())
            except Unavailable as problem:
                last = problem
        raise last

    @contextmanager
    def _reading(self, route: Route, answer_timeout_s: float) -> Iterator[Any]:
        try:
            connection = self._connect(route, answer_timeout_s)
            try:
                yield connection.cursor()
            finally:
                connection.close()
        except (pymysql.MySQLError, OSError) as problem:
            log.warning("%s route: %s", route, problem)
            raise Unavailable(str(problem)) from problem

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        if not self._writers.acquire(timeout=WRITE_QUEUE_S):
            raise Unavailable("too many writes wait for the database")
        try:
            try:
                connection = self._connect(Route.WRITE, ANSWER_TIMEOUT_S)
            except (pymysql.MySQLError, OSError) as problem:
                log.warning("no connection for a write: %s", problem)
                raise Unavailable(str(problem)) from problem
            try:
                yield connection.cursor()
            except (pymysql.MySQLError, OSError) as problem:
                if isinstance(problem, pymysql.MySQLError) and problem.args and problem.args[0] in REFUSED:
                    raise Unavailable(str(problem)) from problem
                log.warning("a write without an answer: %s", problem)
                raise OutcomeUnknown(str(problem)) from problem
            finally:
                connection.close()
        finally:
            self._writers.release()


def _order(row: tuple[Any, ...]) -> Order:
    token, customer, items, cents, account_id, order_id, ordered_at = row
    return Order(token, customer, json.loads(items), cents, account_id, order_id, ordered_at)


# A repeated token changes `attempts`, so that its answer too waits for a copy's acknowledgement. A mere SELECT could see an
# order that a cut-off primary committed and nobody else has.
PLACE = """INSERT INTO orders (token, account_id, customer, items, cents, ordered_at)
VALUES (%s, %s, %s, %s, %s, UTC_TIMESTAMP(3))
ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id), attempts = attempts + 1"""
SELECT = "SELECT token, customer, items, cents, account_id, id, ordered_at FROM orders "
OF_ACCOUNT = SELECT + "WHERE account_id = %s ORDER BY id DESC LIMIT %s"
FIND = SELECT + "WHERE token = %s"

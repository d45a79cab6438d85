"""The example's guestbook against a database that answers, lags, refuses, hangs, is read-only or dies after a commit."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pymysql
import pytest
from flask.testing import FlaskClient

APP = Path(__file__).parents[3] / "examples" / "distributed" / "app"
MODULES = ("shop", "guestbook", "database")
ENVIRONMENT = {"SECRET_KEY": "a key", "HOST_NAME": "web1", "APP_NAME": "app"}


@dataclass
class FakeDatabase:
    """A primary and its replica, as far as the guestbook's statements need them; `faults` are taken first come."""

    rows: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    replica_rows: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    has_table: bool = True
    down: set[str] = field(default_factory=set)
    primary_is_read_only: bool = False
    replica_lags: bool = False
    connections: list[str] = field(default_factory=list)
    open_connections: int = 0
    # (route, first word of the statement, before or after it takes effect) -> error
    faults: list[tuple[str, str, str, Exception]] = field(default_factory=list)
    hang: Event | None = None

    def connect(self, route: str, _answer_timeout_s: float) -> "FakeConnection":
        self.connections.append(route)
        if route in self.down:
            raise pymysql.OperationalError(2003, "Can't connect to MySQL server on 'database'")
        self.open_connections += 1
        return FakeConnection(self, route)

    def fault(self, route: str, word: str, moment: str) -> None:
        for fault in self.faults:
            if fault[:3] == (str(route), word, moment):
                self.faults.remove(fault)
                raise fault[3]

    def run(self, route: str, query: str, arguments: tuple[Any, ...]) -> tuple[list[tuple[Any, ...]], int, int]:
        """Answer with (rows, rowcount, lastrowid)."""
        writes = route == "write"
        if "@@hostname" in query:
            return [("db1", int(self.primary_is_read_only)) if writes else ("db2", 1)], 1, 0
        if "@@last_gtid" in query:
            return [(f"0-1-{len(self.rows)}",)], 1, 0
        if "MASTER_GTID_WAIT" in query:
            return [(-1 if self.replica_lags else 0,)], 1, 0
        if query.startswith(("INSERT", "CREATE")) and (self.primary_is_read_only or not writes):
            raise pymysql.OperationalError(1290, "running with the --read-only option")
        if query.startswith("CREATE"):
            self.has_table = True
            return [], 0, 0
        if not self.has_table:
            raise pymysql.ProgrammingError(1146, "Table 'shop.entries' doesn't exist")
        return self.insert(arguments) if query.startswith("INSERT") else self.select(writes, query, arguments)

    def insert(self, arguments: tuple[Any, ...]) -> tuple[list[tuple[Any, ...]], int, int]:
        if self.hang:
            self.hang.wait(5)
        is_new = arguments[0] not in self.rows
        row = (*arguments, len(self.rows) + 1, datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
        kept = self.rows.setdefault(arguments[0], row)
        if not self.replica_lags:
            self.replica_rows = dict(self.rows)
        return [], 1 if is_new else 2, kept[3]

    def select(self, writes: bool, query: str, arguments: tuple[Any, ...]) -> tuple[list[tuple[Any, ...]], int, int]:
        rows = sorted((self.rows if writes else self.replica_rows).values(), key=lambda row: row[3])
        if "id > %s" in query:
            rows = [row for row in rows if row[3] > arguments[0]][: arguments[1]]
        elif "DESC" in query:
            rows = [row for row in reversed(rows) if arguments[0] is None or row[3] < arguments[0]][: arguments[2]]
        elif "WHERE" in query:
            rows = [row for row in rows if row[0 if "token = " in query else 3] == arguments[0]]
        return rows, len(rows), 0


class FakeConnection:
    def __init__(self, database: FakeDatabase, route: str) -> None:
        self.database, self.route, self.is_open = database, route, True
        self.rows: list[tuple[Any, ...]] = []
        self.rowcount = self.lastrowid = 0

    def cursor(self) -> "FakeConnection":
        return self

    def execute(self, query: str, arguments: tuple[Any, ...] = ()) -> None:
        assert self.is_open
        word = query.split()[0]
        self.database.fault(self.route, word, "before")
        self.rows, self.rowcount, self.lastrowid = self.database.run(self.route, query, arguments)
        self.database.fault(self.route, word, "after")

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.rows

    def close(self) -> None:
        self.is_open = False
        self.database.open_connections -= 1


LOST = pymysql.OperationalError(2013, "Lost connection to MySQL server during query")


@pytest.fixture
def database() -> Iterator[FakeDatabase]:
    fake = FakeDatabase()
    yield fake
    assert fake.open_connections == 0, "a connection was left open"


@pytest.fixture
def client(database: FakeDatabase) -> Iterator[FlaskClient]:
    # Other examples may have modules of the same names.
    kept = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path.insert(0, str(APP))
    try:
        app = import_module("guestbook").create_app(ENVIRONMENT, database.connect)
        yield app.test_client()
    finally:
        sys.path.remove(str(APP))
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(kept)


def field_of(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', page)
    assert found, page
    return found[1]


def get(client: FlaskClient, path: str, **more: Any) -> Any:
    return client.get(path, base_url="https://shop.test", **more)


def sign(client: FlaskClient, **fields: str) -> Any:
    page = get(client, "/health").text if fields.get("csrf") else get(client, "/").text
    form = {"name": "Ada", "message": "Hello"} | fields
    form = {key: form.get(key) or field_of(page, key) for key in ("name", "message", "csrf", "token")}
    return client.post("/entries", base_url="https://shop.test", data=form)


def post(client: FlaskClient, token: str = "t1", **more: object) -> Any:
    return client.post("/api/entries", json={"name": "Ada", "message": "Hello", "token": token} | more)


def route_of(page: str) -> list[str]:
    return re.findall(r'class="server">([^<]*)<', page)


# Reading and writing


def test_entry_is_written_to_the_primary_and_shown_after_a_redirect(client: FlaskClient, database: FakeDatabase) -> None:
    answer = sign(client, message="A line\r\nand one more")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/#entry-1")
    page = get(client, "/")
    assert "A line\nand one more" in page.text
    assert "Entry 1 is in the book" in page.text
    assert database.connections[-1] == "read"


def test_own_entry_is_read_from_the_primary_while_the_replica_lags(client: FlaskClient, database: FakeDatabase) -> None:
    database.replica_lags = True
    sign(client, message="Mine")
    page = get(client, "/")
    assert "Mine" in page.text
    assert route_of(page.text)[-1] == "db1"
    stranger = client.application.test_client()
    assert route_of(get(stranger, "/").text)[-1] == "db2"


def test_lagging_replica_without_a_primary_is_shown_with_a_warning(client: FlaskClient, database: FakeDatabase) -> None:
    database.replica_lags = True
    sign(client)
    database.down = {"write"}
    page = get(client, "/")
    assert page.status_code == 200
    assert "may lack your latest entry" in page.text


def test_primary_that_became_read_only_does_not_count_as_current(client: FlaskClient, database: FakeDatabase) -> None:
    database.replica_lags = True
    sign(client)
    database.primary_is_read_only = True
    assert "may lack your latest entry" in get(client, "/").text


def test_reads_fall_back_to_the_primary_when_the_read_route_is_down(client: FlaskClient, database: FakeDatabase) -> None:
    post(client)
    database.down = {"read"}
    page = get(client, "/")
    assert page.status_code == 200
    assert route_of(page.text)[-1] == "db1"


def test_read_is_retried_once_over_a_fresh_connection(client: FlaskClient, database: FakeDatabase) -> None:
    database.faults = [("read", "SELECT", "before", LOST)]
    assert get(client, "/").status_code == 200
    assert database.connections == ["read", "read"]


def test_missing_table_reads_as_an_empty_book_and_is_made_by_the_first_write(
    client: FlaskClient, database: FakeDatabase
) -> None:
    database.has_table = False
    assert "Nobody has written yet" in get(client, "/").text
    assert post(client).status_code == 201
    assert database.has_table


def test_pages_lead_to_every_entry_once(client: FlaskClient) -> None:
    for number in range(1, 24):
        post(client, f"t{number}")
    path, seen = "/", []
    for _ in range(5):
        page = get(client, path).text
        seen += [int(text) for text in re.findall(r'id="entry-(\d+)"', page)]
        older = re.search(r'href="(/\?before=\d+)"', page)
        if not older:
            break
        path = older[1]
    assert seen == list(range(23, 0, -1))


def test_entry_missing_on_the_replica_is_found_on_the_primary(client: FlaskClient, database: FakeDatabase) -> None:
    database.replica_lags = True
    post(client)
    assert get(client, "/entries/1").status_code == 200
    assert get(client, "/api/entries/t1").get_json()["database"] == {"name": "db1", "role": "primary"}


@pytest.mark.parametrize("path", ["/entries/1", "/api/entries/t1", "/api/tokens"])
def test_nobody_but_a_primary_says_that_an_entry_is_absent(client: FlaskClient, database: FakeDatabase, path: str) -> None:
    database.primary_is_read_only = True
    assert get(client, path).status_code == 503
    database.primary_is_read_only = False
    assert get(client, path).status_code in (404, 200)


def test_ids_beyond_any_are_absent_not_an_error(client: FlaskClient) -> None:
    assert get(client, "/entries/" + "9" * 30).status_code == 404
    assert get(client, "/?before=" + "9" * 30).status_code == 200
    assert get(client, "/?before=-1").status_code == 200


# The outcome of a write


def test_same_token_twice_is_one_entry(client: FlaskClient, database: FakeDatabase) -> None:
    first, second = post(client), post(client)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.get_json()["id"] == second.get_json()["id"] == 1
    assert len(database.rows) == 1


def test_connection_lost_after_the_commit_is_an_unknown_outcome_that_the_token_settles(
    client: FlaskClient, database: FakeDatabase
) -> None:
    database.faults = [("write", "INSERT", "after", LOST)]
    lost = post(client)
    assert (lost.status_code, lost.get_json()["error"]) == (504, "outcome-unknown")
    assert database.connections == ["write"], "a write is not repeated by itself"
    again = post(client)
    assert (again.status_code, again.get_json()["id"]) == (200, 1)


@pytest.mark.parametrize("error", [TimeoutError("timed out"), pymysql.OperationalError(1927, "Connection was killed")])
def test_answer_that_does_not_prove_a_refusal_is_an_unknown_outcome(
    client: FlaskClient, database: FakeDatabase, error: Exception
) -> None:
    database.faults = [("write", "INSERT", "before", error)]
    assert post(client).status_code == 504


def test_form_says_unknown_in_plain_words_and_sends_the_same_token_again(client: FlaskClient, database: FakeDatabase) -> None:
    database.faults = [("write", "INSERT", "after", LOST)]
    page = sign(client, message="Once only")
    assert page.status_code == 504
    assert "We could not confirm your entry" in page.text
    assert "Once only</textarea>" in page.text
    again = sign(client, csrf=field_of(page.text, "csrf"), token=field_of(page.text, "token"))
    assert again.status_code == 303
    assert len(database.rows) == 1


def test_server_that_dies_after_acknowledging_has_still_written(client: FlaskClient, database: FakeDatabase) -> None:
    database.faults = [("write", "SELECT", "before", LOST)]
    database.replica_lags = True
    assert sign(client, message="Acknowledged").status_code == 303
    assert "Acknowledged" in get(client, "/").text, "without a position, only the primary is current"


def test_read_only_server_means_no_primary_right_now(client: FlaskClient, database: FakeDatabase) -> None:
    database.primary_is_read_only = True
    answer = post(client)
    assert (answer.status_code, answer.get_json()["error"]) == (503, "no-primary")
    assert answer.headers["Retry-After"] == "1"
    page = sign(client, message="Kept")
    assert page.status_code == 503
    assert "Kept</textarea>" in page.text


@pytest.mark.parametrize("code", [1205, 1213])
def test_refused_write_is_said_to_be_not_written(client: FlaskClient, database: FakeDatabase, code: int) -> None:
    database.faults = [("write", "INSERT", "before", pymysql.OperationalError(code, "refused"))]
    assert post(client).get_json()["error"] == "not-written"


def test_database_that_is_down_is_said_and_recovered_from(client: FlaskClient, database: FakeDatabase) -> None:
    database.down = {"write", "read"}
    page = get(client, "/")
    assert page.status_code == 503
    assert "The book cannot be read right now" in page.text
    assert page.headers["Retry-After"]
    assert post(client).get_json()["error"] == "not-written"
    database.down = set()
    assert get(client, "/").status_code == 200
    assert post(client).status_code == 201


def test_writes_that_hang_leave_threads_for_the_others(client: FlaskClient, database: FakeDatabase) -> None:
    database.hang = Event()
    writers = [Thread(target=post, args=(client.application.test_client(), f"t{number}")) for number in range(8)]
    for writer in writers:
        writer.start()
    limit = 1000
    while database.open_connections < len(writers) and limit:
        limit -= 1
        writers[0].join(0.005)
    try:
        answer = post(client, "one-more")
        assert (answer.status_code, answer.get_json()["error"]) == (503, "not-written")
        assert get(client, "/").status_code == 200
    finally:
        database.hang.set()
        for writer in writers:
            writer.join(5)


# Health


def test_health_never_asks_the_database(client: FlaskClient, database: FakeDatabase) -> None:
    database.down = {"write", "read"}
    assert get(client, "/health").get_json() == {"status": "ok", "instance": "app@web1"}
    assert database.connections == []


def test_ready_tells_each_dependency(client: FlaskClient, database: FakeDatabase) -> None:
    ready = get(client, "/ready")
    assert ready.status_code == 200
    assert ready.get_json()["database-write"]["server"] == {"name": "db1", "role": "primary"}
    database.down = {"read"}
    ready = get(client, "/ready")
    assert ready.status_code == 503
    assert {name: part["status"] for name, part in ready.get_json().items()} == {
        "database-write": "ok",
        "database-read": "failed",
    }


def test_write_route_that_ends_at_a_read_only_server_is_not_ready(client: FlaskClient, database: FakeDatabase) -> None:
    database.primary_is_read_only = True
    ready = get(client, "/ready")
    assert ready.status_code == 503
    assert ready.get_json()["database-write"]["status"] == "failed"


# Input and safety


def test_form_without_its_token_writes_nothing(client: FlaskClient, database: FakeDatabase) -> None:
    get(client, "/")
    answer = sign(client, csrf="forged", token="t1")
    assert answer.status_code == 400
    assert not database.rows


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": " "},
        {"name": "x" * 81},
        {"name": "two\nlines"},
        {"name": 1},
        {"message": "x" * 2001},
        {"message": "\x00"},
        {"message": "\ud800"},
        {"token": ""},
        {"token": "a b"},
        {"token": "x" * 65},
        {"token": None},
    ],
)
def test_input_that_is_no_entry_is_refused(client: FlaskClient, database: FakeDatabase, wrong: dict[str, object]) -> None:
    assert post(client, **wrong).status_code == 400  # type: ignore[arg-type]
    assert not database.connections


def test_longest_name_and_message_fit(client: FlaskClient) -> None:
    assert post(client, name="ü" * 80, message="🎉" * 2000).status_code == 201


@pytest.mark.parametrize("body", ["[]", "null", "{", '"text"'])
def test_json_that_is_no_object_is_refused(client: FlaskClient, body: str) -> None:
    assert client.post("/api/entries", data=body, content_type="application/json").status_code == 400


def test_api_takes_no_form_of_another_site(client: FlaskClient) -> None:
    assert client.post("/api/entries", data='{"name": "x"}', content_type="text/plain").status_code == 415


def test_what_people_write_is_text_never_markup(client: FlaskClient) -> None:
    post(client, name="<b>", message="<script>alert(1)</script>")
    page = get(client, "/").text
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<b>" not in page


@pytest.mark.parametrize("path", ["/", "/absent", "/health", "/static/style.css"])
def test_every_answer_has_the_security_headers(client: FlaskClient, path: str) -> None:
    answer = get(client, path)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert " style=" not in answer.text


def test_session_cookie_is_for_this_site_over_https_only(client: FlaskClient) -> None:
    cookie = get(client, "/").headers["Set-Cookie"]
    assert cookie.startswith("__Host-guestbook=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))


def test_page_names_the_servers_on_its_way(client: FlaskClient) -> None:
    named = get(client, "/", headers={"X-Load-Balancer": "lb2", "X-Web-Server": "web2"})
    assert route_of(named.text) == ["lb2", "web2", "web1", "db2"]
    assert named.headers["X-App-Server"] == "web1"
    assert route_of(get(client, "/", headers={"X-Served-By": "lb1, web1"}).text) == ["lb1", "web1", "web1", "db2"]
    assert route_of(get(client, "/").text)[:2] == ["not named", "not named"]


@pytest.mark.parametrize("path", ["/favicon.ico", "/static/favicon.svg", "/static/style.css"])
def test_what_a_browser_asks_for_is_there(client: FlaskClient, path: str) -> None:
    assert get(client, path).status_code == 200


def test_tokens_are_listed_from_the_primary_in_steps(client: FlaskClient, database: FakeDatabase) -> None:
    database.replica_lags = True
    for number in range(1, 6):
        post(client, f"t{number}")
    listed = get(client, "/api/tokens?after=2&limit=2").get_json()
    assert listed["tokens"] == [{"id": 3, "token": "t3"}, {"id": 4, "token": "t4"}]
    assert listed["database"]["role"] == "primary"


def test_database_that_is_down_does_not_hinder_the_start(database: FakeDatabase, client: FlaskClient) -> None:
    database.down = {"write"}
    import_module("database").Database(database.connect).prepare()
    database.down, database.has_table = set(), False
    import_module("database").Database(database.connect).prepare()
    assert database.has_table

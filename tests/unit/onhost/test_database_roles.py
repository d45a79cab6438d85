"""What is told of a database server's role, for how long, and to what kind of callers."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tls_files import TlsFiles, tls_files

from nospof.onhost import database_roles as roles
from nospof.onhost.database_roles import Board, Config, Door, Note, told_of
from nospof.onhost.database_router import client_context
from nospof.onhost.file_watch import FileWatch

CONFIG = Config("database", "db1", "127.0.0.1", 0, "/nowhere/note.json", "", "")
PRIMARY = Note(17, 3, 812, "primary", True, False, False, True, "two voters", 100.0, 1.0, {"pid": 5, "gtid": "0-1-7"})
REPLICA = replace(PRIMARY, role="replica", takes_writes=False, fit_for_reads=True, says="replica")


def status(path: str, note: Note, now_s: float = 100.5, *, is_alive: bool = False) -> int:
    return roles.answer(path, told_of(note, now_s, is_alive=is_alive), CONFIG)[0]


# --- what is told, and for how long ---------------------------------------------------------------------------------------
def test_a_fresh_note_is_told() -> None:
    assert [status(path, PRIMARY) for path in ("/", "/primary", "/replica", "/health", "/other")] == [200, 200, 503, 200, 404]
    assert [status(path, REPLICA) for path in ("/", "/primary", "/replica", "/health")] == [200, 503, 200, 200]
    assert status("/primary", replace(PRIMARY, takes_writes=False)) == 503
    assert status("/primary", replace(PRIMARY, takes_writes=False, is_moving=True)) == 200
    assert status("/replica", replace(REPLICA, fit_for_reads=False)) == 503
    told = json.loads(roles.answer("/", told_of(PRIMARY, 100.5, is_alive=False), CONFIG)[1])
    assert (told["gtid"], told["role"], told["says"], told["term"]) == ("0-1-7", "primary", "two voters", 3)


def test_a_note_whose_time_is_over_claims_nothing_but_its_term() -> None:
    assert {status(path, PRIMARY, 101.01) for path in ("/", "/primary", "/replica", "/health")} == {503}
    code, text = roles.answer("/roles", told_of(PRIMARY, 101.01, is_alive=False), CONFIG)
    told = json.loads(text)
    assert code == 200
    assert (told["role"], told["takes_writes"], told["fit_for_reads"], told["is_moving"]) == ("none", False, False, False)
    assert (told["is_stale"], told["term"], told["revision"]) == (True, 3, 812)
    assert told["version"] != PRIMARY.version, "who waits for a change hears of it"


def test_while_the_database_lives_a_dead_agent_is_no_outage() -> None:
    """Incident: with the agent of the primary stopped for good, every write failed from the sixth second on."""
    assert status("/primary", PRIMARY, 105.9, is_alive=True) == 200
    assert status("/primary", PRIMARY, 9999.0, is_alive=True) == 200
    assert status("/primary", PRIMARY, 101.1, is_alive=False) == 503


def test_nobody_knows_how_far_a_replica_without_an_agent_is_behind_so_it_serves_for_five_seconds_more() -> None:
    assert status("/replica", REPLICA, 105.9, is_alive=True) == 200
    assert status("/replica", REPLICA, 106.1, is_alive=True) == 503


def test_a_primary_that_takes_no_writes_is_not_vouched_for() -> None:
    assert status("/primary", replace(PRIMARY, takes_writes=False, is_moving=True), 106.1, is_alive=True) == 503


def test_a_note_from_the_future_is_of_another_boot() -> None:
    assert status("/primary", PRIMARY, 50.0, is_alive=True) == 503


def test_a_process_that_ended_but_was_not_waited_for_is_not_alive() -> None:
    assert roles.is_alive(os.getpid())
    assert not roles.is_alive(None)
    child = subprocess.Popen([sys.executable, "-c", ""])
    until_false(lambda: roles.is_alive(child.pid))
    assert Path(f"/proc/{child.pid}").exists()
    child.wait()


def until_false(holds: object) -> None:
    assert callable(holds)
    end_s = time.monotonic() + 10
    while holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def text(**changes: object) -> bytes:
    fields = {name: getattr(PRIMARY, name) for name in roles.KINDS}
    return json.dumps({**fields, "tier": "database", "host": "db1", **changes}).encode()


def test_a_note_is_read() -> None:
    assert roles.parse_note(text(), CONFIG) == PRIMARY


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"[]",
        b"{",
        text(term="3"),
        text(takes_writes=1),
        text(role="king"),
        text(host="db2"),
        text(tier="x"),
        text(details=[]),
    ],
)
def test_what_is_no_note_of_this_host_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        roles.parse_note(wrong, CONFIG)


# --- the server -----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return tls_files(tmp_path_factory.mktemp("tls"), "db1")


class Served:
    """A role server in this process, and its agent."""

    def __init__(self, folder: Path, tls: TlsFiles) -> None:
        self.file, self.tls, self.version = folder / "note.json", tls, 0
        self.write()
        config = replace(CONFIG, note_file=str(self.file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        self.board = Board(config)
        self.door = Door(self.board, context)
        self.port = self.door.listener.getsockname()[1]
        threading.Thread(target=self.board.keep, daemon=True).start()
        threading.Thread(target=self.door.serve, daemon=True).start()

    def write(self, **changes: object) -> int:
        self.version += 1
        new = self.file.with_name("new")
        new.write_bytes(
            text(**{"version": self.version, "written_at": time.monotonic(), "valid_for_s": 60, "details": {}, **changes})
        )
        new.replace(self.file)
        return self.version

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return client_context(self.tls.ca).wrap_socket(plain, server_hostname="db1")

    def ask(self, path: str, connection: ssl.SSLSocket | None = None) -> tuple[int, str]:
        used = connection or self.connect()
        used.sendall(f"GET {path} HTTP/1.1\r\nHost: db1\r\n\r\n".encode())
        said = b""
        while b"\r\n\r\n" not in said or not said.endswith(b"\n"):
            piece = used.recv(65536)
            assert piece, said
            said += piece
        if connection is None:
            used.close()
        return int(said.split(b" ")[1]), said.partition(b"\r\n\r\n")[2].decode()


@pytest.fixture
def served(tmp_path: Path, tls: TlsFiles) -> Iterator[Served]:
    made = Served(tmp_path, tls)
    yield made
    made.door.close()


def test_one_connection_asks_many_things(served: Served) -> None:
    with served.connect() as connection:
        for path, code in (("/primary", 200), ("/replica", 503), ("/nothing", 404), ("/roles", 200), ("/roles?after=x", 400)):
            assert served.ask(path, connection)[0] == code


def test_a_long_poll_is_answered_when_a_new_note_comes(served: Served) -> None:
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(served.ask(f"/roles?after={served.version}&wait_ms=10000")[1]))
    began_s = time.monotonic()
    asking.start()
    version = served.write(role="replica", takes_writes=False)
    asking.join(9)
    assert time.monotonic() - began_s < 9
    assert json.loads(answers[0])["version"] == version


def test_a_long_poll_is_answered_when_the_note_is_too_old(served: Served) -> None:
    version = served.write(valid_for_s=0.2)
    assert json.loads(served.ask(f"/roles?after={version}&wait_ms=10000")[1])["is_stale"] is True


def test_a_long_poll_ends_without_a_change(served: Served) -> None:
    assert json.loads(served.ask(f"/roles?after={served.version}&wait_ms=50")[1])["version"] == served.version
    assert json.loads(served.ask(f"/roles?after={served.version}&wait_ms=-5")[1])["version"] == served.version


def test_a_torn_note_leaves_the_last_one(served: Served) -> None:
    version = served.write()
    served.ask(f"/roles?after={version - 1}&wait_ms=10000")
    served.file.write_text('{"version": 99')
    assert json.loads(served.ask(f"/roles?after={version}&wait_ms=100")[1])["version"] == version
    assert served.ask("/primary")[0] == 200


@pytest.mark.parametrize(
    "nonsense",
    [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET http://x/ HTTP/1.1\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"GET /" + b"a" * 8000],
)
def test_nonsense_and_too_much_are_hung_up_on(served: Served, nonsense: bytes) -> None:
    with served.connect() as connection:
        connection.sendall(nonsense)
        assert connection.recv(100) == b""
    assert served.ask("/primary")[0] == 200


def test_nothing_but_get_is_answered(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(b"POST /primary HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /")
        assert connection.recv(1000).startswith(b"HTTP/1.1 405")


def test_silent_callers_keep_nobody_else_out(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "MAX_PER_ADDRESS", 4)
    silent = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(8)]
    end_s = time.monotonic() + 10
    while True:
        try:
            assert served.ask("/primary")[0] == 200
            break
        except (OSError, AssertionError):
            assert time.monotonic() < end_s
    for one in silent:
        one.close()


# --- noticing a file ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("has_inotify", [True, False])
def test_a_file_that_is_replaced_is_noticed_even_after_its_folder_was_away(tmp_path: Path, has_inotify: bool) -> None:
    file = tmp_path / "folder" / "file"
    watch = FileWatch(file)
    if not has_inotify:
        watch.close()
        watch._events = -1
    for text in ("one", "two"):
        file.parent.mkdir()
        file.write_text(text)
        assert watch.wait(5)
        assert not watch.wait(0)
        new = file.with_name("new")
        new.write_text(text * 2)
        new.replace(file)
        assert watch.wait(5)
        file.unlink()
        file.parent.rmdir()
        assert watch.wait(5)

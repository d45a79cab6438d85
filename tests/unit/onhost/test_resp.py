from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nospof.onhost.resp import Connection, Place, Refused, encoded, pairs

Server = Callable[..., Place]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that answers each command with the next of `answers`, in pieces, and then says nothing more."""
    doors: list[socket.socket] = []

    def serve(*answers: bytes) -> Place:
        path = tmp_path / f"{len(doors)}.sock"
        door = socket.socket(socket.AF_UNIX)
        door.bind(str(path))
        door.listen()
        doors.append(door)

        def answer() -> None:
            caller, _ = door.accept()
            with caller:
                for text in answers:
                    caller.recv(4096)
                    for piece in (text[:3], text[3:]):
                        caller.sendall(piece)
                        time.sleep(0.01)
                while caller.recv(4096):
                    pass

        threading.Thread(target=answer, daemon=True).start()
        return Place(path=str(path))

    yield serve
    for door in doors:
        door.close()


def test_command_is_sent_as_an_array_of_strings() -> None:
    assert encoded(("SET", "ä", 1)) == b"*3\r\n$3\r\nSET\r\n$2\r\n\xc3\xa4\r\n$1\r\n1\r\n"


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"+OK\r\n", "OK"),
        (b":-12\r\n", -12),
        (b"$-1\r\n", None),
        (b"$4\r\na\r\nb\r\n", "a\r\nb"),
        (b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n*-1\r\n", ["a", [1, None]]),
        (b"*1\r\n-ERR within\r\n", ["ERR within"]),
    ],
)
def test_answers_are_read_whole_however_they_come(server: Server, sent: bytes, read: object) -> None:
    with Connection(server(sent), None, 2.0) as connection:
        assert connection.ask("PING") == read


def test_error_is_raised_and_the_connection_stays_of_use(server: Server) -> None:
    with Connection(server(b"-NOREPLICAS not now\r\n", b"+PONG\r\n"), None, 2.0) as connection:
        with pytest.raises(Refused, match="NOREPLICAS"):
            connection.ask("SET", "a", 1)
        assert connection.ask("PING") == "PONG"


def test_no_answer_ends_with_the_time(server: Server) -> None:
    with Connection(server(b"*2\r\n:1\r\n"), None, 0.2) as connection, pytest.raises(TimeoutError):
        connection.ask("PING")


@pytest.mark.parametrize("sent", [b"hello\r\n", b"$9999999999\r\n", b"*1\r\n" * 20, b":x\r\n", b"$-7\r\n"])
def test_nonsense_is_no_answer(server: Server, sent: bytes) -> None:
    with Connection(server(sent), None, 1.0) as connection, pytest.raises((ValueError, TimeoutError)) as caught:
        connection.ask("PING")
    assert caught.type is not TimeoutError


def test_it_logs_in_before_it_asks_and_says_when_it_may_not(server: Server) -> None:
    place = server(b"-WRONGPASS no\r\n")

    with pytest.raises(Refused, match="WRONGPASS"):
        Connection(Place(path=place.path, user="a", password="b"), None, 1.0)


def test_pairs_are_the_fields_of_a_flat_list() -> None:
    assert pairs(["ip", "10.0.0.1", "port", 6379]) == {"ip": "10.0.0.1", "port": "6379"}
    assert pairs("no list") == {}

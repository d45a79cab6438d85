"""The program that asks an application over FastCGI: a good answer, a bad one, one that breaks off, none."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nospof.onhost import fastcgi, php_fpm_figures

HEADER = struct.Struct(">BBHHBx")


def record(kind: int, content: bytes, padding: int = 0) -> bytes:
    return HEADER.pack(1, kind, 1, len(content), padding) + content + b"\0" * padding


def answer(*output: bytes, padding: int = 0) -> bytes:
    return b"".join(record(6, one, padding) for one in output) + record(6, b"") + record(3, b"\0" * 8)


def parameters(request: bytes) -> dict[str, str]:
    """What the PARAMS records of a request say."""
    pairs, found = b"", {}
    while request:
        _, kind, _, length, padding = HEADER.unpack(request[:8])
        pairs += request[8 : 8 + length] if kind == 4 else b""
        request = request[8 + length + padding :]
    while pairs:
        lengths = []
        for _ in range(2):
            size = 1 if pairs[0] < 128 else 4
            lengths.append(int.from_bytes(pairs[:size], "big") & 0x7FFFFFFF)
            pairs = pairs[size:]
        name, pairs = pairs[: lengths[0]], pairs[lengths[0] :]
        value, pairs = pairs[: lengths[1]], pairs[lengths[1] :]
        found[name.decode()] = value.decode()
    return found


@contextmanager
def application(folder: Path, act: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """Somebody listens at the socket that is returned; `act` gets the connection and the request."""
    path = str(folder / "http.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                act(connection, connection.recv(65536))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield path
        thread.join(5)


def saying(*output: bytes, padding: int = 0) -> Callable[[socket.socket, bytes], None]:
    return lambda connection, _: connection.sendall(answer(*output, padding=padding))


def test_good_answer_is_good(tmp_path: Path) -> None:
    with application(tmp_path, saying(b"Content-Type: text/plain\r\n\r\nok")) as path:
        assert fastcgi.main([path, "/code/index.php", "/health"]) == 0


def test_script_and_path_are_asked_for(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def act(connection: socket.socket, request: bytes) -> None:
        asked.append(request)
        connection.sendall(answer(b"\r\n\r\n"))

    long = "/" + 200 * "x"
    with application(tmp_path, act) as path:
        fastcgi.main([path, "/code/index.php", long])

    said = parameters(asked[0])
    assert (said["SCRIPT_FILENAME"], said["REQUEST_URI"], said["REQUEST_METHOD"]) == ("/code/index.php", long, "GET")


def test_bad_status_is_said_with_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = (b"Status: 503 Service Unavail", b"able\r\nX: y\r\n\r\nrouter.alive: not there")
    with application(tmp_path, saying(*parts, padding=3)) as path:
        assert fastcgi.main([path, "/code/index.php", "/health"]) == 1

    assert "/health answered 503: router.alive: not there" in capsys.readouterr().err


def test_answer_that_breaks_off_is_no_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with application(tmp_path, lambda connection, _: connection.sendall(answer(b"\r\n\r\nok")[:-3])) as path:
        assert fastcgi.main([path, "/code/index.php", "/health"]) == 1

    assert "ended before the answer did" in capsys.readouterr().err


def test_nobody_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fastcgi.main([str(tmp_path / "absent.sock"), "/code/index.php", "/health"]) == 1
    assert "No such file" in capsys.readouterr().err


def test_silence_ends_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fastcgi, "LIMIT_S", 0.2)
    begin = time.monotonic()
    with application(tmp_path, lambda *_: time.sleep(0.5)) as path:
        assert fastcgi.main([path, "/code/index.php", "/health"]) == 1

    assert time.monotonic() - begin < 2
    assert "within 0.2 s" in capsys.readouterr().err


def test_answer_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastcgi, "MOST_BYTES", 1000)
    with application(tmp_path, saying(*[b"x" * 100] * 50)) as path:
        assert fastcgi.main([path, "/code/index.php", "/health"]) == 1


# --- what PHP-FPM counts -------------------------------------------------------------------------------------------------
STATUS = {"pool": "app", "active processes": 3, "idle processes": 5, "accepted conn": 77, "max children reached": 0}


def test_figures_of_php_fpm_have_the_names_that_others_give_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[bytes] = []

    def tell(connection: socket.socket, request: bytes) -> None:
        asked.append(request)
        connection.sendall(answer(b"Content-Type: application/json\r\n\r\n" + json.dumps(STATUS).encode()))

    with application(tmp_path, tell) as path:
        assert php_fpm_figures.main([path]) == 0

    told = json.loads(capsys.readouterr().out)
    assert {name: value for name, (_, _, value) in told.items()} == {
        "phpfpm_active_processes": 3,
        "phpfpm_idle_processes": 5,
        "phpfpm_accepted_connections_total": 77,
        "phpfpm_max_children_reached_total": 0,
    }
    said = parameters(asked[0])
    assert (said["SCRIPT_NAME"], said["QUERY_STRING"]) == ("/status", "json")


@pytest.mark.parametrize("parts", [(b"Status: 404 Not Found\r\n\r\n",), (b"\r\n\r\nFile not found.",)])
def test_what_is_no_status_page_is_no_figures(
    tmp_path: Path, parts: tuple[bytes, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with application(tmp_path, saying(*parts)) as path:
        assert php_fpm_figures.main([path]) == 1
    assert capsys.readouterr().out == ""

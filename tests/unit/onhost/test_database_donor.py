"""Giving a copy: to whom, one at a time, and in a form in which half of it is never taken for whole."""

from __future__ import annotations

import json
import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from certificates import Authority, Files

from nospof.onhost import database_donor as donor
from nospof.onhost.copy_stream import MIB, PIECE, Kind, Torn, check_whole, frame, read_frame, whole

CONFIG = donor.Config("database", "db1", {"db1": "127.0.0.1", "db2": "127.0.0.1"}, 0, "", "", "")
QUICK = donor.Limits(handshake_s=2, send_s=1, silence_s=1, alive_every_s=0.1)


# --- who may call --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("names", "is_refused"),
    [
        (("database", "db2"), False),
        (("database", "db1"), False),
        (("web", "db2"), True),  # another tier on the same host
        (("database", "web1"), True),  # no host of the tier
        (("db2",), True),
        ((), True),
    ],
)
def test_only_a_host_of_this_tier_with_this_tiers_name_gets_a_copy(names: tuple[str, ...], is_refused: bool) -> None:
    certificate = {"subjectAltName": (*(("DNS", name) for name in names), ("IP Address", "127.0.0.1"))}
    assert bool(donor.refusal(certificate, CONFIG)) is is_refused


def test_without_a_certificate_there_is_nothing() -> None:
    assert donor.refusal(None, CONFIG)


# --- the stream ----------------------------------------------------------------------------------------------------------
def test_frames_are_read_as_they_were_written() -> None:
    stream = BytesIO(frame(Kind.DATA, b"some") + frame(Kind.WAIT) + whole(4))
    assert read_frame(stream.read) == (Kind.DATA, b"some")
    assert read_frame(stream.read) == (Kind.WAIT, b"")
    kind, content = read_frame(stream.read)
    assert kind is Kind.WHOLE
    check_whole(content, 4)


@pytest.mark.parametrize("length", range(len(frame(Kind.DATA, b"some"))))
def test_stream_that_ends_inside_a_frame_is_torn(length: int) -> None:
    with pytest.raises(Torn, match="ended before"):
        read_frame(BytesIO(frame(Kind.DATA, b"some")[:length]).read)


@pytest.mark.parametrize("content", [b"<html>", frame(Kind.DATA, bytes(PIECE + 1))], ids=["a page", "too long"])
def test_what_no_donor_sends_is_torn(content: bytes) -> None:
    with pytest.raises(Torn):
        read_frame(BytesIO(content).read)


def test_copy_of_another_length_than_sent_is_not_whole() -> None:
    content = read_frame(BytesIO(whole(5)).read)[1]
    with pytest.raises(Torn, match="4 bytes were received, and 5 were sent"):
        check_whole(content, 4)


def test_pace_holds_to_the_limit_and_never_waits_without_one() -> None:
    assert donor.pause_s(10 * MIB, 1.0, 5.0) == pytest.approx(1.0)
    assert donor.pause_s(10 * MIB, 3.0, 5.0) == 0.0
    assert donor.pause_s(10 * MIB, 0.0, None) == 0.0


# --- the program ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a fake program on PATH: its name, its lines of sh."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return put


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


class Called:
    """A donor behind a real port, and certificates to call it with."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder, self.authority = folder, authority
        own = authority.files(folder, "db1", "database")
        told = {"tier": "database", "host": "db1", "members": dict(CONFIG.members), "copy_port": 0}
        self.config = folder / "donor.json"
        self.config.write_text(json.dumps({**told, "ca": own.ca, "certificate": own.certificate, "key": own.key}))
        self.door = donor.Door(self.config, QUICK)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.door.serve, args=(self.listener, 600.0), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.door.close()
        with suppress(ConnectionRefusedError):  # it has seen already that it is closed: it looks once a second
            socket.create_connection(("127.0.0.1", self.port), 10).close()
        self.thread.join(10)

    def connect(self, files: Files | None) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if files:
            context.load_cert_chain(files.certificate, files.key)
        plain = socket.create_connection(("127.0.0.1", self.port), 10)
        return context.wrap_socket(plain, server_hostname="db1")

    def begin(self, path: str, *names: str) -> tuple[ssl.SSLSocket, int, BytesIO]:
        """Ask; returns the connection, the status, and what is to be read after the head."""
        caller = self.connect(self.authority.files(self.folder, *names) if names else None)
        caller.sendall(f"GET {path} HTTP/1.1\r\nHost: db1\r\n\r\n".encode())
        stream = caller.makefile("rb")
        status = int(stream.readline().split()[1])
        while stream.readline().strip():
            pass
        return caller, status, stream  # type: ignore[return-value]

    def ask(self, path: str, *names: str) -> tuple[int, bytes]:
        caller, status, stream = self.begin(path, *names)
        with caller, stream:
            return status, stream.read()


@pytest.fixture
def called(tmp_path: Path, authority: Authority) -> Iterator[Called]:
    found = Called(tmp_path, authority)
    yield found
    found.close()


def frames(content: bytes) -> list[tuple[Kind, bytes]]:
    stream, found = BytesIO(content), []
    while stream.tell() < len(content):
        found.append(read_frame(stream.read))
    return found


def wait_until(holds: Callable[[], object], what: str, limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def test_copy_comes_in_frames_and_the_last_says_that_it_is_whole(called: Called, programs: Callable[[str, str], Path]) -> None:
    programs("mariadb-backup", "printf some; echo all went well >&2")
    status, content = called.ask("/copy", "db2", "database")
    assert status == 200
    assert frames(content) == [(Kind.DATA, b"some"), read_frame(BytesIO(whole(4)).read)]


def test_backup_that_fails_is_told_with_its_last_lines(called: Called, programs: Callable[[str, str], Path]) -> None:
    programs("mariadb-backup", "printf some; echo no more room in /tmp >&2; exit 3")
    _, content = called.ask("/copy", "db2", "database")
    kind, why = frames(content)[-1]
    assert kind is Kind.FAILED
    assert why == b"mariadb-backup failed with 3: no more room in /tmp"


def test_backup_that_waits_is_told_to_be_alive_and_given_up_in_the_end(
    called: Called, programs: Callable[[str, str], Path]
) -> None:
    programs("mariadb-backup", "printf some; exec sleep 600")
    _, content = called.ask("/copy", "db2", "database")
    kinds = [kind for kind, _ in frames(content)]
    assert kinds[0] is Kind.DATA
    assert Kind.WAIT in kinds
    assert kinds[-1] is Kind.FAILED


def test_second_copy_at_the_same_time_is_refused_with_the_reason(called: Called, programs: Callable[[str, str], Path]) -> None:
    programs("mariadb-backup", "printf some; exec sleep 600")
    first, _, stream = called.begin("/copy", "db2", "database")
    with first, stream:
        assert read_frame(stream.read) == (Kind.DATA, b"some")
        status, why = called.ask("/copy", "db2", "database")
    assert (status, why) == (503, b"db1 is giving a copy to another host now")


def test_backup_ends_when_the_caller_leaves_and_the_next_may_come(
    called: Called, programs: Callable[[str, str], Path], tmp_path: Path
) -> None:
    programs("mariadb-backup", f"echo $$ >{tmp_path}/pid; printf some; exec sleep 600")
    caller, _, stream = called.begin("/copy", "db2", "database")
    assert read_frame(stream.read) == (Kind.DATA, b"some")
    pid = int((tmp_path / "pid").read_text())
    stream.close()
    caller.close()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the backup goes on without its caller")
    wait_until(lambda: not called.door.copying.locked(), "nobody else gets a copy any more")


def test_stranger_without_a_certificate_gets_no_answer(called: Called) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
        called.ask("/size")


def test_certificate_of_another_authority_gets_no_answer(called: Called, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    foreign = Authority().files(tmp_path / "other", "db2", "database")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _first_byte(called.connect(foreign))


def _first_byte(caller: ssl.SSLSocket) -> bytes:
    with caller:
        caller.sendall(b"GET /size HTTP/1.1\r\n\r\n")
        byte = caller.recv(1)
    if not byte:
        raise ConnectionError("hung up")
    return byte


def test_certificate_of_another_tier_is_told_so_and_gets_nothing(
    called: Called, programs: Callable[[str, str], Path], tmp_path: Path
) -> None:
    programs("mariadb-backup", f"touch {tmp_path}/ran")
    assert called.ask("/copy", "db2", "web") == (403, b"this certificate is not of tier database")
    assert not (tmp_path / "ran").exists()


def test_nothing_else_is_answered(called: Called) -> None:
    assert called.ask("/", "db2", "database")[0] == 404


def test_size_is_that_of_the_data_without_the_logs_of_changes(
    called: Called, programs: Callable[[str, str], Path], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    (data / "shop").mkdir(parents=True)
    for name, length in (("ibdata1", 10), ("shop/a.ibd", 20), ("binlog.000001", 400), ("relay.index", 800), ("ibtmp1", 1600)):
        (data / name).write_bytes(bytes(length))
    programs("mariadb", f"printf '%s\\t%s\\t%s\\n' {data}/ {data}/binlog {data}/relay")
    status, content = called.ask("/size", "db2", "database")
    assert (status, json.loads(content)) == (200, {"data_bytes": 30})


def test_server_that_does_not_answer_is_told(called: Called, programs: Callable[[str, str], Path]) -> None:
    programs("mariadb", "echo cannot connect >&2; exit 1")
    status, why = called.ask("/size", "db2", "database")
    assert status == 503
    assert b"cannot connect" in why


def test_program_takes_the_port_from_systemd_and_ends_when_nobody_calls(tmp_path: Path, authority: Authority) -> None:
    called = Called(tmp_path, authority)
    called.close()
    listener = socket.create_server(("127.0.0.1", 0))
    called.port = listener.getsockname()[1]
    words = ["--config", str(called.config), "--idle-s", "0.5"]
    program = f"import sys; from nospof.onhost.database_donor import main; sys.exit(main({words!r}))"
    script = 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" -c "$1"'
    with subprocess.Popen(
        ["sh", "-c", script, sys.executable, program],
        preexec_fn=lambda: os.dup2(listener.fileno(), 3),
        pass_fds=(3,),
        stderr=subprocess.PIPE,
    ) as running:
        assert called.ask("/nothing", "db2", "database")[0] == 404
        assert running.wait(20) == 0
    listener.close()

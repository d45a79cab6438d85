"""A database server of which a test decides what it does with each write: as much of MySQL's protocol as PyMySQL needs.

Source: https://mariadb.com/kb/en/clientserver-protocol/ (handshake packet v10, OK, ERR and result set packets).
"""

from __future__ import annotations

import re
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

PROTOCOL_41, CONNECT_WITH_DB, TRANSACTIONS, SECURE, PLUGIN_AUTH = 0x200, 0x8, 0x2000, 0x8000, 0x80000
CAPABILITIES = PROTOCOL_41 | CONNECT_WITH_DB | TRANSACTIONS | SECURE | PLUGIN_AUTH
OK = b"\x00\x00\x00\x02\x00\x00\x00"
END = b"\xfe\x00\x00\x02\x00"
READ_ONLY = 1290


class Does(Enum):
    """What the server does with a write."""

    ACKNOWLEDGE = auto()
    REFUSE = auto()
    """It is read-only."""
    KEEP_AND_DIE = auto()
    """The connection ends after the write was kept and before the answer."""
    DROP_AND_DIE = auto()
    HANG = auto()


@dataclass
class FakeServer:
    """`writes` decides on the how-manieth write, beginning with 0; `held`: tokens that are in the table."""

    writes: Callable[[int], Does]
    server_id: int = 7
    held: list[str] = field(default_factory=list)
    seen: int = 0
    connections: int = 0
    is_closed: bool = False
    """From then on every connection ends at its next word, and every new one before its first."""
    turned_away: int = 0
    port: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_write(self) -> Does:
        with self.lock:
            self.seen += 1
            return self.writes(self.seen - 1)


@contextmanager
def fake_server(writes: Callable[[int], Does] = lambda _: Does.ACKNOWLEDGE) -> Iterator[FakeServer]:
    """Serve on a port of this machine until the end of the block."""
    fake = FakeServer(writes)

    class Handler(_Handler):
        server_of_test = fake

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

    with Listener(("127.0.0.1", 0), Handler) as listener:
        fake.port = listener.server_address[1]
        threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
        yield fake
        fake.is_over.set()
        listener.shutdown()


class _Over(Exception):
    """The connection ends here."""


class _Handler(socketserver.StreamRequestHandler):
    server_of_test: FakeServer

    def handle(self) -> None:
        fake = self.server_of_test
        with fake.lock:
            fake.connections += 1
            fake.turned_away += fake.is_closed
        if fake.is_closed:
            return
        try:
            self._send(0, _greeting())
            self._read()
            self._send(2, OK)
            while True:
                statement = self._read()[1:].decode()
                if fake.is_closed:
                    return
                self._answer(fake, statement)
        except (_Over, OSError):
            return

    def _answer(self, fake: FakeServer, statement: str) -> None:
        if statement.startswith("INSERT"):
            self._insert(fake, re.findall(r"'([^']*)'", statement)[0])
        elif "@@server_id" in statement:
            for number, packet in enumerate((b"\x01", _column("id"), END, _text(str(fake.server_id)), END), 1):
                self._send(number, packet)
        else:
            self._send(1, OK)

    def _insert(self, fake: FakeServer, token: str) -> None:
        does = fake.next_write()
        if does in (Does.ACKNOWLEDGE, Does.KEEP_AND_DIE):
            fake.held.append(token)
        if does is Does.ACKNOWLEDGE:
            self._send(1, OK)
        elif does is Does.REFUSE:
            self._send(1, b"\xff" + struct.pack("<H", READ_ONLY) + b"#HY000read-only")
        elif does is Does.HANG:
            fake.is_over.wait(30)
            raise _Over
        else:
            raise _Over

    def _send(self, number: int, packet: bytes) -> None:
        self.wfile.write(struct.pack("<I", len(packet))[:3] + bytes([number]) + packet)

    def _read(self) -> bytes:
        head = self.rfile.read(4)
        if len(head) < 4:
            raise _Over
        packet = self.rfile.read(int.from_bytes(head[:3], "little"))
        if packet[:1] == b"\x01":  # COM_QUIT
            raise _Over
        return packet


def _greeting() -> bytes:
    low, high = CAPABILITIES & 0xFFFF, CAPABILITIES >> 16
    salt = b"12345678"
    begin = b"\x0a11.8.6-MariaDB\x00" + struct.pack("<I", 1) + salt + b"\x00" + struct.pack("<HBH", low, 45, 2)
    return begin + struct.pack("<HB", high, 21) + bytes(10) + b"123456789012\x00" + b"mysql_native_password\x00"


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def _column(name: str) -> bytes:
    names = _text("def") + _text("") * 3 + _text(name) * 2
    return names + b"\x0c" + struct.pack("<HIBHB", 45, 20, 3, 0, 0) + b"\x00\x00"

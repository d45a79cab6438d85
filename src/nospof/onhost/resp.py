"""Ask a Valkey or Redis server, or a Sentinel, over TLS or a unix socket: one command, one answer.

For few and short questions: an answer is read whole, and nothing is sent ahead. Every call has a limit.
Source: https://valkey.io/topics/protocol/ (RESP2, which a connection speaks until it asks for another).
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType

Answer = str | int | list["Answer"] | None
MOST_BYTES = 1024 * 1024
MOST_NESTED = 8


class Refused(Exception):
    """The server answered with an error."""


@dataclass(frozen=True)
class Place:
    """Where to ask: `path` of a unix socket, or `address` and `port` of the host whose certificate has the name `host`."""

    host: str = ""
    address: str = ""
    port: int = 0
    path: str = ""
    user: str = ""
    password: str = ""


class Connection:
    """One connection. Each call ends within `timeout_s`; after an error other than Refused it is of no more use."""

    def __init__(self, place: Place, context: ssl.SSLContext | None, timeout_s: float) -> None:
        """Connect and log in. Raises OSError, ValueError or Refused."""
        self._timeout_s, self._held = timeout_s, b""
        self._end_s = time.monotonic() + timeout_s
        self._socket = _connected(place, context, timeout_s)
        try:
            if place.password:
                self.ask("AUTH", *([place.user] if place.user else []), place.password)
        except BaseException:
            self.close()
            raise

    def ask(self, *words: str | int, timeout_s: float | None = None) -> Answer:
        """Send one command and return its answer. Raises Refused, OSError, or ValueError for what is no answer."""
        self._end_s = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        self._socket.settimeout(self._left_s())
        self._socket.sendall(encoded(words))
        answer = self._answer(MOST_NESTED)
        if isinstance(answer, _Error):
            raise Refused(answer.text)
        return answer

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- reading -------------------------------------------------------------------------------------------------------
    def _answer(self, deeper: int) -> Answer | _Error:
        line = self._line()
        kind, rest = line[:1], line[1:].decode(errors="replace")
        if kind == b"+":
            return rest
        if kind == b"-":
            return _Error(rest)
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == "-1" else self._text(_size(rest))
        if kind == b"*" and deeper:
            return None if rest == "-1" else [_plain(self._answer(deeper - 1)) for _ in range(_size(rest))]
        raise ValueError(f"no answer: {line!r:.40}")

    def _line(self) -> bytes:
        while b"\r\n" not in self._held:
            self._more()
        line, _, self._held = self._held.partition(b"\r\n")
        return line

    def _text(self, size: int) -> str:
        while len(self._held) < size + 2:
            self._more()
        text, self._held = self._held[:size], self._held[size + 2 :]
        return text.decode(errors="replace")

    def _more(self) -> None:
        if len(self._held) > MOST_BYTES:
            raise ValueError("the answer is too long")
        self._socket.settimeout(self._left_s())
        piece = self._socket.recv(65536)
        if not piece:
            raise ConnectionResetError("closed the connection")
        self._held += piece

    def _left_s(self) -> float:
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no answer in time")
        return left_s


@dataclass(frozen=True)
class _Error:
    text: str


def _plain(answer: Answer | _Error) -> Answer:
    return answer.text if isinstance(answer, _Error) else answer


def _size(text: str) -> int:
    size = int(text)
    if not 0 <= size <= MOST_BYTES:
        raise ValueError(f"an answer of {size} parts")
    return size


def _connected(place: Place, context: ssl.SSLContext | None, timeout_s: float) -> socket.socket:
    if place.path:
        plain = socket.socket(socket.AF_UNIX)
        try:
            plain.settimeout(timeout_s)
            plain.connect(place.path)
        except BaseException:
            plain.close()
            raise
        return plain
    plain = socket.create_connection((place.address, place.port), timeout_s)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(plain, server_hostname=place.host) if context else plain
    except BaseException:
        plain.close()
        raise


def encoded(words: tuple[str | int, ...]) -> bytes:
    """A command as it is sent: an array of strings. Pure."""
    parts = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def client_context(ca: str, certificate: str, key: str) -> ssl.SSLContext:
    """What verifies the other side's certificate and name, and shows ours. Raises OSError."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Python 3.13 demands fields of a certificate that neither OpenSSL nor the servers miss.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(certificate, key)
    return context


def pairs(answer: Answer) -> dict[str, str]:
    """The fields of an answer that is a flat list of names and values; {} if it is something else. Pure."""
    if not isinstance(answer, list):
        return {}
    return {str(name): str(value) for name, value in zip(answer[::2], answer[1::2], strict=False)}


def password_hashes(lines: Iterable[str]) -> dict[str, frozenset[str]]:
    """By user, the hashes of its passwords, from rules as a file has them or as the server tells them. Pure."""
    return {words[1]: frozenset(_hashes(words[2:])) for words in map(str.split, lines) if words[:1] == ["user"]}


def _hashes(rules: list[str]) -> Iterator[str]:
    for rule in rules:
        if rule.startswith(">"):
            yield password_hash(rule[1:])
        elif rule.startswith("#"):
            yield rule[1:]


def password_hash(password: str) -> str:
    """As ACL rules have it. Pure."""
    return hashlib.sha256(password.encode()).hexdigest()


def listed(answer: Answer) -> list[str]:
    """The texts of an answer that is a list; [] if it is something else. Pure."""
    return list(map(str, answer)) if isinstance(answer, list) else []

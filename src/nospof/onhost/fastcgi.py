"""Ask an application over FastCGI, as a web server would: what no program of Debian's does that also says how it was answered.

    fastcgi SOCKET SCRIPT PATH       GET PATH of the script at that path in the application's view

Exits 0 if the answer's status is 200 to 299; otherwise it prints the status and the first lines, and exits 1.
Source: https://fastcgi-archives.github.io/FastCGI_Specification.html, sections 3 (records) and 5 (roles).
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping

LIMIT_S = 4.0
MOST_BYTES = 1 << 20
SHOWN = 500
VERSION, REQUEST_ID = 1, 1
BEGIN, END, PARAMETERS, INPUT, OUTPUT, ERRORS = 1, 3, 4, 5, 6, 7
RESPONDER = 1
HEADER = struct.Struct(">BBHHBx")


class NoAnswer(Exception):
    """The application ended the connection, or took too long."""


def main(argv: list[str]) -> int:
    """Ask, and say by the exit code whether the answer was a good one."""
    parser = argparse.ArgumentParser(prog="fastcgi")
    parser.add_argument("socket")
    parser.add_argument("script")
    parser.add_argument("path")
    told = parser.parse_args(argv)
    try:
        status, said = get(told.socket, told.script, told.path)
    except (OSError, NoAnswer) as error:
        sys.stderr.write(f"{told.socket}: {error}\n")
        return 1
    if 200 <= status < 300:
        return 0
    sys.stderr.write(f"{told.path} answered {status}: {said[:SHOWN]}\n")
    return 1


def get(path: str, script: str, url: str, query: str = "") -> tuple[int, str]:
    """Return the answer's status and text; `query` is what follows the question mark.

    Raises OSError if nobody listens, NoAnswer if no whole answer comes in LIMIT_S.
    """
    end = time.monotonic() + LIMIT_S
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(LIMIT_S)
        connection.connect(path)
        connection.sendall(_request(_parameters(script, url, query)))
        return _answer(b"".join(_output(_received(connection, end))))


def _parameters(script: str, url: str, query: str) -> Mapping[str, str]:
    return {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "nospof",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "443",
        "HTTPS": "on",
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": url,
        "QUERY_STRING": query,
        "SCRIPT_NAME": url,
        "SCRIPT_FILENAME": script,
    }


def _request(parameters: Mapping[str, str]) -> bytes:
    pairs = b"".join(_pair(name.encode(), value.encode()) for name, value in parameters.items())
    begin = struct.pack(">HB5x", RESPONDER, 0)
    return _record(BEGIN, begin) + _record(PARAMETERS, pairs) + _record(PARAMETERS, b"") + _record(INPUT, b"")


def _record(kind: int, content: bytes) -> bytes:
    return HEADER.pack(VERSION, kind, REQUEST_ID, len(content), 0) + content


def _pair(name: bytes, value: bytes) -> bytes:
    return _length(name) + _length(value) + name + value


def _length(of: bytes) -> bytes:
    return bytes([len(of)]) if len(of) < 128 else struct.pack(">I", len(of) | 1 << 31)


def _received(connection: socket.socket, end: float) -> Iterator[tuple[int, bytes]]:
    """Records until the one that ends the request."""
    kind, total = 0, 0
    while kind != END:
        _, kind, _, length, padding = HEADER.unpack(_exactly(connection, HEADER.size, end))
        content = _exactly(connection, length + padding, end)[:length]
        total += length
        if total > MOST_BYTES:
            raise NoAnswer(f"the answer has more than {MOST_BYTES} bytes")
        yield kind, content


def _exactly(connection: socket.socket, length: int, end: float) -> bytes:
    found = b""
    while len(found) < length:
        left_s = end - time.monotonic()
        if left_s <= 0:
            raise NoAnswer(f"no whole answer within {LIMIT_S:g} s")
        connection.settimeout(left_s)
        try:
            more = connection.recv(length - len(found))
        except TimeoutError:
            continue
        if not more:
            raise NoAnswer("the connection ended before the answer did")
        found += more
    return found


def _output(records: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
    return (content for kind, content in records if kind == OUTPUT)


def _answer(output: bytes) -> tuple[int, str]:
    head, _, body = output.partition(b"\r\n\r\n")
    for line in head.decode(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "status":
            return int(value.split()[0]), body.decode(errors="replace")
    return 200, body.decode(errors="replace")

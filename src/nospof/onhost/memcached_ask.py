"""Ask a memcached server for its version, over TLS: exit 0 when it answers.

With --figures it is asked for its counters, which are printed as {name: [kind, meaning, value]}; names as others' exporters
have them.
Source: https://github.com/memcached/memcached/blob/master/doc/protocol.txt ("version", "General-purpose statistics").
"""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import sys
import time

from nospof.onhost.resp import client_context

ASK_S = 2.0
MOST_BYTES = 64 * 1024
NAMES = {
    "curr_connections": ("memcached_current_connections", "gauge", "Connections that are open."),
    "max_connections": ("memcached_max_connections", "gauge", "Connections that it takes at most."),
    "rejected_connections": ("memcached_connections_rejected_total", "counter", "Connections refused for want of room."),
    "curr_items": ("memcached_current_items", "gauge", "Entries that it keeps."),
    "bytes": ("memcached_current_bytes", "gauge", "Memory that entries take."),
    "limit_maxbytes": ("memcached_limit_bytes", "gauge", "Memory that entries may take."),
    "evictions": ("memcached_items_evicted_total", "counter", "Entries thrown away before their end, to make room."),
    "cmd_get": ("memcached_gets_total", "counter", "Entries that were asked for."),
    "get_hits": ("memcached_get_hits_total", "counter", "Entries that were asked for and there."),
    "cmd_set": ("memcached_sets_total", "counter", "Entries that were written."),
    "uptime": ("memcached_uptime_seconds", "gauge", "Seconds since it was started."),
}


def main(argv: list[str]) -> int:
    """Exit 0 when the server answers; 1 when not, with the reason."""
    parser = argparse.ArgumentParser(prog="memcached_ask")
    for name in ("host", "address", "ca", "certificate", "key"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--figures", action="store_true")
    told = parser.parse_args(argv)
    question, begin, end = (b"stats\r\n", b"STAT ", b"END\r\n") if told.figures else (b"version\r\n", b"VERSION ", b"\r\n")
    try:
        context = client_context(told.ca, told.certificate, told.key)
        with (
            socket.create_connection((told.address, told.port), ASK_S) as plain,
            context.wrap_socket(plain, server_hostname=told.host) as connection,
        ):
            connection.sendall(question)
            answer = _answer(connection, end)
    except OSError as error:
        sys.stderr.write(f"{told.host} does not answer: {error}\n")
        return 1
    if not answer.startswith(begin):
        sys.stderr.write(f"{told.host} answers {answer!r:.40}\n")
        return 1
    if told.figures:
        sys.stdout.write(json.dumps(figures(answer.decode(errors="replace"))))
    return 0


def _answer(connection: ssl.SSLSocket, end: bytes) -> bytes:
    """What comes until `end`, or until there is no more. Raises TimeoutError after ASK_S in all."""
    until_s, found = time.monotonic() + ASK_S, b""
    while not found.endswith(end) and len(found) < MOST_BYTES:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no whole answer in time")
        connection.settimeout(left_s)
        piece = connection.recv(4096)
        if not piece:
            break
        found += piece
    return found


def figures(answer: str) -> dict[str, tuple[str, str, float]]:
    """The server's names as Prometheus'; what is no number is left out. Pure."""
    told = dict(line.split(" ", 2)[1:] for line in answer.splitlines() if line.count(" ") == 2)
    found = {}
    for name, (figure, kind, meaning) in NAMES.items():
        if told.get(name, "").isdigit():
            found[figure] = (kind, meaning, float(told[name]))
    return found

"""Ask a memcached server for its version, over TLS: exit 0 when it answers.

Source: https://github.com/memcached/memcached/blob/master/doc/protocol.txt ("version").
"""

from __future__ import annotations

import argparse
import socket
import sys

from nospof.onhost.resp import client_context

ASK_S = 2.0


def main(argv: list[str]) -> int:
    """Exit 0 when the server answers; 1 when not, with the reason."""
    parser = argparse.ArgumentParser(prog="memcached_ask")
    for name in ("host", "address", "ca", "certificate", "key"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, required=True)
    told = parser.parse_args(argv)
    try:
        context = client_context(told.ca, told.certificate, told.key)
        with (
            socket.create_connection((told.address, told.port), ASK_S) as plain,
            context.wrap_socket(plain, server_hostname=told.host) as connection,
        ):
            connection.sendall(b"version\r\n")
            answer = connection.recv(64)
    except OSError as error:
        sys.stderr.write(f"{told.host} does not answer: {error}\n")
        return 1
    if not answer.startswith(b"VERSION "):
        sys.stderr.write(f"{told.host} answers {answer!r:.40}\n")
        return 1
    return 0

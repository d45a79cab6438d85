"""The forwarder: a loopback port of the machine leads to addresses in the lab, for a browser or curl.

A program of its own, started by path, standard library only: it must outlive the command that started it, and start
fast. It is given a listening socket made in the machine's network, then enters the lab's: a socket keeps the network
it was made in, so it listens here and calls there. Of several addresses each connection takes the next, as visitors do who
find them in DNS; one that does not accept is given up with an error.

    forward.py LISTENING_FD NAMESPACE ADDRESS:PORT...
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import os
import signal
import socket
import struct
import sys

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_CONNECT_LIMIT_S = 5.0
_CHUNK_BYTES = 1 << 16


def main(listening_fd: int, namespace: str, targets: list[str]) -> None:
    """Relay until killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the Ctrl-C of whoever started it is not meant for it
    enter_network(namespace)
    asyncio.run(_serve(socket.socket(fileno=listening_fd), targets))


def enter_network(namespace: str) -> None:
    """Move this process into a network namespace (setns(2); Python has it from 3.12 on)."""
    descriptor = os.open(namespace, os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    os.close(descriptor)


async def _serve(listening: socket.socket, targets: list[str]) -> None:
    turns = itertools.cycle(targets)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address, _, port = next(turns).rpartition(":")
        await _relay(reader, writer, address, int(port))

    server = await asyncio.start_server(relay, sock=listening)
    await server.serve_forever()


async def _relay(near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter, address: str, port: int) -> None:
    try:
        connecting = asyncio.open_connection(address, port)
        far_in, far_out = await asyncio.wait_for(connecting, _CONNECT_LIMIT_S)
    except (OSError, TimeoutError):
        _reset(near_out)
        return
    await asyncio.gather(_copy(near_in, far_out), _copy(far_in, near_out))
    for out in (near_out, far_out):
        out.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy until the source ends, then end the target's direction only: HTTP may still be answered."""
    with contextlib.suppress(OSError):
        while chunk := await source.read(_CHUNK_BYTES):
            target.write(chunk)
            await target.drain()
        target.write_eof()
        return
    _reset(target)


def _reset(out: asyncio.StreamWriter) -> None:
    """End a connection so that the peer sees an error, where a mere close would look like an empty answer."""
    out.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    out.transport.abort()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])

"""Keeps one forwarder (forward.py) running per lab, on a port that stays the same."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from nospof.errors import Failed
from nospof.lab import machine
from nospof.lab.cgroup import FORWARDER, Group, tree
from nospof.lab.host import PATH
from nospof.lab.places import NAMESPACES, Places

# Not imported: asyncio takes longer to load than most commands take to work.
PROGRAM = Path(__file__).with_name("forward.py")

FIRST_PORT = 8443
_PORTS = 100


def listen(wanted: int | None, taken: frozenset[int]) -> socket.socket:
    """Listen on 127.0.0.1 at the `wanted` port, else at the first free one from 8443 on that is not `taken`.

    Raises Failed if none of 100 is free.
    """
    ports = range(FIRST_PORT, FIRST_PORT + _PORTS)
    for port in [*([wanted] if wanted else []), *(port for port in ports if port not in taken)]:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
            listening.listen(128)
            return listening
        except OSError:
            listening.close()
    raise Failed(f"no port of 127.0.0.1 from {FIRST_PORT} to {FIRST_PORT + _PORTS - 1} is free", fix="ss -ltnp")


Targets = Sequence[tuple[str, int]]


def is_relaying(places: Places, targets: Targets) -> bool:
    """Say whether the lab's forwarder runs and leads to `targets`."""
    arguments = [_arguments(process) for process in _group(places).processes()]
    wanted = [str(NAMESPACES / places.namespace), *_targets(targets)]
    return any(wanted == given[-len(wanted) :] for given in arguments)


def start(places: Places, targets: Targets, listening: socket.socket, lock_fd: int) -> None:
    """Start the forwarder on an already listening socket, so that a port in use is noticed before."""
    fd = listening.fileno()
    namespace = str(NAMESPACES / places.namespace)
    program = [sys.executable, "-I", "-S", str(PROGRAM), str(fd), namespace, *_targets(targets)]
    argv = tree().detaching(places.lab, FORWARDER, program)
    machine.launch(argv, places.forwarder_log, lock_fd, {"PATH": PATH}, keep_fds=(fd,))


def stop(places: Places) -> None:
    group = _group(places)
    group.kill()
    group.wait_until_empty()
    group.remove()


def _group(places: Places) -> Group:
    return tree().group(places.lab, FORWARDER)


def _targets(targets: Targets) -> list[str]:
    return [f"{address}:{port}" for address, port in targets]


def _arguments(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/cmdline").read_text().rstrip("\0").split("\0")
    except OSError:
        return []

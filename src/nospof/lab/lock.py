"""One writer per lab: `up`, `down` and power operations exclude each other, across processes and threads.

The kernel's flock, so that a killed holder holds nothing; whoever is refused learns who holds it and since when.
`up` and `down` take the lab alone. Power operations share the lab and take their host alone, because a drill cuts a
whole zone at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nospof.errors import Failed
from nospof.lab.machine import wait_until
from nospof.lab.places import Places

_PATIENCE_S = 2.0  # a power operation of another thread ends well within it
_ORPHANS_LIMIT_S = 30.0  # what a killed holder had started (mkfs, ip) inherits the lock and ends by itself


@contextmanager
def whole_lab(places: Places, what: str) -> Iterator[int]:
    """Hold the lab alone for `what`; gives the lock's descriptor. Raises Failed naming the holder if it is held."""
    with _held(places.lock, fcntl.LOCK_EX, places.lab) as lock_fd:
        _sign(lock_fd, what)
        yield lock_fd


@contextmanager
def one_host(places: Places, host: str, what: str) -> Iterator[int]:
    """Hold one host alone and the lab shared, for `what`; gives the lab's descriptor, which `down` waits for."""
    with (
        _held(places.lock, fcntl.LOCK_SH, places.lab) as lock_fd,
        _held(places.host_lock(host), fcntl.LOCK_EX, f"{places.lab}, host {host}") as host_fd,
    ):
        for taken in (lock_fd, host_fd):
            _sign(taken, f"{what} {host}")
        yield lock_fd


def forget(places: Places) -> None:
    """Remove the lock files. Only while `whole_lab` is held: who waits on a removed file notices and opens it anew."""
    for path in places.lock.parent.glob(f"{places.lab}.*lock"):
        path.unlink(missing_ok=True)


@contextmanager
def _held(path: Path, kind: int, lab: str) -> Iterator[int]:
    lock_fd = _acquire(path, kind, lab)
    try:
        os.set_inheritable(lock_fd, True)
        yield lock_fd
    finally:
        os.close(lock_fd)


def _acquire(path: Path, kind: int, lab: str) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    taken: list[int] = []

    def take() -> bool:
        lock_fd = _try(path, kind)
        if lock_fd is not None:
            taken.append(lock_fd)
        return lock_fd is not None

    if wait_until(take, _PATIENCE_S, step_s=0.02):
        return taken[0]
    if not _holder_lives(path) and wait_until(take, _ORPHANS_LIMIT_S, step_s=0.1):
        return taken[0]
    raise Failed(
        f"lab {lab} is in use: {_describe(path)}",
        why="two at once would undo each other's work",
        fix="wait until it has ended, or end it",
    )


def _try(path: Path, kind: int) -> int | None:
    lock_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_fd, kind | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(lock_fd).st_ino:
            return lock_fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock_fd)
    return None


def _sign(lock_fd: int, what: str) -> None:
    signature = json.dumps({"what": what, "process": os.getpid(), "since": time.time()})
    os.pwrite(lock_fd, signature.encode().ljust(200), 0)


def _describe(path: Path) -> str:
    signature = _signature(path)
    if signature is None:
        return "by a process that has only just begun"
    what, process, since = signature
    clock = time.strftime("%H:%M:%S", time.localtime(since))
    ended = "" if _lives(process) else ", which was killed, but what it had started still runs"
    return f"`{what}` by process {process} since {clock} ({time.time() - since:.0f} s){ended}"


def _holder_lives(path: Path) -> bool:
    signature = _signature(path)
    return signature is None or _lives(signature[1])


def _lives(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def _signature(path: Path) -> tuple[str, int, float] | None:
    try:
        said = json.loads(path.read_text())
        return str(said["what"]), int(said["process"]), float(said["since"])
    except (OSError, ValueError, KeyError):
        return None

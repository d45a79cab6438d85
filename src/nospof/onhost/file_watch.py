"""Wait until a file is replaced, without asking again and again.

The kernel tells it (inotify on the file's folder, which may come and go). Where it cannot, for there is no folder or the user's
inotify instances are used up, the file is looked at every 20 ms, which costs half a percent of a core instead of nothing.
Source: https://man7.org/linux/man-pages/man7/inotify.7.html
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import time
from pathlib import Path

LOOK_EVERY_S = 0.02
IN_CLOSE_WRITE, IN_MOVED_TO, IN_IGNORED = 0x8, 0x80, 0x8000
HEAD = struct.Struct("iIII")


class FileWatch:
    """Tells when `path` is another file than before, or has other content. For one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._events = int(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._is_told = False
        self._seen = _identity(path)

    def wait(self, timeout_s: float) -> bool:
        """Wait until the file changed, and say so; False after `timeout_s` seconds."""
        end_s = time.monotonic() + timeout_s
        while True:
            self._is_told = self._is_told or self._ask_to_be_told()
            seen = _identity(self.path)
            if seen != self._seen:
                self._seen = seen
                return True
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return False
            if not self._is_told:
                time.sleep(min(LOOK_EVERY_S, left_s))
            elif select.select([self._events], [], [], left_s)[0]:
                self._is_told = not _any_ignored(self._read())

    def close(self) -> None:
        if self._events >= 0:
            os.close(self._events)

    def _ask_to_be_told(self) -> bool:
        folder = os.fsencode(self.path.parent)
        return self._events >= 0 and int(self._libc.inotify_add_watch(self._events, folder, IN_CLOSE_WRITE | IN_MOVED_TO)) >= 0

    def _read(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return os.read(self._events, 65536)
        return b""


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _any_ignored(events: bytes) -> bool:
    """Whether the folder is gone, and with it what was asked for."""
    place = 0
    while place + HEAD.size <= len(events):
        _, mask, _, length = HEAD.unpack_from(events, place)
        if mask & IN_IGNORED:
            return True
        place += HEAD.size + length
    return False

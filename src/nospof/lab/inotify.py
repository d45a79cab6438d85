"""inotify instances: a limit of the machine that hosts run into silently.

All hosts' root is the machine's root, whose instances are counted together. Around the tenth host of a machine with
the common limit of 128 a systemd fails, and says nothing.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

BARE_HOST, FULL_HOST = 6, 10  # instances: measured on a host without daemons; what one with daemons may take
_SETTING = Path("/proc/sys/fs/inotify/max_user_instances")


def room_for(wanted: int) -> int:
    """Return how many of `wanted` instances the kernel would give to root now: found by asking for them."""
    libc = ctypes.CDLL(None)
    taken: list[int] = []
    try:
        while len(taken) < wanted:
            instance = libc.inotify_init1(os.O_CLOEXEC)
            if instance < 0:
                break
            taken.append(instance)
        return len(taken)
    finally:
        for instance in taken:
            os.close(instance)


def limit() -> int:
    return int(_SETTING.read_text())


def remedy(hosts: int) -> str:
    """Return the command that gives `hosts` more hosts enough, for now; a file in /etc/sysctl.d keeps it."""
    return f"sysctl -w fs.inotify.max_user_instances={max(512, limit() + hosts * FULL_HOST)}"

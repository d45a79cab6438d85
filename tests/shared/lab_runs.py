"""Runs of tests and benchmarks know of each other, so that none removes the labs of another that lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TextIO

LOCK = Path("/run/nospof-tests.lock")


def lives_beside_others() -> TextIO | None:
    """Say that this process has labs, for as long as what is returned is open; None without root, where there are no labs.

    Waits for whoever is removing what dead runs have left.
    """
    if os.geteuid() != 0:
        return None
    lock = LOCK.open("w")
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock

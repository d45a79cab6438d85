"""Threads without which a program is of no use: should one end by a defect, the program ends, and systemd starts it again.

Otherwise the rest would run on, deaf or blind, and nobody would know. A thread that serves one caller is none of these: what
that sends must not end the program.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

DEFECT = 70

log = logging.getLogger("nospof")


def run_beside(work: Callable[..., object], *args: object, name: str = "") -> None:
    """Have a thread do `work`; the program ends at once, with exit code 70, when it raises."""

    def run() -> None:
        try:
            work(*args)
        except BaseException:
            log.critical("a defect ended a thread, so the program ends", exc_info=True)
            os._exit(DEFECT)

    threading.Thread(target=run, name=name or None, daemon=True).start()

"""Tell systemd that this process lives, where its unit has a WatchdogSec: one that hangs is killed and started again.

Source: sd_notify(3), systemd.service(5).
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def tell_systemd(text: str) -> None:
    """Send `text`, e.g. "WATCHDOG=1", if systemd wants to hear it."""
    place = os.environ.get("NOTIFY_SOCKET")
    if place:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.settimeout(0.1)
            systemd.sendto(text.encode(), place)

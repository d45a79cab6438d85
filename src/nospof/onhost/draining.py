"""Keeps new requests from an instance while it changes: the web server beside it says it is ill, and load balancers ask others.

The mark is a folder in /run that a unit holds for a limited time: whatever becomes of this program, it goes.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePath

from nospof.onhost import units

LONGEST_S = 300


def drain(mark: str, noticed_s: float) -> Callable[[], None]:
    """Make the folder `mark` below /run, wait until it was noticed, and return what ends it (at once, and more than once).

    A host that cannot be drained is changed all the same: those who come then wait.
    """
    unit = f"nospof-draining.{PurePath(mark).name}.service"  # no tier has a dot in its name

    def end() -> None:
        with suppress(subprocess.TimeoutExpired):
            units.run(["systemctl", "stop", unit], timeout_s=10)

    end()  # one that died left it
    folder = PurePath(mark).relative_to("/run")
    kept = ["--collect", "--service-type=exec", f"--property=RuntimeDirectory={folder}", "sleep", str(LONGEST_S)]
    with suppress(subprocess.TimeoutExpired):
        units.run(["systemd-run", "--quiet", f"--unit={unit}", *kept], timeout_s=10)
    time.sleep(noticed_s)
    return end

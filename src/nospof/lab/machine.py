"""The machine that carries the labs: running its programs, and processes that outlive us.

A program started by `call` inherits the lab's lock (lock.py makes its descriptor inheritable), so that when we are
killed in the middle the lock is free only after that program has ended too; `down` then meets nothing that still
moves.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nospof.errors import Failed, WrongInput

_LIMIT_S = 60.0  # no program used here needs a tenth of it; only a limit against hanging
PACKAGES = "mmdebstrap systemd-container iproute2 nftables e2fsprogs util-linux"


def call(argv: Sequence[str], text: str = "") -> str:
    """Run a program of the machine with `text` on its standard input and return what it printed.

    Raises Failed with its last lines if it ends with anything but 0, WrongInput if it is not installed.
    """
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, close_fds=False, timeout=_LIMIT_S)
    except FileNotFoundError:
        raise WrongInput(f"{argv[0]} is not installed", fix=f"apt-get install {PACKAGES}") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(argv)} did not end within {_LIMIT_S:.0f} s", detail=text) from None
    if done.returncode != 0:
        raise Failed(f"{' '.join(argv)} ended with {done.returncode}", detail=last_lines(done.stderr or done.stdout))
    return done.stdout


def launch(argv: Sequence[str], log: Path, lock_fd: int, environment: Mapping[str, str], keep_fds: Sequence[int] = ()) -> None:
    """Run `argv` (of Tree.detaching), whose child goes on in its group when we end, with its output appended to `log`.

    The lock is its standard input until it closes that, in the group: so there is no moment at which it is neither
    waited for (by the lock) nor found (by its group).
    """
    with log.open("ab") as output:
        # close_fds stays on: the inheritable copy of the lock must not live as long as the process does.
        subprocess.run(
            argv,
            stdin=lock_fd,
            stdout=output,
            stderr=output,
            env=dict(environment),
            pass_fds=keep_fds,
            timeout=_LIMIT_S,
            check=True,
        )


def wait_until(is_so: Callable[[], bool], limit_s: float, step_s: float = 0.005) -> bool:
    """Ask every `step_s` seconds until `is_so` holds; say whether it did within `limit_s` seconds."""
    end = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() >= end:
            return False
        time.sleep(step_s)
    return True


def last_lines(text: str, count: int = 12) -> str:
    return "\n".join(text.strip().splitlines()[-count:])

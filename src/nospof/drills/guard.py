"""Watches over a run of drills from a process of its own, and heals what the run leaves broken when it dies.

`python -m nospof.drills.guard STACK_FILE` reads its standard input: at the end of it the run is over, however it ended. It also
heals what is overdue while the run still lives, since a run may hang. A kill -9 of both leaves the hosts' own timers, and the
records, which the next run finds.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nospof.deployment import Deployment
from nospof.drills import faults  # noqa: F401 - makes them known
from nospof.drills.ground import Ground
from nospof.drills.undo import folder, heal_all
from nospof.drills.workloads.sql_write import FOLDER
from nospof.errors import NospofError

LOOKS_EVERY_S = 2.0
TRIES, TRIES_EVERY_S = 5, 5.0


@contextmanager
def guarded(ground: Ground) -> Iterator[None]:
    """Have a guard of its own session beside what is done here, so that Ctrl-C does not reach it."""
    state, source = ground.deployment.state, ground.deployment.stack.file
    folder(state).mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = [sys.executable, "-I", "-m", __name__, str(source)]
    with (folder(state) / "guard.log").open("a") as log:
        guard = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
    assert guard.stdin  # noqa: S101 - asked for above
    try:
        yield
    finally:
        guard.stdin.close()
        guard.wait()


def main(stack_file: str) -> int:
    """Wait for the end of the run, and leave nothing unhealed."""
    ground = Ground(Deployment.load(Path(stack_file)))
    os.set_blocking(sys.stdin.fileno(), False)
    while not _is_over():
        _heal(ground, only_overdue=True)
    _end_loads(ground)
    return 0 if any(_heal(ground, only_overdue=False) for _ in range(TRIES)) else 4


def _end_loads(ground: Ground) -> None:
    """Have clients end that a run which died has left on hosts."""
    for host in ground.topology.hosts:
        with suppress(NospofError):
            ground.sh(host.name, f"for folder in {FOLDER}/*/; do if [ -d $folder ]; then touch $folder/stop; fi; done")


def _is_over() -> bool:
    ready, _, _ = select.select([sys.stdin], [], [], LOOKS_EVERY_S)
    return bool(ready) and not os.read(sys.stdin.fileno(), 64)


def _heal(ground: Ground, *, only_overdue: bool) -> bool:
    try:
        heal_all(ground, _say, only_overdue=only_overdue)
    except (NospofError, OSError) as error:
        _say(f"not healed: {error}")
        time.sleep(TRIES_EVERY_S)
        return False
    return True


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)  # noqa: T201 - its log


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

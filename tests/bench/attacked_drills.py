# ruff: noqa: T201 - what is printed is the result
"""Drills that are attacked at any moment: the run is killed, interrupted or stopped, or a host of it goes away. Does all heal?

As root: `PYTHONPATH=tests/shared .venv/bin/python tests/bench/attacked_drills.py [COUNT] [SEED]`. Some 40 s each, in one lab.
Prints a row per attack; exit code 1 when something was left broken: a record, a line on a host, a stack that is not well again.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from live_site import LiveSite

from nospof.drills import faults as _all_faults  # noqa: F401 - makes them known
from nospof.drills import host_lines
from nospof.drills.checkers.leftovers import Leftovers
from nospof.drills.fault import Fault, targets
from nospof.drills.ground import Ground
from nospof.drills.undo import unhealed
from nospof.drills.wellness import wait_until_well
from nospof.errors import NospofError

# A drill of a quiet stack needs about this long from its first word to its last.
DRILL_S = 32.0
HEALED_WITHIN_S, WELL_WITHIN_S = 90.0, 120.0


def kill_all(site: LiveSite, process: subprocess.Popen[str], target: str) -> None:
    """As a terminal that is closed hard: the run and what it started, but not its guard, which has a session of its own."""
    os.killpg(process.pid, signal.SIGKILL)


def kill_run(site: LiveSite, process: subprocess.Popen[str], target: str) -> None:
    process.kill()


def kill_with_guard(site: LiveSite, process: subprocess.Popen[str], target: str) -> None:
    """Nobody is left here: the next run, or the hosts themselves."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = entry.read_bytes().split(b"\0")
            if b"nospof.drills.guard" in words and str(site.file).encode() in words:
                os.kill(int(entry.parent.name), signal.SIGKILL)
    process.kill()


def interrupt(site: LiveSite, process: subprocess.Popen[str], target: str) -> None:
    os.killpg(process.pid, signal.SIGINT)


def hang_up(site: LiveSite, process: subprocess.Popen[str], target: str) -> None:
    os.killpg(process.pid, signal.SIGHUP)


def stand_still(site: LiveSite, process: subprocess.Popen[str], target: str) -> None:
    """A laptop that sleeps for a while: the run and its visitors stop, and go on."""
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(8)
    os.killpg(process.pid, signal.SIGCONT)


def reboot_target(site: LiveSite, process: subprocess.Popen[str], target: str) -> None:
    """The host that is being broken, or another one, starts anew on its own."""
    lab = site.deployment().lab
    with suppress(NospofError):  # the drill itself may have it switched off
        lab.power_off(target)
    time.sleep(1)
    with suppress(NospofError):
        lab.power_on(target)


def freeze_target(site: LiveSite, process: subprocess.Popen[str], target: str) -> None:
    """A host that answers nothing for a while, and then goes on as if nothing had been."""
    lab = site.deployment().lab
    with suppress(NospofError):
        lab.freeze(target)
    time.sleep(8)
    with suppress(NospofError):
        lab.thaw(target)


Attack = Callable[[LiveSite, subprocess.Popen[str], str], None]
ATTACKS: tuple[Attack, ...] = (
    kill_all,
    kill_run,
    kill_with_guard,
    interrupt,
    hang_up,
    stand_still,
    reboot_target,
    freeze_target,
)


@contextmanager
def brought_up() -> Iterator[LiveSite]:
    with tempfile.TemporaryDirectory(prefix="nospof-attacked-") as folder:
        site = LiveSite(Path(folder) / "stack", f"fail-{secrets.token_hex(3)}")
        try:
            site.nospof("up")
            yield site
        finally:
            site.down()


def attacked(site: LiveSite, chance: random.Random, attack: Attack) -> tuple[str, str]:
    """What was attacked and when, and what is still broken after it, "" where nothing is."""
    ground = Ground(site.deployment())
    before = Leftovers().look(ground)
    fault = drawn(ground, chance)
    host = chance.choice(fault.hosts(ground.topology))
    at_s = chance.uniform(0.0, DRILL_S)
    process = site.start("drill", str(site.file), fault.name, fault.target, "--reads=20", "--writes=10")
    with suppress(subprocess.TimeoutExpired):
        process.wait(at_s)
    is_over = process.poll() is not None
    if not is_over:
        attack(site, process, host)
    out, err = process.communicate(timeout=300)
    said = (out + err).strip().splitlines()
    if attack is kill_with_guard:
        site.start("drill", "--heal", str(site.file)).communicate(timeout=300)
    row = f"{fault} | {'it was over' if is_over else f'{at_s:.1f} s'} | {process.returncode}"
    return row, broken(site, ground, before, said)


def drawn(ground: Ground, chance: random.Random) -> Fault:
    """Any fault that can be made here, anywhere."""
    while True:
        kind = Fault.kinds[chance.choice(sorted(Fault.kinds))]
        if known := targets(kind, ground.topology):
            fault = kind(target=chance.choice(known))
            if not fault.unavailable(ground):
                return fault


def broken(site: LiveSite, ground: Ground, before: host_lines.Lines, said: Sequence[str]) -> str:
    end = time.monotonic() + HEALED_WITHIN_S
    while left := unhealed(site.deployment().state):
        if time.monotonic() > end:
            return f"not healed: {', '.join(map(str, left))}"
        time.sleep(0.5)
    if complaints := wait_until_well(ground, WELL_WITHIN_S):
        return f"not well: {'; '.join(complaints[:3])}"
    new, silent = host_lines.compare(before, Leftovers().look(ground))
    traced = [line for line in said if "Traceback" in line]
    return "; ".join([*new, *([f"silent: {silent}"] if silent else []), *traced])


def main(words: Sequence[str]) -> int:
    count, seed = int(words[0]) if words else 16, int(words[1]) if len(words) > 1 else 1
    missed = 0
    print("| # | attack | fault | after | exit code | left broken |\n|---|---|---|---|---|---|")
    with brought_up() as site:
        for number in range(count):
            chance = random.Random(f"{seed}/{number}")
            attack = ATTACKS[number % len(ATTACKS)]
            row, left = attacked(site, chance, attack)
            missed += bool(left)
            print(f"| {number} | {attack.__name__.replace('_', ' ')} | {row} | {left or 'nothing'} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

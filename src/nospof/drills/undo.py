"""What was broken and is not healed yet: written down before anything is broken, so that any later process can heal it.

On the controlling machine a file per fault in .nospof/drills/unhealed, synced; on a host that can heal itself a timer of its
systemd, which works with the controlling machine dead or the network cut. Healing twice does nothing twice.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nospof.apply.state import UNHEALED, State
from nospof.drills.fault import Fault, Ground, fault_of
from nospof.errors import NospofError, NotHealed, Uncertain

LOOKS_EVERY_S = 0.2
# A host that heals itself does so when the drill's own end is certainly past.
GRACE_S = 30.0


@dataclass(frozen=True)
class Unhealed:
    """One fault that is, or may be, in force."""

    id: str
    fault: dict[str, Any]
    armed_at: float
    """Seconds since the epoch."""
    within_s: float
    """When so much time has passed it is healed by whoever still runs."""

    @property
    def is_overdue(self) -> bool:
        return time.time() > self.armed_at + self.within_s

    def __str__(self) -> str:
        return f"{self.fault['fault']} {self.fault['target']}, since {time.strftime('%H:%M:%S', time.localtime(self.armed_at))}"


def unhealed(state: State) -> tuple[Unhealed, ...]:
    """What is not healed, the newest first."""
    found = []
    for path in sorted((state.folder / UNHEALED).glob("*.json")):
        # It may be healed, and its file gone, at this very moment.
        with suppress(FileNotFoundError):
            found.append(Unhealed(**json.loads(path.read_text())))
    return tuple(sorted(found, key=lambda record: record.armed_at, reverse=True))


def arm(ground: Ground, fault: Fault, within_s: float) -> Unhealed:
    """Write down that `fault` will be injected, here and on the hosts. Raises Uncertain where a host would not take it."""
    record = Unhealed(secrets.token_hex(4), fault.plain(), time.time(), within_s)
    ground.deployment.state.write(f"{UNHEALED}/{record.id}.json", json.dumps(asdict(record)) + "\n")
    for host, script in fault.undo(ground).items():
        ground.sh(host, _timer(record, script))
    return record


def heal(ground: Ground, record: Unhealed, say: Callable[[str], None] = lambda _: None) -> None:
    """Heal what `record` tells of, see that it is healed, and forget it.

    Raises NotHealed, with what was seen last, when it is not healed within its time: the record then stays.
    """
    fault = fault_of(record.fault, ground.topology)
    with _alone(ground.deployment.state):
        path = ground.deployment.state.folder / UNHEALED / f"{record.id}.json"
        if not path.exists():
            return
        say(f"healing {fault}")
        _heal_until_seen(ground, fault)
        for host in fault.undo(ground):
            with suppress(Uncertain):
                ground.sh(host, f"systemctl stop nospof-heal-{record.id}.timer 2>/dev/null || true; rm -f {_script(record)}")
        path.unlink(missing_ok=True)


def _heal_until_seen(ground: Ground, fault: Fault) -> None:
    """Try, look, and try again: the first may have met a host that was still on its way down."""
    end, last = time.monotonic() + 2 * fault.comes_back_s, "nothing was seen"
    while time.monotonic() < end:
        try:
            fault.heal(ground)
            until = min(end, time.monotonic() + fault.comes_back_s)
            while time.monotonic() < until:
                found = fault.healed(ground)
                if found.is_so:
                    return
                last = found.says
                time.sleep(LOOKS_EVERY_S)
        except NospofError as error:
            last = str(error)
            time.sleep(LOOKS_EVERY_S)
    raise NotHealed(
        f"{fault} is not healed",
        why=last,
        fix=f"look at it with nospof shell, then try again: nospof drill {ground.deployment.stack.file} --heal",
    )


def heal_all(ground: Ground, say: Callable[[str], None], *, only_overdue: bool = False) -> int:
    """Heal everything that is not, the newest first; returns how many there were. Raises NotHealed after having tried all."""
    records = [record for record in unhealed(ground.deployment.state) if record.is_overdue or not only_overdue]
    failed: list[NotHealed] = []
    for record in records:
        try:
            heal(ground, record, say)
        except NotHealed as error:
            failed.append(error)
    if failed:
        raise failed[0]
    return len(records)


def _timer(record: Unhealed, script: str) -> str:
    """Shell text that has the host heal itself later. A reboot forgets it, and with it what is in /run."""
    path = _script(record)
    after_s = round(record.within_s + GRACE_S)
    return f"""
cat >{path} <<'END-OF-HEALING'
{script}
rm -f {path}
END-OF-HEALING
systemd-run --quiet --collect --unit=nospof-heal-{record.id} --on-active={after_s}s sh -eu {path}
"""


def _script(record: Unhealed) -> str:
    return f"/run/nospof-heal-{record.id}.sh"


@contextmanager
def _alone(state: State) -> Iterator[None]:
    """Let one process heal at a time: the guard and a new run may both want to."""
    with (state.folder / "drills" / "healing.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def folder(state: State) -> Path:
    """Where drills keep what they found."""
    return state.folder / "drills"

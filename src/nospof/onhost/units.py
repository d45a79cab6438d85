"""systemd on this host: what state units are in, and changing it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

START_LIMIT_S = 120.0
PROPERTIES = "Id,LoadState,ActiveState,SubState,UnitFileState,ConditionResult,ConditionTimestampMonotonic,MainPID,NRestarts"


class UnitFailure(Exception):
    """A unit did not do what it was told; `log` holds its last lines."""

    def __init__(self, unit: str, what: str, log: str) -> None:
        super().__init__(f"{unit} {what}")
        self.unit, self.what, self.log = unit, what, log


@dataclass(frozen=True)
class UnitState:
    """One unit as systemd sees it."""

    name: str
    load: str
    active: str
    sub: str
    enabled: str
    is_skipped: bool
    """Its own conditions say that it does not run on such a host."""
    main_pid: int
    restarts: int

    @property
    def is_running(self) -> bool:
        return self.active in ("active", "reloading", "refreshing")

    @property
    def needs_enabling(self) -> bool:
        return self.enabled in ("disabled", "")


def states(names: Iterable[str]) -> dict[str, UnitState]:
    """The state of each named unit, asked for in one call."""
    names = sorted(set(names))
    if not names:
        return {}
    shown = run(["systemctl", "show", f"--property={PROPERTIES}", *names], timeout_s=10)
    blocks = [block for block in shown.stdout.split("\n\n") if block.strip()]
    return {name: _state(name, block) for name, block in zip(names, blocks, strict=True)}


def _state(name: str, block: str) -> UnitState:
    values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    was_asked = values.get("ConditionTimestampMonotonic", "0") != "0"
    return UnitState(
        name=name,
        load=values.get("LoadState", ""),
        active=values.get("ActiveState", ""),
        sub=values.get("SubState", ""),
        enabled=values.get("UnitFileState", ""),
        is_skipped=was_asked and values.get("ConditionResult") == "no",
        main_pid=int(values.get("MainPID") or 0),
        restarts=int(values.get("NRestarts") or 0),
    )


def reload_systemd() -> None:
    """Have systemd read unit files again."""
    run(["systemctl", "daemon-reload"], timeout_s=30)


def change(verb: str, unit: str) -> None:
    """`systemctl VERB UNIT`; raises UnitFailure with the unit's last log lines when it does not work."""
    try:
        done = run(["systemctl", verb, unit], timeout_s=START_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise UnitFailure(unit, f"did not {verb} within {START_LIMIT_S:.0f} s", last_log(unit)) from None
    if done.returncode != 0:
        raise UnitFailure(unit, f"did not {verb}", last_log(unit) or done.stderr.strip())


def enable(units: Iterable[str]) -> None:
    """Have the next boot start them. systemd reads all unit files again for it, if there are any."""
    units = list(units)
    if units:
        run(["systemctl", "--quiet", "enable", *units], timeout_s=30)


def disable(unit: str) -> None:
    """Stop and disable; what does not exist any more is no error."""
    run(["systemctl", "--quiet", "disable", "--now", unit], timeout_s=START_LIMIT_S)


def last_log(unit: str, lines: int = 60) -> str:
    """The unit's last log lines, oldest first: enough that a whole traceback of one start is among them."""
    shown = run(["journalctl", f"--unit={unit}", f"--lines={lines}", "--no-pager", "--output=cat", "--quiet"], timeout_s=10)
    return shown.stdout.strip()


def enabled() -> frozenset[str]:
    """The units that the next boot starts."""
    argv = ["systemctl", "list-unit-files", "--state=enabled", "--type=service,socket,timer", "--plain", "--no-legend"]
    return frozenset(line.split()[0] for line in run(argv, timeout_s=30).stdout.splitlines() if line.strip())


def disable_at_boot(names: Iterable[str]) -> None:
    """Have the next boot not start these; what runs goes on."""
    if names := sorted(names):
        run(["systemctl", "disable", *names], timeout_s=60)


def run(argv: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)

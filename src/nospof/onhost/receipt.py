"""What nospof last finished on this host, and what it has begun: the host's own memory of it.

The receipt is written when everything is done. The journal is written before anything is touched, so that a run that
died in between is noticed and finished by the next: it names what may be ours already and which units have not yet
noticed a change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nospof.onhost import files

STATE = Path("/var/lib/nospof")
LAST_GOOD = STATE / "last-good"
ORIGINAL = STATE / "original"
STAGED = STATE / "staged.json"
RETIRED = STATE / "retired"
BEGUN = STATE / "begun"
"""The id of the stack that was begun here, written before the first package: what is found afterwards may be its own."""


@dataclass(frozen=True)
class Receipt:
    """`generation` counts the finished runs: a controlling machine that saw another number must look again."""

    stack: str = ""
    stack_id: str = ""
    generation: int = 0
    digest: str = ""
    finished_at: str = ""
    finished_by: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    """path → ownership."""
    symlinks: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    instances: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """id → {"units": names, "probes": commands that exit 0 while it is healthy, and for drills
    "other_units": names of those that something else than systemd starts, "aside_units": of those that only measure it and are
    none of its health, "configurations": files with a checker}."""


@dataclass(frozen=True)
class Journal:
    """What a run has begun and not finished. `dirty`: unit → what it must still do to notice a change."""

    files: Mapping[str, str] = field(default_factory=dict)
    symlinks: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    dirty: Mapping[str, str] = field(default_factory=dict)


def begun_by() -> str:
    """The id of the stack whose first `up` was at least begun on this host; "" for none."""
    try:
        return BEGUN.read_text().strip()
    except FileNotFoundError:
        return ""


def is_retired() -> bool:
    """Whether all of ours was taken away from this host, and its data may still be there."""
    return RETIRED.exists()


def read_receipt() -> Receipt:
    content = _read(STATE / "receipt.json")
    if content is None:
        return Receipt()
    for name in ("symlinks", "trees", "units"):
        content[name] = tuple(content[name])
    return Receipt(**content)


def write_receipt(receipt: Receipt) -> None:
    _write(STATE / "receipt.json", asdict(receipt))
    RETIRED.unlink(missing_ok=True)


def clear_receipt() -> None:
    """Forget what was finished here; that it was begun stays, since data may be left."""
    RETIRED.touch()
    files.remove(str(STATE / "receipt.json"))


def read_journal() -> Journal:
    content = _read(STATE / "journal.json")
    if content is None:
        return Journal()
    return Journal(content["files"], tuple(content["symlinks"]), tuple(content["units"]), content["dirty"])


def write_journal(journal: Journal) -> None:
    _write(STATE / "journal.json", asdict(journal))


def clear_journal() -> None:
    files.remove(str(STATE / "journal.json"))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return dict(content)


def _write(path: Path, content: object) -> None:
    files.write_atomically(str(path), (json.dumps(content, indent=1) + "\n").encode(), 0o600)

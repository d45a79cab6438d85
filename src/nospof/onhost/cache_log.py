"""Make a cache server's log of writes readable again after a power cut.

What was not yet synced when the power went can come back as zeros, or torn. The servers go on without a command that is only
half there; with anything else at the end they do not start, until somebody shortens the file. That is done here, where it can
cost no more than the last moment, which such a log never promises. What is cut off is kept beside it.
Source: https://valkey.io/topics/persistence/ ("What should I do if my AOF gets corrupted?").
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CHECK_S = 80.0
# Written within a second or two; more than this at the end may have been there for longer.
MOST_UNSYNCED = 16 * 1024 * 1024
FILES = "appendonlydir"
MANIFEST = "appendonly.aof.manifest"
_ILL = re.compile(r"^AOF analyzed: filename=([^,/]+), size=(\d+), ok_up_to=(\d+),.* diff=(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Damage:
    """`file` can be read up to `good` of its `size` bytes; `is_last`: no later one goes on from it."""

    file: str
    size: int
    good: int
    is_last: bool


def damage(told: str, manifest: str) -> Damage | None:
    """What the product's checker has found, from its words; None where it names no place. Pure."""
    found = [(name, int(size), int(good)) for name, size, good, bad in _ILL.findall(told) if int(bad)]
    if not found:
        return None
    parts = [line.split() for line in manifest.splitlines()]
    written = [part[1] for part in parts if len(part) >= 6 and part[5] == "i"]
    name, size, good = found[-1]
    return Damage(name, size, good, written[-1:] == [name])


def mend(data: Path, checker: str, *, is_copy: bool) -> str:
    """Have the server able to read its log; returns what was done, "" where nothing was to be.

    A copy gets everything from its primary, so that a log which cannot be shortened is put aside; of a primary it may be all
    there is. Raises OSError, SubprocessError or ValueError, the last with what to do, where nothing was changed.
    """
    folder = data / FILES
    if not (folder / MANIFEST).exists():
        return ""
    # It asks before it changes anything, and is not told yes.
    asked = subprocess.run(
        [checker, MANIFEST], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=CHECK_S, check=False
    )
    if asked.returncode == 0:
        return ""
    told = (asked.stdout + asked.stderr).decode(errors="replace")
    found = damage(told, (folder / MANIFEST).read_text(errors="replace"))
    if found is not None and found.is_last and (is_copy or found.size - found.good <= MOST_UNSYNCED):
        return _cut(folder / found.file, found.good, data / "appendonly.cut-off")
    if is_copy:
        aside = data / f"{FILES}.damaged"
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        return f"its log cannot be read and is put aside as {aside}: all comes from the primary"
    where = f"{found.file} from byte {found.good} of {found.size} on" if found else told.strip()[-300:]
    raise ValueError(
        f"the log in {folder} is damaged, not only at its end: {where}; keep a copy, then {checker} --fix {MANIFEST}"
    )


def _cut(file: Path, good: int, kept: Path) -> str:
    with file.open("r+b") as stream:
        stream.seek(good)
        with kept.open("w+b") as copy:
            shutil.copyfileobj(stream, copy)
            length, is_zeros = copy.tell(), _is_zeros(copy)
            os.fsync(copy.fileno())
        stream.truncate(good)
        os.fsync(stream.fileno())
    if is_zeros:
        kept.unlink()
    what = "zeros" if is_zeros else f"bytes, kept in {kept}"
    return f"{file.name} ends in {length} {what} that no server can read: cut off"


def _is_zeros(stream: BinaryIO) -> bool:
    stream.seek(0)
    return not any(chunk.strip(b"\0") for chunk in iter(lambda: stream.read(1 << 20), b""))

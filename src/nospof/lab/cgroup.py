"""Control groups (version 2): every host and the forwarder of a lab has one, by which it is found, frozen and killed.

Each host needs its own, entered before systemd-nspawn starts, else all the systemds manage one tree and kill each
other's units. Where the machine itself runs systemd, which owns the tree, a group is a delegated scope
(https://systemd.io/CGROUP_DELEGATION/); elsewhere it is a plain folder.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nospof.errors import NotHealed, WrongInput
from nospof.lab.machine import wait_until

FORWARDER = "_forwarder"  # no host can be called so
_EMPTY_LIMIT_S = 30.0  # a killed host of 200 processes took 0.1 s


@dataclass(frozen=True)
class Group:
    """One control group, there or not."""

    path: Path

    def is_populated(self) -> bool:
        return "populated 1" in self._read("cgroup.events")

    def is_frozen(self) -> bool:
        return "frozen 1" in self._read("cgroup.events")

    def processes(self) -> tuple[int, ...]:
        """Return the processes of the group and of all groups below it; () if there is no such group."""
        found: list[int] = []
        for file in sorted(self.path.glob("**/cgroup.procs")):
            found += _processes_in(file)
        return tuple(found)

    def kill(self) -> None:
        """Send SIGKILL to every process of the group at once, the frozen included; returns before they have ended."""
        if self.path.exists():
            (self.path / "cgroup.kill").write_text("1")

    def freeze(self) -> None:
        self._set_frozen("1")

    def thaw(self) -> None:
        """Let all go on; nothing if there is no such group."""
        if self.path.exists():
            self._set_frozen("0")

    def can_limit_memory(self) -> bool:
        """Say whether the machine has given memory to version 2, and the group may use it."""
        return (self.path / "memory.max").exists()

    def memory_used(self) -> int:
        """Return the bytes that the group uses now, with what the kernel keeps of files for it."""
        return int(self._read("memory.current") or 0)

    def limit_memory(self, limit: int | None) -> None:
        """Let the group use so many bytes, None: all it wants. The kernel ends processes where they cannot do with less."""
        if self.can_limit_memory():
            (self.path / "memory.max").write_text("max" if limit is None else str(limit))

    def memory_limit(self) -> int | None:
        said = self._read("memory.max").strip()
        return int(said) if said not in ("", "max") else None

    def memory_failures(self) -> int:
        """Count how often the group wanted more than it may have, since it was made."""
        counts = dict(line.split() for line in self._read("memory.events").splitlines())
        return int(counts.get("max", 0)) + int(counts.get("oom_kill", 0))

    def wait_until_empty(self) -> None:
        """Raises NotHealed if processes are left after 30 s: they hang in the kernel, and nothing can end them."""
        if not wait_until(lambda: not self.is_populated(), _EMPTY_LIMIT_S):
            left = ", ".join(map(str, self.processes()))
            raise NotHealed(f"processes {left} do not end although killed", why="they wait for a disk that hangs")

    def remove(self) -> None:
        """Remove the empty group and the groups below it."""
        for path, _, _ in os.walk(self.path, topdown=False):
            Path(path).rmdir()

    def _set_frozen(self, value: str) -> None:
        (self.path / "cgroup.freeze").write_text(value)
        wait_until(lambda: self.is_frozen() == (value == "1"), limit_s=1.0, step_s=0.001)

    def _read(self, file: str) -> str:
        try:
            return (self.path / file).read_text()
        except OSError:  # no such group, or it goes away while it is read
            return ""


@dataclass(frozen=True)
class Tree:
    """The machine's tree of groups."""

    root: Path
    has_systemd: bool

    def group(self, lab: str, member: str) -> Group:
        if self.has_systemd:
            return Group(self.root / "nospof.slice" / _scope(lab, member))
        return Group(self.root / "nospof" / lab / member)

    def members(self, lab: str) -> tuple[str, ...]:
        """Name the hosts (and the forwarder) that have a group, whether or not the lab's record knows them."""
        if self.has_systemd:
            found = (self.root / "nospof.slice").glob(_scope(lab, "*"))
            return tuple(sorted(path.name.split(".")[2] for path in found))
        return tuple(sorted(path.name for path in (self.root / "nospof" / lab).glob("*/")))

    def detaching(self, lab: str, member: str, argv: Sequence[str]) -> list[str]:
        """Return the argv that enters the group and leaves `argv` there in a session of its own, without input."""
        if self.has_systemd:
            scope = ["systemd-run", "--scope", "--quiet", "--collect", "--property=Delegate=yes"]
            name = ["--slice=nospof.slice", f"--unit={_scope(lab, member)}", "--"]
            return [*scope, *name, "sh", "-c", 'exec setsid --fork "$@" </dev/null', "sh", *argv]
        path = self.group(lab, member).path
        path.mkdir(parents=True, exist_ok=True)
        return ["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec setsid --fork "$@" </dev/null', str(path), *argv]

    def forget(self, lab: str) -> None:
        """Remove the lab's groups, which must be empty."""
        if self.has_systemd:
            return
        Group(self.root / "nospof" / lab).remove()
        with contextlib.suppress(OSError):  # another lab is in it
            (self.root / "nospof").rmdir()


@functools.cache
def tree() -> Tree:
    """Find the tree by where the machine has mounted cgroup2. Raises WrongInput if it has not."""
    root = mounted_at(Path("/proc/self/mounts").read_text())
    if root is None:
        raise WrongInput("no cgroup version 2 is mounted", fix="mount -t cgroup2 none /sys/fs/cgroup/unified")
    return Tree(root, has_systemd=Path("/run/systemd/system").is_dir())


def mounted_at(mounts: str) -> Path | None:
    """Find the first cgroup2 in the text of /proc/self/mounts."""
    fields = (line.split() for line in mounts.splitlines())
    return next((Path(field[1]) for field in fields if field[2] == "cgroup2"), None)


def _scope(lab: str, member: str) -> str:
    return f"nospof.{lab}.{member}.scope"


def _processes_in(file: Path) -> list[int]:
    try:
        return [int(line) for line in file.read_text().split()]
    except OSError:  # the group went away
        return []

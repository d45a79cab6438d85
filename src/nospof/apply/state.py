"""What nospof keeps beside the stack file: .nospof/, readable by its owner only.

id                 which stack this is, whatever it is called: hosts refuse another one
name               what it was called at the last `up`
allotment.json     choices that must not change later
lab                name of the stack's lab
releases.json      what was rolled out of the user's folders, and when
moved-vips         VIPs of real servers that were seen to move
servers.json       real servers on which something of the stack may run
drills/            what drills found, and what they have broken and not healed yet
measured.json      how many requests a second were answered, when, on which machine, of which stack
secrets/           one file per secret
passwords.json     while they are replaced, the passwords that are to come, and how far that is
certificates/      the CA and what it issued; while it is replaced, the next one or the one before, too
lock               who works on the stack now
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from nospof.analysis.measured import Figure, Machine, Measured
from nospof.analysis.takeovers import Takeovers, Tried
from nospof.apply.ssh import Server
from nospof.errors import Failed, WrongInput
from nospof.resolve import Allotment

Told = TypeVar("Told")
UNHEALED = "drills/unhealed"
"""A file for each fault of a drill that is, or may be, in force."""


@dataclass(frozen=True)
class Release:
    """What the hosts were given of one of the user's folders. `at`: seconds since the epoch."""

    at: float
    hosts: Mapping[str, str]
    """Host → sha256 of the content, which may depend on the host's Python."""


class State:
    """The folder `.nospof` beside one stack file. Reading never makes anything; writing happens under `locked`."""

    def __init__(self, stack_file: Path) -> None:
        self.folder = stack_file.absolute().parent / ".nospof"

    @property
    def exists(self) -> bool:
        """Whether `up` was ever begun here."""
        return (self.folder / "id").exists()

    @property
    def stack_id(self) -> str:
        """The stack's own id; "" before the first `up`."""
        return self._text("id")

    @property
    def stack_name(self) -> str:
        """What the stack was called at the last `up`; "" before the first."""
        return self._text("name")

    @property
    def lab_name(self) -> str:
        """Name of the stack's lab; "" where it never had one."""
        return self._text("lab")

    def begin(self, stack_name: str) -> None:
        """Make the folder and the ids, where they are missing."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        if not self.stack_id:
            self.write("id", secrets.token_hex(8) + "\n")
        if self.stack_name != stack_name:
            self.write("name", stack_name + "\n")
        if not self.lab_name:
            self.write("lab", f"{stack_name}-{self.stack_id[:4]}\n")

    def allotment(self) -> Allotment:
        """The choices made so far; none before the first `up`. Raises WrongInput when the file is damaged."""
        why = "it holds choices that must not change, such as server ids and addresses"
        fix = "put back the copy you have of it; without one, every host would have to be made anew"
        return self.told("allotment.json", _allotment, Allotment(), why, fix)

    def write_allotment(self, allotment: Allotment) -> None:
        self.write("allotment.json", json.dumps(asdict(allotment), indent=1, sort_keys=True) + "\n")

    def releases(self) -> dict[str, tuple[Release, ...]]:
        """What was rolled out of the user's folders, by name, e.g. "app/release", the newest last."""
        why, fix = "it says to what a tier can go back", "remove it: the next `nospof up` begins anew"
        return self.told("releases.json", _releases, {}, why, fix)

    def write_releases(self, releases: Mapping[str, tuple[Release, ...]]) -> None:
        told = {name: [asdict(release) for release in known] for name, known in sorted(releases.items())}
        self.write("releases.json", json.dumps(told, indent=1) + "\n")

    def servers(self) -> dict[str, Server]:
        """The real servers on which something of this stack may run, by host: also those the file no longer has."""
        why = "it names the servers that were taken out of the stack file and not yet cleared"
        return self.told("servers.json", _servers, {}, why, "remove it, then nospof up")

    def write_servers(self, servers: Mapping[str, Server]) -> None:
        told = {name: asdict(server) for name, server in sorted(servers.items())}
        self.write("servers.json", json.dumps(told, indent=1) + "\n")

    def moved_vips(self) -> frozenset[str]:
        """The VIPs that were found at another host after they had been moved there: address and hosts of each."""
        return frozenset(self._text("moved-vips").splitlines())

    def write_moved_vips(self, moved: frozenset[str]) -> None:
        self.write("moved-vips", "".join(f"{line}\n" for line in sorted(moved)))

    @property
    def measured_file(self) -> Path:
        return self.folder / "measured.json"

    def measured(self) -> Measured | None:
        """What was last measured; None before. Raises WrongInput when the file is damaged."""
        why, fix = "it holds what the stack was found to carry", "remove it, then nospof measure"
        return self.told(self.measured_file.name, _measured, None, why, fix)

    def write_measured(self, measured: Measured) -> None:
        self.write("measured.json", json.dumps(asdict(measured), indent=1, sort_keys=True) + "\n")

    @property
    def takeovers_file(self) -> Path:
        return self.folder / "takeovers.json"

    def takeovers(self) -> Takeovers | None:
        """What proofs saw of others taking over; None before. Raises WrongInput when the file is damaged."""
        why, fix = "it holds what drills showed of others taking over", "remove it, then nospof prove"
        return self.told(self.takeovers_file.name, _takeovers, None, why, fix)

    def write_takeovers(self, takeovers: Takeovers) -> None:
        self.write("takeovers.json", json.dumps(asdict(takeovers), indent=1, sort_keys=True) + "\n")

    def write(self, name: str, text: str) -> None:
        """Write a file only its owner can read, complete and durable or not at all."""
        path = self.folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(beside).replace(path)

    @contextmanager
    def locked(self, doing: str) -> Iterator[None]:
        """Hold the stack while `doing` (e.g. "up"). Raises Failed, naming the holder, when somebody else does.

        The kernel frees the lock of a process that died, however it died.
        """
        self.folder.mkdir(mode=0o700, exist_ok=True)
        with (self.folder / "lock").open("a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                raise Failed(
                    f"this stack is being worked on: {stream.read().strip() or 'its lock does not say by whom'}",
                    why="two runs at once would undo each other's work",
                    fix="wait for it to end; a run that was killed frees the lock by itself",
                ) from None
            stream.truncate(0)
            stream.write(f"nospof {doing} by {who()}, process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
            stream.flush()
            yield

    def told(self, name: str, parse: Callable[[Any], Told], none: Told, why: str, fix: str) -> Told:
        """What a JSON file says, `none` where there is no file. Raises WrongInput, with `why` and `fix`, when it is damaged."""
        path = self.folder / name
        try:
            return parse(json.loads(path.read_text()))
        except FileNotFoundError:
            return none
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WrongInput(f"{path} cannot be read: {error}", why=why, fix=fix) from error

    def _text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text().strip()
        except FileNotFoundError:
            return ""


def _allotment(told: Any) -> Allotment:
    return Allotment(
        {str(name): int(number) for name, number in told["numbers"].items()},
        {str(name): tuple(hosts) for name, hosts in told["placed"].items()},
    )


def _releases(told: Any) -> dict[str, tuple[Release, ...]]:
    return {str(name): tuple(Release(float(one["at"]), dict(one["hosts"])) for one in known) for name, known in told.items()}


def _servers(told: Any) -> dict[str, Server]:
    return {str(name): Server(**server) for name, server in told.items()}


def _measured(told: Any) -> Measured:
    return Measured(
        at=float(told["at"]),
        machine=Machine(**told["machine"]),
        stack=str(told["stack"]),
        request=str(told["request"]),
        p99_s=float(told["p99_s"]),
        whole=_figure(told["whole"]),
        instances={
            str(tier): {str(host): _figure(figure) for host, figure in hosts.items()}
            for tier, hosts in told["instances"].items()
        },
    )


def _takeovers(told: Any) -> Takeovers:
    return Takeovers(str(told["topology"]), tuple(map(_tried, told["drills"])))


def _tried(told: dict[str, Any]) -> Tried:
    if not isinstance(told["is_up"], bool):
        raise TypeError(f"is_up is {told['is_up']!r}")
    outages = {str(goal): float(seconds) for goal, seconds in told["outage_s"].items()}
    return Tried(tuple(map(str, told["parts"])), told["is_up"], outages, float(told["at"]), str(told["run"]))


def _figure(told: dict[str, Any]) -> Figure:
    return Figure(float(told["qps"]), bool(told["is_at_least"]))


def who() -> str:
    """The user and machine this runs as, for locks and receipts."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{os.environ.get('SUDO_USER', user)}@{socket.gethostname()}"

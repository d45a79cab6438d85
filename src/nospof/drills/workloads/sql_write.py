"""Writes through the application's own route to the database, and what is to be read from their history.

The load runs on an application's host: `sql_client.py` says how. Here is what starts it, what it saw, and what that means. All
hosts of a lab and the controlling machine share one CLOCK_MONOTONIC, so times compare with what `Lab.power_off` returns.

Outcomes: `ok`, the server acknowledged; `failed`, it was certainly not written (no connection, read-only); `unknown`, it was
sent and no answer came, and it may be there or not.

Clients wait for each answer (closed loop): while the database is away each has one write under way, not hundreds. So gaps are
true, and counts of errors say little; new connections and reads are loads of their own, with fixed times (`Kind`).
"""

from __future__ import annotations

import json
import math
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib.resources import files
from itertools import pairwise

from nospof.apply.transport import Finished
from nospof.apply.transport import Outcome as Ended
from nospof.drills.workloads.http_get import Gap, Outcome

STARTS_WITHIN_S, ENDS_WITHIN_S = 30.0, 30.0
FOLDER = "/run/nospof-drill"


# --- what happened ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Write:
    """One write, or one question; times in seconds of CLOCK_MONOTONIC."""

    client: int
    token: str
    """Unique in its history; what is in the table's row."""
    invoked: float
    ended: float
    """When the answer was there, or hope was given up."""
    outcome: Outcome
    server_id: int | None = None
    """Of the server at the other end of the connection; None when there was no connection."""
    error: str = ""

    @property
    def is_good(self) -> bool:
        return self.outcome is Outcome.OK


@dataclass(frozen=True)
class History:
    """All writes of one load, in the order in which they began. Every function is pure."""

    writes: tuple[Write, ...]
    most_late_s: float = 0.0
    """The longest that a sleeper beside the clients overslept: the machine or the load stood still for so long."""

    @classmethod
    def of(cls, writes: Iterable[Write], most_late_s: float = 0.0) -> History:
        return cls(tuple(sorted(writes, key=lambda write: (write.invoked, write.token))), most_late_s)

    @property
    def acknowledged(self) -> tuple[Write, ...]:
        return tuple(write for write in self.writes if write.is_good)

    @property
    def bad(self) -> tuple[Write, ...]:
        return tuple(write for write in self.writes if not write.is_good)

    def count(self, outcome: Outcome) -> int:
        return sum(write.outcome is outcome for write in self.writes)

    def between(self, begin: float, end: float = math.inf) -> History:
        """The writes that began from `begin` on and before `end`."""
        return replace(self, writes=tuple(write for write in self.writes if begin <= write.invoked < end))

    def in_flight(self, at: float) -> History:
        """The writes that had begun at that moment and had not ended."""
        return replace(self, writes=tuple(write for write in self.writes if write.invoked < at < write.ended))

    def of_client(self, client: int) -> History:
        return replace(self, writes=tuple(write for write in self.writes if write.client == client))

    @property
    def clients(self) -> tuple[int, ...]:
        return tuple(sorted({write.client for write in self.writes}))

    def longest_gap(self, begin: float = -math.inf, end: float = math.inf) -> Gap:
        """The longest time in which no write was acknowledged, of gaps that end after `begin` and begin before `end`.

        The first begin and the last end of all count as if something good had happened there, so that a database which never
        came back has a gap as long as the load went on. Length 0 for an empty history.
        """
        if not self.writes:
            return Gap(0.0, 0.0)
        moments = sorted((self.writes[0].invoked, *(write.ended for write in self.acknowledged)))
        moments.append(max(write.ended for write in self.writes))
        gaps = (Gap(before, after - before) for before, after in pairwise(moments) if after > begin and before < end)
        return max(gaps, key=lambda gap: gap.length_s, default=Gap(0.0, 0.0))

    def longest_gap_of_a_client(self, begin: float = -math.inf, end: float = math.inf) -> Gap:
        """The longest gap that any single client saw: one that hangs while the others go on is not to be overlooked."""
        gaps = (self.of_client(client).longest_gap(begin, end) for client in self.clients)
        return max(gaps, key=lambda gap: gap.length_s, default=Gap(0.0, 0.0))

    def per_s(self, begin: float, end: float) -> float:
        """How many writes per second were acknowledged from `begin` to `end`."""
        return sum(begin <= write.ended < end for write in self.acknowledged) / (end - begin)

    def reasons(self) -> Counter[str]:
        """Why writes were bad, and how often."""
        return Counter(f"{write.outcome}: {write.error}" for write in self.bad)

    def lines(self) -> Iterator[str]:
        """As JSON lines, for `parse_history`."""
        for write in self.writes:
            yield json.dumps(vars(write))
        yield json.dumps({"count": len(self.writes), "most_late_s": self.most_late_s})


def parse_history(text: str) -> History:
    """Read what a load has printed. Raises ValueError when it did not come to its end: what it would have seen is unknown."""
    lines = [json.loads(line) for line in text.splitlines()]
    if not lines or lines[-1].get("count") != len(lines) - 1:
        raise ValueError("the load did not come to its end")
    writes = (Write(**line | {"outcome": Outcome(line["outcome"])}) for line in lines[:-1])
    return History.of(writes, lines[-1]["most_late_s"])


# --- the load, as others start it ------------------------------------------------------------------------------------
class Kind(StrEnum):
    WRITE = "write"
    CONNECT = "connect"
    """At fixed times a new connection over the route for writes, one question, close."""
    READ = "read"
    """The same over the route for reads."""


@dataclass(frozen=True)
class Load:
    """What to do and for how long. The load ends by itself after `seconds`."""

    kind: Kind = Kind.WRITE
    table: str = "drill"
    """Is made if it is not there; only for writes."""
    clients: int = 8
    """That write at once."""
    every_ms: float = 10.0
    """Between two questions of the other kinds, whatever the answers do."""
    seconds: float = 120.0
    pause_ms: float = 5.0
    """Of a client between an error and its next try."""
    connect_timeout_s: float = 2.0
    answer_timeout_s: float = 10.0
    is_fresh: bool = False
    """Whether each write has a connection of its own."""
    environment: str = "/etc/nospof/app.env"
    """The application's file on its host, from which the route and the password are read."""

    def argv(self, folder: str) -> list[str]:
        """What the host runs; the program itself comes over standard input, and secrets are read on the host."""
        options: dict[str, object] = {"folder": folder, "environment": self.environment, "table": self.table}
        options |= {"clients": self.clients, "every-ms": self.every_ms, "seconds": self.seconds, "pause-ms": self.pause_ms}
        options |= {"connect-timeout-s": self.connect_timeout_s, "answer-timeout-s": self.answer_timeout_s}
        arguments = [f"--{name}={value}" for name, value in options.items()] + ["--fresh"] * self.is_fresh
        return ["python3", "-I", "-", self.kind, *arguments]

    def program(self) -> bytes:
        """What the host's Python runs."""
        return program()


OnHost = Callable[[Sequence[str], bytes, float], Ended]
"""Runs a command with standard input and a limit in seconds on the host: `partial(lab.run, "web1")`."""


@dataclass(frozen=True)
class Progress:
    """How far a load is. `last_good`: when its last good answer came; 0 when none did."""

    good: int = 0
    last_good: float = 0.0


@dataclass
class Running:
    """A load that runs."""

    load: Load
    on_host: OnHost
    folder: str
    thread: threading.Thread = field(init=False)
    ended: Ended | None = None

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        limit_s = STARTS_WITHIN_S + self.load.seconds + self.load.answer_timeout_s + ENDS_WITHIN_S
        self.ended = self.on_host(self.load.argv(self.folder), self.load.program(), limit_s)

    @property
    def token_prefix(self) -> str:
        """What all of its tokens begin with; the client's and the write's number follow."""
        return f"{self.folder.rpartition('/')[2]}-"

    def progress(self) -> Progress:
        """Ask how far it is; nothing good yet when it does not say."""
        asked = self.on_host(["cat", f"{self.folder}/progress"], b"", 5.0)
        if not isinstance(asked, Finished) or asked.exit_code != 0:
            return Progress()
        told = json.loads(asked.stdout)
        return Progress(told["good"], told["last_good"])

    def is_good_after(self, moment: float, limit_s: float) -> bool:
        """Wait until a good answer came after `moment`; False if none did within `limit_s` or the load is over."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until and self.thread.is_alive():
            if self.progress().last_good > moment:
                return True
            time.sleep(0.05)
        return False

    def finish(self) -> History:
        """Begin nothing more, wait for what is under way, and return all. Raises ValueError if the load crashed."""
        self.stop()
        if not isinstance(self.ended, Finished) or self.ended.exit_code != 0:
            raise ValueError(f"the load did not come to its end: {self.ended}")
        return parse_history(self.ended.stdout.decode())

    def calm(self) -> None:
        """Have each client write ten times a second at most from now on."""
        self.on_host(["touch", f"{self.folder}/calm"], b"", 5.0)

    def stop(self) -> None:
        """Have it end, and wait for that."""
        if self.thread.is_alive():
            self.on_host(["touch", f"{self.folder}/stop"], b"", 5.0)
        self.thread.join(self.load.answer_timeout_s + ENDS_WITHIN_S)


@contextmanager
def running(load: Load, on_host: OnHost) -> Iterator[Running]:
    """Start `load`, yield once something was good, and leave no process behind.

    Raises TimeoutError, with what the load said, if nothing was good within 30 s.
    """
    run = Running(load, on_host, f"{FOLDER}/{secrets.token_hex(4)}")
    try:
        if not run.is_good_after(0.0, STARTS_WITHIN_S):
            raise TimeoutError(f"nothing good within {STARTS_WITHIN_S:g} s: {run.ended}")
        yield run
    finally:
        run.stop()
        on_host(["rm", "-rf", run.folder], b"", 5.0)


def program() -> bytes:
    return files(__package__).joinpath("sql_client.py").read_bytes()

"""How nospof reaches a host: one call, three outcomes.

`Unreachable` and `Unknown` are kept apart on purpose: after the first nothing has happened on the host, after the
second anything may have. The lab (`nospof.lab`) and OpenSSH implement the protocol; `tests/unit/fakes.py` has one that
lies, hangs and dies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Finished:
    """The command ran to its end."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Unreachable:
    """The host could not be reached: the command was certainly not started."""

    reason: str


@dataclass(frozen=True)
class Unknown:
    """The command was sent and no answer came: it may have run, wholly, partly or not at all."""

    reason: str


Outcome = Finished | Unreachable | Unknown


class Transport(Protocol):
    """Runs commands on hosts, as root. Safe to call from several threads at once."""

    def run(self, host: str, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60.0) -> Outcome:
        """Run `argv` on `host` with `stdin` and wait at most `timeout_s` seconds for its end.

        Never raises for what a host does or does not do: that is the outcome. On time-out the local end of the
        command is killed and the outcome is `Unknown`.
        """
        ...

    def run_anew(self, host: str, argv: Sequence[str], timeout_s: float = 15.0) -> Outcome:
        """The same over a connection made for it alone: what a firewall lets through that was open already proves nothing."""
        ...

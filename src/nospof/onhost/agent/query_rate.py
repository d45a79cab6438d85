"""How many statements a second clients send to the local server: its own counter, read every few seconds.

Limits: the agents of other hosts are clients too, of a statement or two a second; the rate is unknown until the second reading,
and after each that failed or found the counter begun anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from nospof.onhost.agent.engine import Engine, EngineError

EVERY_S = 5.0


@dataclass(frozen=True)
class Reading:
    """The server's counter at one moment: all statements of clients, and those that the agent itself sent."""

    at_s: float
    asked: int
    ours: int

    def rate_since(self, before: Reading) -> float | None:
        """Others' statements a second; None where the counter began anew."""
        elapsed_s, asked = self.at_s - before.at_s, self.asked - before.asked
        if elapsed_s <= 0 or asked < 0:
            return None
        # What we have sent at this moment may not be counted yet.
        return round(max(0, asked - (self.ours - before.ours)) / elapsed_s, 1)


@dataclass
class QueryRate:
    """One thread counts; `qps` may be read by others at any time. None: not known."""

    engine: Engine
    clock: Callable[[], float]
    qps: float | None = None
    _last: Reading | None = None

    def keep_counting(self, stop: threading.Event) -> None:
        """Count until `stop`."""
        while not stop.is_set():
            self.count()
            stop.wait(EVERY_S)

    def count(self) -> None:
        """Read the counter once, and compare with the last reading."""
        before, self._last = self._last, self._reading()
        self.qps = self._last.rate_since(before) if before and self._last else None

    def _reading(self) -> Reading | None:
        try:
            return Reading(self.clock(), *self.engine.questions())
        except EngineError:
            return None

"""Search the highest rate that still holds, with as few tries as possible. It knows neither clock nor network.

What is asked may be noisy: a busy moment of the machine looks like a rate that is too high. So a rate counts as too high only
when it fails twice in a row, and the rate that is found must hold once more, at the first try. What is found may be too low by
such moments, hardly ever too high.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

PRECISION = 0.1
LEAST_QPS = 1.0


@dataclass(frozen=True)
class Step:
    """One rate that was tried. `is_load_late`: what asked could not have asked more."""

    qps: float
    holds: bool
    p99_s: float = 0.0
    bad_share: float = 0.0
    """0 to 1: not answered, or not well."""
    why: str = ""
    """What most of these met."""
    is_load_late: bool = False


@dataclass(frozen=True)
class Knee:
    """`best`: the highest rate that held, None: none did; `beyond`: the lowest above it that did not, None: none was tried."""

    best: Step | None
    beyond: Step | None

    @property
    def is_at_least(self) -> bool:
        """Whether more may be possible: nothing higher was tried, or it was the load that could not do more."""
        return self.beyond is None or self.beyond.is_load_late


def find_knee(ask: Callable[[float], Step], *, start_qps: float, most_qps: float) -> Knee:
    """Double the rate until it is too high, then halve the gap down to a tenth.

    Begins at `start_qps`, or below where that is too high, and never asks for more than `most_qps`.
    """
    search, rate = _Search(ask), min(start_qps, most_qps)
    while search.holds(rate) and rate < most_qps:
        rate = min(2 * rate, most_qps)
    if search.best is None:
        search.holds(LEAST_QPS)
    while middle := search.middle():
        search.holds(middle)
    search.confirm()
    return Knee(search.best, search.beyond)


@dataclass
class _Search:
    ask: Callable[[float], Step]
    best: Step | None = None
    beyond: Step | None = None

    def holds(self, qps: float) -> bool:
        step = self.ask(qps)
        if not step.holds:
            step = self.ask(qps)
        if step.holds:
            self.best = step
        elif self.beyond is None or qps < self.beyond.qps:
            self.beyond = step
        return step.holds

    def middle(self) -> float | None:
        """The rate to try next; None when it is known well enough."""
        if self.best is None or self.beyond is None or self.beyond.qps <= self.best.qps * (1 + PRECISION):
            return None
        return sqrt(self.best.qps * self.beyond.qps)

    def confirm(self) -> None:
        """Go down from the best until a rate holds at the first try."""
        while self.best is not None:
            step = self.ask(self.best.qps)
            if step.holds:
                self.best = step
                return
            self.beyond, lower = step, self.best.qps / (1 + PRECISION)
            self.best = Step(lower, holds=False) if lower >= LEAST_QPS else None

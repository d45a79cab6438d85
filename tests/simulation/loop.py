"""Simulated time: events in order, and one stream of random numbers for each part, so that parts do not disturb each other."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

Call = Callable[..., None]


class Loop:
    """Runs events in the order of their times; of the same time, in the order they were asked for."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now_s = 0.0
        self.events = 0
        self._asked = 0
        self._heap: list[tuple[float, int, Call, tuple[object, ...]]] = []

    def after(self, delay_s: float, call: Call, *args: object) -> None:
        """Call it `delay_s` from now."""
        self._asked += 1
        heappush(self._heap, (self.now_s + delay_s, self._asked, call, args))

    def random(self, name: str) -> Random:
        """Make the stream of random numbers of the part `name`."""
        return Random(f"{self.seed}/{name}")

    def run_until(self, end_s: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= end_s:
            self.now_s, _, call, args = heappop(heap)
            self.events += 1
            call(*args)
        self.now_s = end_s

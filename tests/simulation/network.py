"""Who reaches whom, one way at a time.

Like TCP: what is sent into a cut arrives, in order, after it heals, unless an end lost power.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.simulation.loop import Loop


class Network:
    """Hosts and the ways between them."""

    def __init__(self, loop: Loop, random: Random) -> None:
        self._loop = loop
        self._random = random
        self._cuts: dict[tuple[str, str], int] = {}
        self._held: dict[tuple[str, str], list[tuple[Callable[..., None], tuple[object, ...]]]] = {}
        self._last_s: dict[tuple[str, str], float] = {}
        self._losses: dict[str, int] = {}
        self.off: set[str] = set()
        self.loss = 0.0
        self.delay_s = 0.0
        self.changed: Callable[[], None] = lambda: None

    def reaches(self, origin: str, to: str) -> bool:
        """Whether a packet gets from one host to the other."""
        if self.off and (origin in self.off or to in self.off):
            return False
        return not self._cuts or origin == to or not self._cuts.get((origin, to))

    def talks(self, one: str, other: str) -> bool:
        """Whether packets get there and back."""
        return self.reaches(one, other) and self.reaches(other, one)

    def send(self, origin: str, to: str, call: Callable[..., None], *args: object) -> None:
        """Call it at the other end, after whatever was sent before. The receiver must check that it still wants it."""
        delay_s = 0.0002 + 0.0008 * self._random.random() + self.delay_s * self._random.random()
        if self.loss and self._random.random() < self.loss:
            delay_s += 0.2 + 0.6 * self._random.random()  # TCP sends again
        way = (origin, to)
        at_s = max(self._loop.now_s + delay_s, self._last_s.get(way, 0.0) + 1e-6)
        self._last_s[way] = at_s
        self._loop.after(at_s - self._loop.now_s, self._arrive, way, self._lives(way), call, args)

    def _lives(self, way: tuple[str, str]) -> tuple[int, int]:
        """How often either end lost power: no connection outlives that."""
        return self._losses.get(way[0], 0), self._losses.get(way[1], 0)

    def _arrive(
        self, way: tuple[str, str], lives: tuple[int, int], call: Callable[..., None], args: tuple[object, ...]
    ) -> None:
        if way[0] in self.off or way[1] in self.off or lives != self._lives(way):
            return
        if self._held.get(way) or not self.reaches(*way):
            self._held.setdefault(way, []).append((call, args))
        else:
            call(*args)

    # --- faults --------------------------------------------------------------------------------------------------------
    def cut(self, ways: list[tuple[str, str]]) -> None:
        for way in ways:
            self._cuts[way] = self._cuts.get(way, 0) + 1
        self.changed()

    def heal(self, ways: list[tuple[str, str]]) -> None:
        for way in ways:
            self._cuts[way] -= 1
            if not self._cuts[way]:
                del self._cuts[way]
                if self._held.get(way):
                    self._loop.after(0.05 + 0.4 * self._random.random(), self._release, way)
        self.changed()

    def _release(self, way: tuple[str, str]) -> None:
        if not self.reaches(*way):
            return
        for call, args in self._held.pop(way, []):
            if way[0] not in self.off and way[1] not in self.off:
                call(*args)

    def power_off(self, host: str) -> None:
        self.off.add(host)
        self._losses[host] = self._losses.get(host, 0) + 1
        for way in list(self._held):
            if host in way:
                del self._held[way]
        self.changed()

    def power_on(self, host: str) -> None:
        self.off.discard(host)
        self.changed()

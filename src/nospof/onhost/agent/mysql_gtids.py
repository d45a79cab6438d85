"""MySQL's sets of transactions ("uuid:1-5:7-9,…") as positions, and back. Pure.

A position knows one number for each source, so a set with holes has a source more for every interval that does not begin at 1:
it covers, and is covered by, only what has the same hole. So a hole never counts as something that is there.
Source: https://dev.mysql.com/doc/refman/9.7/en/replication-gtids-concepts.html (format of GTID sets).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nospof.onhost.agent.engine import positions
from nospof.onhost.agent.model import Position

Interval = tuple[int, int]
"""First and last number, both within."""


@dataclass(frozen=True)
class Gtids:
    """A set of transactions. `intervals`: source → sorted intervals that neither touch nor overlap."""

    intervals: Mapping[str, tuple[Interval, ...]] = field(default_factory=dict)

    def with_these(self, other: Gtids) -> Gtids:
        """Everything that is in one of the two."""
        sources = {**self.intervals, **other.intervals}
        return Gtids({name: _merged((*self.of(name), *other.of(name))) for name in sources})

    def without_source(self, source: str) -> Gtids:
        return Gtids({name: found for name, found in self.intervals.items() if name != source})

    def of(self, source: str) -> tuple[Interval, ...]:
        return self.intervals.get(source, ())

    def up_to(self, source: str, number: int) -> Gtids:
        """This, and what `source` numbered since the highest number that is known of it."""
        highest = max((last for _, last in self.of(source)), default=0)
        return self.with_these(Gtids({source: ((highest + 1, number),)})) if number > highest else self

    def holds(self, source: str, number: int) -> bool:
        return any(first <= number <= last for first, last in self.of(source))

    @property
    def position(self) -> Position:
        numbers = {
            source if first == 1 else f"{source}:{first}-": last
            for source, intervals in self.intervals.items()
            for first, last in intervals
        }
        return positions(numbers)

    def __str__(self) -> str:
        return ",".join(
            ":".join([source, *(f"{first}-{last}" for first, last in intervals)])
            for source, intervals in sorted(self.intervals.items())
            if intervals
        )


def gtids(text: str) -> Gtids:
    """Read what the server writes; a tag ("uuid:tag:1-5") makes a source of its own. Raises ValueError."""
    found: dict[str, list[Interval]] = {}
    for entry in "".join(text.split()).split(","):
        uuid, _, rest = entry.partition(":")
        source = uuid
        for part in rest.split(":") if rest else ():
            if not part[0].isdigit():
                source = f"{uuid}:{part}"
                continue
            first, _, last = part.partition("-")
            found.setdefault(source, []).append((int(first), int(last or first)))
    return Gtids({source: _merged(intervals) for source, intervals in found.items()})


def of_position(position: Position) -> Gtids:
    """The set that a position was made of."""
    found: dict[str, list[Interval]] = {}
    for name, last in position.numbers:
        source, _, first = name[:-1].rpartition(":") if name.endswith("-") else (name, "", "1")
        found.setdefault(source, []).append((int(first), last))
    return Gtids({source: _merged(intervals) for source, intervals in found.items()})


def _merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    merged: list[Interval] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)

"""The inside of a host's box: name, address, rank, mark, and one line per instance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from nospof.explain.layers import Layers
from nospof.explain.measure import text_width, wrapped
from nospof.explain.shapes import Anchor, Box, HostBox, Text
from nospof.explain.weak import MARK, Goals, WeakSpots
from nospof.explain.words import is_implied, uses_socket
from nospof.topology import Host, Instance, Rank

PAD, APART = 11.0, 12.0
NARROWEST, WIDEST = 170.0, 250.0
HEAD, NORMAL, SMALL = 13.0, 12.0, 10.5


def spof(goals: Goals) -> list[str]:
    """The mark of what takes `goals` away, in the pieces at which it may be broken."""
    return [f"{MARK} SPOF:", *(f"{goal}," for goal in goals[:-1]), *goals[-1:]]


@dataclass(frozen=True)
class _Line:
    """Words at the left and at the right; where both have no room beside each other they take two lines."""

    left: str
    right: str = ""
    size: float = NORMAL
    style: str = "instance"
    is_bold: bool = False
    height: float = 17.0

    @property
    def width(self) -> float:
        apart = APART if self.left and self.right else 0
        return text_width(self.left, self.size, is_bold=self.is_bold) + apart + text_width(self.right, SMALL)


@dataclass(frozen=True)
class HostBoxes:
    """The boxes of all hosts: equally wide, and as high as the highest of those that stand in one row."""

    layers: Layers
    weak: WeakSpots

    @cached_property
    def width(self) -> float:
        lines = [line for host in self.layers.topology.hosts for part in self._parts(host) for line in part]
        widest = max((line.width for line in lines), default=NARROWEST)
        return math.ceil(min(WIDEST, max(NARROWEST, widest + 2 * PAD)))

    def height(self, hosts: Sequence[Host]) -> float:
        """The height that the fullest of `hosts` needs."""
        return max(self._height(host) for host in hosts)

    def box(self, host: Host, x: float, y: float, height: float) -> HostBox:
        """`host` with its top left corner at (x, y)."""
        head, marks, runs = self._parts(host)
        texts: list[Text] = []
        below = y + 7
        for line in [*head, *marks]:
            texts += self._set(line, x, below)
            below += self._lines(line) * line.height
        rule_y = below + 4
        below = rule_y + 5
        for line in runs:
            texts += self._set(line, x, below)
            below += self._lines(line) * line.height
        return HostBox(host, Box(x, y, self.width, height), tuple(texts), rule_y, self.weak.hosts.get(host.name, ()))

    def _height(self, host: Host) -> float:
        lines = [line for part in self._parts(host) for line in part]
        return 7 + 4 + 5 + 7 + sum(self._lines(line) * line.height for line in lines)

    def _lines(self, line: _Line) -> int:
        return 2 if line.right and line.left and line.width > self._inner else 1

    @cached_property
    def _inner(self) -> float:
        return self.width - 2 * PAD

    def _set(self, line: _Line, x: float, y: float) -> Iterator[Text]:
        baseline = y + line.height - 4.5
        left = Text(line.left, x + PAD, baseline, line.size, line.style, is_bold=line.is_bold)
        if line.left:
            yield left.fitted(self._inner)
        if line.right:
            baseline += line.height * (self._lines(line) - 1)
            yield Text(line.right, x + PAD + self._inner, baseline, SMALL, "muted", Anchor.END).fitted(self._inner)

    # --- what is told ------------------------------------------------------------------------------------------------
    def _parts(self, host: Host) -> tuple[list[_Line], list[_Line], list[_Line]]:
        declared = self.layers.declared(host.name)
        ranks = {one.rank for one in declared}
        rank = next(iter(ranks)) if len(ranks) == 1 else Rank.NORMAL
        head = [_Line(host.name, host.address, HEAD, "name", is_bold=True)]
        if rank is not Rank.NORMAL:
            head.append(_Line(rank.value, size=SMALL, style="rank", is_bold=True, height=15))
        return head, self._marks(host), list(self._runs(host, declared, rank)) or [_Line("nothing runs here", style="muted")]

    def _marks(self, host: Host) -> list[_Line]:
        goals = self.weak.hosts.get(host.name, ())
        if not goals:
            return []
        said = wrapped(spof(goals), SMALL, NARROWEST - 2 * PAD, " ")
        return [_Line(words, size=SMALL, style="weak", is_bold=True, height=15) for words in said]

    def _runs(self, host: Host, declared: Sequence[Instance], rank: Rank) -> Iterator[_Line]:
        for number, one in enumerate(declared):
            software = one.component if one.rank is rank else f"{one.component}, {one.rank.value}"
            mark = f"{MARK} " if one.id in self.weak.instances else ""
            yield _Line(f"{mark}{one.id.tier}", software)
            below = declared[number + 1 : number + 2]
            yield from self._local_calls(one, below[0] if below else None)
        for one in self.layers.implied(host.name):
            ports = sorted({f":{end.listen.port}" for end in self.layers.topology.endpoints_of(one.id) if end.listen.answers})
            yield _Line(f"+ {one.id.tier}", " ".join(ports), style="implied")

    def _local_calls(self, one: Instance, below: Instance | None) -> Iterator[_Line]:
        for link in self.layers.topology.links_from(one.id):
            target = link.target.owner
            if not link.is_local or link.target.listen.answers or is_implied(self.layers.topology.instance(target)):
                continue
            way = "unix socket" if uses_socket(link) else f"port {link.target.listen.port}"
            to = "" if below is not None and target == below.id else f"{target.tier}, "
            yield _Line(f"↓ {to}{way}", size=SMALL, style="muted", height=14)

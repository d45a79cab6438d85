"""The wires of the drawing: which lane each takes in the gaps between rows, where it leaves and enters, where its words stand.

Gap 0 is above the first row, gap n below row n - 1. A net is what becomes a wire: all links of one tier to another, with the
groups of hosts that make them and those that take them.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from nospof.explain.layers import Call, Layers
from nospof.explain.measure import text_width, wrapped
from nospof.explain.shapes import Anchor, Arrow, Box, Chip, Group, Pill, Style, Text, Wire
from nospof.explain.words import by_target, ways
from nospof.topology import Host, Link, Tls

ROUTE_SIZE, WORDS_SIZE, LINE = 11.5, 11.0, 14.0
CHIP_PAD, CLEAR = 8.0, 7.0
# Widths that words are tried in: as they are, then narrower and higher.
WIDTHS = (10_000.0, 300.0, 230.0, 180.0)
LANE, AIR_ABOVE, AIR_BELOW, EMPTY_GAP = 20.0, 12.0, 20.0, 26.0
TRUNK = 14.0
APART = 10.0

Span = tuple[int, float, float]
"""Row, left edge and width of a group."""


@dataclass(frozen=True)
class Net:
    """Links that are drawn as one wire, from and to groups by their numbers; `pill`: from that entrance."""

    style: Style
    told: tuple[tuple[str, tuple[str, ...]], ...]
    """What stands on the wire: route and ways, more than one where wires were joined."""
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    links: tuple[Link, ...]
    pill: int | None = None

    @property
    def title(self) -> str:
        return "; ".join(f"{route}: {', '.join(words)}" if words else route for route, words in self.told)


def nets(layers: Layers, slots: Sequence[tuple[int, Sequence[Host]]]) -> tuple[Net, ...]:
    """What is to be drawn between the groups `slots`, each a row and its hosts."""
    group_of = {host.name: number for number, (_, hosts) in enumerate(slots) for host in hosts}
    found = list(_entrances(layers, group_of))
    for call in layers.calls():
        links = [link for link in call.links if not link.is_local]
        if links and not call.is_measuring:
            found.append(_net(layers, call, links, group_of))
    return tuple(_joined(found))


def _entrances(layers: Layers, group_of: Mapping[str, int]) -> Iterator[Net]:
    visits = dict(by_target(layers.visits()))
    for tier, links in visits.items():
        targets = tuple(sorted({group_of[link.target.owner.host] for link in links}))
        said = ((f"visitors → {tier}", tuple(ways(links))),)
        yield Net(Style.VISIT, said, (), targets, tuple(links), pill=list(visits).index(tier))
    for number, tier in enumerate(layers.only_held(), start=len(visits)):
        vips = layers.topology.vips_of(tier)
        targets = tuple(sorted({group_of[host] for vip in vips for host in vip.hosts}))
        words = f"{tier} {' '.join(vip.address for vip in vips)}"
        yield Net(Style.PEERS, ((words, ()),), (), targets, (), pill=number)


def _net(layers: Layers, call: Call, links: Sequence[Link], group_of: Mapping[str, int]) -> Net:
    sources = tuple(sorted({group_of[link.source.host] for link in links}))
    targets = tuple(sorted({group_of[link.target.owner.host] for link in links}))
    if not call.target:
        both = tuple(sorted({*sources, *targets}))
        return Net(Style.PEERS, ((f"{call.source} ↔", tuple(ways(links))),), both, both, tuple(links))
    style = Style.CALL if any(link.is_required for link in links) else Style.OPTIONAL
    return Net(style, ((call.route, tuple(ways(links))),), sources, targets, tuple(links))


def _joined(found: Iterable[Net]) -> Iterator[Net]:
    """One wire for all that the same hosts have among themselves, as far as none of it must be answered."""
    among: dict[tuple[int, ...], list[Net]] = defaultdict(list)
    for net in found:
        if net.pill is None and net.sources == net.targets and net.style is not Style.CALL:
            among[net.sources].append(net)
        else:
            yield net
    for groups, alike in among.items():
        told = tuple(one for net in alike for one in net.told)
        yield Net(Style.PEERS, told, groups, groups, tuple(link for net in alike for link in net.links))


@dataclass(frozen=True)
class _Port:
    """Where a net meets a group, in a gap; `is_above`: the group is above the gap."""

    net: int
    group: int
    is_above: bool
    is_entry: bool


@dataclass(frozen=True)
class _Label:
    """The words of a net, and the middle of where they stand."""

    middle: float
    width: float
    lines: tuple[tuple[str, float, bool], ...]

    @property
    def height(self) -> float:
        return len(self.lines) * LINE + 6


@dataclass(frozen=True)
class Wiring:
    """Lanes, ports and labels of `nets`, found before heights are known; `wires` draws them once they are."""

    nets: Sequence[Net]
    spans: Sequence[Span]
    pills: Sequence[Pill]
    rows: int
    left: float
    right: float
    trunks_from: float = 0.0

    # --- which gaps and lanes ----------------------------------------------------------------------------------------
    @cached_property
    def _ports(self) -> dict[int, list[_Port]]:
        """Gap → where nets leave and enter groups there."""
        found: dict[int, list[_Port]] = defaultdict(list)
        for number, net in enumerate(self.nets):
            sources = {group: self.spans[group][0] for group in net.sources}
            highest = -1 if net.pill is not None else min(sources.values())
            targets = {group: self.spans[group][0] for group in net.targets}
            for group, row in sources.items():
                found[row + 1].append(_Port(number, group, is_above=True, is_entry=False))
            for group, row in targets.items():
                if highest < row:
                    found[row].append(_Port(number, group, is_above=False, is_entry=True))
                elif not (net.style is Style.PEERS and group in sources):
                    found[row + 1].append(_Port(number, group, is_above=True, is_entry=True))
        return found

    def _gaps_of(self, number: int) -> list[int]:
        gaps = {gap for gap, ports in self._ports.items() if any(port.net == number for port in ports)}
        return sorted(gaps | ({0} if self.nets[number].pill is not None else set()))

    @cached_property
    def _lanes(self) -> dict[int, list[int]]:
        """Gap → nets from top to bottom: what only meets the row above, what meets both, what only meets the row below."""
        found: dict[int, list[int]] = {}
        for gap in range(self.rows + 1):
            here = [number for number in range(len(self.nets)) if gap in self._gaps_of(number)]
            found[gap] = sorted(here, key=lambda number: (self._place(gap, number), number))
        return found

    def _place(self, gap: int, number: int) -> int:
        sides = {port.is_above for port in self._ports[gap] if port.net == number}
        if gap == 0 and self.nets[number].pill is not None:
            sides.add(True)
        return {(True,): 0, (False, True): 1, (False,): 2}.get(tuple(sorted(sides)), 1)

    # --- x -----------------------------------------------------------------------------------------------------------
    @cached_property
    def _xs(self) -> dict[tuple[int, _Port], float]:
        """Where each port is, none of two nets at the same x of a gap."""
        found: dict[tuple[int, _Port], float] = {}
        for gap, ports in self._ports.items():
            taken: dict[float, int] = {}
            sides: dict[tuple[int, bool], list[_Port]] = defaultdict(list)
            for port in ports:
                sides[port.group, port.is_above].append(port)
            for (group, is_above), here in sorted(sides.items()):
                _, x, width = self.spans[group]
                for place, port in enumerate(sorted(here, key=lambda port: (not is_above, port.net, port.is_entry))):
                    at = x + width * (place + 1) / (len(here) + 1)
                    while any(abs(at - other) < APART and net != port.net for other, net in taken.items()):
                        at += APART
                    taken[at] = port.net
                    found[gap, port] = at
        return found

    def _trunk_x(self, number: int) -> float | None:
        """The way at the right that joins the lanes of a net; None where it has a single one."""
        trunks = [other for other in range(len(self.nets)) if len(self._gaps_of(other)) > 1]
        return self.trunks_from + TRUNK * (trunks.index(number) + 1) if number in trunks else None

    @property
    def trunks_width(self) -> float:
        return TRUNK * sum(len(self._gaps_of(number)) > 1 for number in range(len(self.nets)))

    def _xs_of(self, gap: int, number: int) -> list[float]:
        """Every x at which the net's lane in `gap` begins, ends or is met."""
        xs = [self._xs[gap, port] for port in self._ports[gap] if port.net == number]
        pill = self.nets[number].pill
        if gap == 0 and pill is not None:
            xs.append(self.pills[pill].box.middle)
        trunk = self._trunk_x(number)
        return sorted([*xs, trunk] if trunk is not None else xs)

    # --- words -------------------------------------------------------------------------------------------------------
    @cached_property
    def _labels(self) -> dict[tuple[int, int], _Label]:
        """Gap and net → its words, in the first of its gaps; an entrance's stand in its pill."""
        found = {}
        for number, net in enumerate(self.nets):
            if net.pill is None:
                gap = self._gaps_of(number)[0]
                found[gap, number] = self._label(gap, number)
        return found

    def _label(self, gap: int, number: int) -> _Label:
        """The words where no line crosses them: upon the lane if there is room, else at its end, else narrower."""
        edges = self._xs_of(gap, number)
        lowest, highest = edges[0], edges[-1]
        free = self._free(gap, number)
        upon = [(max(start, lowest + CLEAR), min(end, highest - CLEAR)) for start, end in free]
        for spaces in (upon, free):
            for width in WIDTHS:
                lines = self._lines(self.nets[number], width)
                needs = max(text_width(words, size, is_bold=bold) for words, size, bold in lines) + 2 * CHIP_PAD
                fitting = [space for space in spaces if space[1] - space[0] >= needs]
                if fitting:
                    wanted = (lowest + highest) / 2
                    places = [min(max(wanted, start + needs / 2), end - needs / 2) for start, end in fitting]
                    return _Label(min(places, key=lambda place: (round(abs(place - wanted)), -place)), needs, tuple(lines))
        lines = self._lines(self.nets[number], WIDTHS[-1])
        needs = max(text_width(words, size, is_bold=bold) for words, size, bold in lines) + 2 * CHIP_PAD
        start, end = max(free, key=lambda space: space[1] - space[0])
        place = min(max((start + end) / 2, self.left + needs / 2), self.right - needs / 2)
        return _Label(place, needs, tuple(lines))

    def _free(self, gap: int, number: int) -> list[tuple[float, float]]:
        """The spaces between the lines that pass the net's lane."""
        lanes = self._lanes[gap]
        mine = lanes.index(number)
        passing = [
            self._xs[gap, port]
            for port in self._ports[gap]
            if port.net == number or (lanes.index(port.net) > mine if port.is_above else lanes.index(port.net) < mine)
        ]
        edges = [self.left - CLEAR, *sorted(passing), self.right + CLEAR]
        return [(start + CLEAR, end - CLEAR) for start, end in itertools.pairwise(edges)]

    def _lines(self, net: Net, width: float) -> list[tuple[str, float, bool]]:
        lines: list[tuple[str, float, bool]] = []
        for route, words in net.told:
            lines += [(line, ROUTE_SIZE, True) for line in wrapped(_steps(route), ROUTE_SIZE * 1.08, width, " ")]
            lines += [(line, WORDS_SIZE, False) for line in wrapped(words, WORDS_SIZE, width, " · ")]
        return lines

    # --- y -----------------------------------------------------------------------------------------------------------
    def height(self, gap: int) -> float:
        """The height of a gap: its lanes, each as high as its words."""
        lanes = self._lanes[gap]
        if not lanes:
            return EMPTY_GAP
        return AIR_ABOVE + sum(self._lane_height(gap, number) for number in lanes) + (0 if gap == 0 else AIR_BELOW)

    def _lane_height(self, gap: int, number: int) -> float:
        label = self._labels.get((gap, number))
        return LANE if label is None else label.height + 10

    def _lane_y(self, gap: int, number: int, top: float) -> float:
        lanes = self._lanes[gap]
        above = sum(self._lane_height(gap, other) for other in lanes[: lanes.index(number)])
        return top + AIR_ABOVE + above + self._lane_height(gap, number) / 2

    def wires(self, groups: Sequence[Group], gap_tops: Sequence[float]) -> tuple[Wire, ...]:
        """Draw every net between `groups`; `gap_tops` is the upper edge of each gap."""
        return tuple(self._wire(number, groups, gap_tops) for number in range(len(self.nets)))

    def _wire(self, number: int, groups: Sequence[Group], gap_tops: Sequence[float]) -> Wire:
        net, lines, arrows = self.nets[number], [], []
        trunk, gaps = self._trunk_x(number), self._gaps_of(number)
        label_at = next((key for key in self._labels if key[1] == number), None)
        chip = None
        for gap in gaps:
            y = self._lane_y(gap, number, gap_tops[gap])
            xs = self._xs_of(gap, number)
            ends = [xs[0], xs[-1]]
            if label_at == (gap, number):
                label = self._labels[label_at]
                chip = _chip(label, y)
                ends = [min(ends[0], label.middle), max(ends[1], label.middle)]
            lines.append(((ends[0], y), (ends[1], y)))
            if gap == 0 and net.pill is not None:
                box = self.pills[net.pill].box
                lines.append(((box.middle, box.bottom), (box.middle, y)))
            for port in [port for port in self._ports[gap] if port.net == number]:
                x, box = self._xs[gap, port], groups[port.group].box
                edge = box.bottom if port.is_above else box.y
                lines.append(((x, edge), (x, y)))
                if port.is_entry and net.style is not Style.PEERS:
                    arrows.append(Arrow(x, edge, is_down=not port.is_above))
        if trunk is not None:
            heights = [self._lane_y(gap, number, gap_tops[gap]) for gap in gaps]
            lines.append(((trunk, heights[0]), (trunk, heights[-1])))
        return Wire(net.style, net.title, tuple(lines), tuple(arrows), chip, net.links, _is_unencrypted(net))


def _steps(route: str) -> list[str]:
    """`a → b → c` in the pieces at which it may be broken."""
    first, *others = route.split(" → ")
    return [first, *(f"→ {other}" for other in others)]


def _chip(label: _Label, y: float) -> Chip:
    box = Box(label.middle - label.width / 2, y - label.height / 2, label.width, label.height)
    texts = []
    for place, (words, size, bold) in enumerate(label.lines):
        style = "route" if bold else "muted"
        texts.append(Text(words, box.middle, box.y + 3 + LINE * place + 10.5, size, style, Anchor.MIDDLE, is_bold=bold))
    return Chip(box, tuple(texts))


def _is_unencrypted(net: Net) -> bool:
    return any(link.target.listen.tls is Tls.NONE and link.target.listen.speaks.carries_data for link in net.links) and (
        net.style is not Style.VISIT
    )

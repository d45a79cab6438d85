"""Where everything stands in the drawing: zones as columns, rows of hosts from the visitors down, wires in the gaps between.

Wires never cross a box: they leave a group of hosts at its bottom, run along a lane in the gap below, and come in from above;
what leads past a row takes a way at the right of everything. All links of one tier to another are one wire, so that thirty
hosts are as readable as three.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from nospof.explain.hostbox import HostBoxes, spof
from nospof.explain.layers import Layers
from nospof.explain.measure import text_width, wrapped
from nospof.explain.shapes import Anchor, Area, Box, Drawing, Group, Pill, Style, Text, Wire
from nospof.explain.weak import MARK, WeakSpots
from nospof.explain.wiring import Wiring, nets
from nospof.explain.words import by_target, counted, ways
from nospof.topology import Host, Topology

MARGIN, ZONE_GAP, ZONE_PAD = 22.0, 22.0, 24.0
COLUMN_GAP, FRAME = 26.0, 8.0
LINE_GAP = 12.0
ZONE_HEAD = 30.0
# So many boxes beside each other can still be read on a laptop without scrolling.
MOST_COLUMNS = 6
NARROWEST = 560.0
PILL_HEIGHT = 26.0
NO_SPOTS = WeakSpots()


def layout(topology: Topology, weak: WeakSpots = NO_SPOTS) -> Drawing:
    """Place all of `topology`, with the marks of `weak`. Pure; the same topology gives the same drawing."""
    return _Layout(Layers(topology), weak).drawing()


@dataclass(frozen=True)
class _Slot:
    """Hosts that are alike, of one row and zone, before they have a height; `columns` of them stand beside each other."""

    row: int
    zone: str
    hosts: tuple[Host, ...]
    columns: int

    @property
    def lines(self) -> int:
        return -(-len(self.hosts) // self.columns)

    @property
    def frame(self) -> float:
        return FRAME if len(self.hosts) > 1 else 0.0


@dataclass(frozen=True)
class _Layout:
    layers: Layers
    weak: WeakSpots

    def drawing(self) -> Drawing:
        head = self._head()
        entrances = self._pills(head[-1].y + 52)
        top = max((pill.box.bottom for pill in entrances), default=head[-1].y + 10)
        places = {slot: self._x(slot) for slot in self._slots}
        spans = [(slot.row, x - slot.frame, self._slot_width(slot) + 2 * slot.frame) for slot, x in places.items()]
        wanted = nets(self.layers, [(slot.row, slot.hosts) for slot in self._slots])
        wiring = Wiring(wanted, spans, tuple(entrances), len(self._rows), *self._sides, self._right)
        groups, y = [], top + wiring.height(0) + ZONE_HEAD
        tops, bottoms = [], [top]
        for row in range(len(self._rows)):
            tops.append(y)
            made = [self._group(slot, places[slot], y) for slot in self._slots if slot.row == row]
            groups += made
            bottoms.append(max(group.box.bottom for group in made))
            y = bottoms[-1] + wiring.height(row + 1)
        wires = wiring.wires(groups, bottoms)
        zones_top = top + wiring.height(0)
        areas = tuple(self._areas(zones_top, y, wires))
        width = self._right + wiring.trunks_width + MARGIN
        notes, signs = self._notes(wires, y + 26, width - 2 * MARGIN)
        height = max([text.y for text in notes] + [box.bottom for _, box in signs] + [y]) + MARGIN
        title, about = head[0].words, head[1].words
        return Drawing(width, height, title, about, (*head, *self._visitors(entrances, head[-1].y + 10)), areas, wires,
                       tuple(groups), tuple(entrances), notes, signs)  # fmt: skip

    # --- columns -----------------------------------------------------------------------------------------------------
    @cached_property
    def _boxes(self) -> HostBoxes:
        return HostBoxes(self.layers, self.weak)

    @cached_property
    def _rows(self) -> list[tuple[Host, ...]]:
        """The rows of the stack; one whose zones are free in the row above, and that has tiers in common, joins it."""
        rows: list[tuple[tuple[str, ...], tuple[Host, ...]]] = []
        for row in self.layers.rows:
            tiers, hosts = rows[-1] if rows else ((), ())
            if {*tiers} & {*row.tiers} and not {host.zone for host in hosts} & {host.zone for host in row.hosts}:
                rows[-1] = ((*tiers, *row.tiers), (*hosts, *row.hosts))
            else:
                rows.append((row.tiers, row.hosts))
        return [hosts for _, hosts in rows]

    @cached_property
    def _cells(self) -> dict[tuple[int, str], list[tuple[Host, ...]]]:
        """Row and zone → groups of hosts that are alike there, those that do the work themselves first."""
        found: dict[tuple[int, str], list[tuple[Host, ...]]] = {}
        for number, row in enumerate(self._rows):
            for zone in self.layers.zones:
                alike: dict[tuple[object, ...], list[Host]] = defaultdict(list)
                for host in row:
                    if host.zone == zone:
                        alike[self._runs(host)].append(host)
                if alike:
                    found[number, zone] = [tuple(alike[key]) for key in sorted(alike)]
        return found

    def _runs(self, host: Host) -> tuple[object, ...]:
        runs = [(one.id.tier, one.rank.value) for one in self.layers.topology.on_host(host.name)]
        spares = sum(one.rank.value != "normal" for one in self.layers.declared(host.name))
        return (spares, len(self.weak.hosts.get(host.name, ())), tuple(runs))

    @cached_property
    def _columns(self) -> dict[str, int]:
        """How many boxes stand beside each other in each zone: as many as are needed, where there is room."""
        groups = {zone: max(len(cell) for (_, at), cell in self._cells.items() if at == zone) for zone in self.layers.zones}
        hosts = {
            zone: max(sum(map(len, cell)) for (_, at), cell in self._cells.items() if at == zone) for zone in self.layers.zones
        }
        columns = dict(groups)
        while sum(columns.values()) < MOST_COLUMNS:
            fullest = max(self.layers.zones, key=lambda zone: hosts[zone] / columns[zone])
            if hosts[fullest] <= columns[fullest]:
                break
            columns[fullest] += 1
        return columns

    @cached_property
    def _slots(self) -> tuple[_Slot, ...]:
        made = []
        for (row, zone), cell in self._cells.items():
            columns = [1] * len(cell)
            while sum(columns) < self._columns[zone]:
                fullest = max(range(len(cell)), key=lambda at: len(cell[at]) / columns[at])
                if len(cell[fullest]) <= columns[fullest]:
                    break
                columns[fullest] += 1
            made += [_Slot(row, zone, hosts, count) for hosts, count in zip(cell, columns, strict=True)]
        return tuple(made)

    def _zone_width(self, zone: str) -> float:
        columns = self._columns[zone]
        return columns * self._boxes.width + (columns - 1) * COLUMN_GAP + 2 * ZONE_PAD

    @cached_property
    def _zone_x(self) -> dict[str, float]:
        widths = [self._zone_width(zone) for zone in self.layers.zones]
        missing = max(0.0, NARROWEST - sum(widths) - ZONE_GAP * (len(widths) - 1))
        places, x = {}, MARGIN + missing / 2
        for zone, width in zip(self.layers.zones, widths, strict=True):
            places[zone] = x
            x += width + ZONE_GAP
        return places

    @property
    def _sides(self) -> tuple[float, float]:
        """Between which words may stand."""
        zones = self.layers.zones
        left, right = self._zone_x[zones[0]], self._zone_x[zones[-1]] + self._zone_width(zones[-1])
        return left + 8, right - 8

    @cached_property
    def _right(self) -> float:
        last = self.layers.zones[-1]
        return max(self._zone_x[last] + self._zone_width(last), MARGIN + NARROWEST)

    def _slot_width(self, slot: _Slot) -> float:
        return slot.columns * self._boxes.width + (slot.columns - 1) * COLUMN_GAP

    def _x(self, slot: _Slot) -> float:
        """The left edge of its hosts; a row's groups stand in the middle of their zone."""
        cell = [other for other in self._slots if (other.row, other.zone) == (slot.row, slot.zone)]
        total = sum(self._slot_width(other) for other in cell) + COLUMN_GAP * (len(cell) - 1)
        x = self._zone_x[slot.zone] + (self._zone_width(slot.zone) - total) / 2
        for other in cell[: cell.index(slot)]:
            x += self._slot_width(other) + COLUMN_GAP
        return x

    def _group(self, slot: _Slot, x: float, y: float) -> Group:
        height = self._boxes.height(self._rows[slot.row])
        # Where a neighbour has a frame the boxes themselves still stand at one height.
        frame = max(other.frame for other in self._slots if other.row == slot.row)
        hosts = []
        for number, host in enumerate(slot.hosts):
            line, column = divmod(number, slot.columns)
            left, above = x + column * (self._boxes.width + COLUMN_GAP), y + frame + line * (height + LINE_GAP)
            hosts.append(self._boxes.box(host, left, above, height))
        all_height = slot.lines * height + (slot.lines - 1) * LINE_GAP
        return Group(Box(x, y + frame, self._slot_width(slot), all_height).grown(slot.frame), slot.row, tuple(hosts))

    # --- around it ---------------------------------------------------------------------------------------------------
    def _areas(self, top: float, bottom: float, wires: Sequence[Wire]) -> Iterator[Area]:
        crossing = sorted(x for wire in wires for line in wire.lines for x in _crossings(line, top + ZONE_HEAD / 2))
        for zone in self.layers.zones:
            box = Box(self._zone_x[zone], top, self._zone_width(zone), bottom - top)
            goals = self.weak.zones.get(zone, ())
            words = f"zone {zone}" + (f"   {' '.join(spof(goals))}" if goals else "")
            edges = [box.x + 4, *(x for x in crossing if box.x < x < box.right), box.right - 4]
            free = [(left + 8, right - 8) for left, right in itertools.pairwise(edges)]
            size = text_width(words, 12.0, is_bold=True)
            left, right = next((one for one in free if one[1] - one[0] >= size), max(free, key=lambda one: one[1] - one[0]))
            style = "weak" if goals else "zone"
            label = Text(words, left, top + 20, 12.0, style, is_bold=True).fitted(right - left)
            yield Area(zone, box, label, goals)

    def _head(self) -> tuple[Text, ...]:
        topology, zones = self.layers.topology, self.layers.zones
        where = f"zone {zones[0]}" if len(zones) == 1 else f"{len(zones)} zones"
        facts = [topology.domain, f"{counted(len(topology.hosts), 'host')} in {where}"]
        facts += ["lab"] if all(host.is_lab for host in topology.hosts) else []
        facts += [] if topology.has_firewall else ["no firewall"]
        room = self._right - MARGIN
        return (
            Text(topology.stack, MARGIN, 34, 18, "title", is_bold=True).fitted(room),
            Text(" · ".join(facts), MARGIN, 54, 12, "muted").fitted(room),
        )

    def _pills(self, y: float) -> list[Pill]:
        visits = dict(by_target(self.layers.visits()))
        texts: list[tuple[str, list[tuple[str, str, bool]]]] = []
        for tier in [*visits, *self.layers.only_held()]:
            parts = [(tier, "name", True)]
            parts += [(f"◆ {vip.address}", "vip", True) for vip in self.layers.topology.vips_of(tier)]
            parts += [(" · ".join(ways(visits[tier])), "muted", False)] if tier in visits else []
            texts.append((tier, parts))
        widths = [sum(text_width(words, 12, is_bold=bold) + 14 for words, _, bold in parts) + 14 for _, parts in texts]
        middle = (MARGIN + self._right) / 2
        x = max(MARGIN, middle - (sum(widths) + ZONE_GAP * (len(widths) - 1)) / 2)
        pills = []
        for (tier, parts), width in zip(texts, widths, strict=True):
            at, made = x + 14, []
            for words, style, bold in parts:
                made.append(Text(words, at, y + 17.5, 12, style, is_bold=bold))
                at += text_width(words, 12, is_bold=bold) + 14
            pills.append(Pill(Box(x, y, width, PILL_HEIGHT), tuple(made), tier, tier in visits))
            x += width + ZONE_GAP
        return pills

    def _visitors(self, pills: Sequence[Pill], y: float) -> Iterator[Text]:
        for pill in pills:
            if pill.is_visited:
                yield Text("visitors", pill.box.middle, y + 10, 12, "visitors", Anchor.MIDDLE)

    # --- legend ------------------------------------------------------------------------------------------------------
    def _notes(self, wires: Sequence[Wire], y: float, width: float) -> tuple[tuple[Text, ...], tuple[tuple[str, Box], ...]]:
        texts, signs, x = [], [], MARGIN
        for sign, meaning in self._meanings(wires):
            needs = 30 + text_width(meaning, 11) + 22
            if x > MARGIN and x + needs > MARGIN + width:
                x, y = MARGIN, y + 20
            signs.append((sign, Box(x, y - 9, 24, 12)))
            texts.append(Text(meaning, x + 30, y, 11, "muted").fitted(width - 30))
            x += needs
        for call in self.layers.calls():
            if call.is_measuring:
                for line in wrapped(f"{call.source} measures {call.words.removeprefix('of ')}".split(), 11, width, " "):
                    y += 20
                    texts.append(Text(line, MARGIN, y, 11, "muted"))
        return tuple(texts), tuple(signs)

    def _meanings(self, wires: Sequence[Wire]) -> Iterator[tuple[str, str]]:
        styles = {wire.style for wire in wires}
        meanings = {
            Style.CALL: "calls, and needs the answer",
            Style.OPTIONAL: "calls, and goes on without it",
            Style.PEERS: "among themselves",
        }
        for style, meaning in meanings.items():
            if style in styles:
                yield style.value, meaning
        if any(wire.is_unencrypted for wire in wires):
            yield "unencrypted", "not encrypted"
        if self.layers.topology.vips:
            yield "◆", "virtual IP address (VIP): moves to a host that lives"
        if self.layers.providers:
            yield "+", "comes along because a tier needs it"
        if self.weak:
            yield MARK, "single point of failure (SPOF), and the promises that are broken without it"


def _crossings(line: Sequence[tuple[float, float]], y: float) -> Iterator[float]:
    for (x, start), (_, end) in itertools.pairwise(line):
        if min(start, end) <= y <= max(start, end) and start != end:
            yield x

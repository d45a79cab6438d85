"""The stack as text for a terminal: visitors at the top, the database at the bottom, zones side by side.

Hosts that do the same stand in one row; in it each zone has its column, and hosts of one zone that are alike share a box. Below
a row stand the calls that leave it. Lines are at most 100 columns wide as long as names are not longer than some 40 characters.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

from nospof.explain.layers import Call, Layers
from nospof.explain.weak import MARK, NO_MARKS, WeakSpots
from nospof.explain.words import by_target, counted, spoken
from nospof.topology import Host, Instance, Rank, Topology, Vip

WIDTH = 100
BOX = 32
GAP = 2
# Three boxes fit beside each other; a fourth zone makes them narrower, five would leave no room for an address.
MOST_COLUMNS = 4
INDENT = 5

SIGNS = {
    MARK: "single point of failure",
    "◆": "virtual IP address (VIP)",
    "+": "a tier needs it",
    "↔": "among themselves",
    "↓": "on these hosts",
    "•": "anywhere",
}


def diagram(topology: Topology, weak: WeakSpots = NO_MARKS) -> str:
    """Draw `topology`: who visits, what runs where, who calls whom, and hosts and zones that are `weak`. Pure."""
    picture = _Picture(topology, weak)
    lines = [*picture.head(), *picture.rows()]
    legend = "   ".join(f"{sign} {meaning}" for sign, meaning in SIGNS.items() if any(sign in line for line in lines))
    return "\n".join(line.rstrip() for line in [*lines, "", legend]).rstrip() + "\n"


@dataclass(frozen=True)
class _Picture:
    topology: Topology
    weak: WeakSpots

    # --- the parts from top to bottom --------------------------------------------------------------------------------
    def head(self) -> Iterator[str]:
        zones, hosts = self.layers.zones, self.topology.hosts
        where = f"zone {zones[0]}" if len(zones) == 1 else f"{len(zones)} zones"
        remarks = {"lab": all(host.is_lab for host in hosts), "no firewall": not self.topology.has_firewall}
        about = [self.topology.stack, self.topology.domain, f"{counted(len(hosts), 'host')} in {where}"]
        yield " · ".join(about + [remark for remark, is_so in remarks.items() if is_so])
        yield ""
        visits = self.layers.visits()
        if visits:
            yield f"{'visitors':>{INDENT + 5}}"
            yield from _arrow([f"{tier}   {spoken(links)}" for tier, links in by_target(visits)])
        for vip in self.topology.vips:
            yield from _marked("◆", f"{vip.name} {vip.address}, {self._holders(vip)}")
        yield ""
        if self._has_columns:
            names = [_cut(f" ─ {self._zone(zone)} ".ljust(self._width, "─"), self._width) for zone in zones]
            yield (" " * GAP).join(names)

    def rows(self) -> Iterator[str]:
        tiers_below = [row.tiers for row in self.layers.rows]
        told: set[str] = set()
        for row in self.layers.rows:
            tiers_below = tiers_below[1:]
            yield from self._row(row.hosts)
            calls = [call for tier in row.tiers if tier not in told for call in self.layers.calls_of(tier)]
            told.update(row.tiers)
            yield from self._told(calls, set(row.tiers), {tier for tiers in tiers_below for tier in tiers} - told)

    def _told(self, calls: Iterable[Call], here: set[str], below: set[str]) -> Iterator[str]:
        """The calls of one row: sideways, within its hosts, to wherever it may be, and down."""
        marked: dict[str, list[Call]] = {"↔": [], "↓": [], "•": [], "│": []}
        for call in calls:
            mark = "↔" if not call.target else "↓" if call.target in here else "│" if call.target in below else "•"
            marked[mark].append(call)
        down = marked.pop("│")
        for mark, group in marked.items():
            for line in _aligned(group):
                yield from _marked(mark, line)
        if down:
            yield from _arrow(_aligned(down))

    # --- who stands where --------------------------------------------------------------------------------------------
    @cached_property
    def layers(self) -> Layers:
        return Layers(self.topology)

    @cached_property
    def _has_columns(self) -> bool:
        return 1 < len(self.layers.zones) <= MOST_COLUMNS

    @cached_property
    def _width(self) -> int:
        columns = len(self.layers.zones) if self._has_columns else 3
        return min(BOX, (WIDTH - GAP * (columns - 1)) // columns)

    def _holders(self, vip: Vip) -> str:
        normal, spare = self.layers.holders(vip)
        last = f", as last resort by {_either(spare)}" if spare else ""
        if vip.home:
            return f"at home on {vip.home}, else held by {_either([host for host in normal if host != vip.home])}{last}"
        return f"held by {_either(normal)}{last}"

    # --- boxes -------------------------------------------------------------------------------------------------------
    def _row(self, hosts: Sequence[Host]) -> Iterator[str]:
        if self._has_columns:
            columns = [self._boxes([host for host in hosts if host.zone == zone]) for zone in self.layers.zones]
            yield from _beside([[line for box in column for line in box] for column in columns], self._width)
            return
        boxes = self._boxes(hosts)
        per_line = (WIDTH + GAP) // (self._width + GAP)
        for first in range(0, len(boxes), per_line):
            yield from _beside(boxes[first : first + per_line], self._width)

    def _boxes(self, hosts: Iterable[Host]) -> list[list[str]]:
        """One box per zone and set of instances, ranks included; those that do the work themselves first."""
        alike: dict[tuple[object, ...], list[Host]] = defaultdict(list)
        for host in hosts:
            runs = tuple((one.id.tier, one.rank.value) for one in self.topology.on_host(host.name))
            alike[(host.zone, sum(rank != Rank.NORMAL.value for _, rank in runs), runs)].append(host)
        return [self._box(alike[key]) for key in sorted(alike)]

    def _box(self, hosts: Sequence[Host]) -> list[str]:
        """`hosts` in one box. Where all that is declared has one rank, the rank stands in the line between."""
        declared = self.layers.declared(hosts[0].name)
        ranks = {one.rank for one in declared}
        rank = next(iter(ranks)) if len(ranks) == 1 else Rank.NORMAL
        names = [(self._zone(hosts[0].zone), "")] if len(self.layers.zones) > 1 and not self._has_columns else []
        names += [(_with_mark(host.name, is_weak=host.name in self.weak.hosts), host.address) for host in hosts]
        runs = [(one.id.tier, _software(one, rank)) for one in declared]
        runs += [(f"  + {one.id.tier}", "") for one in self.layers.implied(hosts[0].name)]
        return _framed(names, "" if rank is Rank.NORMAL else rank.value, runs or [("nothing runs here", "")], self._width)

    def _zone(self, zone: str) -> str:
        return _with_mark(f"zone {zone}", is_weak=zone in self.weak.zones)


# --- words -----------------------------------------------------------------------------------------------------------
def _software(instance: Instance, rank: Rank) -> str:
    return instance.component if instance.rank is rank else f"{instance.component}, {instance.rank.value}"


def _with_mark(name: str, *, is_weak: bool) -> str:
    return f"{MARK} {name}" if is_weak else name


def _either(hosts: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(hosts[:-1]), *hosts[-1:]])) or "nobody"


# --- lines -----------------------------------------------------------------------------------------------------------
def _arrow(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from _marked("│", text, below="│")
    yield " " * (INDENT) + "▼"


def _marked(mark: str, text: str, below: str = " ") -> list[str]:
    first, later = f"{' ' * INDENT}{mark} ", f"{' ' * INDENT}{below}    "
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)


def _aligned(calls: Sequence[Call]) -> list[str]:
    width = min(max((len(call.route) for call in calls), default=0), WIDTH // 2)
    return [f"{call.route:<{width}}   {call.words}" for call in calls]


def _framed(names: Sequence[tuple[str, str]], rank: str, runs: Sequence[tuple[str, str]], width: int) -> list[str]:
    inner = width - 5
    between = (f"─ {rank} " if rank else "").ljust(inner + 2, "─")
    lines = [f"┌{'─' * (inner + 2)}┐", *_cells(names, inner), f"├{between}┤", *_cells(runs, inner)]
    return [f" {line}" for line in [*lines, f"└{'─' * (inner + 2)}┘"]]


def _cells(pairs: Iterable[tuple[str, str]], inner: int) -> Iterator[str]:
    """Each pair on one line, or on two where it is too long; what is longer than a line is cut."""
    for left, right in pairs:
        if len(left) + len(right) + 1 <= inner:
            yield f"│ {left}{right:>{inner - len(left)}} │"
            continue
        yield f"│ {_cut(left, inner):<{inner}} │"
        if right:
            yield f"│ {_cut(right, inner):>{inner}} │"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _beside(columns: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    for lines in zip_longest(*columns, fillvalue=""):
        yield (" " * GAP).join(f"{line:<{width}}" for line in lines)

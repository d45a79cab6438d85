"""The stack as text for a terminal: visitors at the top, the database at the bottom, zones side by side.

Hosts that do the same stand in one row; in it each zone has its column, and hosts of one zone that are alike share a box. Below
a row stand the calls that leave it. Lines are at most 100 columns wide as long as names are not longer than some 40 characters.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, zip_longest

from nospof.topology import OUTSIDE, Demand, FloatingName, Host, Instance, Link, Listen, Protocol, Rank, Tls, Topology

WIDTH = 100
BOX = 32
GAP = 2
# Three boxes fit beside each other; a fourth zone makes them narrower, five would leave no room for an address.
MOST_COLUMNS = 4
INDENT = 5
UNREACHED = 1000

PROTOCOLS = {Protocol.MYSQL: "MySQL", Protocol.REDIS: "Redis", Protocol.SSH: "SSH", Protocol.VRRP: "VRRP"}
SIGNS = {
    "◆": "moves between hosts",
    "+": "a tier needs it",
    "↔": "among themselves",
    "↓": "on these hosts",
    "•": "anywhere",
}


def diagram(topology: Topology) -> str:
    """Draw `topology`: who visits, what runs where, who calls whom. Pure; the same topology gives the same text."""
    picture = _Picture(topology)
    lines = [*picture.head(), *picture.rows()]
    legend = "   ".join(f"{sign} {meaning}" for sign, meaning in SIGNS.items() if any(sign in line for line in lines))
    return "\n".join(line.rstrip() for line in [*lines, "", legend]).rstrip() + "\n"


@dataclass(frozen=True)
class _Call:
    """All links from one tier to another, as one line."""

    source: str
    via: str
    target: str
    words: str

    @property
    def route(self) -> str:
        return " → ".join(part for part in (self.source, self.via, self.target) if part)


@dataclass(frozen=True)
class _Picture:
    topology: Topology

    # --- the parts from top to bottom --------------------------------------------------------------------------------
    def head(self) -> Iterator[str]:
        zones, hosts = self._zones, self.topology.hosts
        where = f"zone {zones[0]}" if len(zones) == 1 else f"{len(zones)} zones"
        remarks = {"lab": all(host.is_lab for host in hosts), "no firewall": not self.topology.has_firewall}
        about = [self.topology.stack, self.topology.domain, f"{_count(len(hosts), 'host')} in {where}"]
        yield " · ".join(about + [remark for remark, is_so in remarks.items() if is_so])
        yield ""
        visits = [link for link in self.topology.links if link.source == OUTSIDE]
        if visits:
            yield f"{'visitors':>{INDENT + 5}}"
            yield from _arrow([f"{tier}   {_spoken(links)}" for tier, links in _by_target(visits)])
        for floating in self.topology.floating:
            yield from _marked("◆", f"{floating.name} {floating.address}, {self._holders(floating)}")
        yield ""
        if self._has_columns:
            names = [_cut(f" ─ zone {zone} ".ljust(self._width, "─"), self._width) for zone in zones]
            yield (" " * GAP).join(names)

    def rows(self) -> Iterator[str]:
        tiers_below = [tiers for tiers, _ in self._rows]
        told: set[str] = set()
        for tiers, hosts in self._rows:
            tiers_below = tiers_below[1:]
            yield from self._row(hosts)
            calls = [call for tier in tiers if tier not in told for call in self._calls_of(tier)]
            told.update(tiers)
            yield from self._told(calls, set(tiers), {tier for row in tiers_below for tier in row} - told)

    def _told(self, calls: Iterable[_Call], here: set[str], below: set[str]) -> Iterator[str]:
        """The calls of one row: sideways, within its hosts, to wherever it may be, and down."""
        marked: dict[str, list[_Call]] = {"↔": [], "↓": [], "•": [], "│": []}
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
    def _zones(self) -> list[str]:
        return sorted({host.zone for host in self.topology.hosts})

    @cached_property
    def _has_columns(self) -> bool:
        return 1 < len(self._zones) <= MOST_COLUMNS

    @cached_property
    def _width(self) -> int:
        columns = len(self._zones) if self._has_columns else 3
        return min(BOX, (WIDTH - GAP * (columns - 1)) // columns)

    @cached_property
    def _order(self) -> dict[str, int]:
        """How far each declared tier is from the visitors; tiers nobody calls on their behalf come last."""
        calls = {one.id.tier: one.to for one in self.topology.instances if not _is_implied(one)}
        level = dict.fromkeys(sorted(calls), UNREACHED)
        frontier = {link.target.owner.tier for link in self.topology.links if link.source == OUTSIDE} & set(calls)
        frontier = frontier or {tier for tier in calls if not any(tier in to for to in calls.values())}
        for depth in range(len(calls)):
            level.update(dict.fromkeys(frontier, depth))
            frontier = {target for tier in frontier for target in calls[tier] if target in calls}
        return level

    @cached_property
    def _rows(self) -> list[tuple[list[str], list[Host]]]:
        """Hosts in the order of their first tiers, with the tiers that they have together; then spare hosts, then idle ones."""
        rows: dict[tuple[int, int, str], list[Host]] = defaultdict(list)
        for host in self.topology.hosts:
            rows[self._place(self._declared(host.name))].append(host)
        return [(self._tiers_on(hosts), hosts) for _, hosts in sorted(rows.items())]

    def _place(self, declared: Sequence[Instance]) -> tuple[int, int, str]:
        if not declared:
            return (2, 0, "")
        if len(declared) > 1 and all(one.rank is Rank.SPARE for one in declared):
            return (1, 0, "")
        return (0, self._order[declared[0].id.tier], declared[0].id.tier)

    def _tiers_on(self, hosts: Iterable[Host]) -> list[str]:
        found = {one.id.tier for host in hosts for one in self._declared(host.name)}
        return sorted(found, key=lambda tier: (self._order[tier], tier))

    def _declared(self, host: str) -> list[Instance]:
        found = [one for one in self.topology.on_host(host) if not _is_implied(one)]
        return sorted(found, key=lambda one: (self._order[one.id.tier], one.id.tier))

    def _implied(self, host: str) -> list[Instance]:
        return [one for one in self.topology.on_host(host) if _is_implied(one)]

    def _holders(self, floating: FloatingName) -> str:
        ranks: dict[str, set[Rank]] = defaultdict(set)
        for one in self.topology.instances:
            for demand in one.demands:
                if demand.need.floating_name == floating.name:
                    ranks[one.id.host].add(demand.rank)
        normal = [host for host, found in sorted(ranks.items()) if Rank.NORMAL in found]
        spare = [host for host, found in sorted(ranks.items()) if Rank.NORMAL not in found]
        if not spare:
            return f"held by {_either(normal)}"
        return f"held by {_either(normal)}, as last resort by {_either(spare)}"

    # --- boxes -------------------------------------------------------------------------------------------------------
    def _row(self, hosts: Sequence[Host]) -> Iterator[str]:
        if self._has_columns:
            columns = [self._boxes([host for host in hosts if host.zone == zone]) for zone in self._zones]
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
        declared = self._declared(hosts[0].name)
        ranks = {one.rank for one in declared}
        rank = next(iter(ranks)) if len(ranks) == 1 else Rank.NORMAL
        names = [(f"zone {hosts[0].zone}", "")] if len(self._zones) > 1 and not self._has_columns else []
        names += [(host.name, host.address) for host in hosts]
        runs = [(one.id.tier, _software(one, rank)) for one in declared]
        runs += [(f"  + {one.id.tier}", "") for one in self._implied(hosts[0].name)]
        return _framed(names, "" if rank is Rank.NORMAL else rank.value, runs or [("nothing runs here", "")], self._width)

    # --- calls -------------------------------------------------------------------------------------------------------
    def _calls_of(self, tier: str) -> Iterator[_Call]:
        """What `tier` calls, and what the providers do that it was the first to want."""
        for source in [tier, *self._providers_first_wanted_by(tier)]:
            # From a caller to the router beside it: told together with where the router leads.
            links = [link for link in self._links.get(source, ()) if link.target.listen.answers is None]
            for target, called in _by_target(link for link in links if not _measures(link)):
                routed = self._routed(source, target)
                if target == source:
                    yield _Call(source, "", "", _spoken(called))
                elif routed:
                    yield _Call(", ".join(routed), source, target, _spoken(called))
                else:
                    yield _Call(source, "", target, _spoken(called))
            measured = sorted({_target_tier(link) for link in links if _measures(link)})
            if measured:
                yield _Call(source, "", "metrics", f"of {', '.join(measured)}")

    @cached_property
    def _links(self) -> Mapping[str, list[Link]]:
        found: dict[str, list[Link]] = defaultdict(list)
        for link in self.topology.links:
            found[link.source.tier].append(link)
        return found

    @cached_property
    def _wanting(self) -> Mapping[str, list[str]]:
        """Provider tier → the tiers that want it, nearest to the visitors first."""
        return {tier: self._callers(demands) for tier, demands in self._demands.items()}

    @cached_property
    def _demands(self) -> Mapping[str, list[Demand]]:
        found: dict[str, list[Demand]] = defaultdict(list)
        for one in self.topology.instances:
            found[one.id.tier] += one.demands
        return found

    def _callers(self, demands: Iterable[Demand]) -> list[str]:
        return sorted({demand.by.tier for demand in demands}, key=lambda one: (self._order.get(one, UNREACHED + 1), one))

    def _routed(self, provider: str, target: str) -> list[str]:
        """The tiers that reach `target` through `provider`."""
        return self._callers(demand for demand in self._demands[provider] if demand.need.routed_tier == target)

    def _providers_first_wanted_by(self, tier: str) -> list[str]:
        """Providers that `tier` brought along, and those that they brought along."""
        found = sorted(provider for provider, by in self._wanting.items() if by[:1] == [tier])
        return found + [further for provider in found for further in self._providers_first_wanted_by(provider)]


# --- words -----------------------------------------------------------------------------------------------------------
def _is_implied(instance: Instance) -> bool:
    return bool(instance.demands)


def _software(instance: Instance, rank: Rank) -> str:
    return instance.component if instance.rank is rank else f"{instance.component}, {instance.rank.value}"


def _target_tier(link: Link) -> str:
    return link.target.owner.tier


def _measures(link: Link) -> bool:
    return link.target.listen.speaks is Protocol.METRICS


def _by_target(links: Iterable[Link]) -> list[tuple[str, list[Link]]]:
    return [(tier, list(group)) for tier, group in groupby(sorted(links, key=_target_tier), key=_target_tier)]


def _spoken(links: Iterable[Link]) -> str:
    """How one tier speaks to another: every way once, the unix socket and what carries data first."""
    ways = {_way(link): (not _uses_socket(link), not link.target.listen.speaks.carries_data) for link in links}
    return " · ".join(sorted(ways, key=lambda way: (ways[way], -_tls_first(way), way)))


def _tls_first(way: str) -> bool:
    return way.startswith("HTTPS") or way.endswith("TLS")


def _uses_socket(link: Link) -> bool:
    return link.is_local and link.target.listen.socket is not None


def _way(link: Link) -> str:
    listen = link.target.listen
    if _uses_socket(link):
        return "unix socket"
    what = "health" if link.purpose.endswith("-health") else _protocol(listen)
    is_told = link.source.tier == link.target.owner.tier and link.purpose not in ("peers", what)
    words = [link.purpose if is_told else "", what, "" if listen.port is None else str(listen.port), _encryption(listen)]
    return " ".join(word for word in words if word)


def _protocol(listen: Listen) -> str:
    if listen.speaks is Protocol.HTTP:
        return "HTTP" if listen.tls is Tls.NONE else "HTTPS"
    return PROTOCOLS.get(listen.speaks) or str(listen.speaks.value)


def _encryption(listen: Listen) -> str:
    if listen.speaks is Protocol.HTTP:
        return "mutual TLS" if listen.tls is Tls.MUTUAL else ""
    if listen.tls is Tls.NONE:
        return "unencrypted" if listen.speaks.carries_data else ""
    return "TLS" if listen.tls is Tls.SERVER else "mutual TLS"


def _either(hosts: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(hosts[:-1]), *hosts[-1:]])) or "nobody"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# --- lines -----------------------------------------------------------------------------------------------------------
def _arrow(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from _marked("│", text, below="│")
    yield " " * (INDENT) + "▼"


def _marked(mark: str, text: str, below: str = " ") -> list[str]:
    first, later = f"{' ' * INDENT}{mark} ", f"{' ' * INDENT}{below}    "
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)


def _aligned(calls: Sequence[_Call]) -> list[str]:
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

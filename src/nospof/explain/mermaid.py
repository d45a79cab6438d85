"""The stack as a Mermaid flowchart, which many wikis and forges draw from text.

Zones are subgraphs, hosts are nodes with their instances in them. Where many hosts call many, the links of two tiers meet in
one node between them, so that there are as many lines as hosts and not as many as pairs.
Source: https://mermaid.js.org/syntax/flowchart.html (entities in quoted text; at most 500 edges).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from nospof.explain.hostbox import spof
from nospof.explain.layers import Call, Layers
from nospof.explain.weak import WeakSpots
from nospof.explain.words import by_target, spoken
from nospof.topology import Host, Link, Rank, Topology

NO_SPOTS = WeakSpots()
# Of more lines than this between two tiers nobody follows a single one, and each would carry the same words.
MOST_DIRECT = 1


def mermaid(topology: Topology, weak: WeakSpots = NO_SPOTS) -> str:
    """Write `topology` as a flowchart, with the marks of `weak`. Pure; the same topology gives the same text."""
    return "\n".join(_Chart(Layers(topology), weak).lines()) + "\n"


@dataclass(frozen=True)
class _Chart:
    layers: Layers
    weak: WeakSpots

    def lines(self) -> Iterator[str]:
        yield "flowchart TB"
        yield from self._entrances()
        for number, zone in enumerate(self.layers.zones):
            goals = self.weak.zones.get(zone, ())
            mark = f"<br/>{_text(' '.join(spof(goals)))}" if goals else ""
            yield f'  subgraph zone{number}["zone {_text(zone)}{mark}"]'
            for host in self.layers.topology.hosts:
                if host.zone == zone:
                    yield f'    {self._ids[host.name]}["{self._words(host)}"]'
            yield "  end"
        for number, call in enumerate(self.layers.calls()):
            yield from self._call(number, call)
        weak = [self._ids[host] for host in self.weak.hosts]
        if weak:
            yield "  classDef weak stroke:#a3121f,stroke-width:3px"
            yield f"  class {','.join(weak)} weak"

    @cached_property
    def _ids(self) -> dict[str, str]:
        return {host.name: f"host{number}" for number, host in enumerate(self.layers.topology.hosts)}

    def _entrances(self) -> Iterator[str]:
        visits = dict(by_target(self.layers.visits()))
        if visits:
            yield '  visitors(["visitors"])'
        for number, tier in enumerate([*visits, *self.layers.only_held()]):
            vips = self.layers.topology.vips_of(tier)
            addresses = "".join(f"<br/>◆ {_text(vip.address)}" for vip in vips)
            yield f'  entrance{number}(["{_text(tier)}{addresses}"])'
            hosts = sorted({link.target.owner.host for link in visits.get(tier, ())})
            if tier in visits:
                yield f'  visitors -->|"{_text(spoken(visits[tier]))}"| entrance{number}'
            else:
                hosts = sorted({host for vip in vips for host in vip.hosts})
            yield from (f"  entrance{number} --> {self._ids[host]}" for host in hosts)

    def _words(self, host: Host) -> str:
        lines = [f"<b>{_text(host.name)}</b> {_text(host.address)}"]
        goals = self.weak.hosts.get(host.name, ())
        lines += [_text(" ".join(spof(goals)))] if goals else []
        for one in self.layers.declared(host.name):
            rank = "" if one.rank is Rank.NORMAL else f", {one.rank.value}"
            lines.append(_text(f"{one.id.tier}: {one.component}{rank}"))
            links = [
                link for link in self.layers.topology.links_from(one.id) if link.is_local and not link.target.listen.answers
            ]
            lines += [_text(f"↓ {tier}, {spoken(called)}") for tier, called in by_target(links)]
        lines += [_text(f"+ {one.id.tier}") for one in self.layers.implied(host.name)]
        return "<br/>".join(lines)

    def _call(self, number: int, call: Call) -> Iterator[str]:
        links = [link for link in call.links if not link.is_local]
        if not links:
            return
        sources = sorted({link.source.host for link in links})
        targets = sorted({link.target.owner.host for link in links})
        words = _text(f"{call.route}{'' if call.target else ' ↔'} {call.words}")
        arrow = _arrow(call, links)
        pairs = _pairs(links, is_among=not call.target)
        if len(pairs) <= MOST_DIRECT:
            yield from (f'  {self._ids[one]} {arrow}|"{words}"| {self._ids[other]}' for one, other in pairs)
            return
        yield f'  call{number}("{words}")'
        line = "---" if arrow == "-->" else "-.-"
        yield from (f"  {self._ids[host]} {line} call{number}" for host in sources)
        if call.target:
            yield from (f"  call{number} {arrow} {self._ids[host]}" for host in targets)


def _arrow(call: Call, links: Sequence[Link]) -> str:
    if not call.target:
        return "-.-"
    return "-->" if any(link.is_required for link in links) and not call.is_measuring else "-.->"


def _pairs(links: Iterable[Link], *, is_among: bool) -> list[tuple[str, str]]:
    """The hosts that are joined; where they call each other each pair once."""
    pairs = {(link.source.host, link.target.owner.host) for link in links}
    return sorted({(min(pair), max(pair)) for pair in pairs} if is_among else pairs)


def _text(words: str) -> str:
    """`words` for a quoted label: nothing in them is taken for syntax or for HTML."""
    kept = "".join(char if char.isprintable() else "�" for char in words)
    return "".join(f"#{ord(char)};" if char in '"#&<>`\\;|[]{}()*_~' else char for char in kept)

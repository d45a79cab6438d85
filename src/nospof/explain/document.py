"""The design document of a stack: what it is, why each part is there, what its loss means, what remains weak.

Everything is derived from the topology, and from the words that components have for themselves; what was analysed or measured
is handed in. Where it was not, the document says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from nospof.explain import capacity, safety, tables, tiers
from nospof.explain.capacity import Capacity
from nospof.explain.diagram import diagram
from nospof.explain.glossary import glossary
from nospof.explain.layers import Layers
from nospof.explain.layout import layout
from nospof.explain.page import Commands, Document, Listing, Paragraph, Picture, Section, Table, code, plain
from nospof.explain.weak import WeakSpots, weak_spots
from nospof.explain.words import by_target, counted, spoken, uses_socket
from nospof.resolve import component_of
from nospof.stack.problems import Problem
from nospof.stack.words import listed
from nospof.topology import Link, Rank, Tls, Topology, Vip

# The finding of nospof.analysis.codes that names paths between hosts.
CUT = "F216"


def document(
    topology: Topology,
    findings: Sequence[Problem],
    *,
    weak: WeakSpots | None = None,
    capacity: Capacity | None = None,
) -> Document:
    """Write the design of `topology`, of which `check` found `findings`. Pure.

    `weak` None: single points of failure are read from the findings, and the document says that this is a first look.
    `capacity` None: it is said to be unknown, and how one comes to know it.
    """
    return _Design(Layers(topology), tuple(findings), weak, capacity).document()


@dataclass(frozen=True)
class _Design:
    layers: Layers
    findings: tuple[Problem, ...]
    weak: WeakSpots | None
    capacity: Capacity | None

    def document(self) -> Document:
        sections = [
            Section("what-it-is", "What it is", tuple(Paragraph(text) for text in self._sentences())),
            Section("diagram", "Diagram", (self._picture(),)),
            Section("path", "The path of a request", tuple(self._path())),
            *tiers.sections(self.layers, self.findings),
            Section("data", "The data", tuple(tiers.data(self.layers))),
            Section("weak", "What remains a single point of failure", tuple(self._weak())),
            Section("findings", "What the check finds", tuple(safety.findings(self.findings))),
            *safety.sections(self.layers),
            Section("capacity", "Capacity", tuple(capacity.section(self.capacity))),
            *tables.sections(self.layers),
            Section("next", "How to go on", tuple(self._next())),
        ]
        title = f"The design of {plain(self.layers.topology.stack)}"
        summary = " ".join(plain(text) for text in self._sentences())
        kept = tuple(section for section in sections if section.blocks)
        words = glossary("\n".join(_texts(section) for section in kept))
        terms = Section("terms", "Acronyms", (Table(("acronym", "meaning"), tuple(words)),))
        return Document(title, summary, (*kept, terms) if words else kept)

    @cached_property
    def _spots(self) -> WeakSpots:
        return weak_spots(self.layers.topology, self.findings) if self.weak is None else self.weak

    # --- what it is --------------------------------------------------------------------------------------------------
    def _sentences(self) -> Iterator[str]:
        topology, zones = self.layers.topology, self.layers.zones
        where = "one zone" if len(zones) == 1 else f"{len(zones)} zones"
        kind = "virtual " if all(host.is_lab for host in topology.hosts) else ""
        names = [f"{code(tier)} ({self._software(tier)})" for tier in self.layers.tiers]
        yield (
            f"{code(topology.stack)} is a web stack for {code(topology.domain)}: {counted(len(topology.hosts), f'{kind}host')} "
            f"in {where}, where a zone is what fails together. From the visitors down it has {listed(names)}."
        )
        yield self._entrance_sentence() + " " + self._redundancy_sentence()

    def _software(self, tier: str) -> str:
        return listed(sorted({one.component for one in self.layers.topology.of_tier(tier)}))

    def _entrance_sentence(self) -> str:
        visits = by_target(self.layers.visits())
        if not visits:
            return "Nobody from outside can call it."
        return f"Visitors come in through {listed([self._entrance(tier) for tier, _ in visits])}."

    def _entrance(self, tier: str) -> str:
        vips = self.layers.topology.vips_of(tier)
        if not vips:
            return code(tier)
        several = "" if len(vips) == 1 else "es"
        return f"{code(tier)} at the virtual IP address{several} (VIP) {listed([code(vip.address) for vip in vips])}"

    def _redundancy_sentence(self) -> str:
        hosts = self._spots.hosts
        explained = {zone for zone in self._spots.zones if self._weak_hosts(zone)}
        spots = [*map(code, hosts), *(f"zone {code(zone)}" for zone in self._spots.zones if zone not in explained)]
        if spots:
            zones = f", and with {'it' if len(hosts) == 1 else 'them'} {_zones(explained)}" if explained else ""
            return f"It has single points of failure: {listed(spots)}{zones}."
        if self.weak is None:
            return "No tier rests on a single host or a single zone."
        return "No single host, zone or instance takes it down."

    def _weak_hosts(self, zone: str) -> list[str]:
        """The hosts in `zone` that alone take the site down, for which the zone does, too."""
        return sorted(name for name in self._spots.hosts if self.layers.topology.host(name).zone == zone)

    def _picture(self) -> Picture:
        return Picture(layout(self.layers.topology, self._spots), diagram(self.layers.topology, self._spots))

    # --- path --------------------------------------------------------------------------------------------------------
    def _path(self) -> Iterator[Paragraph | Listing]:
        steps = [*self._arrivals(), *self._hops()]
        if steps:
            yield Listing(tuple(steps), is_numbered=True)
            yield Paragraph(
                "The answer goes the same way back. What is not needed for an answer is no step of it: see the tiers."
            )

    def _arrivals(self) -> Iterator[str]:
        for tier, links in by_target(self.layers.visits()):
            vips = self.layers.topology.vips_of(tier)
            if vips:
                addresses = listed([code(vip.address) for vip in vips])
                yield (
                    f"The visitor's browser has {code(self.layers.topology.domain)} looked up in DNS, which must lead to "
                    f"{addresses}. {self._held(vips)}"
                )
            encrypted = [link for link in links if link.target.listen.tls is not Tls.NONE]
            ways = "; ".join(sorted({_way(link) for link in encrypted or links}))
            yield f"The browser calls {code(tier)} ({self._software(tier)}): {ways}. {self._about(tier)}"

    def _held(self, vips: tuple[Vip, ...]) -> str:
        """Who has the addresses of one tier: its hosts in turn, or each of them one."""
        normal, spare = self.layers.holders(vips[0])
        last = f", as last resort {listed([code(host) for host in spare], 'or')}" if spare else ""
        if not vips[0].home:
            return f"That VIP is held by {listed([code(host) for host in normal], 'or')}{last}."
        homes = listed([f"{code(vip.address)} is at home on {code(vip.home)}" for vip in vips])
        return f"Browsers take any of them: {homes}. While a host is away another one holds its VIP as well{last}."

    def _hops(self) -> Iterator[str]:
        for call in self.layers.calls():
            links = [link for link in call.links if link.is_required and not link.purpose.endswith("-health")]
            if call.is_measuring or not call.target or not links:
                continue
            via = f" through {code(call.via)} beside it" if call.via else ""
            ways = "; ".join(sorted({_way(link) for link in links}))
            targets = sorted({link.target.owner.host for link in links if link.target.rank is not Rank.WITNESS})
            where = (
                "on the same host"
                if all(link.is_local for link in links)
                else f"on {listed([code(one) for one in targets], 'or')}"
            )
            yield f"{code(call.source)} calls {code(call.target)} ({self._software(call.target)}) {where}{via}: {ways}. " + (
                self._about(call.target)
            )

    def _about(self, tier: str) -> str:
        return component_of(self.layers.topology.of_tier(tier)[0]).about

    # --- weak --------------------------------------------------------------------------------------------------------
    def _weak(self) -> Iterator[Paragraph | Table]:
        spots = self._spots
        rows = [("host", code(name), listed(goals)) for name, goals in sorted(spots.hosts.items())]
        for name, goals in sorted(spots.zones.items()):
            inside = self._weak_hosts(name)
            rows.append(("zone", code(name) + (f", with {listed(map(code, inside))}" if inside else ""), listed(goals)))
        rows += [("instance", code(str(name)), listed(goals)) for name, goals in sorted(spots.instances.items())]
        if rows:
            yield Paragraph("While one of these is away, the promises beside it are broken: serve (pages are answered), write "
                            "(writes are acknowledged).")  # fmt: skip
            yield Table(("what", "name", "what stops"), tuple(rows))
        else:
            yield Paragraph("None was found.")
        yield from self._spared()
        if self.weak is not None:
            yield Paragraph(
                "Only what is gone counts as lost here: a zone, a host, a program that does not run. A program that is there "
                "but frozen or too slow counts as living; health checks find many of these, not all. A cut between two hosts "
                f"that both live is no loss of either: {self._cuts()}. What no stack file can double: {code('F213')}, below."
            )
        else:
            yield Paragraph(
                "This comes from looking at each tier alone: its hosts and zones. What several tiers share (a disk, a "
                "switch, a power line inside one zone, a person, DNS) and what software does wrong is not in it. Proof is "
                "taking things away."
            )

    def _cuts(self) -> str:
        if any(one.code == CUT for one in self.findings):
            return f"{code(CUT)}, below, names those that do harm"
        return "none does more harm than the loss of one of the two"

    def _spared(self) -> Iterator[Paragraph]:
        """Which hosts may be switched off, where an analysis says so."""
        if self.weak is None:
            return
        hosts = [host.name for host in self.layers.topology.hosts if host.name not in self._spots.hosts]
        if hosts:
            yield Paragraph(
                f"Any one of {listed(map(code, hosts), 'or')} may be switched off, and the site goes on: one at a time, and "
                f"only while {code('nospof status')} says that all is well."
            )
        else:
            yield Paragraph("No host may be switched off.")

    # --- the rest ----------------------------------------------------------------------------------------------------
    def _next(self) -> Iterator[Commands | Paragraph]:
        lines = [
            ("nospof check", "what is unsafe, with line, reason and fix"),
            ("nospof up", "make the hosts as the stack file says"),
            ("nospof status", "how every part is now, and who holds the VIP"),
        ]
        if any(self._can_be_primary(tier) > 1 for tier in self.layers.topology.routes):
            lines.append(("nospof switchover", "another host becomes the database's primary, as planned"))
        lines += [("nospof drill --list", "what can be broken on purpose, under load; all of it is healed again"),
                  ("nospof prove --plan", "the drills that settle what this page says, and what is foretold of each"),
                  ("nospof prove", "run them, and compare what visitors saw with what was foretold")]  # fmt: skip
        yield Commands(tuple(lines))

    def _can_be_primary(self, tier: str) -> int:
        return sum(one.rank is not Rank.WITNESS for one in self.layers.topology.of_tier(tier))


def _zones(names: Iterable[str]) -> str:
    found = sorted(names)
    return f"zone{'s' if len(found) > 1 else ''} {listed(map(code, found))}"


def _way(link: Link) -> str:
    """One link in a sentence: protocol, port, encryption and why."""
    listen = link.target.listen
    if uses_socket(link):
        return "over a unix socket, which only programs of that host can open, so that no port is needed"
    reasons = {
        Tls.NONE: "not encrypted: it carries nothing that is secret, or does not leave the host",
        Tls.SERVER: "TLS; the server proves by its certificate who it is",
        Tls.MUTUAL: "TLS; both sides prove by certificates that they belong to the stack",
    }
    reason = reasons[listen.tls]
    if listen.tls is Tls.NONE and listen.speaks.carries_data and not link.is_local:
        reason = "not encrypted: whoever is on the way can read it"
    return f"{spoken([link]).removesuffix(' mutual TLS').removesuffix(' TLS').removesuffix(' unencrypted')} ({reason})"


def _texts(section: Section) -> str:
    parts: list[str] = [section.title]
    for block in section.blocks:
        if isinstance(block, Paragraph):
            parts.append(block.text)
        elif isinstance(block, Listing):
            parts += block.items
        elif isinstance(block, Table):
            parts += [cell for row in block.rows for cell in row]
        elif isinstance(block, Picture):
            parts.append(block.text)
    return "\n".join(parts)

"""The stack in layers, as pictures and document tell it: hosts in rows from the visitors down, and the calls of each tier."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from nospof.explain.words import by_target, is_implied, measures, spoken, target_tier
from nospof.topology import OUTSIDE, Demand, Host, Instance, Link, Rank, Topology, Vip

UNREACHED = 1000


@dataclass(frozen=True)
class Call:
    """All links from one tier to another. `via`: the provider through which `source` reaches `target`; "" = directly.

    `target` "": the instances of `source` call each other. `links` are those that are made by `via`, where there is one.
    """

    source: str
    via: str
    target: str
    words: str
    links: tuple[Link, ...]
    is_measuring: bool = False

    @property
    def route(self) -> str:
        return " → ".join(part for part in (self.source, self.via, self.target) if part)


@dataclass(frozen=True)
class Row:
    """Hosts that do the same first, and the declared tiers that they have together."""

    tiers: tuple[str, ...]
    hosts: tuple[Host, ...]


@dataclass(frozen=True)
class Layers:
    """What is to be read from `topology` before anything is drawn. Pure."""

    topology: Topology

    @cached_property
    def zones(self) -> list[str]:
        return sorted({host.zone for host in self.topology.hosts})

    @cached_property
    def order(self) -> dict[str, int]:
        """How far each declared tier is from the visitors; tiers nobody calls on their behalf come last."""
        calls = {one.id.tier: one.to for one in self.topology.instances if not is_implied(one)}
        level = dict.fromkeys(sorted(calls), UNREACHED)
        frontier = {link.target.owner.tier for link in self.topology.links if link.source == OUTSIDE} & set(calls)
        frontier = frontier or {tier for tier in calls if not any(tier in to for to in calls.values())}
        for depth in range(len(calls)):
            level.update(dict.fromkeys(frontier, depth))
            frontier = {target for tier in frontier for target in calls[tier] if target in calls}
        return level

    @cached_property
    def tiers(self) -> list[str]:
        """The declared tiers, nearest to the visitors first."""
        return sorted(self.order, key=lambda tier: (self.order[tier], tier))

    @cached_property
    def providers(self) -> list[str]:
        """The tiers that came in because others need them."""
        return sorted({one.id.tier for one in self.topology.instances if is_implied(one)})

    @cached_property
    def rows(self) -> list[Row]:
        """Hosts in the order of their first tiers; then spare hosts, then idle ones."""
        rows: dict[tuple[int, int, str], list[Host]] = defaultdict(list)
        for host in self.topology.hosts:
            rows[self._place(self.declared(host.name))].append(host)
        return [Row(tuple(self._tiers_on(hosts)), tuple(hosts)) for _, hosts in sorted(rows.items())]

    def visits(self) -> list[Link]:
        """The links that visitors make."""
        return [link for link in self.topology.links if link.source == OUTSIDE]

    def declared(self, host: str) -> list[Instance]:
        """What the stack file says runs on `host`, nearest to the visitors first."""
        found = [one for one in self.topology.on_host(host) if not is_implied(one)]
        return sorted(found, key=lambda one: (self.order[one.id.tier], one.id.tier))

    def implied(self, host: str) -> list[Instance]:
        """What runs on `host` because something else needs it."""
        return [one for one in self.topology.on_host(host) if is_implied(one)]

    def holders(self, vip: Vip) -> tuple[list[str], list[str]]:
        """The hosts that may have a VIP, and those that have it as last resort."""
        ranks: dict[str, set[Rank]] = defaultdict(set)
        for one in self.topology.instances:
            for demand in one.demands:
                if demand.need.vip_name == vip.tier:
                    ranks[one.id.host].add(demand.rank)
        normal = [host for host, found in sorted(ranks.items()) if Rank.NORMAL in found]
        return normal, [host for host, found in sorted(ranks.items()) if Rank.NORMAL not in found]

    def only_held(self) -> list[str]:
        """Tiers that have a VIP, and are called by nobody from outside."""
        visited = {link.target.owner.tier for link in self.visits()}
        return sorted({vip.tier for vip in self.topology.vips} - visited)

    # --- calls -------------------------------------------------------------------------------------------------------
    def calls(self) -> list[Call]:
        """Every call of the stack once, from the visitors down."""
        return [call for tier in self.tiers for call in self.calls_of(tier)]

    def calls_of(self, tier: str) -> Iterator[Call]:
        """What `tier` calls, and what the providers do that it was the first to want."""
        for source in [tier, *self._providers_first_wanted_by(tier)]:
            # From a caller to the router beside it: told together with where the router leads.
            links = [link for link in self._links.get(source, ()) if link.target.listen.answers is None]
            for target, called in by_target(link for link in links if not measures(link)):
                routed = self._routed(source, target)
                if target == source:
                    yield Call(source, "", "", spoken(called), tuple(called))
                elif routed:
                    yield Call(", ".join(routed), source, target, spoken(called), tuple(called))
                else:
                    yield Call(source, "", target, spoken(called), tuple(called))
            measuring = [link for link in links if measures(link)]
            if measuring:
                measured = ", ".join(sorted({target_tier(link) for link in measuring}))
                yield Call(source, "", "metrics", f"of {measured}", tuple(measuring), is_measuring=True)

    def wanted_by(self, provider: str) -> list[str]:
        """The tiers that want `provider`, nearest to the visitors first."""
        return self._wanting[provider]

    @cached_property
    def _links(self) -> Mapping[str, list[Link]]:
        found: dict[str, list[Link]] = defaultdict(list)
        for link in self.topology.links:
            found[link.source.tier].append(link)
        return found

    @cached_property
    def _wanting(self) -> Mapping[str, list[str]]:
        return {tier: self._callers(demands) for tier, demands in self._demands.items()}

    @cached_property
    def _demands(self) -> Mapping[str, list[Demand]]:
        found: dict[str, list[Demand]] = defaultdict(list)
        for one in self.topology.instances:
            found[one.id.tier] += one.demands
        return found

    def _callers(self, demands: Iterable[Demand]) -> list[str]:
        return sorted({demand.by.tier for demand in demands}, key=lambda one: (self.order.get(one, UNREACHED + 1), one))

    def _routed(self, provider: str, target: str) -> list[str]:
        """The tiers that reach `target` through `provider`."""
        return self._callers(demand for demand in self._demands[provider] if demand.need.routed_tier == target)

    def _providers_first_wanted_by(self, tier: str) -> list[str]:
        """Providers that `tier` brought along, and those that they brought along."""
        found = sorted(provider for provider, by in self._wanting.items() if by[:1] == [tier])
        return found + [further for provider in found for further in self._providers_first_wanted_by(provider)]

    # --- rows --------------------------------------------------------------------------------------------------------
    def _place(self, declared: Sequence[Instance]) -> tuple[int, int, str]:
        if not declared:
            return (2, 0, "")
        if len(declared) > 1 and all(one.rank is Rank.SPARE for one in declared):
            return (1, 0, "")
        return (0, self.order[declared[0].id.tier], declared[0].id.tier)

    def _tiers_on(self, hosts: Iterable[Host]) -> list[str]:
        found = {one.id.tier for host in hosts for one in self.declared(host.name)}
        return sorted(found, key=lambda tier: (self.order[tier], tier))

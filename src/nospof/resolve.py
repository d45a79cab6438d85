"""Stack → Topology: who runs where, and who calls whom.

Three passes, none of which names a component: instances of the tiers; providers for every need, until nothing is new; links.
Choices that must not change later are taken from the allotment and, where it has none, made and handed back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import nospof.components  # noqa: F401 - registers every component
from nospof.component import (
    Component,
    Connect,
    Demand,
    Need,
    Place,
    PlacesOn,
    ProviderOf,
    Rank,
    Settings,
    Wants,
    Who,
)
from nospof.stack.model import Stack, Tier
from nospof.stack.problems import Problem, problem_at
from nospof.stack.words import listed
from nospof.topology import (
    ADMIN,
    HEALTH,
    OUTSIDE,
    Bind,
    Endpoint,
    Host,
    Instance,
    InstanceId,
    Link,
    Listen,
    Tls,
    Topology,
    Vip,
)

# Needs of providers' providers: a database router wants nothing, etcd may want metrics. Ten is far beyond any real chain.
MAX_ROUNDS = 10
# The fewest of which a majority is left when one is gone; and when two are, which may be all normal hosts of a tier.
VOTERS, MORE_VOTERS = 3, 5
# RFC 2544's benchmarking network: never a user's own, so a lab cannot be mistaken for it.
LAB_NETWORK = "198.18"


@dataclass(frozen=True)
class Allotment:
    """Every choice that must not change later. Kept in .nospof/allotment.json, written by `up` only.

    `numbers`: "host/db1", "floating/load-balancer", "route/database", counted from 1 per kind and never given twice.
    `placed`: "database/first-primary" → one host, a need's name → the hosts of its providers.
    """

    numbers: Mapping[str, int] = field(default_factory=dict)
    placed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Resolved:
    """The topology, the allotment it leans on (old choices and new ones), and what contradicts itself."""

    topology: Topology
    allotment: Allotment
    problems: tuple[Problem, ...]


def resolve(stack: Stack, allotment: Allotment) -> Resolved:
    """Make the topology of `stack`. Pure; equal input gives equal output, in sorted order.

    Where `problems` has an error the topology is what could be made of the rest, good for showing only.
    """
    return _Resolver(stack, allotment).resolve()


@dataclass
class _Resolver:
    stack: Stack
    old: Allotment
    numbers: dict[str, int] = field(default_factory=dict)
    placed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def resolve(self) -> Resolved:
        self.numbers.update(self.old.numbers)
        self.placed.update(self.old.placed)
        hosts = self._hosts()
        self._tier_objections()
        instances = self._with_providers(list(self._tier_instances()))
        graph = _Graph(tuple(sorted(instances, key=lambda instance: instance.id)), bool(self._admin(hosts)))
        links = graph.links()
        self._unanswered_tos(graph, links)
        self._too_many_per_host(graph.instances)
        called = {link.target for link in links}
        endpoints = tuple(endpoint for endpoint in graph.endpoints if endpoint in called)
        self._port_clashes(graph.instances, endpoints)
        topology = Topology(
            stack=self.stack.name,
            domain=self.stack.domain,
            hosts=hosts,
            instances=graph.instances,
            endpoints=endpoints,
            links=links,
            vips=self._vips(graph),
            routes=self._routes(graph),
            admin=self._admin(hosts),
            egress=self.stack.egress,
            has_firewall=self.stack.has_firewall,
        )
        numbers = dict(sorted(self.numbers.items()))
        return Resolved(topology, Allotment(numbers, dict(sorted(self.placed.items()))), tuple(self.problems))

    def problem(self, code: str, path: str, what: str, *, why: str, fix: str) -> None:
        problem = problem_at(self.stack, code, path, what, why=why, fix=fix)
        if problem not in self.problems:
            self.problems.append(problem)

    # --- hosts and numbers -----------------------------------------------------------------------------------------
    def _number(self, kind: str, name: str) -> int:
        key = f"{kind}/{name}"
        if key not in self.numbers:
            taken = [number for other, number in self.numbers.items() if other.startswith(f"{kind}/")]
            self.numbers[key] = max(taken, default=0) + 1
        return self.numbers[key]

    def _hosts(self) -> tuple[Host, ...]:
        hosts = []
        for host in self.stack.hosts:
            number = self._number("host", host.name)
            address = host.address or f"{LAB_NETWORK}.{1 + number // 250}.{number % 250 + 1}"
            hosts.append(Host(host.name, host.zone, address, number, is_lab=host.address is None, ssh_port=host.port or 22))
        return tuple(sorted(hosts, key=lambda host: host.name))

    def _admin(self, hosts: Iterable[Host]) -> tuple[str, ...]:
        if self.stack.admin or all(host.is_lab for host in hosts):
            return self.stack.admin
        return ("0.0.0.0/0",)

    def _vips(self, graph: _Graph) -> tuple[Vip, ...]:
        """Every VIP, without the address the user gave: first who holds it, then which address it is."""
        found = [
            # The key that deployments have kept since the first version; what is allotted must not change.
            Vip(name, "", self._number("floating", name), tier, hosts, home)
            for tier in sorted({need.vip_name for need in graph.needs if need.vip_name})
            for name, hosts, home in _held(graph, tier)
        ]
        given = [address.split("/")[0] for address in self.stack.vip]
        is_lab = all(host.address is None for host in self.stack.hosts)
        if len(given) < len(found) and (given or not is_lab):
            self._too_few_vips(found)
        for index in range(len(found), len(given)):
            self._vip_too_many(index, found)
        # The user's addresses go by number: a tier that is added takes the next one and leaves the others theirs.
        order = sorted(found, key=lambda vip: vip.number)
        addresses = {vip.name: f"{LAB_NETWORK}.0.{vip.number}" for vip in order}
        addresses.update(zip((vip.name for vip in order), given, strict=False))
        return tuple(replace(vip, address=addresses[vip.name]) for vip in found)

    def _too_few_vips(self, needed: list[Vip]) -> None:
        shared = sorted({vip.tier for vip in needed if vip.home})
        each = f", one for each host of {listed(shared)}, where all work at the same time" if shared else ""
        made = [f"203.0.113.{10 + index}/24" for index in range(len(needed))]
        wanted = [*self.stack.vip, *made[len(self.stack.vip) :]]
        self.problem(
            "S301",
            "vip",
            f"{len(needed)} VIPs are needed ({', '.join(vip.name for vip in needed)}), {len(self.stack.vip)} given",
            why=f"a VIP moves between load balancers{each}; on real servers only you know which address is free",
            fix=f"vip: {wanted[0] if len(wanted) == 1 else '[' + ', '.join(wanted) + ']'}",
        )

    def _vip_too_many(self, index: int, needed: list[Vip]) -> None:
        names = ", ".join(vip.name for vip in needed)
        self.problem(
            "S307",
            f"vip.{index}",
            f"{len(self.stack.vip)} VIPs are given, {len(needed)} needed ({names or 'no tier wants one'})",
            why="nobody would hold this address, and visitors whom DNS leads there would get no answer",
            fix=f"remove {self.stack.vip[index]}; load balancers have one a tier, in mode active-active one a host",
        )

    def _routes(self, graph: _Graph) -> dict[str, str]:
        tiers = sorted({need.routed_tier for need in graph.needs if need.routed_tier})
        return {tier: f"127.0.1.{self._number('route', tier)}" for tier in tiers}

    # --- instances -------------------------------------------------------------------------------------------------
    def _tier_instances(self) -> Iterator[Instance]:
        for tier in self.stack.tiers:
            kind = Component.kinds[tier.component]
            for choice in kind.chooses_once:
                self.placed.setdefault(f"{tier.name}/{choice}", tier.hosts[:1])
            for host, rank in placements(tier):
                yield Instance(
                    InstanceId(tier.name, host), tier.component, tier.settings, rank, tier.to, declared_at=f"tiers.{tier.name}"
                )

    def _tier_objections(self) -> None:
        for tier in self.stack.tiers:
            for objection in Component.kinds[tier.component].objections(tier):
                path = f"tiers.{tier.name}.{objection.key}" if objection.key else f"tiers.{tier.name}"
                self.problem(objection.code, path, objection.what, why=objection.why, fix=objection.fix)

    def _with_providers(self, declared: list[Instance]) -> list[Instance]:
        providers: dict[InstanceId, Instance] = {}
        for _ in range(MAX_ROUNDS):
            before = providers
            everybody = declared + list(before.values())
            providers = self._providers_for(everybody)
            if providers == before:
                return everybody
        raise RecursionError(f"providers still want providers after {MAX_ROUNDS} rounds")

    def _providers_for(self, everybody: list[Instance]) -> dict[InstanceId, Instance]:
        demands: dict[InstanceId, set[Demand]] = defaultdict(set)
        wanted_by: dict[InstanceId, set[str]] = defaultdict(set)
        routed = _routed_listens(everybody)
        for instance in everybody:
            component = component_of(instance)
            wants = [*component.wants, *(Wants(need) for need in _routes_taken(instance, component, routed))]
            for want in wants:
                kind = self._provider_kind(instance, want.need)
                if kind is None:
                    continue
                for host in self._places(instance, want):
                    provider = InstanceId(kind.name, host)
                    demands[provider].add(Demand(instance.id, instance.rank, want.need))
                    wanted_by[provider].add(instance.id.tier)
        return {
            provider: Instance(
                provider,
                provider.tier,
                self._implied_settings(provider.tier),
                _best(found),
                demands=tuple(sorted(found, key=lambda demand: (demand.by, repr(demand.need)))),
                declared_at=f"needed by {', '.join(sorted(wanted_by[provider]))}",
            )
            for provider, found in sorted(demands.items())
        }

    def _implied_settings(self, name: str) -> Settings:
        given = self.stack.options.get(name)
        return given if isinstance(given, Settings) else Component.kinds[name].settings_type()

    def _provider_kind(self, instance: Instance, need: Need) -> type[Component[Any]] | None:
        for _, kind in sorted(Component.kinds.items()):
            if type(need) in kind.provides:
                return kind
        self.problem(
            "S302",
            instance.declared_at,
            f"{instance.component} needs {type(need).__name__}, which no component provides",
            why="without it the tier cannot work as promised",
            fix="use another component, or a version of nospof that has a provider for it",
        )
        return None

    def _places(self, instance: Instance, want: Wants) -> tuple[str, ...]:
        if want.place is Place.BESIDE:
            return (instance.id.host,)
        if want.place is Place.EVERY_HOST:
            return tuple(host.name for host in self.stack.hosts)
        return self._three_zones(instance.id.tier, want.need)

    def _three_zones(self, tier: str, need: Need) -> tuple[str, ...]:
        """Three hosts, kept as long as they exist: of zones that have fewest first, of `tier` first, then by name.

        Fewer than three zones is a finding; three hosts in two zones still outlive one host, which two would not. A tier with a
        spare wants five, so that those left without its normal hosts are a majority and can agree on the spare.
        """
        key = type(need).__name__.lower()
        zone_of = {host.name: host.zone for host in self.stack.hosts}
        chosen = [host for host in self.placed.get(key, ()) if host in zone_of]
        own = {host: rank for one in self.stack.tiers if one.name == tier for host, rank in placements(one)}
        normal = {host for host, rank in own.items() if rank is Rank.NORMAL}
        order = [*own, *sorted(host for host in zone_of if host not in own)]
        wants_more = Rank.SPARE in own.values() and len(normal) > 1 and len(zone_of.keys() - normal) > MORE_VOTERS // 2
        wanted = MORE_VOTERS if wants_more else min(VOTERS, len(zone_of))
        while len(chosen) < wanted:
            is_full = wants_more and len(normal & set(chosen)) >= wanted // 2
            left = [host for host in order if host not in chosen and not (is_full and host in normal)]
            zones = [zone_of[host] for host in chosen]
            chosen.append(min(left, key=lambda host: (zones.count(zone_of[host]), order.index(host))))
        self.placed[key] = tuple(sorted(chosen))
        return self.placed[key]

    # --- contradictions --------------------------------------------------------------------------------------------
    def _unanswered_tos(self, graph: _Graph, links: tuple[Link, ...]) -> None:
        reached: dict[InstanceId, set[str]] = defaultdict(set)
        for link in links:
            reached[link.source].add(link.target.owner.tier)
            if link.target.listen.answers is not None:
                reached[link.source].add(link.target.listen.answers.routed_tier or "")
        for tier in self.stack.tiers:
            hosts = [host for host, _ in placements(tier)]
            for target in tier.to:
                other = next((other for other in self.stack.tiers if other.name == target), None)
                lost = [host for host in hosts if target not in reached[InstanceId(tier.name, host)]]
                if other is None or not lost:
                    continue
                if _could_be_called_beside(graph, tier, other):
                    self._only_called_beside(tier, other, lost)
                elif len(lost) == len(hosts):
                    self._no_protocol_in_common(tier, other)

    def _no_protocol_in_common(self, tier: Tier, other: Tier) -> None:
        self.problem(
            "S303",
            f"tiers.{tier.name}.to",
            f"{tier.component} cannot call {other.component} (tier {other.name})",
            why="the two speak no protocol in common, so this line would do nothing",
            fix=f"remove {other.name} from `to:` of tier {tier.name}, or put the tier between them that they both know",
        )

    def _only_called_beside(self, tier: Tier, other: Tier, hosts: list[str]) -> None:
        names = ", ".join(hosts)
        self.problem(
            "S306",
            f"tiers.{other.name}.hosts",
            f"tier {tier.name} on {names} calls tier {other.name}, which is not there",
            why=f"{other.component} is called from its own host only: what is asked on {names} would have no answer",
            fix=f"in tier {other.name} hosts: [{', '.join([*other.hosts, *hosts])}]",
        )

    def _too_many_per_host(self, instances: Iterable[Instance]) -> None:
        found: dict[tuple[str, str], list[Instance]] = defaultdict(list)
        for instance in instances:
            found[(instance.component, instance.id.host)].append(instance)
        for (component, host), group in sorted(found.items()):
            limit = Component.kinds[component].runs_per_host
            if not limit or len(group) <= limit:
                continue
            tiers = " and ".join(instance.id.tier for instance in group)
            self.problem(
                "S304",
                f"{group[-1].declared_at}.hosts",
                f"host {host} would run {component} {len(group)} times, for tiers {tiers}",
                why=f"{component} uses fixed files and ports, one set per host",
                fix="give one of the tiers another host, or merge the tiers",
            )

    def _port_clashes(self, instances: Iterable[Instance], endpoints: tuple[Endpoint, ...]) -> None:
        components = {instance.id: instance.component for instance in instances}
        taken: dict[tuple[str, int, str], list[Endpoint]] = defaultdict(list)
        for endpoint in endpoints:
            port = endpoint.listen.port
            for wire in endpoint.listen.speaks.wires if port else ():
                others = taken[(endpoint.owner.host, port or 0, wire)]
                other = next((other for other in others if _is_same_address(other, endpoint)), None)
                # Of two of a component that runs once per host S304 tells already.
                if other is not None and not _are_one_too_many(components[other.owner], components[endpoint.owner]):
                    self._port_clash(other, endpoint, endpoints)
                others.append(endpoint)

    def _port_clash(self, other: Endpoint, endpoint: Endpoint, endpoints: tuple[Endpoint, ...]) -> None:
        tier, port = endpoint.owner.tier, endpoint.listen.port or 0
        is_declared = any(declared.name == tier for declared in self.stack.tiers)
        settings = next((declared.settings for declared in self.stack.tiers if declared.name == tier), None)
        key = next((name for name, value in settings or () if name.endswith("port") and value == port), "port")
        self.problem(
            "S305",
            f"tiers.{tier}.{key}" if is_declared else f"options.{tier}",
            f"port {port} on host {endpoint.owner.host} is wanted by tiers {other.owner.tier} and {tier}",
            why="only one daemon can listen on a port",
            fix=f"{key}: {_free_port(port, tier, endpoints)}   (in tier {tier})"
            if is_declared
            else f"give one of the two another port, or tier {other.owner.tier} another host",
        )


def _are_one_too_many(component: str, other: str) -> bool:
    return component == other and Component.kinds[component].runs_per_host == 1


@dataclass
class _Graph:
    """All instances, their declarations, and the links that follow from them."""

    instances: tuple[Instance, ...]
    has_admin: bool

    @cached_property
    def components(self) -> dict[InstanceId, Component[Any]]:
        return {instance.id: component_of(instance) for instance in self.instances}

    @cached_property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(
            Endpoint(instance.id, instance.rank, listen)
            for instance in self.instances
            for listen in sorted(self.components[instance.id].listens, key=lambda listen: listen.name)
        )

    @cached_property
    def needs(self) -> list[Need]:
        return sorted({demand.need for instance in self.instances for demand in instance.demands}, key=repr)

    @cached_property
    def _endpoints_of(self) -> dict[InstanceId, list[Endpoint]]:
        found: dict[InstanceId, list[Endpoint]] = defaultdict(list)
        for endpoint in self.endpoints:
            found[endpoint.owner].append(endpoint)
        return found

    @cached_property
    def _tiers(self) -> dict[str, list[Instance]]:
        found: dict[str, list[Instance]] = defaultdict(list)
        for instance in self.instances:
            found[instance.id.tier].append(instance)
        return found

    @cached_property
    def _answering(self) -> dict[tuple[str, Need], Endpoint]:
        return {
            (endpoint.owner.host, endpoint.listen.answers): endpoint
            for endpoint in self.endpoints
            if endpoint.listen.answers is not None
        }

    @cached_property
    def _reached_by(self) -> dict[Need, list[Endpoint]]:
        found: dict[Need, list[Endpoint]] = defaultdict(list)
        for endpoint in self.endpoints:
            for need in endpoint.listen.reached_by:
                found[need].append(endpoint)
        return found

    def links(self) -> tuple[Link, ...]:
        links: dict[tuple[InstanceId, str, str], Link] = {}
        for instance in self.instances:
            for connect in self.components[instance.id].connects:
                for link in self._links_of(instance, connect):
                    links.setdefault((link.source, link.purpose, str(link.target)), link)
        for endpoint in self.endpoints:
            for source in endpoint.listen.called_by:
                if source == OUTSIDE or (source == ADMIN and self.has_admin):
                    link = Link(source, endpoint, "visit" if source == OUTSIDE else "administer", True, False)
                    links[(source, link.purpose, str(endpoint))] = link
        return tuple(links[key] for key in sorted(links))

    def _links_of(self, instance: Instance, connect: Connect) -> Iterator[Link]:
        for target in self._targets(instance, connect):
            is_local = target.owner.host == instance.id.host and not connect.spreads
            yield Link(instance.id, target, connect.purpose, connect.is_required, is_local)
            asked_at = self._health_endpoint(target)
            if connect.checks and asked_at is not None:
                yield Link(instance.id, asked_at, f"{connect.purpose}{HEALTH}", connect.is_required, is_local)

    def _health_endpoint(self, target: Endpoint) -> Endpoint | None:
        name = target.listen.checked_at
        return next((sibling for sibling in self._endpoints_of[target.owner] if sibling.listen.name == name), None)

    def _targets(self, instance: Instance, connect: Connect) -> Iterator[Endpoint]:
        if connect.to is Who.NAMED:
            for tier in instance.to:
                if tier not in connect.besides:
                    yield from self._named(instance, tier, connect)
        elif connect.to is Who.ENTRANCE:
            yield from self._entrances(connect)
        elif connect.to is Who.DEMANDED:
            needs = {demand.need for demand in instance.demands}
            yield from (endpoint for need in sorted(needs, key=repr) for endpoint in self._reached_by[need])
        else:
            for other in self._others(instance, connect):
                yield from self._speaking(self._endpoints_of[other.id], connect)

    def _entrances(self, connect: Connect) -> Iterator[Endpoint]:
        for owner in sorted(self._endpoints_of):
            found = [e for e in self._speaking(self._endpoints_of[owner], connect) if OUTSIDE in e.listen.called_by]
            yield from [e for e in found if e.listen.tls is not Tls.NONE] or found

    def _speaking(self, endpoints: Iterable[Endpoint], connect: Connect) -> Iterator[Endpoint]:
        of_protocol = (endpoint for endpoint in endpoints if endpoint.listen.speaks is connect.speaks)
        return (endpoint for endpoint in of_protocol if endpoint.listen.counts or connect.to is not Who.COUNTING)

    def _named(self, instance: Instance, tier: str, connect: Connect) -> Iterator[Endpoint]:
        all_of_tier = [endpoint for member in self._tiers[tier] for endpoint in self._endpoints_of[member.id]]
        candidates = [
            endpoint
            for endpoint in self._speaking(all_of_tier, connect)
            if not endpoint.listen.is_local or (endpoint.owner.host == instance.id.host and not connect.spreads)
        ]
        beside = [e for e in candidates if e.owner.host == instance.id.host and (e.listen.socket or e.listen.is_local)]
        for endpoint in candidates if connect.spreads else beside or candidates:
            if not endpoint.listen.reached_by:
                yield endpoint
                continue
            for need in endpoint.listen.reached_by:
                answering = self._answering.get((instance.id.host, need))
                if answering is not None:
                    yield answering

    def _others(self, instance: Instance, connect: Connect) -> Iterator[Instance]:
        if isinstance(connect.to, ProviderOf):
            wanted = {want.need for want in self.components[instance.id].wants if isinstance(want.need, connect.to.need)}
            yield from (other for other in self.instances if wanted & _needs(other))
        elif connect.to is Who.PEERS:
            for other in self._tiers[instance.id.tier]:
                is_peer = not instance.demands or _needs(instance) & _needs(other)
                if other.id != instance.id and is_peer:
                    yield other
        elif connect.to is Who.DEMANDING:
            demanding = {demand.by for demand in instance.demands}
            yield from (other for other in self.instances if other.id in demanding)
        else:
            yield from (other for other in self.instances if other.id != instance.id)


def component_of(instance: Instance) -> Component[Any]:
    """The component object of `instance`."""
    return Component.kinds[instance.component](instance)


def placements(tier: Tier) -> tuple[tuple[str, Rank], ...]:
    """The hosts that the file gives `tier`, each with its rank."""
    placed = [(host, Rank.NORMAL) for host in tier.hosts] + [(host, Rank.SPARE) for host in tier.spare]
    for name, info in type(tier.settings).model_fields.items():
        for mark in info.metadata:
            host = getattr(tier.settings, name)
            if isinstance(mark, PlacesOn) and host is not None:
                placed.append((host, mark.rank))
    return tuple(placed)


def _held(graph: _Graph, tier: str) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """The VIPs of `tier`: name, who may hold it, home.

    With several, the hosts follow each other in a ring, so that what a lost host had falls to the next in it: of three hosts
    each is first, second and third once.
    """
    ranks: dict[str, set[Rank]] = defaultdict(set)
    is_per_host = False
    for instance in graph.instances:
        for demand in instance.demands:
            if demand.need.vip_name == tier:
                ranks[instance.id.host].add(demand.rank)
                is_per_host |= demand.need.has_vip_per_host
    normal = sorted(host for host, found in ranks.items() if Rank.NORMAL in found)
    spare = sorted(set(ranks) - set(normal))
    is_per_host &= len(normal) > 1
    for index in range(len(normal) if is_per_host else 1):
        ring = (*normal[index:], *normal[:index], *spare)
        yield f"{tier}.{index + 1}" if index else tier, ring, ring[0] if is_per_host else ""


def _could_be_called_beside(graph: _Graph, tier: Tier, other: Tier) -> bool:
    """Whether `tier` speaks to what `other` offers to callers on the same host, and to nothing else of it."""
    spoken = {
        connect.speaks
        for instance in graph.instances
        if instance.id.tier == tier.name
        for connect in graph.components[instance.id].connects
        if connect.to is Who.NAMED
    }
    offered = [e.listen for e in graph.endpoints if e.owner.tier == other.name and e.listen.speaks in spoken]
    return bool(offered) and all(listen.is_local for listen in offered)


def _is_same_address(one: Endpoint, other: Endpoint) -> bool:
    """Whether two endpoints with one port on one host, of different instances, are in each other's way."""
    if one.owner == other.owner:
        return False
    if Bind.ANY in (one.listen.bind, other.listen.bind):
        return True
    # Each routed tier has a loopback address of its own, and none of them is the host's.
    return one.listen.bind is other.listen.bind is Bind.HOST


def _free_port(port: int, tier: str, endpoints: tuple[Endpoint, ...]) -> int:
    """The next port after `port`, or else before it, that is free on all hosts of `tier`."""
    hosts = {endpoint.owner.host for endpoint in endpoints if endpoint.owner.tier == tier}
    taken = {endpoint.listen.port for endpoint in endpoints if endpoint.owner.host in hosts}
    order: list[int] = [*range(port + 1, 65536), *range(port - 1, 0, -1)]
    return next(free for free in order if free not in taken)


def _needs(instance: Instance) -> set[Need]:
    return {demand.need for demand in instance.demands}


def _best(demands: Iterable[Demand]) -> Rank:
    """A provider is a spare only when everybody who needs it is."""
    return Rank.SPARE if all(demand.rank is Rank.SPARE for demand in demands) else Rank.NORMAL


def _routed_listens(everybody: Iterable[Instance]) -> dict[str, list[Listen]]:
    found: dict[str, list[Listen]] = {}
    for instance in everybody:
        if instance.id.tier not in found:
            found[instance.id.tier] = [listen for listen in component_of(instance).listens if listen.reached_by]
    return found


def _routes_taken(instance: Instance, component: Component[Any], routed: Mapping[str, list[Listen]]) -> Iterator[Need]:
    """The needs through which `instance` reaches the tiers it calls."""
    spoken = {connect.speaks for connect in component.connects if connect.to is Who.NAMED}
    for tier in instance.to:
        for listen in routed.get(tier, ()):
            if listen.speaks in spoken:
                yield from listen.reached_by

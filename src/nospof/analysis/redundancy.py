"""Findings about what a single failure takes away of a tier, whether or not a goal depends on it.

What fails a goal is the structure function's to say (nospof.analysis.losses); here is what a tier lacks by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

from nospof.analysis.codes import finding
from nospof.analysis.structure import Kind, Part
from nospof.component import Place
from nospof.resolve import component_of
from nospof.stack.model import Stack
from nospof.stack.problems import Problem
from nospof.stack.words import listed
from nospof.topology import Instance, Need, Rank, Topology

# A majority that outlives any one zone needs three of them.
FEWEST_ZONES = 3


def redundancy_findings(stack: Stack, topology: Topology, spofs: Collection[Part] = ()) -> Iterator[Problem]:
    """Find tiers that one host or one zone takes down, and data and voters that have no majority without one zone.

    `spofs`: hosts and zones of which more is said already, so that a tier that has nothing else is passed over.
    """
    for tier in stack.tiers:
        members = topology.of_tier(tier.name)
        normal = [member for member in members if member.rank is Rank.NORMAL]
        if len(normal) < 2:
            if not normal or Part(Kind.HOST, normal[0].id.host) not in spofs:
                yield _single(stack, topology, tier.name, members)
            continue
        zones = _zones(topology, normal)
        if len(zones) == 1:
            if Part(Kind.ZONE, zones[0]) not in spofs:
                yield _one_zone(stack, topology, tier.name, normal)
        elif _keep_copies(topology, tier.name) and len(_zones(topology, members)) < FEWEST_ZONES:
            yield _no_majority(stack, topology, tier.name, members)
        if _has_primary(topology, tier.name) and not _can_promote(members):
            yield _no_promotion(stack, tier.name)
    yield from _voters(stack, topology)


def _single(stack: Stack, topology: Topology, tier: str, members: tuple[Instance, ...]) -> Problem:
    normal = [member.id.host for member in members if member.rank is Rank.NORMAL]
    spare = [member.id.host for member in members if member.rank is Rank.SPARE]
    only = normal[0] if normal else "its host"
    loss = "visitors get no answer" if tier in topology.on_visitors_way() else f"nobody does the work of {tier}"
    why = f"when {only} stops, {loss}"
    if spare:
        why = f"when {only} stops, all of its work falls on {listed(spare)}, and when that stops too {loss}"
    fix = "add a host in another zone"
    return finding(stack, "F201", f"tiers.{tier}.hosts", f"tier {tier} has a single host: {only}", why=why, fix=fix)


def _one_zone(stack: Stack, topology: Topology, tier: str, normal: list[Instance]) -> Problem:
    zone = _zones(topology, normal)[0]
    hosts = listed(member.id.host for member in normal)
    return finding(
        stack,
        "F202",
        f"tiers.{tier}.hosts",
        f"{hosts}, all hosts of tier {tier}, are in zone {zone}",
        why=f"what takes zone {zone} away (its power, its switch) takes all of them at once",
        fix="put one of them into another zone, or add one there",
    )


def _no_majority(stack: Stack, topology: Topology, tier: str, members: tuple[Instance, ...]) -> Problem:
    zones = _zones(topology, members)
    return finding(
        stack,
        "F203",
        f"tiers.{tier}.hosts",
        f"the copies of tier {tier} are in {_counted(zones)}: {listed(zones)}",
        why="when one zone is gone or cut off, the rest cannot tell whether it is the majority, "
        "and writes stop or rest on a single copy",
        fix="add a host, or a witness, in a third zone",
    )


def _has_primary(topology: Topology, tier: str) -> bool:
    """Whether callers are led to the member with the right role, so that its loss is more than one of several."""
    endpoints = [endpoint for endpoint in topology.endpoints if endpoint.owner.tier == tier]
    return any(need.routed_tier for endpoint in endpoints for need in endpoint.listen.reached_by)


def _can_promote(members: tuple[Instance, ...]) -> bool:
    """Whether they have somebody to agree with on who takes over."""
    return any(want.place is Place.THREE_ZONES for member in members for want in component_of(member).wants)


def _no_promotion(stack: Stack, tier: str) -> Problem:
    return finding(
        stack,
        "F205",
        f"tiers.{tier}.component",
        f"nothing takes over for the primary of tier {tier}",
        why="when its host is lost, pages are read from the replicas, but every write fails until that host is back",
        fix="nothing to do in this file: this version of nospof does not promote replicas yet; watch that host",
    )


def _voters(stack: Stack, topology: Topology) -> Iterator[Problem]:
    """Needs whose providers should be in three zones and are not."""
    for need, wanting in _three_zone_needs(topology).items():
        voters = [one for one in topology.instances if any(demand.need == need for demand in one.demands)]
        zones = _zones(topology, voters)
        if len(zones) >= FEWEST_ZONES:
            continue
        component = voters[0].component if voters else type(need).__name__
        yield finding(
            stack,
            "F204",
            "hosts",
            f"the voters of {component}, needed by {listed(sorted(wanting))}, are in {_counted(zones)}: {listed(zones)}",
            why="when the zone with most of them is gone or cut off, the others have no majority and decide nothing",
            fix="put a host into a third zone",
        )


def _three_zone_needs(topology: Topology) -> dict[Need, set[str]]:
    found: dict[Need, set[str]] = defaultdict(set)
    for instance in topology.instances:
        for want in component_of(instance).wants:
            if want.place is Place.THREE_ZONES:
                found[want.need].add(instance.id.tier)
    return {need: found[need] for need in sorted(found, key=repr)}


def _keep_copies(topology: Topology, tier: str) -> bool:
    """Whether the instances of `tier` send each other users' data: a database, a cache with replicas."""
    members = topology.of_tier(tier)
    links = [link for member in members for link in topology.links_from(member.id)]
    return any(link.target.owner.tier == tier and link.target.listen.speaks.carries_data for link in links)


def _zones(topology: Topology, instances: list[Instance] | tuple[Instance, ...]) -> list[str]:
    return sorted({topology.host(one.id.host).zone for one in instances})


def _counted(zones: list[str]) -> str:
    return f"{len(zones)} zone{'' if len(zones) == 1 else 's'}"

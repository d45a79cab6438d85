"""Findings about what a single failure takes away of a tier, whether or not a goal depends on it.

What fails a goal is the structure function's to say (nospof.analysis.losses); here is what a tier lacks by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from nospof.analysis.backup import is_for_pages_only
from nospof.analysis.changes import FEWEST_ZONES, Change, one_more, spread, third_copy, voters_apart
from nospof.analysis.codes import finding
from nospof.component import Place
from nospof.resolve import VOTERS, Allotment, component_of
from nospof.stack.model import Stack, Tier
from nospof.stack.problems import Problem
from nospof.stack.words import listed
from nospof.topology import Instance, Need, Rank, Topology


def redundancy_findings(stack: Stack, topology: Topology, allotment: Allotment) -> Iterator[Problem]:
    """Find tiers that one host or one zone takes down, and data and voters that have no majority without one zone."""
    for tier in stack.tiers:
        members = topology.of_tier(tier.name)
        normal = [member for member in members if member.rank is Rank.NORMAL]
        zones = _zones(topology, normal)
        if len(normal) < 2:
            yield _single(stack, topology, tier, members)
        elif len(zones) == 1:
            yield _one_zone(stack, tier, zones[0])
        elif (
            topology.keeps_data(tier.name)
            and not is_for_pages_only(topology, tier.name)
            and len(_zones(topology, members)) < FEWEST_ZONES
        ):
            yield _no_majority(stack, topology, tier, members)
    for voters, wanting in _voters(topology):
        if len(_zones(topology, voters)) < FEWEST_ZONES:
            yield _in_few_zones(stack, topology, voters, wanting, allotment)


def voter_findings(stack: Stack, topology: Topology) -> Iterator[Problem]:
    """Find voters of whom none may be lost."""
    for voters, wanting in _voters(topology):
        if len(voters) < VOTERS:
            yield finding(
                stack,
                "F206",
                "hosts",
                f"{voters[0].component}, needed by {listed(wanting)}, has {len(voters)} voters: {_hosts(voters)}",
                why="more than half must agree, so that of two none may be lost: that is less safe than a single one",
                fix=str(Change(stack).with_a_third_zone(is_witness=True)),
            )


def _single(stack: Stack, topology: Topology, tier: Tier, members: Iterable[Instance]) -> Problem:
    (only,) = tier.hosts
    spare = [member for member in members if member.rank is Rank.SPARE]
    loss = "visitors get no answer" if tier.name in topology.on_visitors_way() else f"nobody does the work of {tier.name}"
    why = f"when {only} stops, {loss}"
    if spare:
        why = f"when {only} stops, all of its work falls on {_hosts(spare)}, and when that stops too {loss}"
    fix = str(one_more(stack, [tier], {topology.host(only).zone}))
    what = f"tier {tier.name} has a single host: {only}"
    return finding(stack, "F201", f"tiers.{tier.name}.hosts", what, why=why, fix=fix)


def _one_zone(stack: Stack, tier: Tier, zone: str) -> Problem:
    return finding(
        stack,
        "F202",
        f"tiers.{tier.name}.hosts",
        f"{listed(tier.hosts)}, all hosts of tier {tier.name}, are in zone {zone}",
        why=f"what takes zone {zone} away (its power, its switch) takes all of them at once",
        fix=str(spread(stack, [tier], {zone})),
    )


def _no_majority(stack: Stack, topology: Topology, tier: Tier, members: tuple[Instance, ...]) -> Problem:
    hosts = [member.id.host for member in members]
    return finding(
        stack,
        "F203",
        f"tiers.{tier.name}.hosts",
        f"the copies of tier {tier.name} are in {_counted(_zones(topology, members))}",
        why="when one zone is gone, writes stop, or go on with a single copy and are lost if that is lost too",
        fix=str(third_copy(stack, tier, hosts)),
    )


def _in_few_zones(
    stack: Stack, topology: Topology, voters: tuple[Instance, ...], wanting: list[str], allotment: Allotment
) -> Problem:
    hosts = [voter.id.host for voter in voters]
    are_kept = len(hosts) >= VOTERS and tuple(sorted(hosts)) in allotment.placed.values()
    return finding(
        stack,
        "F204",
        "hosts",
        f"the voters of {voters[0].component}, needed by {listed(wanting)}, are in {_counted(_zones(topology, voters))}",
        why="when the zone with most of them is gone or cut off, the others have no majority and decide nothing",
        fix=str(voters_apart(stack, hosts, are_kept=are_kept)),
    )


def _voters(topology: Topology) -> Iterator[tuple[tuple[Instance, ...], list[str]]]:
    """Who was placed in three zones to agree, and the tiers that want it."""
    wanted: dict[Need, set[str]] = defaultdict(set)
    for instance in topology.instances:
        for want in component_of(instance).wants:
            if want.place is Place.THREE_ZONES:
                wanted[want.need].add(instance.id.tier)
    for need in sorted(wanted, key=repr):
        voters = tuple(one for one in topology.instances if any(demand.need == need for demand in one.demands))
        if voters:
            yield voters, sorted(wanted[need])


def _zones(topology: Topology, instances: Iterable[Instance]) -> list[str]:
    return sorted({topology.host(one.id.host).zone for one in instances})


def _hosts(instances: Iterable[Instance]) -> str:
    return listed(one.id.host for one in instances)


def _counted(zones: list[str]) -> str:
    return f"{len(zones)} zone{'' if len(zones) == 1 else 's'}: {listed(zones)}"

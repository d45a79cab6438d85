"""The cheapest change of the stack file that ends a single point of failure: found by trying, never guessed. Pure.

What is tried, the cheapest first: for a zone, hosts of the tiers that are all in it move to another one; each tier that stands
on the lost part alone gets one host more, in another zone; data get a copy in a third zone; each of these with a host in a
third zone on top, so that those who must agree have a majority; and where these stay as they were placed once, one of them
moves there. A change counts only if the changed stack resolves without an error and the part is no single point of failure in
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nospof.analysis.changes import FEWEST_ZONES, Change, new_zone, one_more, spread, third_copy
from nospof.analysis.structure import Goal, Kind, Part, structure
from nospof.component import Majority
from nospof.resolve import Allotment, component_of, resolve
from nospof.stack.model import Stack, StackHost, Tier
from nospof.stack.problems import Severity
from nospof.topology import Rank, Topology


@dataclass(frozen=True)
class Remedy:
    """A change that was tried, and the stack and topology that it led to."""

    change: Change
    stack: Stack
    topology: Topology


def remedy(stack: Stack, topology: Topology, allotment: Allotment, part: Part, goals: tuple[Goal, ...]) -> Remedy | None:
    """Find the smallest change after which losing `part`, a host or a zone, fails none of `goals`; None: none was found."""
    for change in _candidates(stack, topology, part):
        after = change.after()
        resolved = resolve(after, allotment)
        if any(problem.severity is Severity.ERROR for problem in resolved.problems):
            continue
        changed = structure(resolved.topology)
        if not any(changed.fails(goal, [part]) for goal in goals):
            return Remedy(change, after, resolved.topology)
    return None


def _candidates(stack: Stack, topology: Topology, part: Part) -> Iterator[Change]:
    is_host = part.kind == Kind.HOST
    lost = {host.name for host in topology.hosts if part.name == (host.name if is_host else host.zone)}
    alone = [tier for tier in stack.tiers if _stands_on(topology, tier, lost)]
    zones = {topology.host(host).zone for host in lost}
    changes = []
    if alone and not is_host and all(len(tier.hosts) > 1 for tier in alone):
        changes.append(spread(stack, alone, zones))
    if alone:
        changes.append(one_more(stack, alone, zones))
    yield from changes
    for tier in stack.tiers:
        members = [member.id.host for member in topology.of_tier(tier.name)]
        if topology.keeps_data(tier.name) and len({topology.host(member).zone for member in members}) < FEWEST_ZONES:
            yield third_copy(stack, tier, members)
    for change in (*changes, Change(stack)):
        witnessed, plain = (change.with_a_third_zone(is_witness=one) for one in (True, False))
        yield from (witnessed, plain) if witnessed != plain else (plain,)
    yield from _moved_voters(stack, topology, lost)


def _moved_voters(stack: Stack, topology: Topology, lost: set[str]) -> Iterator[Change]:
    voters = [one.id.host for one in topology.instances if isinstance(component_of(one).redundancy, Majority)]
    zone = new_zone({topology.host(voter).zone for voter in voters})
    yield from (Change(stack, moves=(StackHost(voter, zone),)) for voter in reversed(voters) if voter in lost)


def _stands_on(topology: Topology, tier: Tier, hosts: set[str]) -> bool:
    normal = {one.id.host for one in topology.of_tier(tier.name) if one.rank is Rank.NORMAL}
    return bool(normal) and normal <= hosts

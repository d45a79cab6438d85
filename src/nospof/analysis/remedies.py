"""The cheapest change of the stack file that ends a single point of failure: found by trying, never guessed. Pure.

What is tried, the cheapest first: for a zone, hosts of the tiers that are all in it move to another one; each tier that stands
on the lost part alone gets one host more, in another zone; and each of these with a host in a third zone on top, so that those
who must agree have a majority. A change counts only if the changed stack resolves without an error and the part is no single
point of failure in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from nospof.analysis.structure import Goal, Kind, Part, structure
from nospof.component import Component
from nospof.resolve import Allotment, resolve
from nospof.stack.model import Stack, StackHost, Tier
from nospof.stack.problems import Severity
from nospof.topology import Rank, Topology


@dataclass(frozen=True)
class Remedy:
    """Hosts to add, those that move to another zone, and the tiers that change."""

    hosts: tuple[StackHost, ...]
    moves: tuple[StackHost, ...]
    tiers: tuple[Tier, ...]
    stack: Stack
    """With the change made."""
    changes: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.changes)


def remedy(stack: Stack, topology: Topology, part: Part, goals: tuple[Goal, ...]) -> Remedy | None:
    """Find the smallest change after which losing `part`, a host or a zone, fails none of `goals`; None: none was found."""
    for candidate in _candidates(stack, topology, part):
        resolved = resolve(candidate.stack, Allotment())
        if any(problem.severity is Severity.ERROR for problem in resolved.problems):
            continue
        changed = structure(resolved.topology)
        if not any(changed.fails(goal, [part]) for goal in goals):
            return candidate
    return None


def _candidates(stack: Stack, topology: Topology, part: Part) -> Iterator[Remedy]:
    is_host = part.kind == Kind.HOST
    lost = {host.name for host in topology.hosts if part.name == (host.name if is_host else host.zone)}
    alone = [tier for tier in stack.tiers if _stands_on(topology, tier, lost)]
    zones = {topology.host(host).zone for host in lost}
    changes = []
    if alone and not is_host and all(len(tier.hosts) > 1 for tier in alone):
        moved = {tier.hosts[1]: StackHost(tier.hosts[1], _zone(stack, zones)) for tier in alone}
        changes.append(_Change(stack, moves=tuple(moved.values())))
    if alone:
        changes.append(_grown(stack, alone, zones))
    changes.append(_Change(stack))
    yield from (change.made() for change in changes if change != _Change(stack))
    yield from (change.with_a_third_zone().made() for change in changes)


def _grown(stack: Stack, alone: list[Tier], zones: set[str]) -> _Change:
    """Each tier of `alone` with a host more; tiers that share a host now share the new one too."""
    hosts: dict[str, StackHost] = {}
    tiers: list[Tier] = []
    for tier in alone:
        old = tier.hosts[0]
        if old not in hosts:
            hosts[old] = StackHost(_next_name(old, stack, hosts.values()), _zone(stack, zones))
        tiers.append(Component.kinds[tier.component].with_host(tier, hosts[old].name))
    return _Change(stack, hosts=tuple(hosts.values()), tiers=tuple(tiers))


@dataclass(frozen=True)
class _Change:
    stack: Stack
    hosts: tuple[StackHost, ...] = ()
    moves: tuple[StackHost, ...] = ()
    tiers: tuple[Tier, ...] = ()

    def with_a_third_zone(self) -> _Change:
        """The same, and one host more in a zone that has none yet, or in the second where there is only one."""
        zones = {host.zone for host in (*self._placed(), *self.hosts)}
        return replace(self, hosts=(*self.hosts, StackHost(_next_name("w0", self.stack, self.hosts), _new_zone(zones))))

    def made(self) -> Remedy:
        """The stack after it, and the change in words."""
        tiers = {tier.name: tier for tier in self.tiers}
        changed = replace(
            self.stack,
            hosts=(*self._placed(), *self.hosts),
            tiers=tuple(tiers.get(tier.name, tier) for tier in self.stack.tiers),
        )
        return Remedy(self.hosts, self.moves, self.tiers, changed, tuple(self._in_words()))

    def _placed(self) -> tuple[StackHost, ...]:
        moved = {host.name: host.zone for host in self.moves}
        return tuple(replace(host, zone=moved.get(host.name, host.zone)) for host in self.stack.hosts)

    def _in_words(self) -> Iterator[str]:
        yield from (f"move {host.name} to zone {host.zone}" for host in self.moves)
        yield from (f"add {host.name}: {{zone: {host.zone}}} to hosts" for host in self.hosts)
        old = {tier.name: tier for tier in self.stack.tiers}
        for tier in self.tiers:
            yield f"in tier {tier.name} hosts: [{', '.join(tier.hosts)}]"
            before, after = old[tier.name].settings.model_dump(), tier.settings.model_dump()
            yield from (f"{key}: {value}" for key, value in after.items() if before[key] != value)


def _stands_on(topology: Topology, tier: Tier, hosts: set[str]) -> bool:
    normal = {one.id.host for one in topology.of_tier(tier.name) if one.rank is Rank.NORMAL}
    return bool(normal) and normal <= hosts


def _next_name(like: str, stack: Stack, made: Iterable[StackHost]) -> str:
    """A host name that is free: db1 → db2."""
    taken = {host.name for host in (*stack.hosts, *made)}
    stem = re.sub(r"[0-9]+$", "", like)
    return next(name for number in range(1, len(taken) + 2) if (name := f"{stem}{number}") not in taken)


def _zone(stack: Stack, lost: set[str]) -> str:
    """The zone with the fewest hosts that is not lost with the part; else a new one."""
    zones = [host.zone for host in stack.hosts]
    left = sorted(set(zones) - lost, key=lambda zone: (zones.count(zone), zone))
    return left[0] if left else _new_zone(set(zones))


def _new_zone(zones: set[str]) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return next((letter for letter in letters if letter not in zones), f"zone{len(zones) + 1}")

"""Changes of a stack that a finding proposes: made, so that they can be tried, and in words that say what to write. Pure.

The words are clauses with a semicolon between them, each a key of the file and its new value; a test carries them out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from nospof.component import Component
from nospof.resolve import placements
from nospof.stack.marks import Rank
from nospof.stack.model import Stack, StackHost, Tier

# A majority that outlives any one zone needs three of them.
FEWEST_ZONES = 3


@dataclass(frozen=True)
class Change:
    """Hosts to add, those that move to another zone, and tiers as they are to be. `str()` is the change in words.

    `vips`: so many addresses more, which only the user knows.
    """

    stack: Stack
    hosts: tuple[StackHost, ...] = ()
    moves: tuple[StackHost, ...] = ()
    tiers: tuple[Tier, ...] = ()
    vips: int = 0

    def after(self) -> Stack:
        """The stack with the change made."""
        zones = {host.name: host.zone for host in self.moves}
        placed = (replace(host, zone=zones.get(host.name, host.zone)) for host in self.stack.hosts)
        vip = (*self.stack.vip, *("VIP/24" for _ in range(self.vips)))
        return replace(self.stack, hosts=(*placed, *self.hosts), tiers=self._tiers(), vip=vip)

    def with_a_third_zone(self, *, is_witness: bool) -> Change:
        """The same, and one host more in a zone that has none yet; `is_witness`: for tiers that lack one it is the witness."""
        name = free_name("w1", self.stack, self.hosts)
        host = StackHost(name, new_zone({host.zone for host in self.after().hosts}))
        changed = {tier.name: tier for tier in self.tiers}
        for tier in self._tiers():
            if is_witness and _witness(tier) is None and _witnessed(tier, name) != tier:
                changed[tier.name] = _witnessed(tier, name)
        return replace(self, hosts=(*self.hosts, host), tiers=tuple(changed.values()))

    def _tiers(self) -> tuple[Tier, ...]:
        changed = {tier.name: tier for tier in self.tiers}
        return tuple(changed.get(tier.name, tier) for tier in self.stack.tiers)

    def __str__(self) -> str:
        return "; ".join(self._clauses())

    def _clauses(self) -> Iterator[str]:
        yield from (f"move {host.name} to zone {host.zone}" for host in self.moves)
        address = ", address: ADDRESS" if any(host.address for host in self.stack.hosts) else ""
        yield from (f"add {host.name}: {{zone: {host.zone}{address}}} to hosts" for host in self.hosts)
        yield from ("add VIP/24 to vip" for _ in range(self.vips))
        old = {tier.name: tier for tier in self.stack.tiers}
        yield from (f"in tier {tier.name} {', '.join(_differences(old[tier.name], tier))}" for tier in self.tiers)


def one_more(stack: Stack, tiers: Iterable[Tier], lost: Collection[str]) -> Change:
    """Each of `tiers` with a host more, outside the zones `lost`: one that no tier uses, else a new one.

    Tiers that share their first host share the other one too.
    """
    used = {host for tier in stack.tiers for host, _ in placements(tier)}
    idle = [host for host in stack.hosts if host.name not in used and host.zone not in lost]
    more: dict[str, StackHost] = {}
    grown: list[Tier] = []
    for tier in tiers:
        old = tier.hosts[0]
        if old not in more:
            more[old] = idle.pop(0) if idle else StackHost(free_name(old, stack, more.values()), other_zone(stack, lost))
        grown.append(Component.kinds[tier.component].with_host(tier, more[old].name))
    return Change(stack, hosts=tuple(host for host in more.values() if host not in stack.hosts), tiers=tuple(grown))


def spread(stack: Stack, tiers: Iterable[Tier], lost: Collection[str]) -> Change:
    """The second host of each of `tiers` in a zone that is not `lost`."""
    moved = {tier.hosts[1]: StackHost(tier.hosts[1], other_zone(stack, lost)) for tier in tiers}
    return Change(stack, moves=tuple(moved.values()))


def third_copy(stack: Stack, tier: Tier, members: Collection[str]) -> Change:
    """A copy of `tier` in a zone without one: on a host that is there already, its witness moved there, or on a new host."""
    zone_of = {host.name: host.zone for host in stack.hosts}
    taken = {zone_of[member] for member in members}
    used = {host for other in stack.tiers for host, _ in placements(other)}
    free = sorted((host.name for host in stack.hosts if host.zone not in taken), key=lambda name: (name in used, name))
    witness = _witness(tier)
    if witness and not free:
        return Change(stack, moves=(StackHost(witness, new_zone(taken)),))
    name = free[0] if free else free_name("w1", stack)
    changed = _witnessed(tier, name)
    if changed == tier:
        changed = Component.kinds[tier.component].with_host(tier, name)
    return Change(stack, hosts=() if free else (StackHost(name, new_zone(taken)),), tiers=(changed,))


def voters_apart(stack: Stack, voters: Collection[str], *, are_kept: bool) -> Change:
    """Hosts in new zones until voters can be in three; `are_kept`: they stay on their hosts, so that some of those move."""
    change = Change(stack)
    if not are_kept:
        while len({host.zone for host in change.after().hosts}) < FEWEST_ZONES:
            change = change.with_a_third_zone(is_witness=True)
        return change
    zone_of = {host.name: host.zone for host in stack.hosts}
    taken = {zone_of[voter] for voter in voters}
    moves: list[StackHost] = []
    seen: set[str] = set()
    for voter in voters:
        if zone_of[voter] in seen:
            moves.append(StackHost(voter, new_zone(taken)))
            taken.add(moves[-1].zone)
        seen.add(zone_of[voter])
    return Change(stack, moves=tuple(moves))


def free_name(like: str, stack: Stack, made: Iterable[StackHost] = ()) -> str:
    """A host name that is free: db1 → db2."""
    taken = {host.name for host in (*stack.hosts, *made)} | {tier.name for tier in stack.tiers}
    stem = re.sub(r"[0-9]+$", "", like)
    return next(name for number in range(1, len(taken) + 2) if (name := f"{stem}{number}") not in taken)


def other_zone(stack: Stack, lost: Collection[str]) -> str:
    """The zone with the fewest hosts that is not `lost`; else a new one."""
    zones = [host.zone for host in stack.hosts]
    left = sorted(set(zones) - set(lost), key=lambda zone: (zones.count(zone), zone))
    return left[0] if left else new_zone(set(zones))


def new_zone(zones: Collection[str]) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return next((letter for letter in letters if letter not in zones), f"zone{len(zones) + 1}")


def _witness(tier: Tier) -> str | None:
    return next((host for host, rank in placements(tier) if rank is Rank.WITNESS), None)


def _witnessed(tier: Tier, host: str) -> Tier:
    """`tier` with its witness on `host`; as it is where it can have none."""
    kind = Component.kinds[tier.component]
    changed = kind.with_witness(tier, host)
    return tier if kind.objections(changed) else changed


def _differences(before: Tier, after: Tier) -> Iterator[str]:
    if after.hosts != before.hosts:
        yield f"hosts: [{', '.join(after.hosts)}]"
    old, new = before.settings.model_dump(), after.settings.model_dump()
    yield from (f"{key}: {value}" for key, value in new.items() if old[key] != value)

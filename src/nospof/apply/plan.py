"""What `up` would do: every host's own answer to "what do you lack of this manifest", and the order of doing it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from nospof.apply.trips import Problem
from nospof.render.host import BASE_TIER, FIREWALL_TIER
from nospof.topology import Topology


@dataclass(frozen=True)
class Change:
    """One thing to be done on `host`. `instance` "" for what belongs to the host; `diff` "" where it may not be shown."""

    host: str
    instance: str
    kind: str
    name: str
    change: str
    diff: str = ""

    @property
    def tier(self) -> str:
        """The tier of its instance; "" for what belongs to the host."""
        return self.instance.partition("/")[0]


@dataclass(frozen=True)
class Plan:
    """All changes, host by host, and the hosts that could not be asked: for those everything is unknown."""

    changes: tuple[Change, ...]
    problems: tuple[Problem, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do: known for certain, so never when a host did not answer."""
        return not self.changes and not self.problems

    @property
    def losing_units(self) -> frozenset[str]:
        """Hosts that lose something that runs: they may be leaving a tier."""
        return frozenset(change.host for change in self.changes if (change.kind, change.change) == ("unit", "stop"))

    def hosts_of_tier(self, tier: str) -> tuple[str, ...]:
        """Hosts on which an instance of `tier` changes, sorted."""
        return tuple(sorted({change.host for change in self.changes if change.tier == tier}))


def activation_order(topology: Topology) -> tuple[str, ...]:
    """The tiers, callees before callers; providers that nobody calls come after those who need them.

    A provider that calls those who need it watches them: it is there first, and they are no callees of its.

    Tiers that call each other in a circle come in the order of their names.
    """
    after: dict[str, set[str]] = defaultdict(set)
    watched = {(instance.id, demand.by) for instance in topology.instances for demand in instance.demands}
    for link in topology.links:
        is_watching = (link.source, link.target.owner) in watched
        if link.source.host and link.source.tier != link.target.owner.tier and not is_watching:
            after[link.source.tier].add(link.target.owner.tier)
    for instance in topology.instances:
        for demand in instance.demands:
            if instance.id.tier not in after[demand.by.tier]:
                after[instance.id.tier].add(demand.by.tier)
    waiting = sorted({instance.id.tier for instance in topology.instances})
    order: list[str] = []
    while waiting:
        ready = [tier for tier in waiting if not after[tier] & set(waiting) - {tier}] or waiting[:1]
        order += ready
        waiting = [tier for tier in waiting if tier not in ready]
    return (BASE_TIER, FIREWALL_TIER, *order)


def host_order(
    hosts: tuple[str, ...], leads: Mapping[str, bool], chosen: Collection[str], new: Collection[str] = ()
) -> tuple[str, ...]:
    """`hosts` in the order of their change: those that hold an address or are the primary last, since theirs is dear.

    `new` ones come after even these: who leads must know of them, and give them access to its data, before they can follow.
    While nobody leads yet, the `chosen` come first: the others of their tier wait for the first primary.
    """
    if any(leads.get(host) for host in hosts):
        return tuple(sorted(hosts, key=lambda host: (host in new, leads.get(host, False), host)))
    return tuple(sorted(hosts, key=lambda host: (host not in chosen, host)))

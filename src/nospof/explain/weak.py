"""What takes the site down when it is lost: the marks of the pictures and the document's list of what remains weak.

A zone is weak with each host in it that is. Where no analysis is handed in it is read from the findings, which is a first
look: zones that only the analysis knows are not in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from nospof.stack.problems import Problem
from nospof.topology import InstanceId, Rank, Topology

K = TypeVar("K")
Goals = tuple[str, ...]
SERVE, WRITE = "serve", "write"
MARK = "▲"
# Findings of nospof.analysis.codes that name something whose loss takes a promise away.
SINGLE_HOST, SINGLE_ZONE, SINGLE_POINT = "F201", "F202", "F210"


@dataclass(frozen=True)
class WeakSpots:
    """Hosts, zones and instances, and for each the promises that are broken while it is away ("serve", "write" …)."""

    hosts: Mapping[str, Goals] = field(default_factory=dict, hash=False)
    zones: Mapping[str, Goals] = field(default_factory=dict, hash=False)
    instances: Mapping[InstanceId, Goals] = field(default_factory=dict, hash=False)

    def __bool__(self) -> bool:
        return bool(self.hosts or self.zones or self.instances)


NO_MARKS = WeakSpots()


def weak_spots(topology: Topology, findings: Iterable[Problem]) -> WeakSpots:
    """Read from `findings` what is a single point of failure. Pure."""
    hosts: dict[str, set[str]] = defaultdict(set)
    zones: dict[str, set[str]] = defaultdict(set)
    instances: dict[InstanceId, set[str]] = defaultdict(set)
    for problem in findings:
        tier = problem.path.split(".")[1] if problem.path.startswith("tiers.") else ""
        normal = [one.id for one in topology.of_tier(tier) if one.rank is Rank.NORMAL]
        goals = _goals(topology, tier)
        if problem.code == SINGLE_POINT:
            host = problem.path.removeprefix("hosts.")
            hosts[host] |= {SERVE, WRITE}
            zones[topology.host(host).zone] |= {SERVE, WRITE}
        if problem.code == SINGLE_HOST and len(normal) == len(topology.of_tier(tier)) == 1:
            hosts[normal[0].host] |= goals
            zones[topology.host(normal[0].host).zone] |= goals
            instances[normal[0]] |= goals
        if problem.code == SINGLE_ZONE and normal:
            zones[topology.host(normal[0].host).zone] |= goals
    return WeakSpots(_sorted(hosts), _sorted(zones), _sorted(instances))


def _goals(topology: Topology, tier: str) -> set[str]:
    return {SERVE, WRITE} if tier in topology.on_visitors_way() else {f"the work of {tier}"}


def _sorted(found: Mapping[K, set[str]]) -> dict[K, Goals]:
    return {key: tuple(sorted(goals)) for key, goals in found.items()}

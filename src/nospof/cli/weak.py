"""What takes the site down when it is lost, as pictures and the design document mark it: what the analysis says."""

from __future__ import annotations

from collections import defaultdict

from nospof.analysis.losses import single_points
from nospof.analysis.structure import Goal, Kind, structure
from nospof.explain.weak import Goals, WeakSpots
from nospof.topology import InstanceId, Topology


def weak_spots(topology: Topology) -> WeakSpots:
    """Every single point of failure of `topology`: the hosts and zones of F210 and F211, and the instances on them. Pure."""
    made = structure(topology)
    spots = single_points(topology, made)
    instances: dict[InstanceId, list[Goal]] = defaultdict(list)
    for goal in made.goals:
        alone = {part.name for part in made.single(goal) if part.kind == Kind.PROCESS}
        for instance in topology.instances:
            if str(instance.id) in alone:
                instances[instance.id].append(goal)
    return WeakSpots(
        {part.name: _named(goals) for part, goals in spots.items() if part.kind == Kind.HOST},
        {part.name: _named(goals) for part, goals in spots.items() if part.kind == Kind.ZONE},
        {instance: _named(goals) for instance, goals in instances.items()},
    )


def _named(goals: tuple[Goal, ...] | list[Goal]) -> Goals:
    return tuple(goal.value for goal in goals)

"""What takes the site down when it is lost, as pictures and the design document mark it: what the analysis says."""

from __future__ import annotations

from collections import defaultdict

from nospof.analysis.structure import Kind, Structure, structure
from nospof.explain.weak import Goals, WeakSpots
from nospof.topology import Topology


def weak_spots(topology: Topology) -> WeakSpots:
    """Every single point of failure of `topology`: all hosts, zones and instances that alone take a goal down. Pure."""
    made = structure(topology)
    instances = {str(instance.id): instance.id for instance in topology.instances}
    return WeakSpots(
        _alone(made, Kind.HOST),
        _alone(made, Kind.ZONE),
        {instances[name]: goals for name, goals in _alone(made, Kind.PROCESS).items()},
    )


def _alone(made: Structure, kind: Kind) -> dict[str, Goals]:
    """The parts of one kind that alone take a goal down, each with its goals."""
    found: dict[str, list[str]] = defaultdict(list)
    for goal in made.goals:
        for part in sorted(made.single(goal)):
            if part.kind == kind:
                found[part.name].append(goal.value)
    return {name: tuple(found[name]) for name in sorted(found)}

"""What the topology foretells of a drill, before it is run: up or down for each goal, why, and how long at most. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from nospof.analysis.availability import taking_over_s
from nospof.analysis.paths import Harm, harms
from nospof.analysis.structure import Goal, Part, Structure
from nospof.drills.fault import Fault
from nospof.topology import Topology

# A figure of a component was measured on one machine; another may be twice as slow, and does other things besides.
TIMES, PLUS_S = 2.0, 1.0


class State(StrEnum):
    """Whether a goal is met from ten seconds after the fault until it is healed."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Forecast:
    """`outage_s`: no longer gap between two good answers is foretold, where it is up; None where nobody ever measured."""

    goal: str
    state: State
    outage_s: float | None = None
    why: tuple[str, ...] = ()


def forecasts(
    topology: Topology, made: Structure, faults: Sequence[Fault], primary: Sequence[tuple[str, str]] = ()
) -> tuple[Forecast, ...]:
    """What all of `faults` at once mean for each goal of the stack. `primary`: tier and host where it is known to be so."""
    severed = faults[0].severs(topology) if len(faults) == 1 else None
    if severed:
        return tuple(_of_cut(goal, harms(topology, made, severed, goal), dict(primary)) for goal in made.goals)
    lost = [fault.lost(topology) for fault in faults]
    known = [parts for parts in lost if parts is not None]
    if len(known) < len(lost):
        return tuple(
            Forecast(goal.value, State.UNKNOWN, why=("the topology does not tell what this means",)) for goal in made.goals
        )
    touched = {part for fault in faults for part in fault.touches(topology)}
    certainly = frozenset[Part]().union(*(parts for fault, parts in zip(faults, known, strict=True) if not fault.at_most))
    return tuple(_forecast(topology, made, goal, certainly, frozenset[Part]().union(*known), touched) for goal in made.goals)


def _forecast(
    topology: Topology,
    made: Structure,
    goal: Goal,
    certainly: frozenset[Part],
    at_most: frozenset[Part],
    touched: Iterable[Part],
) -> Forecast:
    if made.fails(goal, certainly):
        return Forecast(goal.value, State.DOWN, why=made.reason(goal, certainly))
    if made.fails(goal, at_most):
        return Forecast(goal.value, State.UNKNOWN, why=("it may take less away than this:", *made.reason(goal, at_most)))
    missed = [taking_over_s(topology, part) for part in touched]
    if not all(is_known for _, is_known in missed):
        return Forecast(goal.value, State.UP)
    return Forecast(goal.value, State.UP, TIMES * max((took for took, _ in missed), default=0.0) + PLUS_S)


def _of_cut(goal: Goal, found: Sequence[Harm], primary: Mapping[str, str]) -> Forecast:
    """What a cut between two hosts that live means, whoever is primary or while those in `primary` are."""
    mine = [harm for harm in found if harm.primary is None or primary.get(harm.primary[0], harm.primary[1]) == harm.primary[1]]
    sure = [harm for harm in mine if harm.is_certain and (harm.primary is None or harm.primary[0] in primary)]
    if sure:
        return Forecast(goal.value, State.DOWN, why=sure[0].why)
    if mine:
        roles = "it depends on who is primary:" if mine[0].primary else "nobody knows what visitors see of this:"
        return Forecast(goal.value, State.UNKNOWN, why=(roles, *mine[0].why))
    return Forecast(goal.value, State.UP)


def digest(foretold: Iterable[tuple[str, Sequence[Forecast]]]) -> str:
    """The sha256 over the names of drills and what is foretold of them, to be written down before the first is run."""
    plain = [[name, [asdict(forecast) for forecast in each]] for name, each in foretold]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

"""How much of the year each goal holds, where the minutes go, and which of the numbers were measured. Pure.

Unavailability U of a goal, in parts of the time, small so that they add up:

    U = P(the goal fails)  +  Σ λ · (c · T_f + (1 − c) · T_m)  over all parts whose loss others take over

P is exact, from the structure function's decision diagram, each part being lost for the share of time that its rate says. λ:
losses an hour; T_f: what taking over takes, measured in the lab and told by the components; c: how often it works, the
coverage; T_m: until a person has helped when it does not. Rates are assumed. So are c and T_f until drills of this very stack
have shown them (nospof.analysis.takeovers): then there are two judgements, one for the better ends of what was seen and one for
the worse. What is said first of all is how much depends on what was assumed.

Source: A. Birolini, Reliability Engineering, section 6.8 (incomplete coverage); the rates stand below.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

from nospof.analysis.fault_tree.budget import Budget
from nospof.analysis.fault_tree.formula import Formula, Formulas
from nospof.analysis.fault_tree.structure import StructureFunction
from nospof.analysis.structure import Condition, Gate, Goal, Kind, Part, Structure, in_order
from nospof.analysis.takeovers import Takeovers
from nospof.component import Component
from nospof.topology import Instance, InstanceId, Topology

MINUTES_A_YEAR = 365.25 * 24 * 60
# A diagram of so many nodes takes some seconds; with more parts than these, singles and pairs must do.
MOST_NODES = 400_000
MOST_EXACT = 300
# What taking over takes where a component does not tell.
ASSUMED_MISSED_S = 10.0


@dataclass(frozen=True)
class Rate:
    """Hours between two losses, and until one is mended."""

    between_h: float
    mended_h: float

    @property
    def share_lost(self) -> float:
        return self.mended_h / (self.between_h + self.mended_h)


@dataclass(frozen=True)
class Assumptions:
    """What nobody has measured: defaults of the order that is usual for rented servers, to be replaced by one's own."""

    zone: Rate = Rate(17_532.0, 2.0)
    host: Rate = Rate(4_383.0, 4.0)
    process: Rate = Rate(8_766.0, 0.5)
    coverage: float = 0.99
    """Of so many losses the others take over as they should."""
    helped_h: float = 0.5
    """Until a person has helped where they did not."""

    def rate(self, part: Part) -> Rate:
        return {Kind.ZONE: self.zone, Kind.HOST: self.host, Kind.PROCESS: self.process}[Kind(part.kind)]


@dataclass(frozen=True)
class Availability:
    """One goal, in minutes a year. `failing`: too much is lost; `moving`: others take over; `stuck`: they do not."""

    goal: Goal
    failing_min: float
    moving_min: float
    stuck_min: float
    by_part_min: Mapping[Part, float]
    """What would be saved if a part never were lost, the dearest first."""
    is_moving_measured: bool
    """Whether each component, or a drill, said what taking over takes; else it is assumed for some."""

    @property
    def minutes(self) -> float:
        return self.failing_min + self.moving_min + self.stuck_min

    @property
    def share(self) -> float:
        """Of the year in which the goal holds, 0 to 1."""
        return 1.0 - self.minutes / MINUTES_A_YEAR


@dataclass(frozen=True)
class Takeover:
    """What becomes of losses of one part that others can make up for: of so many they do, and how long it takes."""

    coverage: float
    took_s: float
    is_known: bool
    """Whether `took_s` was measured, anywhere; else it is assumed."""


def availability(
    topology: Topology, made: Structure, goal: Goal, assumed: Assumptions, budget: Budget | None = None
) -> Availability:
    """Work out how much of the year `goal` holds. Raises TooExpensive for a stack whose diagram is too large."""
    return _year(made, goal, assumed, _chances(made, goal, assumed, budget), lambda part: _told(topology, part, assumed))


def between(
    topology: Topology, made: Structure, goal: Goal, assumed: Assumptions, seen: Takeovers
) -> tuple[Availability, Availability]:
    """The same by what drills have shown of taking over, at the better and at the worse end of it; rates stay assumed.

    Raises TooExpensive as `availability` does.
    """
    chances = _chances(made, goal, assumed, None)

    def better(part: Part) -> Takeover:
        told = _told(topology, part, assumed)
        took = seen.took_s(str(part), goal.value, told.took_s)
        return Takeover(seen.coverage(str(part)).high, took.low, is_known=True) if took else told

    def worse(part: Part) -> Takeover:
        told = _told(topology, part, assumed)
        took = seen.took_s(str(part), goal.value, told.took_s)
        coverage = seen.coverage(str(part)).low
        return Takeover(coverage, took.high, is_known=True) if took else replace(told, coverage=min(coverage, told.coverage))

    return _year(made, goal, assumed, chances, better), _year(made, goal, assumed, chances, worse)


def _chances(made: Structure, goal: Goal, assumed: Assumptions, budget: Budget | None) -> tuple[float, Mapping[str, float]]:
    """The share of the time in which too much is lost, and by part how much more of it there is while that part is lost."""
    parts = {str(part): part for part in made.parts}
    lost = {event: assumed.rate(part).share_lost for event, part in parts.items()}
    if len(parts) > MOST_EXACT:
        return _from_cut_sets(made, goal, lost)
    formulas = Formulas()
    function = StructureFunction.of(formulas, _formula(formulas, made.goals[goal]), budget or Budget(MOST_NODES))
    return function.probability(lost), function.birnbaum(lost)


def _year(
    made: Structure,
    goal: Goal,
    assumed: Assumptions,
    chances: tuple[float, Mapping[str, float]],
    takeover: Callable[[Part], Takeover],
) -> Availability:
    fails, slopes = chances
    parts = {str(part): part for part in made.parts}
    moving = stuck = 0.0
    by_part: dict[Part, float] = {}
    is_measured, alone = True, made.single(goal)
    for event in slopes:
        part, rate = parts[event], assumed.rate(parts[event])
        alone_min = slopes[event] * rate.share_lost * MINUTES_A_YEAR
        if slopes[event] <= 0 or part in alone:
            by_part[part] = alone_min
            continue
        others = takeover(part)
        is_measured &= others.is_known
        losses = MINUTES_A_YEAR / 60 / rate.between_h
        moves_min = losses * others.coverage * others.took_s / 60
        stuck_min = losses * (1 - others.coverage) * assumed.helped_h * 60
        moving, stuck = moving + moves_min, stuck + stuck_min
        by_part[part] = alone_min + moves_min + stuck_min
    dearest = dict(sorted(by_part.items(), key=lambda entry: (-entry[1], entry[0])))
    return Availability(goal, fails * MINUTES_A_YEAR, moving, stuck, dearest, is_measured)


def _told(topology: Topology, part: Part, assumed: Assumptions) -> Takeover:
    took_s, is_known = taking_over_s(topology, part)
    return Takeover(assumed.coverage, took_s, is_known)


def taking_over_s(topology: Topology, part: Part) -> tuple[float, bool]:
    """The longest that any of the lost instances is missed, and whether all of them say so."""
    if part.kind == Kind.PROCESS:
        tier, _, host = part.name.partition("/")
        lost: tuple[Instance, ...] = (topology.instance(InstanceId(tier, host)),)
    else:
        hosts = [host.name for host in topology.hosts if part.name in (host.name, host.zone)]
        lost = tuple(one for host in hosts for one in topology.on_host(host))
    told = [Component.kinds[one.component].missed_s for one in lost]
    return max((ASSUMED_MISSED_S if one is None else one for one in told), default=0.0), None not in told


def _from_cut_sets(made: Structure, goal: Goal, lost: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """The same from single losses and pairs alone, for stacks so large that a diagram takes longer than anybody waits.

    The sum over cut sets is a little too high; what is left out, three losses at once, is smaller still.
    """
    fails, slopes = 0.0, defaultdict[str, float](float)
    for cut in made.cut_sets(goal, 2):
        events = sorted(map(str, cut))
        fails += prod(lost[event] for event in events)
        for event in events:
            slopes[event] += prod(lost[other] for other in events if other != event)
    return fails, dict(sorted(slopes.items()))


def _formula(formulas: Formulas, top: Condition) -> Formula:
    """The conditions as a formula of losses."""
    known: dict[Condition, Formula] = {}
    for condition in in_order(top):
        causes = [formulas.event(str(cause)) if isinstance(cause, Part) else known[cause] for cause in condition.causes]
        if condition.gate is Gate.ANY:
            known[condition] = formulas.any_of(causes)
        elif condition.gate is Gate.ALL:
            known[condition] = formulas.all_of(causes)
        else:
            known[condition] = formulas.at_least(condition.least, causes)
    return known[top]

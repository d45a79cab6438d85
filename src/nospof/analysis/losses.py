"""Findings from the structure function: what takes a goal down alone, what in pairs, and what no file can double."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from nospof.analysis.availability import Assumptions, availability
from nospof.analysis.codes import finding
from nospof.analysis.fault_tree.budget import TooExpensive
from nospof.analysis.remedies import remedy
from nospof.analysis.structure import Goal, Kind, Part, Structure
from nospof.stack.model import Stack
from nospof.stack.problems import Problem
from nospof.stack.words import listed
from nospof.topology import Topology

# A remedy is looked for by trying: for so many parts at most, which is more than anybody reads.
MOST_REMEDIES = 12
MOST_PAIRS = 12
MOST_DEAR = 4


def loss_findings(
    stack: Stack, topology: Topology, made: Structure, spofs: Mapping[Part, tuple[Goal, ...]]
) -> Iterator[Problem]:
    """Everything that `made`, the structure of `topology`, says of single losses (`spofs`) and pairs."""
    for number, (part, goals) in enumerate(spofs.items()):
        yield _single(stack, topology, made, part, goals, is_remedied=number < MOST_REMEDIES)
    yield from _pairs(stack, made)
    yield _outside(stack, topology, made)
    if made.goals:
        yield _of_the_year(stack, topology, made)


def single_points(topology: Topology, made: Structure) -> dict[Part, tuple[Goal, ...]]:
    """Hosts that alone take a goal down, and zones that do although none of their hosts does: each with its goals."""
    zone_of = {host.name: host.zone for host in topology.hosts}
    found: dict[Part, list[Goal]] = {}
    for goal in made.goals:
        singles = made.single(goal)
        hosts = [part for part in singles if part.kind == Kind.HOST]
        explained = {zone_of[part.name] for part in hosts}
        zones = [part for part in singles if part.kind == Kind.ZONE and part.name not in explained]
        for part in (*hosts, *zones):
            found.setdefault(part, []).append(goal)
    return {part: tuple(found[part]) for part in sorted(found)}


def _single(
    stack: Stack, topology: Topology, made: Structure, part: Part, goals: tuple[Goal, ...], *, is_remedied: bool
) -> Problem:
    is_host = part.kind == Kind.HOST
    what = f"{part} is a single point of failure: without it {listed(goal.fails for goal in goals)}"
    alone = {one.name for goal in goals for one in made.single(goal) if one.kind == Kind.PROCESS}
    names = [one.component for one in topology.on_host(part.name) if str(one.id) in alone]
    if names:
        what += f"; {listed(names)} on it alone {'does' if len(names) == 1 else 'do'} the same"
    why = " → ".join(made.reason(goals[-1], [part]))
    found = remedy(stack, topology, part, goals) if is_remedied else None
    fix = str(found) if found else "spread what stands on it over more hosts and zones"
    path = f"hosts.{part.name}" if is_host else "hosts"
    return finding(stack, "F210" if is_host else "F211", path, what, why=why, fix=fix)


def _pairs(stack: Stack, made: Structure) -> Iterator[Problem]:
    """Pairs of hosts: what zones and processes add to them is the same, said larger or smaller."""
    cuts = {cut for goal in made.goals for cut in made.cut_sets(goal, 2) if {part.kind for part in cut} == {Kind.HOST}}
    both = sorted(" + ".join(sorted(part.name for part in cut)) for cut in cuts if len(cut) == 2)
    if not both:
        return
    shown = ", ".join(both[:MOST_PAIRS]) + (f" and {len(both) - MOST_PAIRS} more" if len(both) > MOST_PAIRS else "")
    yield finding(
        stack,
        "F212",
        "hosts",
        f"{len(both)} pair{'s' if len(both) > 1 else ''} of hosts take{'' if len(both) > 1 else 's'} a goal down: {shown}",
        why="each tier outlives the loss of one host; a second loss before the first is mended is one too many",
        fix="mend the first loss soon; a third host in a tier outlives two",
    )


def _outside(stack: Stack, topology: Topology, made: Structure) -> Problem:
    singles = [
        f"the name {stack.domain}: its entry in DNS, and whoever serves it",
        "the folder .nospof beside this file: secrets and the key of the CA, without which nothing can be changed or renewed",
        "the network between the hosts: while two hosts live and cannot reach each other, what needs that way fails",
    ]
    if topology.floating:
        singles.append("the one layer-2 network in which a floating address can move")
    return finding(
        stack,
        "F213",
        "domain",
        f"single, and not doubled by this file: {'; '.join(singles)}",
        why=f"all else was counted: {_counted(topology)}, for the goals {listed(goal.value for goal in made.goals)}",
        fix="two name servers at different providers; a copy of .nospof in a safe place; doubled switches and cables",
    )


def _of_the_year(stack: Stack, topology: Topology, made: Structure) -> Problem:
    assumed = Assumptions()
    try:
        found = [availability(topology, made, goal, assumed) for goal in made.goals]
    except TooExpensive as error:
        what = f"how much of the year the goals hold is unknown: {error.what}"
        return finding(stack, "F214", "tiers", what, why="", fix="")
    worst = max(found, key=lambda one: one.minutes)
    told = ", ".join(f"{one.goal.value} {_percent(one.share)} ({_minutes(one.minutes)} a year not)" for one in found)
    dearest = listed(f"{part} ({_minutes(spent)})" for part, spent in list(worst.by_part_min.items())[:MOST_DEAR])
    moving = "measured" if worst.is_moving_measured else "partly assumed"
    why = (
        f"{worst.goal.value}: {_minutes(worst.failing_min)} too much is lost at once (rates assumed), "
        f"{_minutes(worst.stuck_min)} others should take over and do not (coverage {assumed.coverage:.0%}, assumed: the number "
        f"that decides), {_minutes(worst.moving_min)} they take over ({moving}); dearest parts: {dearest}"
    )
    fix = "drills raise the coverage that one may assume; see docs/reference/availability.md for the rates"
    return finding(stack, "F214", "tiers", f"as far as parts fail independently: {told}", why=why, fix=fix)


def _percent(share: float) -> str:
    """With two digits of what is missing: 99.87 %, 99.9980 %."""
    missing = 100 * (1 - share)
    digits = min(max(0, 1 - math.floor(math.log10(missing))), 9) if missing > 0 else 0
    return f"{100 * share:.{digits}f} %"


def _minutes(minutes: float) -> str:
    return f"{minutes / 60:.1f} h" if minutes >= 120 else f"{minutes:.1f} min" if minutes >= 0.1 else f"{60 * minutes:.1f} s"


def _counted(topology: Topology) -> str:
    zones = len({host.zone for host in topology.hosts})
    return f"{len(topology.hosts)} hosts, {zones} zone{'s' if zones > 1 else ''}, {len(topology.instances)} instances"

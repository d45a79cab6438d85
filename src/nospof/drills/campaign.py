"""Random drills from a seed, and how a drill that failed is made as small as it can be. Pure.

The same seed gives the same faults, targets and times on the same stack; what daemons make of them is another matter, so that a
smaller drill is believed only when it failed in most of its tries.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from nospof.drills.engine import HOLD_S, Drill, Injection
from nospof.drills.fault import Fault, targets
from nospof.topology import Topology

# Of three drills two have one fault; the others two or three, so soon after each other that the first is not over.
ONE, TWO = 0.67, 0.9
APART_S = (0.0, 8.0)
# Where next to nothing can be made, the last one says why.
MOST_DRAWS = 100


Can = Callable[[Fault], bool]
"""Whether a fault can be made on this ground."""


def drills(
    topology: Topology, kinds: Sequence[type[Fault]], seed: int, first: int, count: int, can: Can = lambda _: True
) -> Iterator[Drill]:
    """`count` drills of these kinds of faults with their usual parameters; none breaks the same target twice.

    Each depends on its number alone, from 1, so that a long campaign can be run in pieces, and one of it again. What cannot be
    made is drawn anew.
    """
    for number in range(first, first + count):
        chance = random.Random(f"{seed}/{number}")  # noqa: S311 - to be repeated, not to be secret
        yield Drill(f"seed {seed}, drill {number}", tuple(_injections(topology, kinds, chance, can)), HOLD_S)


def _injections(topology: Topology, kinds: Sequence[type[Fault]], chance: random.Random, can: Can) -> Iterator[Injection]:
    drawn = chance.random()
    count = 1 if drawn < ONE else 2 if drawn < TWO else 3
    at_s, broken = 0.0, set[str]()
    for _ in range(count):
        fault = _drawn(topology, kinds, chance, can)
        hosts = set(fault.hosts(topology))
        # A second fault on a host that is off already cannot be seen to be in force.
        if not hosts & broken:
            yield Injection(fault, round(at_s, 2))
        broken |= hosts
        at_s += chance.uniform(*APART_S)


def _drawn(topology: Topology, kinds: Sequence[type[Fault]], chance: random.Random, can: Can) -> Fault:
    for _ in range(MOST_DRAWS):
        kind = chance.choice(kinds)
        fault = kind(target=chance.choice(targets(kind, topology)))
        if can(fault):
            break
    return fault


def minimised(drill: Drill, fails: Callable[[Drill], bool]) -> Drill:
    """The smallest drill that `fails`: first with fewer faults, then with all at once, then held for less long.

    `fails` decides, by several tries, whether a drill still does; it is asked at most once for each candidate.
    Source: A. Zeller, R. Hildebrandt, "Simplifying and isolating failure-inducing input" (ddmin), here one by one.
    """
    smaller = True
    while smaller and len(drill.injections) > 1:
        smaller = False
        for left_out in range(len(drill.injections)):
            kept = drill.injections[:left_out] + drill.injections[left_out + 1 :]
            candidate = replace(drill, injections=tuple(replace(one, at_s=one.at_s - kept[0].at_s) for one in kept))
            if fails(candidate):
                drill, smaller = candidate, True
                break
    at_once = replace(drill, injections=tuple(replace(one, at_s=0.0) for one in drill.injections))
    return at_once if at_once != drill and fails(at_once) else drill

"""Findings from the structure function: what takes a goal down alone, what in pairs, and what no file can double."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from nospof.analysis.codes import finding
from nospof.analysis.paths import Harm, HostPath, harmful
from nospof.analysis.remedies import Remedy
from nospof.analysis.structure import Goal, Kind, Part, Structure
from nospof.analysis.takeovers import Takeovers
from nospof.analysis.year import year_finding
from nospof.stack.model import Stack
from nospof.stack.problems import Problem
from nospof.stack.words import listed
from nospof.topology import Topology

NO_SINGLE_CHANGE = "no single change of this file was found to end it: first do what is said of the others, then check again"
MOST_PAIRS = 12
MOST_HOSTS = 6


def loss_findings(
    stack: Stack,
    topology: Topology,
    made: Structure,
    spofs: Mapping[Part, tuple[Goal, ...]],
    remedies: Mapping[Part, Remedy | None],
    takeovers: Takeovers | None = None,
) -> Iterator[Problem]:
    """Everything that `made`, the structure of `topology`, says of single losses (`spofs`, with `remedies`) and pairs.

    `takeovers`: what drills have shown of this stack or another.
    """
    for part, goals in spofs.items():
        yield _single(stack, topology, made, part, goals, remedies.get(part))
    yield from _pairs(stack, made, spofs)
    yield from _cuts(stack, topology, made)
    yield _outside(stack, topology, made)
    if made.goals:
        yield year_finding(stack, topology, made, takeovers)


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
    stack: Stack, topology: Topology, made: Structure, part: Part, goals: tuple[Goal, ...], found: Remedy | None
) -> Problem:
    is_host = part.kind == Kind.HOST
    what = f"{part} is a single point of failure: without it {listed(goal.fails for goal in goals)}"
    alone = {one.name for goal in goals for one in made.single(goal) if one.kind == Kind.PROCESS}
    names = [one.component for one in topology.on_host(part.name) if str(one.id) in alone]
    if names:
        what += f"; {listed(names)} on it alone {'does' if len(names) == 1 else 'do'} the same"
    if is_host:
        what += f"; so does zone {topology.host(part.name).zone}, which it is in"
    only = [
        one.id.tier
        for one in topology.on_host(part.name)
        if topology.keeps_data(one.id.tier) and topology.of_tier(one.id.tier) == (one,)
    ]
    if only:
        what += f"; it has the only copy of the data of tier {listed(only)}"
    why = " → ".join(made.reason(goals[-1], [part]))
    fix = str(found.change) if found else NO_SINGLE_CHANGE
    path = f"hosts.{part.name}" if is_host else "hosts"
    return finding(stack, "F210" if is_host else "F211", path, what, why=why, fix=fix)


def _pairs(stack: Stack, made: Structure, spofs: Collection[Part]) -> Iterator[Problem]:
    """Pairs of hosts: what zones and processes add to them is the same, said larger or smaller."""
    both = _host_pairs(made, [goal for goal in made.goals if goal.is_visited])
    unseen = [goal for goal in made.goals if not goal.is_visited and _host_pairs(made, [goal])]
    if not both and not unseen:
        return
    may = f"{'one of each pair' if spofs else 'any one host or zone'} may be away"
    said = [f"{may}, but not both at once: {_few(both)}"] if both else []
    said += [f"{goal.fails} without both of {_few(_host_pairs(made, [goal]))}" for goal in unseen]
    yield finding(
        stack,
        "F212",
        "hosts",
        "; ".join(said),
        why="either alone is outlived; both together "
        f"{'take the site down' if both else 'are not noticed'}, as when the second fails before the first is mended",
        fix="mend the first loss before the second: nospof status tells of it, and says when all is well again",
    )


def _cuts(stack: Stack, topology: Topology, made: Structure) -> Iterator[Problem]:
    """Paths between two hosts that both live: those whose cut does harm, and those of which nobody knows."""
    found = harmful(topology, made)
    told: dict[str, list[HostPath]] = {}
    for path, done in found.items():
        told.setdefault(_meaning(done), []).append(path)
    if not told:
        return
    said = "; ".join(f"{_joined(alike)} ({meaning})" for meaning, alike in told.items())
    path, harm = min(
        ((path, harm) for path, done in found.items() for harm in chain(*done.values())),
        key=lambda one: (not one[1].is_certain, one[0]),
    )
    yield finding(
        stack,
        "F216",
        "hosts",
        f"a cut between two hosts that both live does harm, though the loss of either is outlived: of {said}",
        why=f"{path}: {' → '.join(harm.why)}; nobody takes the place of a host that lives",
        fix="nothing to do in this file: two cables and two switches between these hosts; nospof drill --list shows how to cut "
        "one off from another and see",
    )


def _meaning(done: Mapping[Goal, Sequence[Harm]]) -> str:
    """What a cut means for the goals it concerns."""
    certain = {goal: [harm for harm in done[goal] if harm.is_certain] for goal in done}
    shares = [
        f"{goal.fails} for {'a share of the' if all(harm.is_share for harm in sure) else 'all'} visitors"
        for goal, sure in certain.items()
        if sure
    ]
    return " and ".join(shares) or "what visitors see is not foretold"


def _joined(alike: Iterable[HostPath]) -> str:
    """The paths, each host that has them with the same others told once: "db1 or db2 from web1 or web2"."""
    others: dict[str, list[str]] = {}
    for path in alike:
        others.setdefault(path.other, []).append(path.one)
    groups: dict[tuple[str, ...], list[str]] = {}
    for other, ones in others.items():
        groups.setdefault(tuple(ones), []).append(other)
    return ", ".join(f"{_some(ones)} from {_some(them)}" for ones, them in groups.items())


def _some(names: Sequence[str]) -> str:
    if len(names) > MOST_HOSTS:
        return f"{', '.join(names[:MOST_HOSTS])} or one of {len(names) - MOST_HOSTS} more"
    return listed(names, "or")


def _few(names: list[str]) -> str:
    more = f" and {len(names) - MOST_PAIRS} more" if len(names) > MOST_PAIRS else ""
    return ", ".join(names[:MOST_PAIRS]) + more


def _host_pairs(made: Structure, goals: Iterable[Goal]) -> list[str]:
    cuts = {cut for goal in goals for cut in made.cut_sets(goal, 2) if {part.kind for part in cut} == {Kind.HOST}}
    return sorted(" + ".join(sorted(part.name for part in cut)) for cut in cuts if len(cut) == 2)


def _outside(stack: Stack, topology: Topology, made: Structure) -> Problem:
    singles = [f"the name {stack.domain} in DNS", "the network that all hosts share"]
    if topology.vips:
        singles.append("the one layer-2 network in which the VIP can move")
    singles.append("the folder .nospof beside this file: secrets and the CA's key, without which nothing is changed or renewed")
    singles.append("a bad release, which every host gets")
    return finding(
        stack,
        "F213",
        "domain",
        f"single, and not to be doubled by a stack file: {'; '.join(singles)}",
        why=f"everything else was looked at as if it were gone: {_counted(topology)}; what is there but frozen, or too slow, "
        "counts as living",
        fix="two name servers at different providers; doubled switches and cables; "
        "a copy of .nospof in a safe place (nospof state export); "
        "each release tried elsewhere first",
    )


def _counted(topology: Topology) -> str:
    zones = len({host.zone for host in topology.hosts})
    return f"{len(topology.hosts)} hosts, {zones} zone{'s' if zones > 1 else ''}, {len(topology.instances)} instances"

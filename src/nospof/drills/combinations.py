"""Which drills settle which combinations of losses. Pure.

The structure function is monotone: one loss more never helps. So a combination that takes a goal down settles all that lose
more, and one that does not settles all that lose less. To know them all it is enough to try the boundary between the two: the
smallest that are foretold to be down, and the largest that are foretold to be up.
Limit: what holds only if the order of losses does not matter is assumed; see `orders`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

from nospof.analysis.structure import Kind, Part, Structure
from nospof.component import OnePrimary
from nospof.drills.prediction import State
from nospof.errors import WrongInput
from nospof.resolve import component_of
from nospof.topology import InstanceId, Rank, Topology

MOST_HOSTS = 12
"""Of more nobody tries all subsets."""


@dataclass(frozen=True)
class Lost:
    """Parts that are lost at once, the instances that this takes away, and whether each goal outlives it."""

    parts: tuple[Part, ...]
    instances: frozenset[InstanceId]
    foretold: tuple[tuple[str, State], ...]

    def state(self, goal: str) -> State:
        return dict(self.foretold)[goal]

    @property
    def name(self) -> str:
        return " + ".join(map(str, self.parts))


def extent(topology: Topology, made: Structure, order: int, *, has_all_hosts: bool) -> tuple[Lost, ...]:
    """All combinations that are to be settled.

    Each part alone; with `order` 2 also each pair of hosts and zones; `has_all_hosts`: also every subset of the hosts. Raises
    WrongInput where these are too many.
    """
    large = [part for part in made.parts if part.kind != Kind.PROCESS]
    chosen: list[tuple[Part, ...]] = [(part,) for part in made.parts]
    if order > 1:
        chosen += [pair for pair in combinations(large, 2) if not _overlaps(topology, pair)]
    if has_all_hosts:
        hosts = [part for part in large if part.kind == Kind.HOST]
        if len(hosts) > MOST_HOSTS:
            what = f"{len(hosts)} hosts have {2 ** len(hosts)} subsets, too many to settle"
            raise WrongInput(what, fix=f"without --all: pairs; --all is for {MOST_HOSTS} hosts at most")
        chosen += [subset for size in range(2, len(hosts) + 1) for subset in combinations(hosts, size)]
    return tuple(_lost(topology, made, parts) for parts in dict.fromkeys(chosen))


def boundary(found: Sequence[Lost]) -> tuple[Lost, ...]:
    """The fewest of `found` that settle all of them, if everything is as foretold; and each part alone all the same."""
    kept: dict[frozenset[InstanceId], Lost] = {}
    for one in found:
        if len(one.parts) == 1 or any(_is_on_boundary(one, goal, found) for goal, _ in one.foretold):
            # Of two that take the same away, a single part before a pair.
            kept.setdefault(one.instances, one)
    singles = [one for one in found if len(one.parts) == 1]
    return tuple(dict.fromkeys([*singles, *kept.values()]))


def settle(one: Lost, goal: str, seen: Mapping[Lost, State]) -> tuple[State, tuple[Lost, ...], bool]:
    """What drills say of `goal` under `one`: the state, the drilled combinations that say so, and whether they contradict.

    `seen`: of each drilled combination what was seen of this goal.
    """
    if seen.get(one, State.UNKNOWN) is not State.UNKNOWN:
        return seen[one], (one,), False
    down = tuple(other for other, state in seen.items() if state is State.DOWN and other.instances <= one.instances)
    up = tuple(other for other, state in seen.items() if state is State.UP and other.instances >= one.instances)
    if down and up:
        return State.UNKNOWN, down[:1] + up[:1], True
    return (State.DOWN, down[:1], False) if down else (State.UP, up[:1], False) if up else (State.UNKNOWN, (), False)


def orders(topology: Topology, one: Lost) -> Iterator[tuple[Part, ...]]:
    """The orders in which the parts are to be lost: each where several concern a tier with a primary, else any one."""
    concerned = [part for part in one.parts if led(topology, part)]
    if len(one.parts) == 2 and concerned:
        yield from permutations(one.parts)
    else:
        yield one.parts


def roles(topology: Topology, one: Lost) -> Iterator[tuple[tuple[str, str], ...]]:
    """Who is to be primary when it begins: one that is lost, and for a single part then also one that is not."""
    tiers: dict[str, list[str]] = {}
    for part in one.parts:
        for tier, hosts in led(topology, part).items():
            tiers.setdefault(tier, []).extend(hosts)
    if not tiers:
        yield ()
    for tier, inside in tiers.items():
        candidates = [member.id.host for member in topology.of_tier(tier) if member.rank is Rank.NORMAL]
        outside = [host for host in candidates if host not in inside]
        wanted = [hosts for hosts in (inside, outside) if hosts]
        yield from (((tier, hosts[0]),) for hosts in (wanted if len(one.parts) == 1 else wanted[:1]))


def led(topology: Topology, part: Part) -> dict[str, list[str]]:
    """By tier with a primary that moves, the hosts of `part` that may be it: none, where only a witness is concerned."""
    found: dict[str, list[str]] = {}
    for instance in sorted(_instances(topology, part)):
        redundancy = component_of(topology.instance(instance)).redundancy
        if isinstance(redundancy, OnePrimary) and redundancy.takes_over:
            hosts = found.setdefault(instance.tier, [])
            hosts += [instance.host] * (topology.instance(instance).rank is Rank.NORMAL)
    return found


def _is_on_boundary(one: Lost, goal: str, found: Iterable[Lost]) -> bool:
    """Whether nothing smaller is foretold to be down, or nothing larger to be up."""
    state = one.state(goal)
    if state is State.DOWN:
        return not any(other.instances < one.instances and other.state(goal) is state for other in found)
    return not any(other.instances > one.instances and other.state(goal) is state for other in found)


def _lost(topology: Topology, made: Structure, parts: tuple[Part, ...]) -> Lost:
    instances = frozenset[InstanceId]().union(*(_instances(topology, part) for part in parts))
    foretold = tuple((goal.value, State.DOWN if made.fails(goal, parts) else State.UP) for goal in made.goals)
    return Lost(tuple(sorted(parts)), instances, foretold)


def _instances(topology: Topology, part: Part) -> frozenset[InstanceId]:
    if part.kind == Kind.PROCESS:
        tier, _, host = part.name.partition("/")
        return frozenset({InstanceId(tier, host)})
    hosts = [host.name for host in topology.hosts if part.name == (host.zone if part.kind == Kind.ZONE else host.name)]
    return frozenset(one.id for host in hosts for one in topology.on_host(host))


def _overlaps(topology: Topology, parts: Iterable[Part]) -> bool:
    first, second = (_instances(topology, part) for part in parts)
    return bool(first & second)

"""What `up` would do: every host's own answer to "what do you lack of this manifest", and the order of doing it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from nospof.apply.trips import Problem
from nospof.errors import Failed, WrongInput
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

    def as_json(self) -> str:
        """One JSON document; `read_plan` reads it again."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def require_like(self, shown: Plan) -> None:
        """Raise Failed where this is not what was `shown`, with every change that was added, is gone, or became another.

        A host that was shown as to be made may lack anything.
        """
        differing = list(_differing(shown, self))
        if differing:
            raise Failed(
                "what is to be done is not what was shown: nothing was begun",
                why="the stack file, what it names or a host was changed since the plan was saved",
                fix="look at it again: nospof plan --save FILE",
                detail="\n".join(differing),
            )


def read_plan(path: Path) -> Plan:
    """A saved plan. Raises WrongInput where the file is none."""
    try:
        document = json.loads(path.read_text())
        return Plan(
            tuple(Change(**change) for change in document["changes"]),
            tuple(Problem(**problem) for problem in document["problems"]),
        )
    except OSError as error:
        raise WrongInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise WrongInput(f"{path} is no plan that `nospof plan --save` wrote", fix="nospof plan --save FILE") from error


def _differing(shown: Plan, now: Plan) -> Iterator[str]:
    new = {change.host for change in shown.changes if (change.kind, change.change) == ("host", "create")}
    before, after = ({_what(change): change.diff for change in plan.changes if change.host not in new} for plan in (shown, now))
    for what in sorted(before.keys() | after.keys()):
        if what not in before:
            yield f"was not shown   {what}"
        elif what not in after:
            yield f"is no more      {what}"
        elif before[what] != after[what]:
            yield f"differs         {what}"
    dark = {problem.host for problem in shown.problems}, {problem.host for problem in now.problems}
    yield from (f"answers again   {host}" for host in sorted(dark[0] - dark[1]))
    yield from (f"does not answer {host}" for host in sorted(dark[1] - dark[0]))


def _what(change: Change) -> str:
    owner = f"  ({change.tier})" if change.instance else ""
    return f"{change.host:<8} {change.change} {change.kind} {change.name}{owner}"


def activation_order(topology: Topology) -> tuple[str, ...]:
    """The tiers, one after the other: layer by layer."""
    return tuple(tier for layer in activation_layers(topology) for tier in layer)


def activation_layers(topology: Topology) -> tuple[tuple[str, ...], ...]:
    """The tiers, callees before callers; providers that nobody calls come after those who need them.

    Those of one layer need none of each other. A provider that calls those who need it watches them: it is there first, and
    they are no callees of its. Tiers that call each other in a circle come in the order of their names.
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
    layers: list[tuple[str, ...]] = []
    while waiting:
        ready = [tier for tier in waiting if not after[tier] & set(waiting) - {tier}] or waiting[:1]
        layers.append(tuple(ready))
        waiting = [tier for tier in waiting if tier not in ready]
    return ((BASE_TIER,), (FIREWALL_TIER,), *layers)


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

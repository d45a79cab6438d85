"""What a cut between two hosts does that both live: who cannot do its work any more, and whether anybody notices. Pure.

A path is a pair of hosts with links over the network between them. It is no part of the structure function, which is monotone:
with a path that is cut, one loss more may help, since the loss of a host that was cut off moves the VIP, or the primary, away
from it. So each path is judged by itself, one cut at a time, over the links that cross it:

* Who has none left of what one target would be enough for does not do its work. Where its callers ask for its health through
  it, they go on without it, as if its process were lost. Else its share of the visitors fails.
* A route to a primary has one target at a time: cut off from the host of it, its share of writes fails while that is primary.
* A primary needs another copy to acknowledge; voters need a majority that hears each other.
* Whoever agrees on the holder of a VIP and does not hear the other holds it too. What visitors see of two is not foretold.

Limits: one cut at a time, and it is whole, in both directions. That somebody hears of a third what he cannot hear himself is
taken from what the components say of themselves (`redundancy`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from nospof.analysis.structure import Goal, Kind, Part, Structure
from nospof.component import Consensus, OnePrimary, TcpRoute
from nospof.resolve import component_of
from nospof.topology import OUTSIDE, Instance, InstanceId, Link, Rank, Topology


@dataclass(frozen=True, order=True)
class HostPath:
    """Two hosts that call each other over the network, by name."""

    one: str
    other: str

    def __str__(self) -> str:
        return f"{self.one} + {self.other}"


@dataclass(frozen=True)
class Harm:
    """What a cut does to a goal. `is_certain`: else nobody foretells what visitors see of it.

    `primary`: only while this host is primary of this tier; None: whoever is. `is_share`: only visitors whose requests come
    this way notice.
    """

    why: tuple[str, ...]
    is_certain: bool = True
    primary: tuple[str, str] | None = None
    is_share: bool = False


def paths(topology: Topology) -> tuple[HostPath, ...]:
    """Every pair of hosts with a link between them."""
    pairs = (sorted((link.source.host, link.target.owner.host)) for link in topology.links if _crosses(link))
    return tuple(sorted({HostPath(one, other) for one, other in pairs}))


def harms(topology: Topology, made: Structure, path: HostPath, goal: Goal) -> tuple[Harm, ...]:
    """What a cut of `path` does to `goal`; () where it is outlived. `made`: the structure of `topology`."""
    return _Judge(topology, made, goal).of(path)


def harmful(topology: Topology, made: Structure) -> dict[HostPath, dict[Goal, tuple[Harm, ...]]]:
    """All paths that a cut does harm on, but for those of hosts of which one alone is a single point of failure."""
    judges = {goal: _Judge(topology, made, goal) for goal in made.goals if goal.is_visited}
    found: dict[HostPath, dict[Goal, tuple[Harm, ...]]] = defaultdict(dict)
    for path in paths(topology):
        for goal, judge in judges.items():
            if {Part(Kind.HOST, path.one), Part(Kind.HOST, path.other)} & made.single(goal):
                continue
            if done := judge.of(path):
                found[path][goal] = done
    return dict(found)


@dataclass(frozen=True)
class _Judge:
    topology: Topology
    made: Structure
    goal: Goal

    def of(self, path: HostPath) -> tuple[Harm, ...]:
        """What a cut of `path` does."""
        return tuple(dict.fromkeys([*self.beyond(path.one, path.other), *self.beyond(path.other, path.one)]))

    def beyond(self, here: str, there: str) -> Iterator[Harm]:
        """What is harmed since `here` does not reach `there`."""
        for instance in self.topology.on_host(here):
            if instance.id in self._needed and instance.rank is not Rank.SPARE:
                yield from self._without(instance, there)
                yield from self._misled(instance, there)
            yield from self._alone(instance, there)
            yield from self._deaf(instance, there)

    @cached_property
    def _needed(self) -> frozenset[InstanceId]:
        """Whoever is asked in the course of the visitors' requests that this goal is about."""
        todo = [link.target.owner for link in self.topology.links if link.source == OUTSIDE]
        found: set[InstanceId] = set()
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo += [link.target.owner for link in self.topology.links_from(one) if self._counts(link)]
        return frozenset(found)

    def _counts(self, link: Link) -> bool:
        answers = link.target.listen.answers
        is_for_writing = isinstance(answers, TcpRoute) and answers.writes
        is_asked = link.is_required and not link.asks_health and not link.target.is_for_staff
        return is_asked and (self.goal is Goal.WRITE or not is_for_writing)

    # --- one target is enough ----------------------------------------------------------------------------------------
    def _without(self, caller: Instance, there: str) -> Iterator[Harm]:
        """It has none left of several of which one is enough."""
        for tier, host, has_pages in self._only.get(caller.id, ()):
            if host == there:
                lacks = f"{caller.component} on {caller.id.host} does not reach {tier} on {there}, and there is no other"
                yield from self._noticed(caller, lacks, has_pages=has_pages)

    @cached_property
    def _only(self) -> dict[InstanceId, list[tuple[str, str, bool]]]:
        """By caller the tiers that it has on one other host alone: tier, host, whether it gives pages."""
        found: dict[InstanceId, list[tuple[str, str, bool]]] = defaultdict(list)
        for caller in sorted(self._needed - {one.id for one in self.topology.instances if _routes(one)}):
            groups: dict[tuple[str, str], list[Link]] = defaultdict(list)
            for link in self.topology.links_from(caller):
                if self._counts(link):
                    groups[(link.purpose, link.target.owner.tier)].append(link)
            for (_, tier), links in sorted(groups.items()):
                (host, *more) = {link.target.owner.host for link in links}
                if not more and _crosses(links[0]):
                    found[caller].append((tier, host, links[0].target.listen.speaks.carries_pages))
        return found

    def _noticed(self, caller: Instance, lacks: str, *, has_pages: bool) -> Iterator[Harm]:
        """What follows when `caller` cannot do its work: those who ask it for health through it leave it out."""
        asked_by = {link.source for link in self.topology.links_to(caller.id)} - {OUTSIDE}
        checking = [one for one in sorted(asked_by) if _checks(self.topology.instance(one))]
        if has_pages and checking and len(checking) == len(asked_by):
            part = Part(Kind.PROCESS, str(caller.id))
            if part in self.made.single(self.goal):
                yield Harm((lacks, f"its callers leave {caller.id} out", self.goal.fails))
        else:
            yield Harm((lacks, f"nobody leaves {caller.id} out for that", self._share(caller)), is_share=True)

    def _share(self, caller: Instance) -> str:
        return f"of the visitors whose requests come to {caller.id.host}, {self.goal.fails}"

    # --- routes to whoever has the role ------------------------------------------------------------------------------
    def _misled(self, router: Instance, there: str) -> Iterator[Harm]:
        """A router does not reach the host that it has to lead to."""
        for route in self._led.get(router.id, ()):
            members = [one for one in self.topology.of_tier(route.tier) if one.rank is Rank.NORMAL]
            mine = [one for one in members if one.id.host == there]
            lacks = f"{router.component} on {router.id.host} does not reach {there}"
            unnoticed = f"{router.id.host} is well by its health check, and is given its share of the requests"
            if mine and len(members) == 1:
                yield Harm((lacks, unnoticed, self._share(router)), is_share=True)
            elif mine and route.writes and isinstance(component_of(mine[0]).redundancy, OnePrimary):
                while_so = f"{lacks}, and {there} is primary"
                yield Harm((while_so, unnoticed, self._share(router)), primary=(route.tier, there), is_share=True)

    @cached_property
    def _led(self) -> dict[InstanceId, list[TcpRoute]]:
        """By router the routes that are asked for in the course of requests."""
        return {
            one.id: [route for route in sorted(_routes(one), key=repr) if self._is_used(one, route)]
            for one in self.topology.instances
            if one.demands
        }

    def _is_used(self, router: Instance, route: TcpRoute) -> bool:
        return any(
            link.target.listen.answers == route and self._counts(link) and link.source in self._needed
            for link in self.topology.links_to(router.id)
        )

    # --- tiers with a primary ----------------------------------------------------------------------------------------
    def _alone(self, primary: Instance, there: str) -> Iterator[Harm]:
        """A primary has no copy left that acknowledges; it may go on alone only where a majority agrees to that."""
        how = component_of(primary).redundancy
        if self.goal is not Goal.WRITE or not isinstance(how, OnePrimary) or primary.rank is not Rank.NORMAL:
            return
        others = [one for one in self.topology.of_tier(primary.id.tier) if one.id != primary.id]
        if len(others) != 1 or others[0].id.host != there or how.most_voters < 1:
            return  # another copy acknowledges, and hears that the primary lives
        me = primary.id.host
        while_so = f"no copy acknowledges while {me} is primary, since {there} does not hear it"
        may_go_on = how.goes_alone if how.goes_alone is not None else len(others) < how.most_voters
        if may_go_on and self._agree(primary, me, there):
            yield Harm((while_so, "both may try to go on without the other; one of them will be refused"), is_certain=False)
        else:
            yield Harm((while_so, self.goal.fails), primary=(primary.id.tier, me))

    def _agree(self, member: Instance, here: str, there: str) -> bool:
        """Whether voters that hear each other are still a majority."""
        wanted = {want.need for want in component_of(member).wants if isinstance(want.need, Consensus)}
        hosts = {one.id.host for one in self.topology.instances if wanted & {demand.need for demand in one.demands}}
        # One of the two is not heard by the other; everybody else hears both.
        return bool(hosts) and (len(hosts) - ({here, there} <= hosts)) * 2 > len(hosts)

    # --- who agrees on a VIP -----------------------------------------------------------------------------------------
    def _deaf(self, mover: Instance, there: str) -> Iterator[Harm]:
        """Whoever does not hear the holder of a VIP takes it."""
        for host, vip in self._heard.get(mover.id, ()):
            if host == there:
                hosts = " and ".join(sorted((mover.id.host, there)))
                several = "s" if len(self.topology.vips_of(vip)) > 1 else ""
                yield Harm((f"{hosts} do not hear each other, and both hold the VIP{several} of {vip}",), is_certain=False)

    @cached_property
    def _heard(self) -> dict[InstanceId, list[tuple[str, str]]]:
        """Who moves a VIP → the hosts of those it agrees with on that over the network, and the VIP."""
        found: dict[InstanceId, list[tuple[str, str]]] = defaultdict(list)
        for mover in (one for one in self.topology.instances if _vips(one)):
            for link in self.topology.links_from(mover.id):
                if _crosses(link) and link.target.owner.tier == mover.id.tier:
                    shared = _vips(mover) & _vips(self.topology.instance(link.target.owner))
                    found[mover.id] += [(link.target.owner.host, vip) for vip in sorted(shared)]
        return found


def _routes(router: Instance) -> set[TcpRoute]:
    return {demand.need for demand in router.demands if isinstance(demand.need, TcpRoute)}


def _vips(mover: Instance) -> set[str]:
    return {demand.need.vip_name for demand in mover.demands if demand.need.vip_name}


def _crosses(link: Link) -> bool:
    return (
        not link.is_local
        and bool(link.source.host)
        and bool(link.target.owner.host)
        and (link.source.host != link.target.owner.host)
    )


def _checks(caller: Instance) -> bool:
    """Whether it asks those from whom it has pages for their health, through them."""
    return any(connect.checks and connect.speaks.carries_pages for connect in component_of(caller).connects)

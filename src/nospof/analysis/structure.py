"""The structure function: which goal fails when which parts are lost, from the topology alone. Pure.

A part is a zone, a host or a process, which a folder of files has not; losing it is losing it for long, since what restarts or
moves by itself within seconds is no loss. For each goal there is a tree of conditions ("haproxy on lb1 does not run"), which
share what is common. It is evaluated, explained, and turned into minimal cut sets. It is monotone: one loss more never helps.

What is assumed, and tried by drills: instances that lose what they need on their own host are asked nothing any more; a primary
may be any normal host of its tier, so a goal holds only if it holds with each of them (a spare or a witness gives the role
back, and acknowledges only where there are too few others); several losses come at once. How a tier outlives the loss of
instances is said by its component (Each, Majority, OnePrimary in nospof.component).
An alert arrives while somebody who needs its delivery lives together with somebody who delivers for them; whether whoever takes
alerts outside takes them is no part.
Paths between two hosts that are cut while both live are no parts here: nospof.analysis.paths looks at them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from itertools import combinations

from nospof.component import Agreement, AlertDelivery, Majority, OnePrimary, TcpRoute
from nospof.resolve import component_of
from nospof.topology import OUTSIDE, Endpoint, Instance, InstanceId, Link, Protocol, Rank, Site, Topology


class Goal(Enum):
    """A promise to the outside."""

    SERVE = "serve"
    WRITE = "write"
    OBSERVE = "observe"

    @property
    def fails(self) -> str:
        return {"serve": "pages are not answered", "write": "writes fail", "observe": "alerts do not arrive"}[self.value]

    @property
    def is_visited(self) -> bool:
        """Whether visitors notice when it fails, so that drills can ask as they do."""
        return self is not Goal.OBSERVE


class Kind(StrEnum):
    """What kind of part; in the order from large to small."""

    ZONE = "zone"
    HOST = "host"
    PROCESS = "process"


@dataclass(frozen=True, order=True)
class Part:
    """Something that can be lost: a zone, a host, or all processes of one instance ("web/web1")."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Gate(Enum):
    """When a condition is the case: any of its causes is, all are, or so many."""

    ANY = "any"
    ALL = "all"
    AT_LEAST = "at least"


@dataclass(frozen=True, eq=False)
class Condition:
    """Something that may be the case. `says` may count: {left} of {all} causes are not the case; "" is not worth a word."""

    says: str
    gate: Gate
    causes: tuple[Condition | Part, ...]
    least: int = 1

    @property
    def needed(self) -> int:
        """So many causes bring it about."""
        return {Gate.ANY: 1, Gate.ALL: len(self.causes), Gate.AT_LEAST: self.least}[self.gate]


CutSet = frozenset[Part]
SEATS = (Rank.NORMAL, Rank.WITNESS, Rank.SPARE)
"""Who acknowledges a primary's writes, the first before the others."""
NEVER = Condition("never", Gate.ANY, ())
ALWAYS = Condition("always", Gate.ALL, ())


@dataclass(frozen=True)
class Structure:
    """What the goals of a stack rest on. A goal that the stack does not have is not in `goals`."""

    goals: Mapping[Goal, Condition]
    parts: tuple[Part, ...]
    _found: dict[tuple[Goal, int], tuple[CutSet, ...]] = field(default_factory=dict, compare=False, repr=False)

    def fails(self, goal: Goal, lost: Iterable[Part]) -> bool:
        """Whether `goal` fails while all of `lost` are lost."""
        return _Evaluation(frozenset(lost)).is_so(self.goals[goal])

    def reason(self, goal: Goal, lost: Iterable[Part]) -> tuple[str, ...]:
        """Why `goal` fails while `lost` are lost, from the loss to the goal; () where it does not fail."""
        evaluation = _Evaluation(frozenset(lost))
        if not evaluation.is_so(self.goals[goal]):
            return ()
        return tuple(dict.fromkeys(reversed(list(evaluation.chain(self.goals[goal])))))

    def cut_sets(self, goal: Goal, most: int) -> tuple[CutSet, ...]:
        """The minimal sets of at most `most` parts whose loss makes `goal` fail, the smallest first."""
        if (goal, most) not in self._found:
            found = _Cuts(most).of(self.goals[goal])
            self._found[(goal, most)] = tuple(sorted(found, key=lambda cut: (len(cut), sorted(cut))))
        return self._found[(goal, most)]

    def of_visitors(self) -> Structure:
        """The same with the goals that visitors can try, and no others."""
        return replace(self, goals={goal: top for goal, top in self.goals.items() if goal.is_visited}, _found={})

    def single(self, goal: Goal) -> frozenset[Part]:
        """The parts that alone make `goal` fail."""
        return frozenset(part for cut in self.cut_sets(goal, 1) for part in cut)


def structure(topology: Topology) -> Structure:
    """Work out what the goals of `topology` rest on."""
    made = _Builder(topology)
    goals = {goal: condition for goal in Goal if (condition := made.goal(goal)) is not None}
    parts = [
        *(Part(Kind.ZONE, zone) for zone in sorted({host.zone for host in topology.hosts})),
        *(Part(Kind.HOST, host.name) for host in topology.hosts),
        *(Part(Kind.PROCESS, str(instance.id)) for instance in topology.instances if _has_processes(instance)),
    ]
    return Structure(goals, tuple(sorted(parts)))


def _has_processes(instance: Instance) -> bool:
    """Whether anything runs for it: a folder that others read is lost with its host only."""
    listens = component_of(instance).listens
    return not listens or any(listen.speaks is not Protocol.FILES for listen in listens)


# --- from the topology to conditions -------------------------------------------------------------------------------------
@dataclass
class _Builder:
    topology: Topology
    _dead: dict[InstanceId, Condition] = field(default_factory=dict)
    _failing: dict[tuple[Goal, Site, InstanceId], Condition] = field(default_factory=dict)
    _tiers: dict[tuple[Goal, str], Condition] = field(default_factory=dict)
    _sites: dict[Endpoint, tuple[Site, ...]] = field(default_factory=dict)

    def goal(self, goal: Goal) -> Condition | None:
        """What makes `goal` fail; None where the stack has nothing of the kind."""
        if goal is Goal.OBSERVE:
            return self._observe()
        entries = sorted({link.target for link in self.topology.links if link.source == OUTSIDE}, key=str)
        found = {site for entry in entries for site in self._sites_of(entry) if site.is_promised}
        sites = sorted(found, key=lambda site: (site.tier, site.path))
        if goal is Goal.WRITE:
            sites = [site for site in sites if self._writes(site)]
        if not sites:
            return None
        by_port: dict[Site, list[Endpoint]] = {
            site: [entry for entry in entries if site in self._sites_of(entry)] for site in sites
        }
        return Condition(goal.fails, Gate.ANY, tuple(self._site(goal, site, found) for site, found in by_port.items()))

    def _observe(self) -> Condition | None:
        """Nobody who watches has somebody left who tells people."""
        ways = []
        for one in self.topology.instances:
            if component_of(one).tells is not None:
                ways.append(self._is_dead(one.id))
                continue
            needs = {want.need for want in component_of(one).wants if isinstance(want.need, AlertDelivery)}
            if not needs:
                continue
            delivering = sorted(other.id for other in self.topology.instances if any(d.need in needs for d in other.demands))
            if delivering:
                nobody = Condition(f"nobody delivers what {one.id} notices", Gate.ALL, tuple(map(self._is_dead, delivering)))
                ways.append(_any("", (self._is_dead(one.id), nobody)))
        return Condition(Goal.OBSERVE.fails, Gate.ANY, (Condition("nobody watches", Gate.ALL, tuple(ways)),)) if ways else None

    def _site(self, goal: Goal, site: Site, entries: list[Endpoint]) -> Condition:
        owners = sorted({entry.owner for entry in entries})
        tiers = sorted({owner.tier for owner in owners})
        found = [self._way_in(goal, site, [one for one in owners if one.tier == tier]) for tier in tiers]
        return Condition(f"nobody answers for {site.tier}", Gate.ALL, tuple(way for ways in found for way in ways))

    def _way_in(self, goal: Goal, site: Site, owners: list[InstanceId]) -> tuple[Condition, ...]:
        """While all of these are the case not everybody comes in through a tier: at one of its addresses nobody answers."""
        held = {frozenset(vip.hosts): vip for vip in reversed(self.topology.vips_of(owners[0].tier))}
        ways = {owner: self._entry(goal, site, owner) for owner in owners}
        if len(held) < 2:
            return tuple(ways.values())
        unheld = [
            Condition(f"nobody answers at {vip.address}", Gate.ALL, tuple(ways[one] for one in owners if one.host in hosts))
            for hosts, vip in sorted(held.items(), key=lambda item: item[1].number)
        ]
        return (_any("", unheld),)

    def _entry(self, goal: Goal, site: Site, owner: InstanceId) -> Condition:
        """Through this host nobody comes in: it does not answer, or what brings the address to it does not run."""
        holders = [
            self._is_dead(provider.id)
            for provider in self.topology.on_host(owner.host)
            if any(demand.by == owner and demand.need.vip_name for demand in provider.demands)
        ]
        return _any("", (self._fails(goal, site, owner), *holders))

    def _writes(self, site: Site) -> bool:
        """Whether the application of `site` has a way to change data."""
        members = self.topology.of_tier(site.tier)
        return any(
            isinstance(link.target.listen.answers, TcpRoute)
            and link.target.listen.answers.writes
            and not link.target.listen.answers.is_for_pages
            for member in members
            for link in self.topology.links_from(member.id)
        )

    # --- instances ---------------------------------------------------------------------------------------------------
    def _is_dead(self, instance: InstanceId) -> Condition:
        if instance not in self._dead:
            found, host = self.topology.instance(instance), self.topology.host(instance.host)
            processes = (Part(Kind.PROCESS, str(instance)),) if _has_processes(found) else ()
            causes = (*processes, Part(Kind.HOST, host.name), Part(Kind.ZONE, host.zone))
            self._dead[instance] = Condition(f"{found.component} on {instance.host} does not run", Gate.ANY, causes)
        return self._dead[instance]

    def _fails(self, goal: Goal, site: Site, instance: InstanceId) -> Condition:
        """The instance does not run, or lacks something that it cannot do without."""
        key = (goal, site, instance)
        if key not in self._failing:
            # Who needs itself in the end does not fail for that.
            self._failing[key] = NEVER
            lacks = tuple(self._lacks(goal, site, instance, group) for group in self._groups(goal, site, instance))
            self._failing[key] = _any("", (self._is_dead(instance), *lacks))
        return self._failing[key]

    def _groups(self, goal: Goal, site: Site, instance: InstanceId) -> Iterator[tuple[Link, ...]]:
        """What it cannot do without: of each group one target is enough."""
        groups: dict[tuple[str, str, str], list[Link]] = defaultdict(list)
        for link in self.topology.links_from(instance):
            answers = link.target.listen.answers
            is_for_writing = isinstance(answers, TcpRoute) and answers.writes and not answers.is_for_pages
            leads = self._sites_of(link.target)
            if not link.is_required or link.asks_health or (leads and site not in leads):
                continue
            if is_for_writing and goal is not Goal.WRITE:
                continue
            groups[(link.purpose, link.target.owner.tier, repr(answers))].append(link)
        yield from (tuple(groups[key]) for key in sorted(groups))

    def _lacks(self, goal: Goal, site: Site, instance: InstanceId, group: tuple[Link, ...]) -> Condition:
        targets = tuple(self._target_fails(goal, site, target) for target in sorted({link.target for link in group}, key=str))
        tier = group[0].target.owner.tier
        return targets[0] if len(targets) == 1 else Condition(f"nobody in tier {tier} answers {instance}", Gate.ALL, targets)

    def _target_fails(self, goal: Goal, site: Site, target: Endpoint) -> Condition:
        route = target.listen.answers
        if isinstance(route, TcpRoute):
            tier = self._tier(Goal.WRITE if route.writes else Goal.SERVE, route.tier)
            return _any("", (self._is_dead(target.owner), tier))
        component = component_of(self.topology.instance(target.owner))
        if isinstance(component.redundancy, Majority):
            return self._no_majority(self._peers(target.owner))
        return self._fails(goal, site, target.owner)

    def _sites_of(self, endpoint: Endpoint) -> tuple[Site, ...]:
        if endpoint not in self._sites:
            self._sites[endpoint] = self.topology.sites_behind(endpoint)
        return self._sites[endpoint]

    # --- tiers with a primary ----------------------------------------------------------------------------------------
    def _tier(self, goal: Goal, tier: str) -> Condition:
        """`tier` takes no writes, or gives nothing to read."""
        if (goal, tier) not in self._tiers:
            members = self.topology.of_tier(tier)
            redundancy = component_of(members[0]).redundancy
            does_not = "takes no writes" if goal is Goal.WRITE else "cannot be read"
            if isinstance(redundancy, OnePrimary):
                candidates = [member for member in members if member.rank is Rank.NORMAL]
                made = [self._with_primary(goal, redundancy, primary, members) for primary in candidates]
                condition = _any(f"tier {tier} {does_not}", made)
            else:
                condition = Condition(f"tier {tier} {does_not}", Gate.ALL, tuple(self._is_dead(one.id) for one in members))
            self._tiers[(goal, tier)] = condition
        return self._tiers[(goal, tier)]

    def _with_primary(self, goal: Goal, how: OnePrimary, primary: Instance, members: tuple[Instance, ...]) -> Condition:
        """It neither goes on with `primary` as it was, nor with another in its place."""
        others = sorted((one for one in members if one.id != primary.id), key=lambda one: (SEATS.index(one.rank), one.id))
        if not others:
            return self._is_dead(primary.id)
        voters = [self._is_dead(one.id) for one in (others[: how.most_voters] if how.hears_all else others)]
        goes_alone = _goes_alone(how, others)
        no_majority = self._no_majority(self._agreeing(primary))
        stops = [self._is_dead(primary.id)]
        if goal is Goal.WRITE and voters:
            alone = Condition("no copy acknowledges", Gate.ALL, tuple(voters))
            # Where any copy may be promoted, one that is not heard may have been: only a majority can tell.
            unheard = alone if how.hears_all else _any("a copy does not answer the primary", voters)
            if goes_alone or not how.hears_all:
                stops.append(_all("the primary may not go on alone", (unheard, no_majority)))
            if not goes_alone:
                stops.append(alone)
        return _all(f"{primary.id.host}, if it is primary, is not replaced", (
            _any(f"the primary {primary.id.host} does not go on", stops),
            self._nobody_promoted(how, voters, no_majority, goes_alone=goes_alone),
        ))  # fmt: skip

    def _nobody_promoted(
        self, how: OnePrimary, voters: list[Condition], no_majority: Condition, *, goes_alone: bool
    ) -> Condition:
        # A promoted copy needs another one to acknowledge its writes, unless it may go on alone.
        if not how.takes_over or not voters or (len(voters) < 2 and not goes_alone):
            return ALWAYS
        if how.hears_all:
            missing = _any("a copy that may have acknowledged the last writes cannot be heard", voters)
        else:
            least = len(voters) if goes_alone else len(voters) - 1
            missing = Condition("too few copies are left to be promoted", Gate.AT_LEAST, tuple(voters), least)
        return _any("nobody can be promoted", (no_majority, missing))

    def _agreeing(self, member: Instance) -> tuple[InstanceId, ...]:
        """Those who agree on who is primary, for the tier of `member`."""
        wanted = {want.need for want in component_of(member).wants if isinstance(want.need, Agreement)}
        return tuple(one.id for one in self.topology.instances if any(demand.need in wanted for demand in one.demands))

    def _peers(self, instance: InstanceId) -> tuple[InstanceId, ...]:
        needs = {demand.need for demand in self.topology.instance(instance).demands}
        found = [one for one in self.topology.of_tier(instance.tier) if not needs or needs & {d.need for d in one.demands}]
        return tuple(one.id for one in found)

    def _no_majority(self, voters: tuple[InstanceId, ...]) -> Condition:
        if not voters:
            return ALWAYS
        component = self.topology.instance(voters[0]).component
        # Of n voters n // 2 + 1 are a majority, so it is lost with this many.
        least = len(voters) - len(voters) // 2
        says = f"{component} has {{left}} of {{all}} voters, no majority"
        return Condition(says, Gate.AT_LEAST, tuple(self._is_dead(voter) for voter in voters), least)


def _goes_alone(how: OnePrimary, others: list[Instance]) -> bool:
    if how.goes_alone is not None:
        return how.goes_alone
    return len(others) < how.most_voters or (not how.hears_all and any(one.rank is Rank.SPARE for one in others))


def _any(says: str, causes: Iterable[Condition]) -> Condition:
    kept = tuple(cause for cause in causes if cause is not NEVER)
    if ALWAYS in kept or not kept:
        return ALWAYS if kept else NEVER
    return kept[0] if len(kept) == 1 and not says else Condition(says, Gate.ANY, kept)


def _all(says: str, causes: Iterable[Condition]) -> Condition:
    kept = tuple(cause for cause in causes if cause is not ALWAYS)
    if NEVER in kept or not kept:
        return NEVER if kept else ALWAYS
    return kept[0] if len(kept) == 1 and not says else Condition(says, Gate.ALL, kept)


# --- what follows --------------------------------------------------------------------------------------------------------
@dataclass
class _Evaluation:
    """What is the case while `lost` are lost. Each condition is looked at once."""

    lost: CutSet
    _known: dict[Condition, bool] = field(default_factory=dict)

    def is_so(self, top: Condition) -> bool:
        for condition in in_order(top):
            happened = sum(self._has_happened(cause) for cause in condition.causes)
            self._known[condition] = happened >= condition.needed
        return self._known[top]

    def _has_happened(self, cause: Condition | Part) -> bool:
        return cause in self.lost if isinstance(cause, Part) else self._known[cause]

    def chain(self, top: Condition) -> Iterator[str]:
        """From `top`, which is the case, down to a loss: where one cause is enough the first, else the longest story.

        The longest tells why what still lives fails too; that what was lost does not run is no news.
        """
        told = self._told(top)
        here: Condition | Part = top
        while isinstance(here, Condition):
            if here.says:
                left = sum(not self._has_happened(cause) for cause in here.causes)
                yield here.says.format(left=left, all=len(here.causes))
            if here not in told:
                return
            here = told[here]
        yield SAID[here.kind].format(here.name)

    def _told(self, top: Condition) -> dict[Condition, Condition | Part]:
        """The cause that is told of each condition that is the case."""
        told: dict[Condition, Condition | Part] = {}
        lengths: dict[Condition | Part, int] = {}
        for condition in in_order(top):
            happened = [cause for cause in condition.causes if self._has_happened(cause)]
            if happened:
                longest = max(reversed(happened), key=lambda cause: lengths.get(cause, 1))
                told[condition] = happened[0] if condition.gate is Gate.ANY else longest
                lengths[condition] = lengths.get(told[condition], 1) + bool(condition.says)
        return told


SAID = {"zone": "zone {} is gone", "host": "host {} is dark", "process": "{} stops"}


def in_order(top: Condition) -> Iterator[Condition]:
    """Everything `top` consists of, each once, causes first. Not recursive: chains may be long."""
    seen: set[Condition] = set()
    todo: list[tuple[Condition, bool]] = [(top, False)]
    while todo:
        condition, is_done = todo.pop()
        if is_done:
            yield condition
        elif condition not in seen:
            seen.add(condition)
            todo.append((condition, True))
            todo.extend((cause, False) for cause in reversed(condition.causes) if isinstance(cause, Condition))


@dataclass
class _Cuts:
    """Minimal cut sets of at most `most` parts, from the bottom up; larger ones are dropped as soon as they appear."""

    most: int

    def of(self, top: Condition) -> frozenset[CutSet]:
        known: dict[Condition, frozenset[CutSet]] = {}
        for condition in in_order(top):
            causes = [
                frozenset({frozenset({cause})}) if isinstance(cause, Part) else known[cause] for cause in condition.causes
            ]
            known[condition] = self._joined(causes, condition.needed)
        return known[top]

    def _joined(self, causes: list[frozenset[CutSet]], needed: int) -> frozenset[CutSet]:
        found: set[CutSet] = set()
        for chosen in combinations(causes, needed):
            # Causes' sets are minimal by themselves.
            together = chosen[0] if chosen else frozenset({frozenset()})
            for one in chosen[1:]:
                together = _minimal({both for a in together for b in one if len(both := a | b) <= self.most})
            found |= together
        return _minimal(found)


def _minimal(cuts: set[CutSet]) -> frozenset[CutSet]:
    """Without those that contain another one."""
    kept: list[CutSet] = []
    by_part: dict[Part, list[CutSet]] = defaultdict(list)
    for cut in sorted(cuts, key=len):
        if not cut:
            return frozenset({cut})
        if not any(other <= cut for part in cut for other in by_part[part]):
            kept.append(cut)
            for part in cut:
                by_part[part].append(cut)
    return frozenset(kept)

"""What is left of each tier when a host or a zone is gone, against the declared peak. Pure.

The unit is visitors' requests a second (QPS) everywhere: an instance of the database "carries 300 QPS" when it has its part in
300 answers a second, however many statements that takes. How many instances work at a time is derived: as many as there are,
but only one where there is one primary, and of those who hold VIPs as many as there are VIPs, so that whoever is left does the
work of all; of spare hosts one, when no other is left.

Limits: an instance is taken to carry as much beside others on its host as alone (nospof.analysis.stand_ins looks at a spare of
several tiers); requests are taken to be spread evenly over the instances that are left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from nospof.analysis.changes import Change, free_name, new_zone
from nospof.analysis.codes import finding
from nospof.analysis.measured import Figure, Measured
from nospof.analysis.structure import Kind, Part
from nospof.component import Component, OnePrimary
from nospof.resolve import Allotment, component_of, resolve
from nospof.stack.model import Stack, StackHost
from nospof.stack.problems import Problem, Severity
from nospof.stack.words import listed
from nospof.topology import Instance, InstanceId, Rank, Topology

# More hosts than these are no remedy but another stack.
MOST_HOSTS_MORE = 12
FEWEST_ZONES = 2
CODE = {Kind.HOST: "F220", Kind.ZONE: "F221"}


@dataclass(frozen=True)
class TierCapacity:
    """One tier. `figure`: what one instance carries, None where nobody knows; `source`: how that is known."""

    tier: str
    at_work: int
    """Instances that share the work while nothing is lost."""
    left: Mapping[Part, int]
    """The same without each of the hosts and zones that it stands on."""
    figure: Figure | None = None
    source: str = ""

    def worst(self, kind: Kind) -> Part:
        """The host, or the zone, whose loss leaves least."""
        return min((part for part in self.left if part.kind == kind), key=lambda part: (self.left[part], part))

    def qps(self, part: Part | None = None) -> float:
        """What all, or all without `part`, carry; 0 where no figure is known."""
        count = self.at_work if part is None else self.left[part]
        return count * self.figure.qps if self.figure else 0.0

    def lacking(self, peak_qps: float) -> Part | None:
        """The host, else the zone, whose loss leaves certainly too little for the peak; None where none does."""
        for part in (self.worst(Kind.HOST), self.worst(Kind.ZONE)):
            is_known = self.figure is not None and (not self.figure.is_at_least or not self.left[part])
            if is_known and self.qps(part) < peak_qps:
                return part
        return None

    def carries(self, peak_qps: float) -> bool:
        """Whether the peak is certainly carried without any one host or zone."""
        return all(self.qps(part) >= peak_qps for part in self.left)


def capacities(stack: Stack, topology: Topology, measured: Measured | None) -> tuple[TierCapacity, ...]:
    """Every tier that a visitor's request may have to pass, and those for which a figure is declared."""
    way = topology.on_visitors_way()
    return tuple(
        _with_figure(_tier(topology, tier.name), tier.qps_per_instance, stack, measured)
        for tier in stack.tiers
        if tier.name in way or tier.qps_per_instance is not None
    )


def capacity_findings(stack: Stack, topology: Topology, measured: Measured | None, now: float) -> Iterator[Problem]:
    """Say whether each tier carries the peak without any one host or zone; what is not known is said, too.

    `measured`: what `nospof measure` found, if it was ever run; `now`: seconds since the epoch.
    """
    tiers, peak = capacities(stack, topology, measured), stack.peak_qps
    if not tiers:
        return
    lacking = [] if peak is None else list(_lacking(stack, topology, measured, tiers, peak))
    yield from lacking
    if measured is not None and (reasons := measured.why_old(stack, now)):
        yield _old(stack, measured, reasons)
    # Where it is known that one tier carries too little, it is of no account whether another was asked for enough.
    unknown = [tier for tier in tiers if tier.figure is None or (peak and not lacking and not tier.carries(peak))]
    if peak is None or unknown:
        yield _unknown(stack, tiers, unknown)
    elif not lacking:
        yield _carried(stack, topology, tiers, measured, peak)


# --- the figures ---------------------------------------------------------------------------------------------------------
def _tier(topology: Topology, tier: str) -> TierCapacity:
    zones = {host.name: host.zone for host in topology.hosts}
    return _of_members(tier, topology.of_tier(tier), zones, _most_at_work(topology, tier))


def _of_members(tier: str, members: Collection[Instance], zones: Mapping[str, str], most: int | None) -> TierCapacity:
    lost: dict[Part, set[str]] = defaultdict(set)
    for host in (member.id.host for member in members if member.rank is not Rank.WITNESS):
        lost[Part(Kind.HOST, host)].add(host)
        lost[Part(Kind.ZONE, zones[host])].add(host)
    most = len(members) if most is None else most
    left = {part: min(most, _at_work(members, lost[part])) for part in sorted(lost)}
    return TierCapacity(tier, min(most, _at_work(members, ())), left)


def _at_work(members: Collection[Instance], lost: Collection[str]) -> int:
    """How many of `members` would share the work without the hosts in `lost`, were all able to."""
    living = [member for member in members if member.id.host not in lost]
    normal = sum(member.rank is Rank.NORMAL for member in living)
    # Of spare servers a load balancer asks one alone.
    return normal or min(1, sum(member.rank is Rank.SPARE for member in living))


def _most_at_work(topology: Topology, tier: str) -> int | None:
    """How many instances of `tier` can work at a time, however many there are; None: all."""
    if any(isinstance(component_of(member).redundancy, OnePrimary) for member in topology.of_tier(tier)):
        return 1
    vips = topology.vips_of(tier)
    # Each of its hosts has a VIP, and one that is added brings its own.
    return None if any(vip.home for vip in vips) else len(vips) or None


def _with_figure(tier: TierCapacity, declared: int | None, stack: Stack, measured: Measured | None) -> TierCapacity:
    if declared is not None:
        return replace(tier, figure=Figure(declared), source="declared")
    figure = measured.per_instance(tier.tier) if measured else None
    # What others had limited says nothing of a stack in which those are others.
    if measured is None or figure is None or (figure.is_at_least and not measured.is_of(stack)):
        return tier
    return replace(tier, figure=figure, source=f"measured {measured.day}")


# --- the findings --------------------------------------------------------------------------------------------------------
def _lacking(
    stack: Stack, topology: Topology, measured: Measured | None, tiers: tuple[TierCapacity, ...], peak: int
) -> Iterator[Problem]:
    for tier in tiers:
        if part := tier.lacking(peak):
            yield _too_little(stack, topology, measured, tier, part)
    if measured and measured.is_of(stack) and not measured.whole.is_at_least and measured.whole.qps < peak:
        yield finding(
            stack,
            "F222",
            "peak_qps",
            f"the whole stack answers {measured.whole} requests a second, and {peak} are its peak",
            why=f"{measured.basis}: with more, fewer than 99 of 100 answers came within {measured.p99_s:g} s",
            fix=f"more of what is narrowest ({_narrowest(tiers)}), then nospof measure again",
        )


def _too_little(stack: Stack, topology: Topology, measured: Measured | None, tier: TierCapacity, part: Part) -> Problem:
    peak, left = stack.peak_qps or 0, tier.left[part]
    what = f"without {part} tier {tier.tier} carries {tier.qps(part):.0f} requests a second, and {peak} are the peak"
    if tier.qps() < peak:
        what += f"; with all there is it carries {tier.qps():.0f}"
    known = f"{tier.source} on {measured.machine.name}" if measured and tier.source != "declared" else tier.source
    rest = f"{left} of the {tier.at_work} that work at a time, {tier.figure} each ({known})" if left else "nothing"
    if any(vip.home for vip in topology.vips_of(tier.tier)) and left:
        rest += ", which then hold all VIPs,"
    why = f"{rest} is left; what is asked for more is answered late or not at all: one loss becomes an outage"
    found = more_hosts(stack, topology, tier.tier, measured)
    fix = str(found) if found else f"{_why_no_remedy(tier, peak)}: stronger hosts, or requests that cost less (a cache)"
    return finding(stack, CODE[Kind(part.kind)], f"tiers.{tier.tier}.hosts", what, why=why, fix=fix)


def _why_no_remedy(tier: TierCapacity, peak: float) -> str:
    is_too_weak = tier.at_work == 1 and tier.qps() < peak
    return "more hosts do not help while one works at a time" if is_too_weak else f"{MOST_HOSTS_MORE} hosts more are too few"


def _unknown(stack: Stack, tiers: tuple[TierCapacity, ...], unknown: list[TierCapacity]) -> Problem:
    peak = stack.peak_qps
    said = [] if peak else ["the peak is not declared"]
    if without := [tier.tier for tier in unknown if not tier.figure or not tier.figure.qps]:
        said.append(f"nobody knows what an instance of {listed(without)} carries")
    if asked := [f"{tier.tier} for {tier.figure.qps:.0f}" for tier in unknown if tier.figure and tier.figure.qps]:
        said.append(f"no more was asked of {listed(asked)}")
    known = [tier for tier in tiers if tier not in unknown]
    fix = [] if peak else ["declare peak_qps, visitors' requests a second at the busiest time"]
    if unknown:
        fix.append("nospof measure finds what instances carry; or declare qps_per_instance in the tier")
    return finding(
        stack,
        "F223",
        "peak_qps" if peak else "tiers",
        f"whether what remains carries the peak when a host or a zone is gone is unknown: {'; '.join(said)}",
        why="a tier that lives on with half of its hosts is no help when half of them cannot do the work"
        + (f"; known is, without what is missed most: {listed([_least(tier) for tier in known])}" if known else ""),
        fix="; ".join(fix),
    )


def _old(stack: Stack, measured: Measured, reasons: tuple[str, ...]) -> Problem:
    return finding(
        stack,
        "F224",
        "tiers",
        f"the capacity figures are old: measured {measured.day}, and {' and '.join(reasons)}",
        why="what is said of capacity is said with these figures, and may not be so any more",
        fix="nospof measure",
    )


def _carried(
    stack: Stack, topology: Topology, tiers: tuple[TierCapacity, ...], measured: Measured | None, peak: int
) -> Problem:
    why = "; ".join(
        [*(_basis_of(tier) for tier in tiers), *([measured.basis] if measured else []), *queues(topology, tiers, peak)]
    )
    return finding(
        stack,
        "F225",
        "peak_qps",
        f"{peak} requests a second are carried without any one host or zone: {listed([_least(tier) for tier in tiers])}",
        why=why,
        fix="measure again after changes, and from time to time; leave room for a peak that nobody foresaw",
    )


def queues(topology: Topology, tiers: tuple[TierCapacity, ...], peak: float) -> Iterator[str]:
    """From how slow answers on requests wait in a load balancer, as its limit of requests per server says (Little's law)."""
    by_tier = {tier.tier: tier for tier in tiers}
    for tier in tiers:
        callers = topology.of_tier(tier.tier)
        limit = component_of(callers[0]).most_at_once_per_target if callers else None
        targets = {link.target.owner.tier for caller in callers for link in topology.links_from(caller.id, "to")}
        for target in sorted(targets & by_tier.keys()):
            left = min(by_tier[target].left.values())
            if limit and left:
                slow_s = tier.at_work * left * limit / peak
                yield (
                    f"{tier.tier} gives each of {target} {limit} requests at a time, so that at the peak with {left} left "
                    f"requests wait once answers take {slow_s:.2g} s"
                )


def _least(tier: TierCapacity) -> str:
    part = min(tier.left, key=lambda part: (tier.left[part], part))
    return f"{tier.tier} {'at least ' if tier.figure and tier.figure.is_at_least else ''}{tier.qps(part):.0f} (without {part})"


def _basis_of(tier: TierCapacity) -> str:
    return f"{tier.tier} {tier.figure} per instance ({tier.source}), {tier.at_work} at work"


def _narrowest(tiers: tuple[TierCapacity, ...]) -> str:
    exact = [tier for tier in tiers if tier.figure and not tier.figure.is_at_least]
    narrow = min(exact, key=lambda tier: tier.qps(), default=None)
    return f"tier {narrow.tier}, with {narrow.figure} per instance" if narrow else "which tier, nobody measured"


# --- the remedy ----------------------------------------------------------------------------------------------------------
def more_hosts(stack: Stack, topology: Topology, tier: str, measured: Measured | None) -> Change | None:
    """Find the fewest hosts more, each where the tier has fewest, after which it carries the peak; None: none do."""
    old = next(one for one in stack.tiers if one.name == tier)
    members, most = list(topology.of_tier(tier)), _most_at_work(topology, tier)
    zones = {host.name: host.zone for host in stack.hosts}
    added: list[StackHost] = []
    grown = old
    # In a lab addresses are allotted.
    has_vip_each = bool(stack.vip) and any(vip.home for vip in topology.vips_of(tier))
    for _ in range(MOST_HOSTS_MORE):
        host = StackHost(free_name(old.hosts[0], stack, added), _roomiest_zone(zones, grown.hosts))
        added.append(host)
        zones[host.name] = host.zone
        grown = Component.kinds[old.component].with_host(grown, host.name)
        members.append(Instance(InstanceId(tier, host.name), old.component, old.settings))
        made = _with_figure(_of_members(tier, members, zones, most), old.qps_per_instance, stack, measured)
        if made.lacking(stack.peak_qps or 0) is None:
            change = Change(stack, hosts=tuple(added), tiers=(grown,), vips=len(added) if has_vip_each else 0)
            problems = resolve(change.after(), Allotment()).problems
            return None if any(problem.severity is Severity.ERROR for problem in problems) else change
    return None


def _roomiest_zone(zones: Mapping[str, str], hosts: tuple[str, ...]) -> str:
    """The zone with the fewest hosts of the tier; a new one where there is a single zone. `zones`: host → its zone."""
    names = set(zones.values())
    if len(names) < FEWEST_ZONES:
        return new_zone(names)
    placed = [zones[host] for host in hosts]
    return min(names, key=lambda zone: (placed.count(zone), zone))

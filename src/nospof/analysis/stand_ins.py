"""What a host that is the spare of several tiers may have to carry at once, against the declared peak. Pure.

Each visitor's request passes all of the tiers that the host stands in for, and its instances share one machine: where an
instance of one tier alone carries `a` requests a second and one of another `b`, the two together carry 1 / (1/a + 1/b), as
if each request took its part of the machine's time in both.

Limits: the figures are of instances on whatever host they were measured on, and are taken to hold for the spare's machine.
"""

from __future__ import annotations

from collections.abc import Iterator

from nospof.analysis.capacity import TierCapacity, capacities
from nospof.analysis.codes import finding
from nospof.analysis.measured import Measured
from nospof.stack.model import Stack
from nospof.stack.problems import Problem
from nospof.stack.words import listed
from nospof.topology import InstanceId, Rank, Topology


def stand_in_findings(stack: Stack, topology: Topology, measured: Measured | None) -> Iterator[Problem]:
    """Tell of each host that is the spare of more than one tier whether it carries the peak as all of them at once."""
    tiers = capacities(stack, topology, measured)
    for host in topology.hosts:
        mine = [tier for tier in tiers if _is_spare(topology, tier.tier, host.name)]
        carried = _carried_qps(mine)
        is_enough = carried is not None and stack.peak_qps is not None and carried >= stack.peak_qps
        if len(mine) > 1 and not is_enough:
            yield _finding(stack, topology, host.name, mine, carried)


def _carried_qps(tiers: list[TierCapacity]) -> float | None:
    """What one machine carries as an instance of each of `tiers`; None where that is not known of all."""
    figures = [tier.figure.qps for tier in tiers if tier.figure and tier.figure.qps]
    return 1 / sum(1 / qps for qps in figures) if figures and len(figures) == len(tiers) else None


def _finding(stack: Stack, topology: Topology, host: str, mine: list[TierCapacity], carried: float | None) -> Problem:
    names, peak = [tier.tier for tier in mine], stack.peak_qps
    known = [f"{tier.tier} {tier.figure} alone ({tier.source})" for tier in mine if tier.figure and tier.figure.qps]
    if carried is not None:
        what = f"as all of them at once it carries {carried:.0f} requests a second, and "
        what += "the peak is not declared" if peak is None else f"{peak} are the peak"
        fix = "declare peak_qps" if peak is None else f"a host about {peak / carried:.1f} times as strong as the others"
    else:
        what = "whether it carries the peak as all of them at once is unknown"
        fix = "declare peak_qps; declare qps_per_instance in these tiers, or nospof measure"
    together = [f"with the work of {one} comes that of {listed(also)}" for one, also in _together(topology, host, names)]
    why = "; ".join([*(["an instance carries, of " + ", ".join(known)] if known else []), *together])
    return finding(
        stack,
        "F226",
        f"hosts.{host}",
        f"{host} is the spare of {listed(names)}: {what}",
        why=why or "it takes over when all other hosts of a tier are lost, and more than one tier may be",
        fix=f"{fix}; or a spare of its own for each tier",
    )


def _together(topology: Topology, host: str, tiers: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Of `tiers` those that on `host` call another of them there and nowhere else, so that both are its work."""
    for tier in tiers:
        links = [link for link in topology.links_from(InstanceId(tier, host)) if link.is_local and not link.asks_health]
        also = sorted({link.target.owner.tier for link in links} & set(tiers) - {tier})
        if also:
            yield tier, also


def _is_spare(topology: Topology, tier: str, host: str) -> bool:
    return any(one.id.host == host and one.rank is Rank.SPARE for one in topology.of_tier(tier))

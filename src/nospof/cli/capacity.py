"""What is known of a stack's capacity, as the design document tells it: what the analysis says, in words."""

from __future__ import annotations

from nospof.analysis.capacity import TierCapacity, capacities, queues
from nospof.analysis.measured import Measured
from nospof.analysis.structure import Kind
from nospof.explain.capacity import Capacity
from nospof.explain.capacity import TierCapacity as Row
from nospof.stack.model import Stack
from nospof.stack.problems import Problem
from nospof.topology import Topology

CODES = ("F220", "F221", "F222", "F223", "F224", "F225")


def capacity(stack: Stack, topology: Topology, measured: Measured | None, found: tuple[Problem, ...]) -> Capacity:
    """Put together what is declared and measured of `stack`; `found`: what `check` says of it. Pure."""
    tiers = capacities(stack, topology, measured)
    peak = stack.peak_qps
    return Capacity(
        peak_qps=peak,
        measured=_measured(measured) if measured else "",
        tiers=tuple(_row(tier) for tier in tiers),
        verdict=tuple(f"{one.what[:1].upper()}{one.what[1:]}." for one in found if one.code in CODES),
        remarks=tuple(queues(topology, tiers, peak)) if peak else (),
    )


def _row(tier: TierCapacity) -> Row:
    figure = str(tier.figure) if tier.figure else "unknown"
    return Row(tier.tier, str(tier.at_work), figure, tier.source, _without(tier, Kind.HOST), _without(tier, Kind.ZONE))


def _without(tier: TierCapacity, kind: Kind) -> str:
    part = tier.worst(kind)
    if not tier.left[part]:
        return f"nothing ({part})"
    least = "at least " if tier.figure and tier.figure.is_at_least else ""
    return f"{least}{tier.qps(part):.0f} ({part})" if tier.figure else "unknown"


def _measured(measured: Measured) -> str:
    return (
        f"As a whole it answered {measured.whole} QPS ({measured.request}, 99 of 100 within {measured.p99_s:g} s): "
        f"{measured.basis}."
    )

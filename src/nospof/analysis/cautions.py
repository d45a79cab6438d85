"""Findings of the components about the settings of their own tiers."""

from __future__ import annotations

from collections.abc import Iterator

from nospof.analysis.codes import finding
from nospof.resolve import component_of
from nospof.stack.model import Stack
from nospof.stack.problems import Problem
from nospof.topology import Topology


def caution_findings(stack: Stack, topology: Topology) -> Iterator[Problem]:
    """Find settings with which a tier is less safe than it is without them."""
    for tier in stack.tiers:
        for one in component_of(topology.of_tier(tier.name)[0]).cautions(topology):
            yield finding(stack, one.code, f"tiers.{tier.name}.{one.key}", one.what, why=one.why, fix=one.fix)

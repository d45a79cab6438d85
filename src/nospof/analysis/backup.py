"""Findings about data that nobody could bring back as they were. No component keeps backups yet, so what to do is by hand."""

from __future__ import annotations

from collections.abc import Iterator

from nospof.analysis.codes import finding
from nospof.component import Component, TcpRoute
from nospof.resolve import component_of
from nospof.stack.model import Stack
from nospof.stack.problems import Problem
from nospof.stack.words import listed
from nospof.topology import Topology


def backup_findings(stack: Stack, topology: Topology) -> Iterator[Problem]:
    """Find tiers that keep data: copies of it are no backup."""
    for tier in stack.tiers:
        if not topology.keeps_data(tier.name) or is_for_pages_only(topology, tier.name):
            continue
        first, *others = (member.id.host for member in topology.of_tier(tier.name))
        why = (
            f"a table dropped by mistake is dropped on {listed(others)} too, at once; nothing brings back what was yesterday"
            if others
            else f"what is deleted by mistake is gone for good, and so is everything if the disk of {first} is lost"
        )
        dump = Component.kinds[tier.component].saved_by
        by_hand = f"nospof shell {first} -- {dump} > {tier.name}.sql" if dump else "copy its data"
        yield finding(
            stack,
            "F215",
            f"tiers.{tier.name}",
            f"nothing backs up the data of tier {tier.name}",
            why=why,
            fix=f"nothing to do in this file yet; by a timer, on a machine outside: {by_hand}; load it elsewhere now and then",
        )


def is_for_pages_only(topology: Topology, tier: str) -> bool:
    """Whether what callers write to `tier` is no data of its own, as in a cache: it needs no third zone and no backup."""
    needs = [need for listen in component_of(topology.of_tier(tier)[0]).listens for need in listen.reached_by]
    writes = [need for need in needs if isinstance(need, TcpRoute) and need.writes]
    return bool(writes) and all(need.is_for_pages for need in writes)

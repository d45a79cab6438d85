"""Findings about who can come in, who can listen, and whether anybody would notice."""

from __future__ import annotations

from collections.abc import Iterator

from nospof.analysis.codes import finding
from nospof.stack.model import Stack
from nospof.stack.problems import Problem
from nospof.topology import OUTSIDE, Protocol, Tls, Topology


def security_findings(stack: Stack, topology: Topology) -> Iterator[Problem]:
    """Find what is open, unencrypted or unwatched."""
    if not topology.has_firewall:
        yield finding(
            stack,
            "F101",
            "firewall",
            "the firewall is off: every port of every host is open to whoever reaches it",
            why="whoever reaches a host reaches its database, its health answers and its metrics too",
            fix="remove this line: the rules follow from the stack's links",
        )
    yield from _without_https(stack, topology)
    if not any(link.target.listen.speaks is Protocol.METRICS for link in topology.links):
        yield finding(
            stack,
            "F103",
            "tiers",
            "nothing watches the stack",
            why="the first failure costs the redundancy, the second the site; between them somebody has to hear of the first",
            fix="add a tier that collects metrics and raises alerts, or have somebody watch the site from outside",
        )
    yield finding(
        stack,
        "F104",
        "",
        "the stack is reached over IPv4 only",
        why="visitors without IPv4 reach it through their provider's translation, which you cannot watch",
        fix="nothing to do in this file: nospof does not configure IPv6 yet",
    )


def _without_https(stack: Stack, topology: Topology) -> Iterator[Problem]:
    """Tiers that visitors call at no endpoint with TLS. Plain HTTP beside HTTPS only sends them there."""
    visited = {link.target for link in topology.links if link.source == OUTSIDE}
    encrypted = {endpoint.owner.tier for endpoint in visited if endpoint.listen.tls is not Tls.NONE}
    for tier in sorted({endpoint.owner.tier for endpoint in visited} - encrypted):
        yield finding(
            stack,
            "F102",
            f"tiers.{tier}",
            f"visitors reach tier {tier} without HTTPS",
            why="everybody on their way can read and change pages, passwords and sessions",
            fix="serve HTTPS there (it is what you get when you do not switch it off)",
        )

"""Findings about who can come in, who can listen, and whether anybody would notice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nospof.analysis.codes import finding
from nospof.component import Component, Connect, Who
from nospof.resolve import component_of
from nospof.stack.model import Stack
from nospof.stack.problems import Problem
from nospof.topology import OUTSIDE, Protocol, Tls, Topology

EVERYBODY = "0.0.0.0/0"


def security_findings(stack: Stack, topology: Topology) -> Iterator[Problem]:
    """Find what is open, unencrypted or unwatched."""
    if not topology.has_firewall:
        yield finding(
            stack,
            "F101",
            "firewall",
            "the firewall is off: every port of every host is open to whoever reaches it",
            why="whoever reaches a host reaches its database, its health answers and its metrics too",
            fix="firewall: on   (the rules follow from the stack's links)",
        )
    elif EVERYBODY in topology.admin:
        yield finding(
            stack,
            "F105",
            "admin",
            "SSH is open to the whole world on every host",
            why="the first stolen key, or the next hole in SSH, is every host's",
            fix="admin: [198.51.100.0/24]   (the networks you work from, in place of these)",
        )
    yield from _without_https(stack, topology)
    yield from _unencrypted(stack, topology)
    if not is_watched(topology):
        yield finding(
            stack,
            "F103",
            "tiers",
            "nothing watches the stack",
            why="a failure that others make up for is noticed by nobody, and the next one takes the site down; of one that "
            "nothing makes up for the visitors are the first to know",
            fix=how_to_watch(stack),
        )
    yield from _unknown_authority(stack, topology)
    yield finding(
        stack,
        "F104",
        "",
        "the stack is reached over IPv4 only",
        why="visitors without IPv4 reach it through their provider's translation, which you cannot watch",
        fix="nothing to do in this file: nospof does not configure IPv6 yet",
    )


def is_watched(topology: Topology) -> bool:
    """Whether somebody keeps the figures of everything. Whoever only shows some of them tells nobody of a failure."""
    return any(_asks_for_all_figures(component_of(one).connects) for one in topology.instances)


def _unknown_authority(stack: Stack, topology: Topology) -> Iterator[Problem]:
    """What visitors see of HTTPS: all certificates are the stack's own CA's."""
    if any(link.source == OUTSIDE and link.target.listen.tls is not Tls.NONE for link in topology.links):
        yield finding(
            stack,
            "F108",
            "domain",
            f"visitors' browsers warn of https://{stack.domain}/: the stack's own authority (CA) signs its certificate",
            why="no browser knows that CA; a customer who is told to click the warning away cannot tell an attacker from you",
            fix="nothing to do in this file yet: nospof gets no certificate of a public authority; who is to trust the stack's "
            "own imports it (docs/how-to/trust-the-ca.md); for everybody else something in front that has a public "
            "certificate, and trusts that CA, must hand the visitors on",
        )


def how_to_watch(stack: Stack) -> str:
    """A tier of a component that measures everything, on two hosts of different zones where there are such."""
    name = next(name for name, kind in sorted(Component.kinds.items()) if _measures_all(kind))
    zones = {host.zone: host.name for host in reversed(stack.hosts)}
    hosts = ", ".join(sorted(zones.values())[:2])
    return f"add monitoring: {{component: {name}, hosts: [{hosts}]}} to tiers   (its alert: says who is told)"


def _measures_all(kind: type[Component[Any]]) -> bool:
    # Where it depends on settings whom a component calls, it is no constant of the class.
    calls: tuple[Connect, ...] = kind.connects if isinstance(kind.connects, tuple) else ()
    return _asks_for_all_figures(calls)


def _asks_for_all_figures(calls: tuple[Connect, ...]) -> bool:
    """As whoever raises alerts does."""
    return any(call.to is Who.ALL and call.speaks is Protocol.METRICS for call in calls)


def _without_https(stack: Stack, topology: Topology) -> Iterator[Problem]:
    """Tiers that visitors call at no endpoint with TLS. Plain HTTP beside HTTPS only sends them there."""
    visited = {link.target for link in topology.links if link.source == OUTSIDE}
    encrypted = {endpoint.owner.tier for endpoint in visited if endpoint.listen.tls is not Tls.NONE}
    for tier in sorted({endpoint.owner.tier for endpoint in visited} - encrypted):
        has_switch = "https" in type(topology.of_tier(tier)[0].settings).model_fields
        yield finding(
            stack,
            "F102",
            f"tiers.{tier}.https",
            f"visitors reach tier {tier} without HTTPS",
            why="everybody on their way can read and change pages, passwords and sessions",
            fix=f"in tier {tier} https: on" if has_switch else f"a tier with HTTPS before it, with to: {tier}",
        )


def _unencrypted(stack: Stack, topology: Topology) -> Iterator[Problem]:
    """Links between hosts; what visitors call is F102's."""
    routes = {(link.source.tier, link.target.owner.tier) for link in topology.links if topology.is_open(link)}
    for source, target in sorted(route for route in routes if route[0] != OUTSIDE.tier):
        yield finding(
            stack,
            "F106",
            f"tiers.{target}",
            f"between hosts, {source} calls {target} unencrypted",
            why="whoever is in that network can read and change users' data",
            fix=f"nothing to do in this file: {topology.of_tier(target)[0].component} offers no TLS; use another component",
        )

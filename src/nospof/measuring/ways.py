"""From where, and how, the stack as a whole and each of its instances are asked: read from the topology. Pure.

The whole is asked as visitors do. An instance is asked by itself over a link that the stack has anyway, from the host and with
the certificate of one who calls it: so no firewall is opened, and nothing is drained that must be put back. What an instance
reaches on its own host only (an application behind a socket) is measured with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nospof.lab.places import CLIENT
from nospof.stack.model import Stack
from nospof.topology import OUTSIDE, Endpoint, InstanceId, Link, Rank, Tls, Topology


@dataclass(frozen=True)
class Way:
    """One thing to be asked. `tls_name`: whom its certificate names; `certificate_of`: whose the caller shows, None: none."""

    source: str
    """The host from which it is asked; "client" is the visitor's."""
    addresses: tuple[str, ...]
    """All that lead there, each of which is asked in turn."""
    port: int
    is_encrypted: bool
    path: str
    tls_name: str
    certificate_of: InstanceId | None = None


def way_in(topology: Topology, entrance: Endpoint, addresses: tuple[str, ...]) -> Way:
    """How visitors come in."""
    listen = entrance.listen
    return Way(CLIENT, addresses, listen.port or 0, listen.tls is not Tls.NONE, _path(topology, entrance), topology.domain)


def ways_to_instances(stack: Stack, topology: Topology) -> dict[InstanceId, Way]:
    """The way to each instance on visitors' way that others call over the network, the entrance left out."""
    tiers = [tier.name for tier in stack.tiers if tier.name in topology.on_visitors_way()]
    members = [member for tier in tiers for member in topology.of_tier(tier) if member.rank is not Rank.WITNESS]
    found = {member.id: next(_calls(topology, member.id), None) for member in members}
    return {instance: _over(topology, link) for instance, link in found.items() if link is not None}


def only_behind(topology: Topology, instance: InstanceId) -> InstanceId | None:
    """The instance on the same host through which alone `instance` is asked; None where it is another way."""
    callers = {link.source for link in topology.links_to(instance) if _is_asked(link)}
    return callers.pop() if len(callers) == 1 and all(caller.host == instance.host for caller in callers) else None


def _calls(topology: Topology, instance: InstanceId) -> Iterator[Link]:
    return (link for link in topology.links_to(instance) if _is_asked(link) and not link.is_local)


def _is_asked(link: Link) -> bool:
    return link.source != OUTSIDE and link.target.listen.speaks.carries_pages and not link.asks_health


def _over(topology: Topology, link: Link) -> Way:
    listen, tls = link.target.listen, link.target.listen.tls
    shown = link.source if tls is Tls.MUTUAL else None
    host, path = topology.host(link.target.owner.host), _path(topology, link.target)
    return Way(link.source.host, (host.address,), listen.port or 0, tls is not Tls.NONE, path, host.name, shown)


def _path(topology: Topology, endpoint: Endpoint) -> str:
    sites = topology.promised_sites(endpoint)
    return sites[0].asked if sites else "/"

"""The lines that DNS must have, so that visitors find the stack: a name and an address each, as zone files have them. Pure.

Browsers take any address of a name; that none of them is lost is the VIPs' work, not that of DNS. What moves between hosts
stays the same address, so that nothing here changes in a failure.

Source: RFC 1035, section 5.1.
"""

from __future__ import annotations

from nospof.topology import OUTSIDE, Topology

# Addresses move between hosts within a second whatever DNS says: the time counts only when they are replaced by others.
TTL_S = 300


def zone_lines(topology: Topology) -> tuple[str, ...]:
    """Every name under which visitors come in with each of its addresses; () where nobody from outside can call."""
    found: set[tuple[str, tuple[int, ...], str]] = set()
    for entry in {link.target for link in topology.links if link.source == OUTSIDE}:
        vips = topology.vips_of(entry.owner.tier)
        addresses = [vip.address for vip in vips] or [topology.host(entry.owner.host).address]
        sites = topology.sites_behind(entry)
        for name in {topology.domain, *(site.domain for site in sites if site.domain)}:
            found |= {(name, tuple(map(int, address.split("."))), address) for address in addresses}
    return tuple(f"{name}. {TTL_S} IN A {address}" for name, _, address in sorted(found))

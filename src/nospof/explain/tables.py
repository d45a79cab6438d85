"""The sections to look things up in: hosts with addresses, lines for DNS, ports."""

from __future__ import annotations

from collections.abc import Iterator

from nospof.explain.dns import zone_lines
from nospof.explain.layers import Layers
from nospof.explain.page import Listing, Paragraph, Section, Table, code
from nospof.explain.words import protocol, uses_socket
from nospof.stack.words import listed
from nospof.topology import Rank, Topology


def sections(layers: Layers) -> Iterator[Section]:
    """Hosts, addresses, lines for DNS and ports."""
    yield Section("hosts", "Hosts", (Table(("host", "zone", "address", "runs"), tuple(_hosts(layers))),))
    addresses = tuple(_addresses(layers))
    if addresses:
        yield Section("addresses", "Addresses that lead elsewhere", (Table(("address", "leads to"), addresses),))
    lines = zone_lines(layers.topology)
    if lines:
        yield Section("dns", "DNS", (Paragraph(_about_dns(layers.topology)), Listing(tuple(map(code, lines)))))
    yield Section("ports", "Ports", (Table(("port", "tier", "what", "name"), tuple(_ports(layers.topology))),))


def _hosts(layers: Layers) -> Iterator[tuple[str, ...]]:
    for host in layers.topology.hosts:
        runs = []
        for one in [*layers.declared(host.name), *layers.implied(host.name)]:
            software = "" if one.component == one.id.tier else f" ({one.component})"
            runs.append(f"{code(one.id.tier)}{software}{'' if one.rank is Rank.NORMAL else f' as {one.rank.value}'}")
        yield code(host.name), code(host.zone), code(host.address), ", ".join(runs) or "nothing"


def _addresses(layers: Layers) -> Iterator[tuple[str, ...]]:
    for vip in layers.topology.vips:
        normal, spare = layers.holders(vip)
        last = f", as last resort {listed(map(code, spare), 'or')}" if spare else ""
        home = f", at home on {code(vip.home)}" if vip.home else ""
        where = f"moves between {listed(map(code, normal))}" if len(normal) > 1 else f"held by {listed(map(code, normal))}"
        yield code(vip.address), f"{code(vip.name)}: {where}{home}{last}"
    for tier, address in sorted(layers.topology.routes.items()):
        yield code(address), f"{code(tier)}: on each calling host, to the server with the right role"


def _about_dns(topology: Topology) -> str:
    if all(host.is_lab for host in topology.hosts):
        return (
            "In the lab nobody looks a name up. On servers of your own these lines, with their addresses, are what the zone "
            "of the domain must have."
        )
    said = "The zone of the domain must have these lines. They stay as they are when something fails: the addresses move."
    if any(vip.home for vip in topology.vips):
        said += " Browsers take any of the addresses of a name: with one of them missing, a load balancer stands idle."
    return said


def _ports(topology: Topology) -> Iterator[tuple[str, ...]]:
    """Every port that somebody calls, once per tier; those of routes are on the caller's own host."""
    # What is only reached through its socket opens no port.
    reached = {link.target for link in topology.links if not uses_socket(link)}
    rows = set()
    for endpoint in topology.endpoints:
        listen = endpoint.listen
        if listen.port is None or endpoint not in reached:
            continue
        own = " (on the caller's host)" if listen.answers is not None else ""
        rows.add((listen.port, endpoint.owner.tier, protocol(listen) + own, listen.name))
    for port, tier, spoken, name in sorted(rows):
        yield code(port), code(tier), spoken, code(name)

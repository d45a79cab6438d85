"""Which certificate an instance gets: the names and addresses under which anybody calls it."""

from __future__ import annotations

from dataclasses import dataclass

from nospof.topology import OUTSIDE, InstanceId, Topology


@dataclass(frozen=True)
class CertificateRequest:
    """A certificate to be issued. `is_public`: browsers see it, so that it must not live longer than they accept."""

    instance: InstanceId
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    is_public: bool


def certificate_request(topology: Topology, instance: InstanceId) -> CertificateRequest:
    """The certificate of `instance`: its host, its tier (routed callers use that name), its address, its sites' domains."""
    host = topology.host(instance.host)
    names, is_public = {instance.host, instance.tier}, False
    for endpoint in topology.endpoints_of(instance):
        sources = {link.source for link in topology.links_to(instance) if link.target == endpoint}
        if OUTSIDE not in sources:
            continue
        is_public = True
        names.add(topology.domain)
        names.update(site.domain for site in topology.sites_behind(endpoint) if site.domain)
        if host.is_lab:
            names.add(f"{topology.stack}.localhost")
    addresses = {host.address, *(vip.address for vip in topology.vips if is_public)}
    return CertificateRequest(instance, tuple(sorted(names)), tuple(sorted(addresses)), is_public)

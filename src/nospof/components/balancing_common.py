"""What all that balance with HAProxy have in common: which applications are behind the endpoints they call, and through whom.

Source: https://docs.haproxy.org/3.0/configuration.html; the reason for each number is in docs/decisions/0004-edge-settings.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from nospof import component as c

FAST_MS = 100
COUNTS = 2
"""So many answers in a row count. More of them until a server is taken in again would keep out what dies again and again, but
where a whole machine is overloaded, so that good servers are late, it would keep those out for longer, too: see 0004."""


def checked(every_ms: int) -> str:
    """How often servers are asked for their health, and how many answers count."""
    return f"inter {every_ms}ms fastinter {min(every_ms, FAST_MS)}ms fall {COUNTS} rise {COUNTS}"


def notices_s(every_ms: int) -> float:
    """Seconds until a server that says it is ill, or well again, is known to be, at most, while it answers at once."""
    return (every_ms + COUNTS * min(every_ms, FAST_MS)) / 1000


@dataclass(frozen=True)
class Backend:
    """One application, the servers through which it is reached, and which requests are for it (all conditions; none = any)."""

    name: str
    site: c.Site
    conditions: tuple[str, ...]
    servers: tuple[c.Endpoint, ...]

    @property
    def retries(self) -> int:
        # With one server to choose, a retry is 200 ms after the last one: eight bridge the 0.6 s until a spare takes over, or
        # a restart. With several the next one is asked at once, and few retries spare them a request that kills servers.
        return 3 if sum(server.rank is not c.Rank.SPARE for server in self.servers) > 1 else 8


def backends(here: c.Context) -> tuple[Backend, ...]:
    """One backend per application behind the targets; of several that fit a request the last is meant.

    The stack's own domain also answers to names nobody has (an address, STACK.localhost); longer paths win.
    """
    servers: dict[c.Site, list[c.Endpoint]] = {}
    for target in here.targets():
        unnamed = c.Site(target.owner.tier, here.topology.domain)
        for site in here.topology.sites_behind(target) or (unnamed,):
            servers.setdefault(site, []).append(target)
    own = ("", here.topology.domain)
    order = sorted(servers, key=lambda site: (site.domain not in own, site.domain, len(site.path), site.path, site.tier))
    names = _names(order)
    return tuple(Backend(names[site], site, _conditions(site, own), tuple(servers[site])) for site in order)


def server_options(server: c.Endpoint) -> str:
    """What is the same in all backends: when it is called, and who it must prove to be."""
    host = server.owner.host
    spare = "backup " if server.rank is c.Rank.SPARE else ""
    proof = "no-ssl" if server.listen.tls is c.Tls.NONE else f"sni str({host}) check-sni {host} verifyhost {host}"
    return spare + proof


def _names(sites: list[c.Site]) -> dict[c.Site, str]:
    """The tier's name; with a number where one tier has several sites."""
    tiers = [site.tier for site in sites]
    return {
        site: site.tier if tiers.count(site.tier) == 1 else f"{site.tier}-{tiers[:index].count(site.tier) + 1}"
        for index, site in enumerate(sites)
    }


def _conditions(site: c.Site, own: tuple[str, ...]) -> tuple[str, ...]:
    by_name = () if site.domain in own else (f"req.hdr(host),host_only -i -m str {site.domain}",)
    prefix = site.path.rstrip("/") + "/"
    # The added slash lets /blog and /blog/ in, and keeps /blogger out.
    by_path = () if prefix == "/" else (f"path,concat(/) -m beg {prefix}",)
    return by_name + by_path

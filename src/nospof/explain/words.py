"""How the pictures and the document put links into words."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from nospof.topology import Instance, Link, Listen, Protocol, Tls

PROTOCOLS = {
    Protocol.FASTCGI: "FastCGI",
    Protocol.MYSQL: "MySQL",
    Protocol.REDIS: "Redis",
    Protocol.MEMCACHED: "Memcached",
    Protocol.SSH: "SSH",
    Protocol.VRRP: "VRRP",
}


def spoken(links: Iterable[Link]) -> str:
    """How one tier speaks to another: every way once, the unix socket and what carries data first."""
    return " · ".join(ways(links))


def ways(links: Iterable[Link]) -> list[str]:
    """The same, way by way."""
    found = {_way(link): (not uses_socket(link), not link.target.listen.speaks.carries_data) for link in links}
    return sorted(found, key=lambda way: (found[way], -_tls_first(way), way))


def protocol(listen: Listen) -> str:
    """What is spoken there, as one calls it: HTTPS, MySQL."""
    if listen.speaks is Protocol.HTTP:
        return "HTTP" if listen.tls is Tls.NONE else "HTTPS"
    return PROTOCOLS.get(listen.speaks) or str(listen.speaks.value)


def uses_socket(link: Link) -> bool:
    """Whether it is made through a unix socket."""
    return link.is_local and link.target.listen.socket is not None


def is_implied(instance: Instance) -> bool:
    """Whether it came in because others need it."""
    return bool(instance.demands)


def target_tier(link: Link) -> str:
    return link.target.owner.tier


def measures(link: Link) -> bool:
    return link.target.listen.speaks is Protocol.METRICS


def by_target(links: Iterable[Link]) -> list[tuple[str, list[Link]]]:
    """The links in groups, by the tier they lead to."""
    return [(tier, list(group)) for tier, group in groupby(sorted(links, key=target_tier), key=target_tier)]


def counted(number: int, what: str) -> str:
    """`1 host`, `2 hosts`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _tls_first(way: str) -> bool:
    return way.startswith("HTTPS") or way.endswith("TLS")


def _way(link: Link) -> str:
    listen = link.target.listen
    if uses_socket(link):
        return "unix socket"
    if listen.speaks is Protocol.FILES:
        return "files"
    what = "health" if link.purpose.endswith("-health") else protocol(listen)
    is_told = link.source.tier == link.target.owner.tier and link.purpose not in ("peers", what)
    # What the purpose says better: copy, membership.
    what = "" if is_told and what == str(listen.speaks.value) else what
    words = [link.purpose if is_told else "", what, "" if listen.port is None else str(listen.port), _encryption(listen)]
    return " ".join(word for word in words if word)


def _encryption(listen: Listen) -> str:
    if listen.speaks is Protocol.HTTP:
        return "mutual TLS" if listen.tls is Tls.MUTUAL else ""
    if listen.tls is Tls.NONE:
        return "unencrypted" if listen.speaks.carries_data else ""
    return "TLS" if listen.tls is Tls.SERVER else "mutual TLS"

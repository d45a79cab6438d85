"""What web servers have in common: who may ask them, which sites they serve, and who answers for each.

They take requests from the load balancers only (each shows a certificate of the stack's) and tell applications apart by domain
and path. A site is answered by a folder on the same host, by a folder whose scripts an application server beside it runs
(FastCGI), or by an application: over a unix socket beside it, else over TCP with certificates on both sides.
Reasons and figures: docs/decisions/0018-web-and-php.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, TypeVar

from nospof import component as c
from nospof.components.exporter import Exporter, metrics_listen

LOOPBACK = "127.0.0.1"
"""Where a web server tells its own counters, at the port of its exporter: to programs on its host, and to nobody else."""


class WebSettings(c.Settings):
    """What the stack file may say of a web server of any product."""

    port: int = c.Field(8443, ge=1024, le=65535, description="TCP port for the load balancers.")
    max_body_mib: int = c.Field(16, ge=1, le=102_400, description="Largest request body.")
    answer_s: int = c.Field(30, ge=1, le=3600, description="Seconds an application may take to answer.")
    drain_s: int = c.Field(30, ge=1, le=3600, description="Seconds that open requests get to end at a reload or stop.")
    access_log: c.Switch = c.Field(False, description="Write each request to the journal; the load balancers do already.")
    metrics_port: int = c.Field(
        9113, ge=1024, le=65535, description="Port of its figures for those who watch the stack; shut if nobody does."
    )


S = TypeVar("S", bound=WebSettings)


class WebServer(c.Component[S]):
    """A web server. Its configuration is each component's own."""

    about = "A web server: it serves files itself and hands every other request on to the application."
    why = (
        "The application is spared what it is slow at: files, large uploads, encryption. "
        "Several applications can share a domain, each under a path of its own."
    )
    when_lost = (
        "Its health checks fail, and the load balancers give its work to the others. "
        "A request that may be repeated and has no answer yet is repeated there."
    )
    exporter_program: ClassVar[str]
    """Debian's exporter for the product."""
    connects = (
        c.Connect(c.Who.NAMED, c.Protocol.HTTP),
        c.Connect(c.Who.NAMED, c.Protocol.FASTCGI),
        c.Connect(c.Who.NAMED, c.Protocol.FILES),
    )

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        http = c.Listen("http", c.Protocol.HTTP, self.settings.port, tls=c.Tls.MUTUAL)
        return (http, metrics_listen(self.settings.metrics_port))

    def exporter(self, here: c.Context, tls: c.TlsFiles) -> Exporter | None:
        """What hands out its counters; None where nobody watches."""
        if not here.is_called("metrics"):
            return None
        return Exporter(here, tls, self.exporter_program, self.settings.metrics_port, self.exporter_command)

    @property
    def exporter_command(self) -> tuple[str, ...]:
        """How the exporter is told where the counters are."""
        raise NotImplementedError

    def balancers(self, here: c.Context) -> list[str]:
        """Addresses of those who may say who the visitor is."""
        return sorted({here.address(caller.host) for caller in here.callers("http")})

    def values(self, here: c.Context, tls: c.TlsFiles) -> Mapping[str, object]:
        """What every product's configuration is made from."""
        return {
            "set": self.settings,
            "tls": tls,
            "upstreams": upstreams(here),
            "domains": domains(here),
            "draining": c.DRAINING,
            "health_agent": c.HEALTH_AGENT,
            "balancers": self.balancers(here),
            "status_at": f"{LOOPBACK}:{self.settings.metrics_port}" if here.is_called("metrics") else "",
        }

    def probes(self, here: c.Context, tls: c.TlsFiles) -> tuple[c.Probe, ...]:
        """Ask for each site's health as a load balancer would."""
        return tuple(self._probe(here, tls, placed) for placed in _sites(here)) if here.is_called("http") else ()

    def _probe(self, here: c.Context, tls: c.TlsFiles, placed: Placed) -> c.Probe:
        argv = ("curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", "--max-time", "4")
        certificate = ("--cacert", tls.ca, "--cert", tls.certificate, "--key", tls.key)
        host = ("--header", f"Host: {placed.site.domain or here.topology.domain}")
        url = f"https://{here.host.address}:{self.settings.port}{placed.site.health}"
        return c.Probe(f"health of {placed.site.tier}", (*argv, *certificate, *host, url))


@dataclass(frozen=True)
class Upstream:
    """The endpoints of one tier among which the web server chooses."""

    name: str
    speaks: c.Protocol
    endpoints: tuple[c.Endpoint, ...]
    sites: tuple[c.Site, ...]
    is_socket: bool
    is_beside: bool
    """On this host, so that its static files are here too."""
    scheme: str

    @property
    def has_last_resort(self) -> bool:
        """Whether those that have just failed are all there are, so that they must be asked when all have."""
        return not self.is_socket and len(self.endpoints) > 1 and all(one.rank is not c.Rank.SPARE for one in self.endpoints)


@dataclass(frozen=True)
class Placed:
    """A site and what answers for it."""

    site: c.Site
    upstream: Upstream

    @property
    def is_folder(self) -> bool:
        """Whether a folder on this host is the site."""
        return bool(self.site.folder)

    @property
    def has_scripts(self) -> bool:
        """Whether scripts in that folder are run by the upstream."""
        return self.is_folder and self.upstream.speaks is c.Protocol.FASTCGI

    @property
    def has_files(self) -> bool:
        """Whether some of an application's files are here, to be served without asking it."""
        return self.upstream.is_beside and bool(self.site.static_path)


@dataclass(frozen=True)
class Domain:
    """A virtual server. The default one also answers for names nobody knows: which to let in the load balancer decides."""

    name: str
    is_default: bool
    sites: tuple[Placed, ...]

    def is_health_of(self, placed: Placed) -> bool:
        """Whether it is this site that is asked at the path of its health, and none with a longer path."""
        return next((one for one in self.sites if placed.site.health.startswith(one.site.path)), None) is placed

    @property
    def has_front_page(self) -> bool:
        return any(placed.site.path == "/" for placed in self.sites)


def upstreams(here: c.Context) -> tuple[Upstream, ...]:
    """Every tier that is called, sorted by name."""
    by_tier = groupby(
        sorted(here.targets(), key=lambda e: (e.owner, e.listen.name)), key=lambda e: (e.owner.tier, e.listen.name)
    )
    return tuple(_upstream(here, tier, tuple(endpoints)) for (tier, _), endpoints in by_tier)


def domains(here: c.Context) -> tuple[Domain, ...]:
    """The virtual servers, sorted by name; one of them is the default."""
    grouped: dict[str, list[Placed]] = {}
    for placed in _sites(here):
        grouped.setdefault(placed.site.domain or here.topology.domain, []).append(placed)
    default = here.topology.domain if here.topology.domain in grouped else min(grouped, default="")
    return tuple(Domain(name, name == default, tuple(placed)) for name, placed in sorted(grouped.items()))


def _sites(here: c.Context) -> Iterable[Placed]:
    """Every site that is served here, once per domain and path; the longest paths of a domain first."""
    found = [Placed(site, upstream) for upstream in upstreams(here) for site in upstream.sites]
    # Where two tiers claim the same place a server would not start; the first named one is served.
    unique = {(placed.site.domain or here.topology.domain, placed.site.path): placed for placed in reversed(found)}
    return [unique[key] for key in sorted(unique, key=lambda key: (key[0], -len(key[1]), key[1]))]


def _upstream(here: c.Context, tier: str, endpoints: tuple[c.Endpoint, ...]) -> Upstream:
    sites = sorted(
        {site for e in endpoints for site in here.topology.sites_behind(e)}, key=lambda site: (site.domain, site.path)
    )
    is_beside = all(here.is_beside(e) for e in endpoints)
    is_socket = is_beside and all(e.listen.socket for e in endpoints)
    is_encrypted = any(
        e.listen.tls is not c.Tls.NONE and (not is_socket or _is_called_over_network(here, e)) for e in endpoints
    )
    scheme = "https" if is_encrypted else "http"
    return Upstream(tier, endpoints[0].listen.speaks, endpoints, tuple(sites), is_socket, is_beside, scheme)


def _is_called_over_network(here: c.Context, endpoint: c.Endpoint) -> bool:
    """Then it speaks TLS on its socket as well: servers of Python applications do so on all sockets or on none."""
    links = here.topology.links_to(endpoint.owner)
    return any(not link.is_local and link.target.listen.name == endpoint.listen.name for link in links)

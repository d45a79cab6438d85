"""nginx: the web server between the load balancers and the applications; also serves static files.

It takes requests from the load balancers only (each shows a certificate of the stack's), serves an application's static files
where that runs beside it, and hands the rest on: over a unix socket beside it, else over TCP with certificates on both sides.
Applications are told apart by domain and path. Callers must not send a site's domain as TLS server name: nginx would refuse
(421) to serve another domain on that connection; the host's or the tier's name is right.
It runs as www-data from its start, without any capability; its PID file is therefore not where `nginx -s` looks for it.
Source: https://nginx.org/en/docs/http/ngx_http_upstream_module.html, …/ngx_http_proxy_module.html, …/control.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated

from nospof import component as c
from nospof.components.nginx import texts

MOST_WORKERS = 8
CONNECTIONS_PER_WORKER = 4096


class NginxSettings(c.Settings):
    port: int = c.Field(8443, ge=1024, le=65535, description="TCP port for the load balancers.")
    source: Annotated[str | None, c.Folder()] = c.Field(
        None, description="Folder of static files that are a site of their own."
    )
    domain: str = c.Field("", pattern=r"^[a-z0-9.-]*$", description="Domain of that site. Default: the stack's.")
    path: str = c.Field("/", pattern=r"^/([A-Za-z0-9_.-]+/)*$", description="Path of that site, with / at both ends.")
    health: str = c.Field(
        "/health", pattern=r"^/[A-Za-z0-9_./~-]+$", description="Path in that site that nginx answers itself."
    )
    max_body_mib: int = c.Field(16, ge=1, le=102_400, description="Largest request body.")
    answer_s: int = c.Field(30, ge=1, le=3600, description="Seconds an application may take to answer.")
    drain_s: int = c.Field(30, ge=1, le=3600, description="Seconds that open requests get to end at a reload or stop.")
    access_log: c.Switch = c.Field(False, description="Write each request to the journal; the load balancers do already.")


class Nginx(c.Component[NginxSettings]):
    name = "nginx"
    missed_s = 0.0
    about = "A web server: it serves files itself and hands every other request on to the application."
    why = (
        "The application is spared what it is slow at: files, large uploads, encryption. "
        "Several applications can share a domain, each under a path of its own."
    )
    when_lost = (
        "Its health checks fail, and the load balancers give its work to the others. "
        "A request that may be repeated and has no answer yet is repeated there."
    )
    packages = ("curl", "nginx")
    connects = (c.Connect(c.Who.NAMED, c.Protocol.HTTP),)

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        sites = (self._own_site,) if self.settings.source else ()
        return (c.Listen("http", c.Protocol.HTTP, self.settings.port, tls=c.Tls.MUTUAL, sites=sites),)

    @property
    def sources(self) -> tuple[c.Source, ...]:
        return (c.Source("site", self.settings.source),) if self.settings.source else ()

    @property
    def _own_site(self) -> c.Site:
        path = self.settings.path
        return c.Site(self.id.tier, self.settings.domain, path, health=path + self.settings.health.removeprefix("/"))

    def parts(self, here: c.Context) -> c.Parts:
        tls, sites = here.tls(user="www-data"), self._sites(here)
        config = here.template(
            texts.CONFIG,
            set=self.settings,
            tls=tls,
            upstreams=_upstreams(here),
            domains=_domains(here, sites),
            balancers=sorted({here.address(caller.host) for caller in here.callers("http")}),
            workers=max(1, min(here.facts.cpus, MOST_WORKERS)),
            connections=min(CONNECTIONS_PER_WORKER, here.facts.max_open_files // 2),
            escape=re.escape,
        )
        drop_in = here.template(texts.DROP_IN, set=self.settings, open_files=min(here.facts.max_open_files, 65536))
        trees, symlinks = self._release(here)
        return c.Parts(
            files=(
                *tls.files,
                c.File("/etc/nginx/nginx.conf", config, check=("nginx", "-t", "-q", "-c", "/etc/nginx/nginx.conf")),
            ),
            trees=trees,
            symlinks=symlinks,
            units=(c.Unit("nginx.service", c.OnChange.RELOAD, drop_in=drop_in),),
            healthy_when=tuple(self._probe(here, tls, placed) for placed in sites) if here.is_called("http") else (),
        )

    def _release(self, here: c.Context) -> tuple[tuple[c.Tree, ...], tuple[c.Symlink, ...]]:
        if not self.settings.source:
            return (), ()
        top, blob = f"/srv/nospof/{self.id.tier}", here.blob("site")
        folder = f"{top}/releases/{blob[:12]}"
        # nginx looks the path up at each request: nothing has to be told.
        return (c.Tree(folder, blob),), (c.Symlink(f"{top}/current", folder, for_units=()),)

    def _sites(self, here: c.Context) -> tuple[_Placed, ...]:
        """Every site that is served here, once per domain and path; the longest paths of a domain first."""
        found = [_Placed(site, upstream) for upstream in _upstreams(here) for site in upstream.sites]
        if self.settings.source:
            found.insert(0, _Placed(self._own_site, None))
        # Where two tiers claim the same place nginx would not start; the first named one is served.
        unique = {(placed.site.domain or here.topology.domain, placed.site.path): placed for placed in reversed(found)}
        return tuple(unique[key] for key in sorted(unique, key=lambda key: (key[0], -len(key[1]), key[1])))

    def _probe(self, here: c.Context, tls: c.TlsFiles, placed: _Placed) -> c.Probe:
        """Ask for the site's health as a load balancer would."""
        argv = ("curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", "--max-time", "4")
        certificate = ("--cacert", tls.ca, "--cert", tls.certificate, "--key", tls.key)
        host = ("--header", f"Host: {placed.site.domain or here.topology.domain}")
        url = f"https://{here.host.address}:{self.settings.port}{placed.site.health}"
        return c.Probe(f"health of {placed.site.tier}", (*argv, *certificate, *host, url))


@dataclass(frozen=True)
class _Upstream:
    """The endpoints of one tier among which nginx chooses."""

    name: str
    endpoints: tuple[c.Endpoint, ...]
    sites: tuple[c.Site, ...]
    is_socket: bool
    is_beside: bool
    """On this host, so that its static files are here too."""
    scheme: str


@dataclass(frozen=True)
class _Placed:
    """A site and what answers for it; None: nginx itself."""

    site: c.Site
    upstream: _Upstream | None

    @property
    def has_files(self) -> bool:
        return self.upstream is not None and self.upstream.is_beside and bool(self.site.static_path)


@dataclass(frozen=True)
class _Domain:
    """A virtual server. The default one also answers for names nobody knows: which to let in the load balancer decides."""

    name: str
    is_default: bool
    sites: tuple[_Placed, ...]


def _upstreams(here: c.Context) -> tuple[_Upstream, ...]:
    by_tier = groupby(
        sorted(here.targets(), key=lambda e: (e.owner, e.listen.name)), key=lambda e: (e.owner.tier, e.listen.name)
    )
    return tuple(_upstream(here, tier, tuple(endpoints)) for (tier, _), endpoints in by_tier)


def _upstream(here: c.Context, tier: str, endpoints: tuple[c.Endpoint, ...]) -> _Upstream:
    sites = sorted(
        {site for e in endpoints for site in here.topology.sites_behind(e)}, key=lambda site: (site.domain, site.path)
    )
    is_beside = all(here.is_beside(e) for e in endpoints)
    is_socket = is_beside and all(e.listen.socket for e in endpoints)
    is_encrypted = any(
        e.listen.tls is not c.Tls.NONE and (not is_socket or _is_called_over_network(here, e)) for e in endpoints
    )
    return _Upstream(tier, endpoints, tuple(sites), is_socket, is_beside, "https" if is_encrypted else "http")


def _is_called_over_network(here: c.Context, endpoint: c.Endpoint) -> bool:
    """Then it speaks TLS on its socket as well: servers of Python applications do so on all sockets or on none."""
    links = here.topology.links_to(endpoint.owner)
    return any(not link.is_local and link.target.listen.name == endpoint.listen.name for link in links)


def _domains(here: c.Context, sites: Iterable[_Placed]) -> tuple[_Domain, ...]:
    grouped: dict[str, list[_Placed]] = {}
    for placed in sites:
        grouped.setdefault(placed.site.domain or here.topology.domain, []).append(placed)
    default = here.topology.domain if here.topology.domain in grouped else min(grouped, default="")
    return tuple(_Domain(name, name == default, tuple(placed)) for name, placed in sorted(grouped.items()))

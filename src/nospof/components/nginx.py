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
            CONFIG,
            set=self.settings,
            tls=tls,
            upstreams=_upstreams(here),
            domains=_domains(here, sites),
            balancers=sorted({here.address(caller.host) for caller in here.callers("http")}),
            workers=max(1, min(here.facts.cpus, MOST_WORKERS)),
            connections=min(CONNECTIONS_PER_WORKER, here.facts.max_open_files // 2),
            escape=re.escape,
        )
        drop_in = here.template(DROP_IN, set=self.settings, open_files=min(here.facts.max_open_files, 65536))
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
    is_beside = all(e.owner.host == here.host.name for e in endpoints)
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


# Idle connections: the side that closes first must be the one that also sends first, so times grow towards the server
# (HAProxy keeps idle connections to servers for 5 s, applications keep ours for 75 s). Over a unix socket each request has
# a connection of its own: it costs microseconds, and no request is sent to a process that is about to end.
CONFIG = """# Written by nospof from the stack file: changes made here are overwritten.
# Applies when root tests this file; the service itself runs as www-data and warns that it ignores this.
user www-data;
worker_processes {{ workers }};
worker_shutdown_timeout {{ set.drain_s }}s;
error_log stderr warn;

events {
    worker_connections {{ connections }};
}

http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    charset utf-8;
    server_tokens off;
    sendfile on;
    tcp_nopush on;
    absolute_redirect off;
    server_names_hash_bucket_size 128;

    log_format timed '$remote_addr "$request" $status $body_bytes_sent $request_time $upstream_response_time $http_host';
{% if set.access_log %}
    access_log syslog:server=unix:/dev/log,tag=nginx,severity=info timed;
{% else %}
    access_log off;
{% endif %}

    client_header_timeout 10s;
    client_body_timeout 30s;
    client_max_body_size {{ set.max_body_mib }}m;
    client_body_buffer_size 128k;
    send_timeout 30s;
    keepalive_timeout 65s;
    keepalive_requests 100000;
    reset_timedout_connection on;

    ssl_certificate {{ tls.certificate }};
    ssl_certificate_key {{ tls.key }};
    ssl_client_certificate {{ tls.ca }};
    ssl_verify_client on;
    ssl_verify_depth 2;
    ssl_protocols TLSv1.3;
    ssl_session_cache shared:tls:1m;

{% for address in balancers %}
    set_real_ip_from {{ address }};
{% endfor %}
    real_ip_header X-Forwarded-For;

    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Web-Server {{ here.host.name }};
    # Others' words for X-Forwarded-Proto, which the load balancer sets; an application must not believe them.
    proxy_set_header X-Forwarded-Protocol "";
    proxy_set_header X-Forwarded-Ssl "";
    proxy_set_header Proxy "";
    proxy_connect_timeout 500ms;
    proxy_read_timeout {{ set.answer_s }}s;
    proxy_send_timeout {{ set.answer_s }}s;
    # Requests that may have been acted on (POST and the like) are not sent twice.
    proxy_next_upstream error timeout;
    proxy_next_upstream_timeout 2s;
    proxy_ssl_certificate {{ tls.certificate }};
    proxy_ssl_certificate_key {{ tls.key }};
    proxy_ssl_trusted_certificate {{ tls.ca }};
    proxy_ssl_verify on;
    proxy_ssl_verify_depth 2;
    proxy_ssl_server_name on;
    proxy_ssl_protocols TLSv1.3;
{% for upstream in upstreams %}

    upstream {{ upstream.name }} {
{% for endpoint in upstream.endpoints %}
{% if upstream.is_socket %}
        server unix:{{ endpoint.listen.socket }} max_fails=0;
{% else %}
        server {{ here.address(endpoint.owner.host) }}:{{ endpoint.listen.port }}
{%- if upstream.endpoints | length == 1 %} max_fails=0{% else %} max_fails=1 fail_timeout=1s{% endif %}
{%- if endpoint.rank.value == "spare" %} backup{% endif %};
{% endif %}
{% endfor %}
{% if not upstream.is_socket %}
        keepalive 32;
        keepalive_timeout 60s;
{% endif %}
    }
{% endfor %}
{% for domain in domains if here.is_called("http") %}

    server {
        listen {{ here.host.address }}:{{ set.port }} ssl{% if domain.is_default %} default_server{% endif %};
        server_name {{ domain.name }};
{% for placed in domain.sites %}
{% set site = placed.site %}
{% if placed.upstream %}
{% if placed.has_files %}

        # What is not there as a file the application is asked for.
        location ~ ^{{ escape(site.static_path) }}(?<file>(?!\\.)(?!.*/\\.).+)$ {
            root {{ site.static_folder }};
            try_files /$file @{{ placed.upstream.name }};
            expires 5m;
            # Only here: compressed pages that hold secrets and visitors' input can be guessed (BREACH).
            gzip on;
            gzip_vary on;
            gzip_proxied any;
            gzip_types text/css text/plain application/javascript text/javascript application/json image/svg+xml;
        }
{% endif %}

        location {{ site.path }} {
            proxy_pass {{ placed.upstream.scheme }}://{{ placed.upstream.name }};
            proxy_ssl_name {{ placed.upstream.name }};
        }
{% else %}

        location = {{ site.health }} {
            default_type text/plain;
            return 200 "ok\\n";
        }

        location ~ ^{{ escape(site.path) }}(.*/)?\\.(?!well-known/) {
            return 404;
        }

        location {{ site.path }} {
            alias /srv/nospof/{{ site.tier }}/current/app/;
            expires 5m;
            gzip on;
            gzip_vary on;
            gzip_proxied any;
            gzip_types text/css text/plain application/javascript text/javascript application/json image/svg+xml;
        }
{% endif %}
{% endfor %}
{% for upstream in domain.sites | selectattr("has_files") | map(attribute="upstream") | unique(attribute="name") %}

        location @{{ upstream.name }} {
            proxy_pass {{ upstream.scheme }}://{{ upstream.name }};
            proxy_ssl_name {{ upstream.name }};
        }
{% endfor %}
{% if "/" not in domain.sites | map(attribute="site.path") %}

        location / {
            return 404;
        }
{% endif %}
    }
{% endfor %}
}
"""

# SIGQUIT to the first process lets open requests end. Limits on starts are off: it must never give up.
DROP_IN = """[Unit]
StartLimitIntervalSec=0

[Service]
User=www-data
Group=www-data
RuntimeDirectory=nginx
StateDirectory=nginx
PIDFile=/run/nginx/nginx.pid
ExecStartPre=
ExecStart=
ExecStart=/usr/sbin/nginx -g 'daemon on; master_process on; pid /run/nginx/nginx.pid;'
ExecReload=
ExecReload=/usr/sbin/nginx -t -q -g 'pid /run/nginx/nginx.pid;'
ExecReload=/bin/kill -HUP $MAINPID
ExecStop=
KillSignal=SIGQUIT
KillMode=mixed
TimeoutStopSec={{ set.drain_s + 5 }}
Restart=always
RestartSec=100ms
OOMPolicy=continue
LimitNOFILE={{ open_files }}

NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
PrivateIPC=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
CapabilityBoundingSet=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
DevicePolicy=closed
UMask=0027
"""

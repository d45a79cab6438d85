"""nginx: the web server between the load balancers and the applications; also serves static files.

It takes requests from the load balancers only, serves an application's static files where that runs beside it, and hands the
rest on: over a unix socket beside it, else over TCP with certificates on both sides.
Callers must not send a site's domain as TLS server name: nginx would refuse (421) to serve another domain on that connection;
the host's or the tier's name is right.
It runs as www-data from its start, without any capability; its PID file is therefore not where `nginx -s` looks for it.
Source: https://nginx.org/en/docs/http/ngx_http_upstream_module.html, …/ngx_http_proxy_module.html,
…/ngx_http_fastcgi_module.html, …/control.html.
"""

from __future__ import annotations

import re

from nospof import component as c
from nospof.components.nginx import texts
from nospof.components.web_common import LOOPBACK, WebServer, WebSettings, upstreams

MOST_WORKERS = 8
CONNECTIONS_PER_WORKER = 4096
FASTCGI = "/etc/nginx/nospof-fastcgi.conf"


class NginxSettings(WebSettings):
    pass


class Nginx(WebServer[NginxSettings]):
    name = "nginx"
    missed_s = 0.0
    packages = ("curl", "nginx")
    exporter_program = "prometheus-nginx-exporter"
    packages_if_watched = (exporter_program,)

    def parts(self, here: c.Context) -> c.Parts:
        tls = here.tls(user="www-data")
        has_scripts = any(upstream.speaks is c.Protocol.FASTCGI for upstream in upstreams(here))
        config = here.template(
            texts.CONFIG,
            **self.values(here, tls),
            workers=max(1, min(here.facts.cpus, MOST_WORKERS)),
            connections=min(CONNECTIONS_PER_WORKER, here.facts.max_open_files // 2),
            escape=re.escape,
            has_scripts=has_scripts,
            fastcgi=FASTCGI,
        )
        drop_in = here.template(texts.DROP_IN, set=self.settings, open_files=min(here.facts.max_open_files, 65536))
        path = "/etc/nginx/nginx.conf"
        exporter = self.exporter(here, tls)
        return c.Parts(
            files=(
                *tls.files,
                *((c.File(FASTCGI, here.template(texts.FASTCGI), for_units=("nginx.service",)),) if has_scripts else ()),
                c.File(path, config, check=("nginx", "-t", "-q", "-c", path), for_units=("nginx.service",)),
                *(exporter.files if exporter else ()),
            ),
            units=(
                c.Unit("nginx.service", c.OnChange.RELOAD, drop_in=drop_in),
                *((exporter.unit,) if exporter else ()),
            ),
            healthy_when=self.probes(here, tls),
        )

    @property
    def exporter_command(self) -> tuple[str, ...]:
        return (f"--nginx.scrape-uri=http://{LOOPBACK}:{self.settings.metrics_port}/", "--log.level=warn")

    def alerts(self, topology: c.Topology) -> tuple[c.Alert, ...]:
        at = f'{{tier="{self.id.tier}"}}'
        return (
            c.Alert(
                "WebConnectionsDropped",
                f"increase(nginx_connections_accepted{at}[5m]) - increase(nginx_connections_handled{at}[5m]) > 0.5",
                "{{ $labels.host }}: nginx drops connections",
                "It takes no more connections than its workers may hold, and ends the others without an answer.",
                "On {{ $labels.host }}: journalctl -u nginx -n 20. Who opens so many? nginx_connections_waiting are idle ones.",
                for_s=0,
            ),
        )

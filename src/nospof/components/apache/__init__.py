"""Apache: the web server between the load balancers and the applications; also serves static files.

It takes requests from the load balancers only, serves files and PHP's folders where the application runs beside it, and hands
the rest on: over a unix socket beside it, else over TCP with certificates on both sides. One file of nospof's own is its whole
configuration; Debian's /etc/apache2/apache2.conf, with its sites and modules, is not read.
Threads, not processes (mpm_event): an idle connection costs no thread. PHP runs in PHP-FPM, never inside Apache.
Limits: it verifies that an application on another host has a certificate of the stack's, but not whose: with the visitor's name
for the site, which an application must see, Apache compares the certificate. Only a connection that could not be made is tried
on another host; where an answer breaks off, the load balancer asks again if that may be done.
It runs as www-data from its start, without any capability.
Source: https://httpd.apache.org/docs/2.4/mod/event.html, …/mod_proxy.html, …/mod_proxy_fcgi.html, …/mod_remoteip.html,
…/stopping.html.
"""

from __future__ import annotations

import re

from nospof import component as c
from nospof.components.apache import texts
from nospof.components.web_common import LOOPBACK, WebServer, WebSettings

CONFIG = "/etc/apache2/nospof.conf"
BOTH = "/etc/nospof/tls/{tier}.both.pem"
SERVICE = "apache2.service"
OK = "/usr/lib/nospof/apache/ok"
THREADS = 64
FEWEST_PROCESSES, MOST_PROCESSES = 4, 16


class ApacheSettings(WebSettings):
    metrics_port: int = c.Field(
        9117, ge=1024, le=65535, description="Port of its figures for those who watch the stack; shut if nobody does."
    )


class Apache(WebServer[ApacheSettings]):
    name = "apache"
    missed_s = 0.0
    packages = ("apache2", "curl")
    exporter_program = "prometheus-apache-exporter"
    packages_if_watched = (exporter_program,)

    def parts(self, here: c.Context) -> c.Parts:
        tls = here.tls(user="www-data")
        # What it shows to applications must be one file.
        both = c.File(
            BOTH.format(tier=self.id.tier),
            "".join(file.text for file in tls.files if file.path in (tls.certificate, tls.key)),
            mode=0o400,
            user="www-data",
            for_units=(SERVICE,),
        )
        values = self.values(here, tls)
        config = here.template(
            texts.CONFIG,
            **values,
            both=both.path,
            ok=OK,
            processes=max(FEWEST_PROCESSES, min(2 * here.facts.cpus, MOST_PROCESSES)),
            threads=THREADS,
            escape=re.escape,
        )
        drop_in = here.template(
            texts.DROP_IN, set=self.settings, config=CONFIG, open_files=min(here.facts.max_open_files, 65536)
        )
        exporter = self.exporter(here, tls)
        return c.Parts(
            files=(
                *tls.files,
                both,
                c.File(OK, "ok\n", for_units=()),
                c.File(CONFIG, config, check=("apache2", "-t", "-f", CONFIG), for_units=(SERVICE,)),
                *(exporter.files if exporter else ()),
            ),
            units=(c.Unit(SERVICE, c.OnChange.RELOAD, drop_in=drop_in), *((exporter.unit,) if exporter else ())),
            healthy_when=self.probes(here, tls),
        )

    @property
    def exporter_command(self) -> tuple[str, ...]:
        return (f"--scrape_uri=http://{LOOPBACK}:{self.settings.metrics_port}/?auto", "--log.level=warn")

    def alerts(self, topology: c.Topology) -> tuple[c.Alert, ...]:
        at = f'tier="{self.id.tier}"'
        return (
            c.Alert(
                "WebWorkersBusy",
                f'apache_workers{{{at},state="idle"}} == 0',
                "{{ $labels.host }}: all of Apache's threads are busy",
                "Each answers a request; whoever comes now waits until one is free.",
                "Is the application slow? haproxy_server_response_time_average_seconds tells since when, nospof logs why.",
                for_s=30,
            ),
        )

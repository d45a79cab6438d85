"""Varnish: keeps pages in memory between load balancer and applications, and shows them while no application answers.

Varnish itself speaks no TLS. A HAProxy of the component's own stands at both of its ends, on unix sockets that nobody else can
open: it takes callers' requests with certificates on both sides, and it asks the applications, balanced and checked as the load
balancer does it. What cannot be kept (POST, websockets) it hands on without Varnish, and pages too while Varnish is away.

A page is kept if it was asked for by GET without cookie or authorisation, and its answer sets no cookie and does not forbid it.
What a caller says beside that in headers X-Nospof-… is not believed: they are how the two ends talk.
Limits: everything is in memory, so that a host that comes back has to ask anew; each host keeps its own copies.
Source: https://varnish-cache.org/docs/7.7/users-guide/vcl-grace.html, …/purging.html, …/reference/vcl.html, varnishd(1), the
built-in texts.VCL of 7.7, which goes on where ours ends; https://docs.haproxy.org/3.0/configuration.html.
"""

from __future__ import annotations

import re
from typing import Annotated

from nospof import component as c
from nospof.components.balancing_common import backends, checked, notices_s, server_options
from nospof.components.varnish import texts

UNIT, LINKS, EXPORTER = "varnish.service", "nospof-varnish-links.service", "prometheus-varnish-exporter.service"
USER = "vcache"
FOLDER = "/etc/nospof/varnish"
VCL_FILE, LINKS_FILE = f"{FOLDER}/pages.vcl", f"{FOLDER}/links.cfg"
METRICS_PORT = 9131
# Of one refresh of a page that is asked for often, only the first visitor would wait; the others are shown the last one.
REFRESH_S = 1
Path = Annotated[str, c.Field(pattern=r"^/[A-Za-z0-9_./~-]*$")]
CookieName = Annotated[str, c.Field(pattern=r"^[A-Za-z0-9_.-]+$")]


class VarnishSettings(c.Settings):
    port: int = c.Field(
        6443, ge=1024, le=65534, description="TCP port for callers; the next one is for purging among the hosts."
    )
    memory_mib: int = c.Field(256, ge=16, description="Memory for pages on each host; when it is full, those least used go.")
    ttl_s: int = c.Field(
        1, ge=0, le=86_400, description="Seconds a page is kept whose answer says nothing of it (Cache-Control, Expires)."
    )
    grace_s: int = c.Field(
        3600, ge=0, le=604_800, description="Seconds an old page is still shown while no application answers well."
    )
    never: tuple[Path, ...] = c.Field((), description="Paths, with all below them, of which nothing is kept.")
    unread_cookies: tuple[CookieName, ...] = c.Field(
        (), description='Beginnings of cookies\' names that no application reads, e.g. "_ga": pages are kept in spite of them.'
    )
    max_page_mib: int = c.Field(16, ge=1, le=4096, description="A larger answer is not kept.")
    max_connections_per_server: int = c.Field(
        256, ge=1, le=100_000, description="Requests that one host gives one server at a time; more wait in a queue."
    )
    answer_s: int = c.Field(30, ge=1, le=3600, description="Seconds a server may take until its answer begins.")
    connect_ms: int = c.Field(
        200, ge=20, le=5000, description="Milliseconds until a server that does not accept counts as gone."
    )
    check_every_ms: int = c.Field(250, ge=50, le=60_000, description="Milliseconds between two health checks of one server.")
    drain_s: int = c.Field(30, ge=1, le=3600, description="Seconds that open requests get to end at a reload or stop.")


class Varnish(c.Component[VarnishSettings]):
    name = "varnish"
    about = "A cache for whole pages: what many visitors ask for is made once and then shown from memory."
    why = (
        "Applications are spared what they have answered a moment ago, and while none of them answers, visitors still see "
        "the pages that were seen lately."
    )
    when_lost = (
        "Its health checks fail, and its callers ask the others, who have pages of their own in memory. Without any of them "
        "nobody is answered; while only the cache on a host is away, its requests go to the applications."
    )
    packages = ("curl", "haproxy", "varnish")
    packages_if_watched = ("prometheus-varnish-exporter",)
    connects = (
        c.Connect(c.Who.NAMED, c.Protocol.HTTP, checks=True, spreads=True),
        # Of what is no longer right the hosts tell each other; it is no user's data.
        c.Connect(c.Who.PEERS, c.Protocol.GOSSIP, "peers", is_required=False),
    )

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        port = self.settings.port
        return (
            c.Listen("http", c.Protocol.HTTP, port, tls=c.Tls.MUTUAL),
            c.Listen("purge", c.Protocol.GOSSIP, port + 1, tls=c.Tls.MUTUAL),
            c.Listen("metrics", c.Protocol.METRICS, METRICS_PORT),
        )

    @property
    def notices_s(self) -> float:
        return notices_s(self.settings.check_every_ms)

    @property
    def most_at_once_per_target(self) -> int:
        return self.settings.max_connections_per_server

    def remarks(self, topology: c.Topology) -> tuple[str, ...]:
        if not self.settings.grace_s:
            return ()
        shown = (
            f"While no application answers well, pages that were seen before are shown for up to {self.settings.grace_s} s "
            "after their time, to visitors with cookies too, who then see what everybody sees."
        )
        return (shown,)

    def alerts(self, topology: c.Topology) -> tuple[c.Alert, ...]:
        at = f'{{tier="{self.id.tier}"}}'
        thrown = f"rate(varnish_main_n_lru_nuked{at}[5m])"
        return (
            c.Alert(
                "PagesThrownAway",
                f"{thrown} > 0.1 * rate(varnish_main_client_req{at}[5m]) and {thrown} > 0.1",
                "{{ $labels.host }}: the memory for pages is full, and {{ $value | humanize }} a second are thrown away",
                "For more than one of ten requests a page is thrown away before its end to make room: what is asked for next "
                "is often not there, and applications make it anew. While none of them answers, it cannot be shown either.",
                f"Give tier {self.id.tier} more memory_mib, or have less kept: never, max_page_mib, a shorter Cache-Control.",
                for_s=300,
                every_s=60,
            ),
        )

    def panels(self, topology: c.Topology) -> tuple[c.Panel, ...]:
        at, window = f'{{tier="{self.id.tier}"}}', c.RATE_WINDOW

        def rate(figure: str) -> str:
            return f"sum by (host) (rate({figure}{at}[{window}]))"

        hits, misses = rate("varnish_main_cache_hit"), rate("varnish_main_cache_miss")
        return (
            c.Panel(
                "Pages from memory",
                "Of the requests for what may be kept, the share that needed no application.",
                ((f"{hits} / ({hits} + {misses} > 0)", "{{host}}"),),
                c.Scale.SHARE,
            ),
            c.Panel(
                "Thrown away for want of memory",
                "Pages whose time was not over. More than a few: more memory_mib.",
                ((rate("varnish_main_n_lru_nuked"), "{{host}}"),),
                c.Scale.PER_S,
            ),
        )

    # --- what is on the host -----------------------------------------------------------------------------------------
    def parts(self, here: c.Context) -> c.Parts:
        tls = here.tls(user=USER, for_units=(LINKS,))
        found = backends(here)
        values = {
            "set": self.settings,
            "backends": found,
            "health_agent": c.HEALTH_AGENT,
            "checked": checked(self.settings.check_every_ms),
            "peers": [(peer.owner.host, peer.listen.port) for peer in here.targets("peers")],
            "user": USER,
            "vcl_file": VCL_FILE,
            "links_file": LINKS_FILE,
            "open_files": min(here.facts.max_open_files, 131_072),
        }
        links = here.template(texts.LINKS_CONFIG, tls=tls, own=self._own(here), server_options=server_options, **values)
        vcl = here.template(texts.VCL, never=self._never(here), plain=_below(self._plain(here)), refresh_s=REFRESH_S, **values)
        units = [
            c.Unit(UNIT, c.OnChange.RELOAD, text=here.template(texts.VARNISH_UNIT, **values)),
            c.Unit(LINKS, c.OnChange.RELOAD, text=here.template(texts.LINKS_UNIT, **values)),
        ]
        if here.is_called("metrics"):
            units.append(c.Unit(EXPORTER, text=here.template(texts.EXPORTER_UNIT, port=METRICS_PORT, **values), is_aside=True))
        return c.Parts(
            files=(
                *tls.files,
                c.File(VCL_FILE, vcl, check=("varnishd", "-C", "-f", VCL_FILE), for_units=(UNIT,)),
                c.File(LINKS_FILE, links, check=("haproxy", "-c", "-f", LINKS_FILE), for_units=(LINKS,)),
            ),
            units=tuple(units),
            healthy_when=tuple(self._probe(here, tls, backend.site) for backend in found if here.is_called("http")),
        )

    def _probe(self, here: c.Context, tls: c.TlsFiles, site: c.Site) -> c.Probe:
        """Ask for the site's health as a caller would."""
        argv = ("curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", "--max-time", "4")
        proof = ("--cacert", tls.ca, "--cert", tls.certificate, "--key", tls.key)
        host = ("--header", f"Host: {site.domain or here.topology.domain}")
        return c.Probe(
            f"health of {site.tier}", (*argv, *proof, *host, f"https://{here.host.address}:{self.settings.port}{site.health}")
        )

    def _own(self, here: c.Context) -> list[str]:
        """Addresses of those who may purge: hosts of the stack as they visit the site, and so may be who holds the VIP."""
        return sorted({host.address for host in here.topology.hosts} | {vip.address for vip in here.topology.vips})

    def _never(self, here: c.Context) -> str:
        """A regular expression of what is always asked of the applications: how they are, and what the user says."""
        ready = (backend.site.ready for backend in backends(here))
        return _below({*self.settings.never, *(path for path in ready if path)})

    def _plain(self, here: c.Context) -> set[str]:
        """Paths of files, which are the same for everybody whatever cookies say."""
        return {backend.site.static_path for backend in backends(here) if backend.site.static_path}


def _below(paths: set[str]) -> str:
    """A regular expression that matches each of `paths` and all below; "" = there are none."""
    each = (re.escape(path.rstrip("/")) for path in sorted(paths))
    return f"^({'|'.join(each)})(/|[?]|$)" if paths else ""

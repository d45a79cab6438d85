"""HAProxy: takes visitors' requests and gives each to a living web server, over TLS on both sides.

Per application one health check and three backends on the same servers: `SITE` for requests that may be repeated, `SITE.once`
for those that may not, and `SITE.any` for when no server passes its check (a check may be wrong; a page is better than none).
Several load balancers hold one VIP in turn, or each one at the same time. They need to know nothing of each other, but for
`sticky: source`, where they tell each other which visitor has which server.

Limits: a GET that was being answered when its server went dark is repeated only if no byte of the answer was sent; a POST
that reached a server is never repeated. IPv4.

Source: https://docs.haproxy.org/3.0/configuration.html; the reason for each number is in docs/decisions/0004-edge-settings.md
and, for several VIPs and for stickiness, docs/decisions/0023-active-active.md.
"""

from __future__ import annotations

from typing import Annotated, Literal

from nospof import component as c
from nospof.components.balancing_common import Backend, backends, checked, notices_s, server_options
from nospof.components.haproxy import alerts, panels, texts

CONFIG = "/etc/haproxy/haproxy.cfg"
ERROR_PAGE = "/etc/haproxy/nospof-unavailable.html"
KEEP_STATES = "/usr/lib/nospof/haproxy-keep-states"
LUA = "/etc/haproxy/nospof-dark-hosts.lua"
# Beside the admin socket, so that nothing but a process of this host can ask.
ALIVE_SOCKET = "/run/haproxy/alive.sock"
# Listeners, health checks, logs and the old process while a new one starts: far more than was ever seen in use.
RESERVED_FILES = 1000
# Two 16 kB buffers and some 60 kB of TLS state on each side: what one busy connection can take.
CONNECTIONS_PER_MIB = 8
ACTIVE_ACTIVE = "active-active"
PEERS_PORT = 8404
# What visitors got, whoever answered. All figures of all servers would be far more.
ANSWERS = c.Count(
    "requests",
    "/metrics?scope=frontend&metrics=haproxy_frontend_http_responses_total",
    "haproxy_frontend_http_responses_total",
    labels=(("proxy", "visitors"),),
    failed=(("code", "5xx"),),
)
# Kept out of visitors' reach, so that the alive check and the metrics answer while visitors fill everything else.
RESERVED_CONNECTIONS = 100


class HaproxySettings(c.Settings):
    mode: Annotated[Literal["active-passive", "active-active"], c.AmongSeveral()] = c.Field(
        "active-passive",
        description="Either one load balancer holds the VIP and the others wait to take it over; or all work, each at home "
        "for one of as many VIPs as there are hosts, and the others take over that of one that dies.",
    )
    balance: Literal["roundrobin", "leastconn", "source"] = c.Field(
        "roundrobin",
        description="Which server gets the next request: each in turn, the least busy one, or always the same for one visitor.",
    )
    sticky: Literal["off", "cookie", "source"] = c.Field(
        "off",
        description="Whether a visitor stays with his first server while it lives, through takeovers too: known by a cookie; "
        "or by his address, for clients that keep no cookies (which then also decides, instead of balance, which is first).",
    )
    sticky_s: int = c.Field(
        1800,
        ge=1,
        le=604_800,
        description="Seconds without a request after which an address is forgotten (`sticky: source`).",
    )
    https: c.Switch = c.Field(True, description="Answer over HTTPS, and send who comes over HTTP there.")
    hsts_subdomains: c.Switch = c.Field(
        False, description="Tell browsers that all subdomains are HTTPS only, too. On only if no subdomain needs plain HTTP."
    )
    security_headers: c.Switch = c.Field(
        True, description="Add X-Content-Type-Options, X-Frame-Options and Referrer-Policy where the application sets none."
    )
    access_log: c.Switch = c.Field(True, description="Log every request to the journal; off = only those that went wrong.")
    max_connections_per_server: int = c.Field(
        256, ge=1, le=100_000, description="Requests that one load balancer gives one server at a time; more wait in a queue."
    )
    queue_s: int = c.Field(
        5, ge=1, le=60, description="Seconds a request waits for a free server before the visitor gets a 503."
    )
    answer_s: int = c.Field(30, ge=1, le=3600, description="Seconds a server may take until its answer begins.")
    connect_ms: int = c.Field(
        200,
        ge=20,
        le=5000,
        description="Milliseconds until a server that does not accept counts as gone; raise it across sites.",
    )
    check_every_ms: int = c.Field(250, ge=50, le=60_000, description="Milliseconds between two health checks of one server.")
    check_answer_ms: int = c.Field(
        1000, ge=50, le=60_000, description="Milliseconds a server that accepted may take to answer its health check."
    )
    promised_percent: float = c.Field(
        99.9, gt=0, lt=100, description="Share of requests that is to be answered well; alerts tell when it cannot be kept."
    )
    drain_s: int = c.Field(
        30, ge=1, le=3600, description="Seconds that requests in progress may take to end after the configuration was reloaded."
    )


class Haproxy(c.Component[HaproxySettings]):
    name = "haproxy"
    missed_s = 0.3
    about = "A load balancer: it takes every request of the visitors and gives it to a web server that is healthy."
    why = (
        "Visitors know addresses, not servers. Behind them servers may die, be added or be restarted without anybody outside "
        "noticing, and no server gets more than its share."
    )
    when_lost = "A VIP that it held moves to another load balancer. Connections that were open to the lost one end."
    packages = ("haproxy", "curl", "socat")

    @property
    def connects(self) -> tuple[c.Connect, ...]:
        servers = c.Connect(c.Who.NAMED, c.Protocol.HTTP, checks=True, spreads=True)
        peers = c.Connect(c.Who.PEERS, c.Protocol.SESSIONS, "peers", is_required=False)
        return (servers, peers) if self.settings.sticky == "source" else (servers,)

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        visitors = (c.OUTSIDE,)
        http = c.Listen("http", c.Protocol.HTTP, port=80, bind=c.Bind.ANY, called_by=visitors)
        https = c.Listen("https", c.Protocol.HTTP, port=443, bind=c.Bind.ANY, tls=c.Tls.SERVER, called_by=visitors)
        metrics = c.Listen("metrics", c.Protocol.METRICS, port=8405, counts=(ANSWERS,))
        peers = c.Listen("peers", c.Protocol.SESSIONS, port=PEERS_PORT, tls=c.Tls.MUTUAL)
        listens = (https, http, metrics) if self.settings.https else (http, metrics)
        return (*listens, peers) if self.settings.sticky == "source" else listens

    @property
    def is_sticky(self) -> bool:
        return self.settings.sticky != "off"

    @property
    def notices_s(self) -> float:
        return notices_s(self.settings.check_every_ms)

    @property
    def wants(self) -> tuple[c.Wants, ...]:
        is_shared = self.settings.mode == ACTIVE_ACTIVE
        return (c.Wants(c.VipNeed(self.id.tier, self._alive_file, self._alive_check, is_shared)),)

    @property
    def touch_last_if(self) -> tuple[str, ...]:
        return (self._holds_address,)

    @classmethod
    def objections(cls, tier: c.Tier) -> tuple[c.Objection, ...]:
        settings = tier.settings
        if not isinstance(settings, HaproxySettings) or settings.mode != ACTIVE_ACTIVE or len(tier.hosts) > 1:
            return ()
        what = "mode active-active needs two hosts that work at the same time"
        why = "there is one address for each host: with one host there is nothing to share, and nobody to take it over"
        return (c.Objection("S012", "hosts", what, why, "add a host in another zone, or remove mode"),)

    def cautions(self, topology: c.Topology) -> tuple[c.Objection, ...]:
        if self.settings.security_headers:
            return ()
        what = "security_headers: off: browsers are not told how to guard the pages"
        why = "where the application says nothing, other sites may frame its pages, and uploads may run as scripts"
        return (c.Objection("F107", "security_headers", what, why, f"in tier {self.id.tier} security_headers: on"),)

    def alerts(self, topology: c.Topology) -> tuple[c.Alert, ...]:
        return alerts.of_tier(self.id.tier, 100 - self.settings.promised_percent, self.settings.max_connections_per_server)

    def panels(self, topology: c.Topology) -> tuple[c.Panel, ...]:
        return panels.of_tier(self.id.tier, 100 - self.settings.promised_percent)

    @property
    def most_at_once_per_target(self) -> int:
        return self.settings.max_connections_per_server

    def parts(self, here: c.Context) -> c.Parts:
        config = c.File(CONFIG, self._config(here), check=("haproxy", "-c", "-f", CONFIG))
        lua = c.File(LUA, here.template(texts.LUA, settings=self.settings))
        page = c.File(ERROR_PAGE, here.template(texts.ERROR_PAGE))
        holds = c.File(self._holds_address, self._holds_address_script(here), mode=0o755, for_units=())
        keep = c.File(KEEP_STATES, here.template(texts.KEEP_STATES, config=CONFIG), mode=0o755, for_units=())
        unit = c.Unit("haproxy.service", c.OnChange.RELOAD, drop_in=self._drop_in(here))
        alive = c.Probe("answers", self._alive_check)
        tls = here.tls().files if self._has_tls(here) else ()
        return c.Parts(files=(*tls, page, lua, config, keep, holds), units=(unit,), healthy_when=(alive,))

    # --- the load balancer as others see it --------------------------------------------------------------------------
    @property
    def _alive_file(self) -> str:
        return f"/run/nospof/{self.id.tier}.alive"

    @property
    def _alive_check(self) -> tuple[str, ...]:
        quiet = ("-fsS", "-o", "/dev/null", "--max-time", "0.5")
        return ("/usr/bin/curl", *quiet, "--unix-socket", ALIVE_SOCKET, "http://localhost/alive")

    @property
    def _holds_address(self) -> str:
        return f"/usr/lib/nospof/{self.id.tier}-holds-address"

    def _holds_address_script(self, here: c.Context) -> str:
        return here.template(texts.HOLDS_ADDRESS, addresses=[vip.address for vip in here.vips(self.id.tier)])

    # --- what it does ------------------------------------------------------------------------------------------------
    def _config(self, here: c.Context) -> str:
        return here.template(
            texts.CONFIG,
            settings=self.settings,
            backends=backends(here),
            health_agent=c.HEALTH_AGENT,
            checked=checked(self.settings.check_every_ms),
            tls=here.tls() if self._has_tls(here) else None,
            balance=self._balance,
            stays=None if self.settings.sticky == "off" else self._stays,
            peers=self._peers(here),
            peers_port=PEERS_PORT,
            where=lambda server: f"{here.address(server.owner.host)}:{server.listen.port}",
            server_options=self._server_options,
            max_connections=max_connections(here.facts),
            reserved=RESERVED_CONNECTIONS,
            alive_socket=ALIVE_SOCKET,
            error_page=ERROR_PAGE,
            lua=LUA,
            curves=texts.CURVES,
            ciphers=texts.CIPHERS,
            suites=texts.SUITES,
        )

    @property
    def _balance(self) -> str:
        # Consistent: when a server goes, only its own visitors go elsewhere.
        balance = "source" if self.settings.sticky == "source" else self.settings.balance
        by_address = "\n    hash-type consistent" if balance == "source" else ""
        return f"    balance {balance}{by_address}"

    def _stays(self, backend: Backend) -> str:
        """The same line in all three backends of an application, so that a visitor's POST goes where his GET went."""
        if self.settings.sticky == "source":
            return f"stick on src table {backend.name}"
        secure = "secure " if self.settings.https else ""
        return f"cookie nospof-{backend.name} insert indirect nocache httponly {secure}attr SameSite=Lax"

    def _peers(self, here: c.Context) -> list[str]:
        """All load balancers of the tier, where they tell each other which visitor has which server; else none."""
        others = [endpoint.owner.host for endpoint in here.targets("peers")]
        return sorted([self.id.host, *others]) if others else []

    def _server_options(self, server: c.Endpoint) -> str:
        cookie = f" cookie {server.owner.host}" if self.settings.sticky == "cookie" else ""
        return server_options(server) + cookie

    def _drop_in(self, here: c.Context) -> str:
        open_files = here.facts.max_open_files
        return here.template(texts.DROP_IN, alive_file=self._alive_file, max_open_files=open_files, keep_states=KEEP_STATES)

    def _has_tls(self, here: c.Context) -> bool:
        encrypts = any(server.listen.tls is not c.Tls.NONE for server in here.targets())
        return self.settings.https or encrypts or bool(self._peers(here))


def max_connections(facts: c.Facts) -> int:
    """Visitors' and servers' connections share the open files and the memory; at least 200, at most 100 000 visitors."""
    by_files = (facts.max_open_files - RESERVED_FILES) // 2
    return max(200, min(by_files, facts.memory_mib * CONNECTIONS_PER_MIB, 100_000))

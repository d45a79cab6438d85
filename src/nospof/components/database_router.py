"""Database router: a local port on each calling host that leads to the server with the right role, of databases and caches.

HAProxy in TCP mode carries the connections; the program `nospof.onhost.database_router` beside it hears from the servers'
hosts who has which role and leads it. HAProxy's own checks are slow and the safety net: who fails them gets nothing, and they
decide alone while the program does not run. Callers use the tier's name and never see a role change but as a connection that
ends, or that takes a little longer to open. TLS goes through it, from the caller to the server. Figures:
docs/decisions/0006-database.md.
Source: https://docs.haproxy.org/3.0/configuration.html (option httpchk, server-state-file, nbsrv).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from nospof import component as c

HAPROXY, PROGRAM = "nospof-database-router.service", "nospof-database-router-lead.service"
CONFIG_FILE, ROUTES_FILE = "/etc/nospof/database-router.cfg", "/etc/nospof/database-router.json"
PLACE, PROGRAM_PLACE = "/run/nospof-database-router", "/run/nospof-database-router-lead"


class DatabaseRouterSettings(c.Settings):
    check_every_ms: int = c.Field(
        1000,
        ge=50,
        le=10_000,
        description="Milliseconds between two checks of a server by HAProxy itself; a no is asked again at a quarter.",
    )
    hold_s: int = c.Field(
        10,
        ge=0,
        le=60,
        description="Seconds that new connections wait for a primary when there is none; then they are refused. "
        "A tier may say otherwise.",
    )
    max_connections: int = c.Field(2000, ge=10, description="Connections this host's callers may have open at once.")


@dataclass(frozen=True)
class _Server:
    host: str
    address: str
    port: int
    role_port: int


@dataclass(frozen=True)
class _Group:
    """The servers of a tier whose role path answers: a backend."""

    tier: str
    role_path: str
    servers: tuple[_Server, ...]

    @property
    def name(self) -> str:
        return _group_name(self.tier, self.role_path)


class DatabaseRouter(c.Component[DatabaseRouterSettings]):
    name = "database-router"
    missed_s = 0.0
    about = "It offers ports on the application's own host that lead to the database or cache server with the right role."
    why = "The application always calls the same name. Where the primary is, and that it changed, is no business of its code."
    when_lost = (
        "The application on that host says that it is not healthy, and its work goes to the others, which have their own."
    )
    packages = ("haproxy",)
    provides = (c.TcpRoute,)

    @property
    def connects(self) -> tuple[c.Connect, ...]:
        spoken = sorted({route.speaks for route in self.needs(c.TcpRoute)}, key=lambda protocol: protocol.value)
        return tuple(c.Connect(c.Who.DEMANDED, protocol, checks=True) for protocol in spoken)

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        """One port per route. Tls.SERVER: what answers there is the server behind it, with its own certificate."""
        return tuple(
            c.Listen(
                _route_name(route),
                route.speaks,
                route.port,
                bind=c.Bind.ROUTE,
                tls=c.Tls.SERVER,
                # systemd removes it with the unit's folder, however HAProxy ended.
                alive_file=f"{PLACE}/pid",
                answers=route,
            )
            for route in self.needs(c.TcpRoute)
        )

    def parts(self, here: c.Context) -> c.Parts:
        routes = self.needs(c.TcpRoute)
        wanted = {(route.tier, path) for route in routes for path in (route.role_path, route.or_else) if path}
        groups = [_Group(tier, path, _servers(here, tier)) for tier, path in sorted(wanted)]
        # It only asks, so it needs nothing but the CA.
        tls = here.tls()
        ca = next(file for file in tls.files if file.path == tls.ca)
        config = c.File(
            CONFIG_FILE,
            here.template(
                CONFIG,
                routes=routes,
                groups=groups,
                ca=ca.path,
                set=self.settings,
                route_name=_route_name,
                group_name=_group_name,
                names_of=_names_of,
                place=PLACE,
            ),
            check=("haproxy", "-c", "-f", CONFIG_FILE),
            for_units=(HAPROXY,),
        )
        led = c.File(ROUTES_FILE, self._led(routes, groups, ca.path), for_units=(PROGRAM,))
        # By its lasting name: sessions need not end because the program that writes a file is a new one.
        errand = f"/usr/bin/python3 {c.ONHOST} database_router --config {ROUTES_FILE}"
        texts = {"set": self.settings, "errand": errand, "place": PLACE, "config": CONFIG_FILE, "routes": ROUTES_FILE}
        units = (
            c.Unit(HAPROXY, c.OnChange.RELOAD, text=here.template(UNIT, **texts)),
            c.Unit(PROGRAM, text=here.template(PROGRAM_UNIT, program=here.program("database_router"), **texts)),
        )
        names = tuple((here.route(tier), tier) for tier in sorted({route.tier for route in routes}))
        return c.Parts(files=(ca, config, led), units=units, names=names)

    def _led(self, routes: list[c.TcpRoute], groups: list[_Group], ca: str) -> str:
        """What the program must know: the hosts to hear, and which of HAProxy's parts are to be led."""
        told = {
            "ca": ca,
            "admin_socket": f"{PLACE}/admin.sock",
            "pid_file": f"{PLACE}/pid",
            "memory_file": f"{PROGRAM_PLACE}/memory.json",
            "tiers": [self._led_tier(tier, routes, groups) for tier in sorted({route.tier for route in routes})],
        }
        return json.dumps(told, indent=1) + "\n"

    def _led_tier(self, tier: str, routes: list[c.TcpRoute], groups: list[_Group]) -> dict[str, object]:
        paths = {group.role_path: group for group in groups if group.tier == tier}

        def led(path: str) -> dict[str, object] | None:
            names = [_route_name(route) for route in routes if (route.tier, route.role_path) == (tier, path)]
            frontends = dict.fromkeys(names, self.settings.max_connections)
            return {"backend": paths[path].name, "frontends": frontends} if path in paths else None

        servers = [asdict(server) for server in next(iter(paths.values())).servers]
        holds = [route.hold_s for route in routes if route.tier == tier and route.hold_s is not None]
        return {
            "name": tier,
            "hold_s": min(holds, default=self.settings.hold_s),
            "servers": servers,
            "write": led("/primary"),
            "read": led("/replica"),
        }


def _group_name(tier: str, role_path: str) -> str:
    return tier + role_path.replace("/", "-")


def _names_of(host: str) -> str:
    """The name that a server's certificate must have, where its role is asked."""
    return f"check-sni {host} verifyhost {host}"


def _route_name(route: c.TcpRoute) -> str:
    return f"{route.tier}-{route.port}"


def _servers(here: c.Context, tier: str) -> tuple[_Server, ...]:
    targets = [target for target in here.targets() if target.owner.tier == tier]
    return tuple(
        _Server(target.owner.host, here.address(target.owner.host), target.listen.port or 0, _role_port(here, target))
        for target in sorted(targets, key=lambda target: target.owner)
    )


def _role_port(here: c.Context, target: c.Endpoint) -> int:
    siblings = here.topology.endpoints_of(target.owner)
    ports = [endpoint.listen.port for endpoint in siblings if endpoint.listen.name == target.listen.checked_at]
    return ports[0] or 0


CONFIG = """\
# Written by nospof.
global
    stats socket {{ place }}/admin.sock mode 600 level admin
    server-state-file {{ place }}/state
    maxconn {{ 2 * set.max_connections }}
    # A worker that was replaced asks nobody any more, so its sessions cannot be ended when a role changes: end them soon.
    hard-stop-after 10s
    ssl-default-server-options ssl-min-ver TLSv1.3

defaults
    mode tcp
    load-server-state-from-file global
    maxconn {{ set.max_connections }}
    # One try: a session that waits for its next one when its server is marked down hangs for ever (HAProxy 3.0.11).
    retries 0
    # A lost packet is sent again after a second only, so that it is no use to wait longer than for the slowest answer.
    timeout connect 500ms
    timeout check 500ms
    timeout client 24h
    timeout server 24h
    option clitcpka
    option srvtcpka
    srvtcpka-idle 5s
    srvtcpka-intvl 1s
    srvtcpka-cnt 3
{% for route in routes %}

frontend {{ route_name(route) }}
    bind {{ here.route(route.tier) }}:{{ route.port }}
{% if route.or_else %}
    use_backend {{ group_name(route.tier, route.role_path) }} if { nbsrv({{ group_name(route.tier, route.role_path) }}) gt 0 }
    default_backend {{ group_name(route.tier, route.or_else) }}
{% else %}
    default_backend {{ group_name(route.tier, route.role_path) }}
{% endif %}
{% endfor %}
{% for group in groups %}

backend {{ group.name }}
    balance leastconn
    option httpchk
    http-check send meth GET uri {{ group.role_path }}
    http-check expect status 200
    default-server check inter {{ set.check_every_ms }}ms fastinter {{ set.check_every_ms // 4 }}ms fall 3 rise 1
    default-server on-marked-down shutdown-sessions
    default-server check-ssl verify required ca-file {{ ca }}
{% for server in group.servers %}
    server {{ server.host }} {{ server.address }}:{{ server.port }} port {{ server.role_port }} {{ names_of(server.host) }}
{% endfor %}
{% endfor %}
"""

UNIT = """\
# Written by nospof.
[Unit]
Description=Local ports that lead to the database with the right role
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
User=haproxy
Group=haproxy
RuntimeDirectory=nospof-database-router
# It starts as it was led last, or with no server until a check says yes: without this file it would take each for good.
ExecStartPre={{ errand }} --write-state {{ place }}/state
ExecStart=/usr/sbin/haproxy -Ws -p {{ place }}/pid -f {{ config }}
ExecReload=/usr/sbin/haproxy -c -q -f {{ config }}
ExecReload={{ errand }} --write-state {{ place }}/state
ExecReload=/bin/kill -USR2 $MAINPID
KillMode=mixed
SuccessExitStatus=143
Restart=always
RestartSec=100ms
TimeoutStopSec=5
LimitNOFILE={{ 4 * set.max_connections + 1000 }}
Nice=-5
OOMScoreAdjust=-500
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET
RestrictNamespaces=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""

PROGRAM_UNIT = """\
# Written by nospof.
[Unit]
Description=Leads the local ports to the database with the right role
After=network-online.target nospof-database-router.service
StartLimitIntervalSec=0

[Service]
Type=exec
User=haproxy
Group=haproxy
RuntimeDirectory=nospof-database-router-lead
# The highest term that was heard of outlives a restart, so that an old primary is not believed after it.
RuntimeDirectoryPreserve=restart
ExecStart={{ program }} --config {{ routes }}
# However it ended: nothing waits any more, and HAProxy's own checks decide until it runs again.
ExecStopPost={{ errand }} --let-go
Restart=always
RestartSec=100ms
TimeoutStopSec=3
NotifyAccess=main
WatchdogSec=3
WatchdogSignal=SIGKILL
Nice=-5
OOMScoreAdjust=-500
{{ hardening }}

[Install]
WantedBy=multi-user.target
"""

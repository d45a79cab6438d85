"""Database router: a local port on each calling host that leads to the database server with the right role.

HAProxy in TCP mode asks every server of the tier for its role; callers use the tier's name and never see a role change but as a
connection that ends. TLS goes through it, from the caller to the server. Figures: docs/decisions/0006-database.md.
Source: https://docs.haproxy.org/3.0/configuration.html (option httpchk, server-state-file, nbsrv).
"""

from __future__ import annotations

from dataclasses import dataclass

from nospof import component as c

STATE_PROGRAM = "/usr/lib/nospof/database-router-state"


class DatabaseRouterSettings(c.Settings):
    check_every_ms: int = c.Field(
        200,
        ge=50,
        le=10_000,
        description="Milliseconds between two questions for a server's role; a no is asked again at a quarter.",
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
    number: int
    servers: tuple[_Server, ...]

    @property
    def name(self) -> str:
        return _group_name(self.tier, self.role_path)


class DatabaseRouter(c.Component[DatabaseRouterSettings]):
    name = "database-router"
    packages = ("haproxy",)
    provides = (c.TcpRoute,)
    connects = (c.Connect(c.Who.DEMANDED, c.Protocol.MYSQL, checks=True),)

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        """One port per route. Tls.SERVER: what answers there is the database with its own certificate."""
        return tuple(
            c.Listen(_route_name(route), c.Protocol.MYSQL, route.port, bind=c.Bind.ROUTE, tls=c.Tls.SERVER, answers=route)
            for route in self.needs(c.TcpRoute)
        )

    def parts(self, here: c.Context) -> c.Parts:
        routes = self.needs(c.TcpRoute)
        wanted = {(route.tier, path) for route in routes for path in (route.role_path, route.or_else) if path}
        groups = [_Group(tier, path, number, _servers(here, tier)) for number, (tier, path) in enumerate(sorted(wanted), 1)]
        # It only asks, so it needs nothing but the CA.
        tls = here.tls()
        ca = next(file for file in tls.files if file.path == tls.ca)
        config = c.File(
            "/etc/nospof/database-router.cfg",
            here.template(
                CONFIG,
                routes=routes,
                groups=groups,
                ca=ca.path,
                set=self.settings,
                route_name=_route_name,
                group_name=_group_name,
                names_of=_names_of,
            ),
            check=("haproxy", "-c", "-f", "/etc/nospof/database-router.cfg"),
        )
        down = c.File("/etc/nospof/database-router.down", here.template(ALL_DOWN, groups=groups), for_units=())
        state = c.File(STATE_PROGRAM, STATE, mode=0o755, for_units=())
        unit = c.Unit("nospof-database-router.service", c.OnChange.RELOAD, text=here.template(UNIT, set=self.settings))
        names = tuple((here.route(tier), tier) for tier in sorted({route.tier for route in routes}))
        return c.Parts(files=(ca, config, down, state), units=(unit,), names=names)


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
    stats socket /run/nospof-database-router/admin.sock mode 600 level admin
    server-state-file /run/nospof-database-router/state
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
    timeout connect 1s
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

# HAProxy 3.0 takes a server for good until a check fails. With this file it starts with none, and takes each at its first yes.
ALL_DOWN = """\
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change \
srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn \
srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port
{% for group in groups %}
{% for server in group.servers %}
{{ group.number }} {{ group.name }} {{ loop.index }} {{ server.host }} {{ server.address }} 0 0 1 1 0 1 0 0 6 0 0 0 - \
{{ server.port }} - 0 {{ server.role_port }} - - 0
{% endfor %}
{% endfor %}
"""

STATE = """\
#!/usr/bin/python3
\"\"\"Write the state HAProxy starts with: no server is good, or, on a reload, those that are good now. Written by nospof.\"\"\"
import pathlib
import socket
import sys

PLACE = pathlib.Path("/run/nospof-database-router")


def good_now():
    with socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(2)
        admin.connect(str(PLACE / "admin.sock"))
        admin.sendall(b"show servers state\\n")
        lines = admin.makefile().read().splitlines()
    servers = [line.split() for line in lines if line[:1].isdigit() and " " in line]
    return {identity(server) for server in servers if server[5] == "2"}


def identity(server):
    return server[1], server[3], server[4], server[18]


good = good_now() if "reload" in sys.argv else set()
lines = []
for line in pathlib.Path("/etc/nospof/database-router.down").read_text().splitlines():
    fields = line.split()
    if len(fields) > 18 and fields[0] != "#" and identity(fields) in good:
        fields[5], fields[12] = "2", "2"
    lines.append(" ".join(fields))
new = PLACE / "state.new"
new.write_text("\\n".join(lines) + "\\n")
new.rename(PLACE / "state")
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
ExecStartPre=/usr/lib/nospof/database-router-state
ExecStart=/usr/sbin/haproxy -Ws -f /etc/nospof/database-router.cfg
ExecReload=/usr/sbin/haproxy -c -q -f /etc/nospof/database-router.cfg
ExecReload=/usr/lib/nospof/database-router-state reload
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

"""Memcached's proxy beside an application: writes each entry to all servers of a tier, reads it from the first that has it.

Memcached's own program does that, by the library of routes that is built into it, and a few lines of ours: as it is, writing to
all says that it failed while one of them is away. It speaks no TLS towards servers in Debian's build, so HAProxy beside it
carries each connection to its server, with certificates on both sides, and ends those to a server that is away at once.
Reasons and figures: docs/decisions/0019-caches.md.
Source: https://docs.memcached.org/features/proxy/ (Debian 13 has 1.6.38), https://docs.haproxy.org/3.0/configuration.html.
"""

from __future__ import annotations

from dataclasses import dataclass

from nospof import component as c
from nospof.components.cache_needs import CopiesRoute

LINKS = "nospof-memcached-links.service"
FOLDER, LINKS_PLACE = "/etc/nospof/memcached-proxy", "/run/nospof-memcached-links"
FIRST_LINK_PORT = 11300


class MemcachedProxySettings(c.Settings):
    answer_ms: int = c.Field(
        500, ge=10, le=10_000, description="Milliseconds to wait for a server; then it counts as away for a second."
    )
    max_connections: int = c.Field(2000, ge=10, description="Connections this host's callers may have open at once.")


@dataclass(frozen=True)
class _Server:
    host: str
    address: str
    port: int
    local_port: int


class MemcachedProxy(c.Component[MemcachedProxySettings]):
    name = "memcached-proxy"
    missed_s = 0.0
    about = "It offers the cache on the application's own host, and keeps the copies of each entry on all of its servers."
    why = "The application calls one name, and finds its entries whichever server is away."
    when_lost = "The application on that host finds nothing in the cache; the others have a proxy of their own."
    packages = ("haproxy", "memcached")
    provides = (CopiesRoute,)
    connects = (c.Connect(c.Who.DEMANDED, c.Protocol.MEMCACHED, is_required=False),)

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        return tuple(
            c.Listen(
                f"{route.tier}-{route.port}",
                c.Protocol.MEMCACHED,
                route.port,
                bind=c.Bind.ROUTE,
                alive_file=f"/run/nospof-memcached-{route.tier}/alive",
                answers=route,
            )
            for route in self.needs(CopiesRoute)
        )

    def parts(self, here: c.Context) -> c.Parts:
        routes = self.needs(CopiesRoute)
        tls = here.tls(user="haproxy", for_units=(LINKS,))
        servers = {route.tier: _servers(here, route.tier) for route in routes}
        links = here.template(HAPROXY, tls=tls, routes=routes, servers=servers, set=self.settings, place=LINKS_PLACE)
        links_file = f"{FOLDER}/links.cfg"
        handlers = c.File(f"{FOLDER}/everybody.lua", HANDLERS, for_units=tuple(_unit(route.tier) for route in routes))
        files = [
            *tls.files,
            c.File(links_file, links, check=("haproxy", "-c", "-f", links_file), for_units=(LINKS,)),
            handlers,
        ]
        units = [c.Unit(LINKS, c.OnChange.RELOAD, text=here.template(LINKS_UNIT, config=links_file, place=LINKS_PLACE))]
        for route in routes:
            config = c.File(
                f"{FOLDER}/{route.tier}.lua",
                here.template(ROUTES, route=route, servers=servers[route.tier], set=self.settings),
                for_units=(_unit(route.tier),),
            )
            names = {"route": route, "config": config.path, "handlers": handlers.path, "set": self.settings}
            files.append(config)
            units.append(c.Unit(_unit(route.tier), text=here.template(PROXY_UNIT, links=LINKS, **names)))
        return c.Parts(
            files=tuple(files), units=tuple(units), names=tuple((here.route(route.tier), route.tier) for route in routes)
        )


def _unit(tier: str) -> str:
    return f"nospof-memcached-{tier}.service"


def _servers(here: c.Context, tier: str) -> tuple[_Server, ...]:
    # Entries are read from the first that has them: a spare comes last.
    targets = [target for target in here.targets() if target.owner.tier == tier]
    targets.sort(key=lambda target: (target.rank is c.Rank.SPARE, target.owner))
    return tuple(
        _Server(target.owner.host, here.address(target.owner.host), target.listen.port or 0, FIRST_LINK_PORT + number)
        for number, target in enumerate(targets)
    )


HAPROXY = """\
# Written by nospof.
global
    maxconn {{ 4 * set.max_connections }}
    ssl-load-extra-files key
    ssl-load-extra-del-ext
    ssl-default-server-options ssl-min-ver TLSv1.3
    hard-stop-after 10s

defaults
    mode tcp
    retries 0
    timeout connect {{ set.answer_ms }}ms
    timeout check {{ set.answer_ms }}ms
    timeout client 24h
    timeout server 24h
    default-server ssl verify required ca-file {{ tls.ca }} crt {{ tls.certificate }}
    default-server check inter 1s fastinter 250ms fall 2 rise 1 on-marked-down shutdown-sessions
    option tcp-check
    tcp-check send version\\r\\n
    tcp-check expect string VERSION
{% for route in routes %}
{% for server in servers[route.tier] %}

listen {{ route.tier }}-{{ server.host }}
    bind {{ here.route(route.tier) }}:{{ server.local_port }}
    server {{ server.host }} {{ server.address }}:{{ server.port }} sni str({{ server.host }}) verifyhost {{ server.host }}
{% endfor %}
{% endfor %}
"""

HANDLERS = """\
-- Written by nospof: a route that sends to all children and answers with what any of them did.
function route_everybody_conf(options)
    return options
end

local function everybody(context, handles)
    return function(request)
        context:enqueue(request, handles)
        context:wait_cond(#handles, mcp.WAIT_ANY)
        local answer = nil
        for _, handle in ipairs(handles) do
            local one = context:result(handle)
            if answer == nil or (one ~= nil and one:ok() and not answer:ok()) then
                answer = one
            end
        end
        return answer
    end
end

function route_everybody_start(options, context, generator)
    local handles = {}
    for _, child in ipairs(options.children) do
        table.insert(handles, generator:new_handle(child))
    end
    generator:ready({ a = handles, n = context:label(), f = everybody })
end

register_route_handlers({ "everybody" })
"""

# Reads begin at a server of this host where there is one. An entry that one lacks is looked for at the next.
ROUTES = """\
-- Written by nospof.
settings{
    backend_connect_timeout = {{ set.answer_ms / 1000 }},
    backend_read_timeout = {{ set.answer_ms / 1000 }},
    backend_retry_waittime = 1,
    backend_failure_limit = 2,
    -- HAProxy takes each connection and ends it when the server is away: that is no reason to stay away for long.
    backend_flap_backoff_max = 1,
}
pools{
{% for server in servers %}
    {{ server.host.replace("-", "_") }} = { backends = { "{{ here.route(route.tier) }}:{{ server.local_port }}" } },
{% endfor %}
}
local everybody = { {% for server in servers %}"{{ server.host.replace("-", "_") }}", {% endfor %}}
routes{
    cmap = {
{% for command in ("get", "gets", "mg") %}
        {{ command }} = route_failover{ children = everybody, miss = true },
{% endfor %}
    },
    default = route_everybody{ children = everybody },
}
"""

LINKS_UNIT = """\
# Written by nospof.
[Unit]
Description=Encrypted connections to the memcached servers
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
User=haproxy
Group=haproxy
RuntimeDirectory=nospof-memcached-links
ExecStart=/usr/sbin/haproxy -Ws -p {{ place }}/pid -f {{ config }}
ExecReload=/usr/sbin/haproxy -c -q -f {{ config }}
ExecReload=/bin/kill -USR2 $MAINPID
KillMode=mixed
SuccessExitStatus=143
Restart=always
RestartSec=100ms
TimeoutStopSec=5
LimitNOFILE=65536
{{ hardening }}

[Install]
WantedBy=multi-user.target
"""

PROXY_UNIT = """\
# Written by nospof.
[Unit]
Description=The cache of tier {{ route.tier }} on this host
After=network-online.target {{ links }}
StartLimitIntervalSec=0

[Service]
Type=exec
User=memcache
Group=memcache
RuntimeDirectory=nospof-memcached-{{ route.tier }}
ExecStartPre=/usr/bin/touch /run/nospof-memcached-{{ route.tier }}/alive
ExecStart=/usr/bin/memcached --listen={{ here.route(route.tier) }} --port={{ route.port }} --udp-port=0 --memory-limit=8 \\
  --conn-limit={{ set.max_connections }} -o proxy_config=routelib:{{ handlers }},proxy_arg={{ config }}
Restart=always
RestartSec=100ms
TimeoutStopSec=3
LimitNOFILE=65536
{{ hardening }}

[Install]
WantedBy=multi-user.target
"""

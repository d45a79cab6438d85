"""Memcached: every server keeps every entry, and forgets it when it is restarted or its memory is full.

The servers know nothing of each other: the proxy beside each application (`memcached_proxy.py`) writes to all of them and reads
from the first that has an entry. They have no passwords, so that whoever calls must show a certificate of the stack's.
Source: https://docs.memcached.org/serverguide/ and …/features/tls/ (Debian 13 has 1.6.38).
"""

from __future__ import annotations

from nospof import component as c
from nospof.components import cache_alerts
from nospof.components.cache_needs import CopiesRoute

ROUTE_PORT = 11211
_COPIES = (
    "Every entry is written to all servers and read from the first that has it. A server that missed a change, because it was "
    "away or because two callers wrote at once, has another one than the others: keep entries for a short time."
)


class MemcachedSettings(c.Settings):
    port: int = c.Field(11211, ge=1024, le=65535, description="Port of the servers on their hosts' addresses.")
    memory_mib: int = c.Field(128, ge=8, description="Memory for entries on each server; when it is full, those least used go.")
    item_kib: int = c.Field(1024, ge=16, le=65536, description="Largest entry.")
    max_connections: int = c.Field(2000, ge=64, le=50_000, description="Connections each server takes in all.")
    threads: int = c.Field(4, ge=1, le=64, description="Threads that answer.")


class Memcached(c.Component[MemcachedSettings]):
    name = "memcached"
    about = "A cache: it keeps what is asked for often in memory, a copy of each entry on each of its hosts."
    why = "What was asked a moment ago need not be asked of the database again."
    when_lost = (
        "Nobody notices: the others have every entry that was written while they were there. A server that comes back is "
        "empty; until entries are written again, they are read from the others."
    )
    packages = ("memcached",)

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        tier, speaks = self.id.tier, c.Protocol.MEMCACHED
        route = CopiesRoute(tier, ROUTE_PORT, "/primary", speaks, writes=True, is_for_pages=True)
        return (c.Listen("memcached", speaks, self.settings.port, tls=c.Tls.MUTUAL, reached_by=(route,)),)

    def remarks(self, topology: c.Topology) -> tuple[str, ...]:
        if len(topology.of_tier(self.id.tier)) < 2:
            return ("There is one server: while it is away nothing is found.",)
        return (_COPIES,)

    @property
    def tells_figures(self) -> tuple[str, ...]:
        """Debian has no exporter for it, and one more process is not needed for a dozen numbers."""
        return (*self._ask, "--figures")

    @property
    def _ask(self) -> tuple[str, ...]:
        """The program finds the server by its host's name, which the certificate has."""
        stem = f"/etc/nospof/tls/{self.id.tier}"
        options = {
            "host": self.id.host,
            "address": self.id.host,
            "port": str(self.settings.port),
            "ca": "/etc/nospof/tls/ca.pem",
            "certificate": f"{stem}.crt",
            "key": f"{stem}.key",
        }
        words = (word for name, value in options.items() for word in (f"--{name}", value))
        return ("/usr/bin/python3", c.ONHOST, "memcached_ask", *words)

    def alerts(self, topology: c.Topology) -> tuple[c.Alert, ...]:
        at = f'{{tier="{self.id.tier}"}}'
        return (
            cache_alerts.evicting(f"rate(memcached_items_evicted_total{at}[5m])", f"rate(memcached_gets_total{at}[5m])"),
            cache_alerts.connections_near_limit(
                f"memcached_current_connections{at} / memcached_max_connections{at}", self.id.tier
            ),
        )

    def parts(self, here: c.Context) -> c.Parts:
        unit = "memcached.service"
        tls = here.tls(user="memcache", for_units=(unit,))
        return c.Parts(
            files=tls.files,
            units=(c.Unit(unit, text=here.template(UNIT, tls=tls, set=self.settings)),),
            healthy_when=(c.Probe("port", self._ask),),
        )


UNIT = """\
# Written by nospof; in the place of Debian's.
[Unit]
Description=Memcached
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
User=memcache
Group=memcache
ExecStart=/usr/bin/memcached --listen={{ here.host.address }} --port={{ set.port }} --udp-port=0 \\
  --memory-limit={{ set.memory_mib }} --max-item-size={{ set.item_kib }}k --conn-limit={{ set.max_connections }} \\
  --threads={{ set.threads }} --enable-ssl -o ssl_chain_cert={{ tls.certificate }},ssl_key={{ tls.key }} \\
  -o ssl_ca_cert={{ tls.ca }},ssl_verify_mode=2,ssl_min_version=2
# It says so after each connection that it took: there is no further one.
LogFilterPatterns=~accept4\\(\\): Resource temporarily unavailable
Restart=always
RestartSec=100ms
TimeoutStopSec=3
LimitNOFILE=65536
OOMScoreAdjust=-300
{{ hardening }}

[Install]
WantedBy=multi-user.target
"""

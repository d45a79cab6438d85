"""MariaDB: one primary that takes writes, replicas that acknowledge each of them, a witness that is one copy more.

The configuration says nothing of roles: every server boots read-only, and `nospof.onhost.mariadb_role` beside it gives it its
role and tells it to the routers. Reasons and figures: docs/decisions/0006-database.md.
Source: https://mariadb.com/docs/server/ha-and-performance/standard-replication (semi-synchronous replication, GTID).
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from nospof import component as c
from nospof.components.mariadb import texts

WRITE_PORT, READ_PORT = 3306, 3307
# A lab's hosts share one machine's memory, and each sees all of it.
LAB_BUFFER_POOL_MIB, MIN_BUFFER_POOL_MIB = 128, 64


class MariadbSettings(c.Settings):
    mode: Literal["primary-replica", "single"] = c.Field(
        "primary-replica", description="primary-replica: a copy on every host; single: one host, and no copy."
    )
    witness: Annotated[str | None, c.PlacesOn(c.Rank.WITNESS)] = c.Field(
        None, description="Host in a third zone that keeps one more copy and acknowledges writes, but serves nobody."
    )
    port: int = c.Field(3306, ge=1, le=65535, description="Port of the servers on their hosts' addresses.")
    role_port: int = c.Field(8008, ge=1, le=65535, description="Port where each host tells the role of its server.")
    buffer_pool_mib: int | None = c.Field(
        None, ge=5, description="InnoDB's cache. Default: half the memory, a quarter beside others, at most 128 in the lab."
    )
    max_connections: int = c.Field(200, ge=10, le=100_000, description="Connections each server takes.")
    durability: Literal["disk", "memory"] = c.Field(
        "disk", description="What a replica's acknowledgement says: the write is on its disk, or in its memory only (faster)."
    )
    read_lag_limit_s: int = c.Field(10, ge=1, description="A replica further behind, or longer cut off, serves no reads.")
    binlog_keep_days: int = c.Field(7, ge=1, description="How long a host may be away and still catch up by itself.")


class Mariadb(c.Component[MariadbSettings]):
    name = "mariadb"
    packages = ("mariadb-server", "mariadb-backup", "python3-pymysql")
    chooses_once = ("first-primary",)
    # Not required: a primary goes on without its replicas, a replica answers reads without its primary.
    connects = (c.Connect(c.Who.PEERS, c.Protocol.MYSQL, "replication", is_required=False),)

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        """One port for applications and replicas. Tls.SERVER is what it demands of all; replicas also show a certificate."""
        write = c.TcpRoute(self.id.tier, WRITE_PORT, "/primary")
        read = c.TcpRoute(self.id.tier, READ_PORT, "/replica", or_else="/primary")
        sql = c.Listen(
            "sql", c.Protocol.MYSQL, self.settings.port, tls=c.Tls.SERVER, checked_at="role", reached_by=(write, read)
        )
        return (sql, c.Listen("role", c.Protocol.CONTROL, self.settings.role_port, tls=c.Tls.SERVER))

    @property
    def touch_last_if(self) -> tuple[str, ...]:
        return self._ask("primary")

    @classmethod
    def objections(cls, tier: c.Tier) -> tuple[c.Objection, ...]:
        settings = tier.settings
        assert isinstance(settings, MariadbSettings)  # noqa: S101 - the loader made it from this class
        return tuple(_objections(tier.hosts + tier.spare, settings))

    def parts(self, here: c.Context) -> c.Parts:
        tier, role_unit = self.id.tier, f"nospof-{self.id.tier}-role.service"
        tls = here.tls(user="mysql", for_units=(role_unit,))  # which has the server load them without a restart
        config = c.File(
            "/etc/mysql/mariadb.conf.d/99-nospof.cnf",
            here.template(texts.CONFIG, me=here.host, tls=tls, set=self.settings, buffer_pool_mib=self._buffer_pool_mib(here)),
            # Reads all of the configuration, prints it and ends; touches no data.
            check=("mariadbd", "--user=mysql", "--help", "--verbose"),
            for_units=("mariadb.service",),
        )
        seed = c.File(
            f"/var/lib/nospof/{tier}/first-primary",
            here.choice("first-primary") + "\n",
            ownership=c.Ownership.SEED,
            for_units=(),
        )
        role = c.File(f"/etc/nospof/{tier}/role.json", self._role(here, tls), for_units=(role_unit,))
        accounts = c.File(f"/etc/nospof/{tier}/accounts.json", self._accounts(here), mode=0o600, for_units=(role_unit,))
        make_accounts = ("/usr/bin/python3", c.ONHOST, "mariadb_accounts", "--config", f"/etc/nospof/{tier}/role.json")
        return c.Parts(
            files=(*tls.files, config, seed, accounts, role),
            units=(
                c.Unit("mariadb.service", drop_in=texts.SERVER_DROP_IN),
                c.Unit(
                    role_unit,
                    c.OnChange.RELOAD,
                    text=here.template(texts.ROLE_UNIT, tier=tier, program=here.program("mariadb_role")),
                ),
            ),
            steps=(c.Step("accounts", make_accounts, done_when=(*make_accounts, "--check")),),
            healthy_when=(c.Probe("role", self._ask("health"), timeout_s=40),),
        )

    def _ask(self, question: str) -> tuple[str, ...]:
        """Asked often, so by a program that starts in no time."""
        url = f"https://{self.id.host}:{self.settings.role_port}/{question}"
        return ("/usr/bin/curl", "-fsS", "--max-time", "2", "--cacert", "/etc/nospof/tls/ca.pem", url)

    def _buffer_pool_mib(self, here: c.Context) -> int:
        if self.settings.buffer_pool_mib is not None:
            return self.settings.buffer_pool_mib
        is_alone = len({instance.id.tier for instance in here.topology.on_host(here.host.name)}) == 1
        share_mib = here.facts.memory_mib // (2 if is_alone else 4)
        return max(MIN_BUFFER_POOL_MIB, min(share_mib, LAB_BUFFER_POOL_MIB) if here.host.is_lab else share_mib)

    def _role(self, here: c.Context, tls: c.TlsFiles) -> str:
        tier = self.id.tier
        return _json(
            {
                "tier": tier,
                "host": here.host.name,
                "is_witness": self.rank is c.Rank.WITNESS,
                "members": {instance.id.host: here.address(instance.id.host) for instance in here.topology.of_tier(tier)},
                "port": self.settings.port,
                "role_port": self.settings.role_port,
                "read_lag_limit_s": self.settings.read_lag_limit_s,
                "first_primary_file": f"/var/lib/nospof/{tier}/first-primary",
                "accounts_file": f"/etc/nospof/{tier}/accounts.json",
                "ca": tls.ca,
                "certificate": tls.certificate,
                "key": tls.key,
            }
        )

    def _accounts(self, here: c.Context) -> str:
        tier = self.id.tier
        members = sorted(here.address(instance.id.host) for instance in here.topology.of_tier(tier))
        applications = [
            {
                "user": _sql_name(app),
                "password": here.secret(f"{tier}/{app}"),
                "from": sorted(here.address(host) for host in hosts),
                "database": _sql_name(app),
            }
            for app, hosts in sorted(self._callers(here).items())
        ]
        replication = {"user": "nospof_replication", "password": here.secret(f"{tier}/replication"), "from": members}
        return _json({"replication": replication, "applications": applications})

    def _callers(self, here: c.Context) -> dict[str, set[str]]:
        """Tiers that reach this one through routers, and their hosts."""
        found: dict[str, set[str]] = {}
        for link in here.topology.links:
            route = link.target.listen.answers
            if isinstance(route, c.TcpRoute) and route.tier == self.id.tier:
                found.setdefault(link.source.tier, set()).add(link.source.host)
        return found


def _objections(hosts: tuple[str, ...], settings: MariadbSettings) -> list[c.Objection]:
    if settings.mode == "single" and (len(hosts) > 1 or settings.witness):
        why = "its other hosts would hold no copy and never take over"
        return [c.Objection("S012", "mode", 'mode "single" is for one host', why, "mode: primary-replica")]
    if settings.mode == "primary-replica" and len(hosts) < 2:
        what = 'mode "primary-replica" needs two hosts that can be primary'
        why = f"when {hosts[0]} stops, every write fails until a person acts" if hosts else "there is nobody to hold the data"
        fix = "add a host in another zone, or accept it: mode: single"
        return [c.Objection("S012", "hosts", what, why, fix)]
    return []


def _sql_name(tier: str) -> str:
    return tier.replace("-", "_")


def _json(value: dict[str, object]) -> str:
    # Tokens stay as they are, so that sealing finds them; what comes in their place needs no escapes.
    return json.dumps(value, indent=1).replace("\\u0002", "\x02").replace("\\u0003", "\x03") + "\n"

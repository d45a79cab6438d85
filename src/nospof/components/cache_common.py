"""What tiers of Valkey and of Redis have in common: how they are reached, who says who is primary, the agent beside each.

Sentinels in three zones decide who is primary; no file of ours says so. Every server begins refusing writes, follows whom a
majority of the Sentinels names, and takes writes only while its agent knows that nobody was promoted in its place. Reasons and
figures: docs/decisions/0019-caches.md.
Source: https://valkey.io/topics/sentinel/, …/replication/, …/acl/, …/encryption/ (8.1); Redis 8.0 has the same settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeVar

from nospof import component as c
from nospof.components import cache_alerts, role_server
from nospof.components import cache_texts as texts
from nospof.components.exporter import Exporter, figures_unit, metrics_listen

WRITE_PORT, READ_PORT, WATCH_PORT = 6379, 6380, 26379


@dataclass(frozen=True)
class Timers:
    """`down_ms`: a silent primary is replaced after so long; `trust_s`: it refuses writes after so long without a word."""

    down_ms: int
    trust_s: float
    look_every_s: float


# Who is cut off must have stopped before another begins: trust ends before a Sentinel may take it for lost.
TIMERS = {
    "lan-fast": Timers(500, 0.4, 0.1),
    "lan": Timers(1000, 0.8, 0.2),
    "lan-safe": Timers(2000, 1.6, 0.3),
    "cloud": Timers(5000, 4.0, 0.5),
}
NORMAL_PRIORITY, SPARE_PRIORITY = 100, 200
# Beside detection, Sentinels need about a second to agree and to hear of it; then a host that died comes back with what it has.
REPLACED_S = 8.0


class StoreSettings(c.Settings):
    """What the stack file may say of servers of either product, whatever they have to do with each other."""

    memory_mib: int = c.Field(128, ge=1, description="Memory for entries on each server.")
    when_full: Literal["forget-least-used", "forget-soonest-ending", "refuse"] = c.Field(
        "forget-least-used",
        description="When the memory is full: forget the entries least used, forget only entries that have an end, or refuse "
        "new ones.",
    )
    keeps: Literal["memory", "disk"] = c.Field(
        "memory", description="memory: nothing outlives the loss of all servers at once; disk: all but the last second does."
    )
    timers: Literal["lan-fast", "lan", "lan-safe", "cloud"] = c.Field(
        "lan", description="A silent primary is replaced after 0.5, 1, 2 or 5 s; the shorter, the steadier the hosts must be."
    )
    max_connections: int = c.Field(1000, ge=10, le=50_000, description="Connections each server takes in all.")


class CacheSettings(StoreSettings):
    """What the stack file may say of a tier whose primary Sentinels replace."""

    mode: Literal["primary-replica", "single"] = c.Field(
        "primary-replica", description="primary-replica: a copy on every host; single: one host, and no copy."
    )
    port: int = c.Field(6379, ge=1024, le=65535, description="Port of the servers on their hosts' addresses.")
    role_port: int = c.Field(8009, ge=1024, le=65535, description="Port where each host tells the role of its server.")
    write_needs_copies: int | None = c.Field(
        None,
        ge=0,
        le=10,
        description="So many copies must follow for a write to be taken. Default: 1 where there are three servers or more, so "
        "that one loss stops nothing; 0 with two, where it would, and with a spare, which must serve when it is the last.",
    )
    hold_s: float = c.Field(
        0.0,
        ge=0,
        le=60,
        description="Seconds that new connections wait for a primary when there is none. 0: they end at once, and a page that "
        "can do without the cache goes on without it.",
    )
    read_lag_limit_s: int = c.Field(10, ge=1, description="A copy that was cut off for longer serves no reads.")
    metrics_port: int = c.Field(
        9121, ge=1024, le=65535, description="Port of the server's figures for those who watch the stack; shut if nobody does."
    )


S = TypeVar("S", bound=CacheSettings)
_ASYNCHRONOUS = (
    "All writes go to one server, the primary, and are acknowledged before any copy has them: what was acknowledged in the "
    "last moment before the primary is lost is lost with it. Keep nothing here that is nowhere else and must not be lost."
)
_WATCHED = (
    "Sentinels in three zones replace a primary that was silent for {down_s:g} s (timers: {timers}), when most of them agree. "
    "A primary that for {trust_s:g} s hears neither a majority of them nor all of its copies refuses writes, so that there are "
    "not two that take them."
)
POLICIES = {"forget-least-used": "allkeys-lru", "forget-soonest-ending": "volatile-ttl", "refuse": "noeviction"}


class Cache(c.Component[S]):
    """A product whose servers Sentinels watch."""

    product: ClassVar[str]
    """What its programs and its user are called after."""
    watch: ClassVar[type[c.Agreement]]
    """What it needs of the product's own Sentinels."""
    about = "A cache: it keeps what is asked for often, and what lives for a short time, in memory, and has copies of it."
    why = "What was asked a moment ago need not be asked of the database again; sessions are found whichever server is asked."
    when_lost = (
        "A lost copy: nobody notices. The lost primary: once it has given no sign of life for as long as timers says, the "
        "Sentinels promote a copy; until then writes fail, and what was acknowledged in the last moment may be gone."
    )
    chooses_once = ("first-primary",)
    packages_if_watched = ("prometheus-redis-exporter",)

    @property
    def is_single(self) -> bool:
        return self.settings.mode == "single"

    @property
    def redundancy(self) -> c.Redundancy:
        if self.is_single:
            return c.OnePrimary(0, takes_over=False, goes_alone=True)
        needs = self.settings.write_needs_copies
        return c.OnePrimary(2, takes_over=True, goes_alone=None if needs is None else needs == 0, hears_all=False)

    @property
    def wants(self) -> tuple[c.Wants, ...]:
        return () if self.is_single else (c.Wants(self.watch(), c.Place.THREE_ZONES),)

    @property
    def connects(self) -> tuple[c.Connect, ...]:
        """None is required: a primary goes on without copies or without Sentinels, a copy answers reads without its primary."""
        if self.is_single:
            return ()
        return (
            c.Connect(c.Who.PEERS, c.Protocol.REDIS, "replication", is_required=False),
            c.Connect(c.ProviderOf(self.watch), c.Protocol.CONTROL, "watchers", is_required=False),
        )

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        """One port for applications, copies and Sentinels. Tls.SERVER: of applications it wants no certificate."""
        tier, redis, hold_s = self.id.tier, c.Protocol.REDIS, self.settings.hold_s
        write = c.TcpRoute(tier, WRITE_PORT, "/primary", redis, writes=True, is_for_pages=True, hold_s=hold_s)
        read = c.TcpRoute(tier, READ_PORT, "/replica", redis, or_else="/primary", hold_s=hold_s)
        return (
            c.Listen("redis", redis, self.settings.port, tls=c.Tls.SERVER, checked_at="role", reached_by=(write, read)),
            c.Listen("role", c.Protocol.CONTROL, self.settings.role_port, tls=c.Tls.SERVER),
            metrics_listen(self.settings.metrics_port),
        )

    @property
    def role_note(self) -> str:
        return f"/run/nospof/{self.id.tier}/note.json"

    def alerts(self, topology: c.Topology) -> tuple[c.Alert, ...]:
        members = [one.id.host for one in topology.of_tier(self.id.tier)]
        return cache_alerts.of_servers(topology, self.id.tier, members, is_refusing=self.settings.when_full == "refuse")

    @property
    def touch_last_if(self) -> tuple[str, ...]:
        return self._ask("primary")

    @property
    def hands_over(self) -> tuple[str, ...]:
        config = f"/etc/nospof/{self.id.tier}/agent.json"
        return () if self.is_single else ("/usr/bin/python3", c.ONHOST, "cache_agent", "--config", config, "leave")

    @classmethod
    def objections(cls, tier: c.Tier) -> tuple[c.Objection, ...]:
        settings = tier.settings
        assert isinstance(settings, CacheSettings)  # noqa: S101 - the loader made it from this class
        return tuple(_objections(tier, settings))

    @classmethod
    def with_host(cls, tier: c.Tier, host: str) -> c.Tier:
        grown = super().with_host(tier, host)
        return replace(grown, settings=grown.settings.model_copy(update={"mode": "primary-replica"}))

    def remarks(self, topology: c.Topology) -> tuple[str, ...]:
        if self.is_single:
            return ("There is no copy: while its host is away nobody reads or writes, and it comes back empty.",)
        timers = TIMERS[self.settings.timers]
        needs = self._needs(topology)
        return (
            _ASYNCHRONOUS,
            _WATCHED.format(down_s=timers.down_ms / 1000, timers=self.settings.timers, trust_s=timers.trust_s),
            f"A write is refused while fewer than {needs} of its copies follow." if needs else "It goes on without any copy.",
        )

    def cautions(self, topology: c.Topology) -> tuple[c.Objection, ...]:
        if self.is_single:
            return ()
        return (loses_the_last("the primary"),)

    def parts(self, here: c.Context) -> c.Parts:
        tier, product = self.id.tier, self.product
        agent, told, server = f"nospof-{tier}-agent.service", f"nospof-{tier}-roles.service", f"{product}-server.service"
        exporter = self._exporter(here) if here.is_called("metrics") else None
        tls = here.tls(user=product)
        folder = f"/etc/nospof/{tier}"
        ask = f"/usr/bin/python3 {c.ONHOST} cache_agent --config {folder}/agent.json"
        names = {"tier": tier, "product": product, "folder": folder, "data": f"/var/lib/{product}"}
        started = {"agent": ask, "config": f"{folder}/server.conf", "refused": f"/run/nospof/{tier}/refused"}
        users = here.template(texts.USERS, **self._users(here))
        values = {"set": self.settings, "rules": rules_of(users), **self._config_values()}
        config = here.template(texts.CONFIG, tls=tls, **values, **names)
        replication = here.template(texts.REPLICATION, password=here.secret(f"{tier}/replication"))
        files = (
            c.File(f"{folder}/server.conf", config, mode=0o400, user=product, for_units=(server,)),
            c.File(f"{folder}/users.acl", users, mode=0o400, user=product, for_units=()),
            c.File(self._passwords_file, self._passwords(here), mode=0o400, user=product, for_units=()),
            c.File(f"{folder}/replication.conf", replication, mode=0o400, user=product, for_units=()),
            c.File(f"{folder}/agent.json", self._agent(here, tls), mode=0o400, user=product, for_units=(agent,)),
            c.File(f"{folder}/roles.json", role_server.config(here, self.settings.role_port, tls), for_units=(told,)),
        )
        units = (
            c.Unit(agent, text=here.template(texts.AGENT_UNIT, program=here.program("cache_agent"), **names)),
            c.Unit(
                told, text=here.template(role_server.UNIT, roles_program=here.program("database_roles"), user=product, **names)
            ),
            c.Unit(server, text=here.template(texts.SERVER_UNIT, which="", number="", **started, **names)),
            *((exporter.unit,) if exporter else ()),
        )
        load = ("/usr/bin/python3", c.ONHOST, "cache_passwords", "--folder", folder)
        return c.Parts(
            files=(*tls.files, *files, *(exporter.files if exporter else ())),
            units=units,
            steps=(c.Step("passwords", load, done_when=(*load, "--check")),),
            healthy_when=(c.Probe("role", self._ask("health"), timeout_s=60),),
            sysctls=sysctls(here),
        )

    def _exporter(self, here: c.Context) -> Exporter:
        """Asks the server as an application would, with an account that may look at its counters only."""
        tier, address = self.id.tier, here.host.address
        text = f"REDIS_PASSWORD={here.secret(f'{tier}/figures')}\n"
        password = c.File(f"/etc/nospof/{tier}/figures.env", text, mode=0o400, for_units=(figures_unit(tier),))
        command = (
            f"-web.listen-address={address}:{self.settings.metrics_port}",
            "-tls-server-cert-file={FOLDER}/certificate.pem",
            "-tls-server-key-file={FOLDER}/key.pem",
            "-tls-server-ca-cert-file={FOLDER}/ca.pem",
            f"-redis.addr=rediss://{address}:{self.settings.port}",
            f"-redis.user={texts.FIGURES_USER}",
            "-tls-ca-cert-file={FOLDER}/ca.pem",
            "-set-client-name=false",
            "-config-command=-",
            "-exclude-latency-histogram-metrics",
        )
        tls, program = here.tls(user=self.product), self.packages_if_watched[0]
        server = f"{self.product}-server.service"
        return Exporter(
            here, tls, program, self.settings.metrics_port, command, environment=password, web_config=False, after=server
        )

    # --- what the server and the agent are told ---------------------------------------------------------------------
    def _needs(self, topology: c.Topology) -> int:
        if self.settings.write_needs_copies is not None:
            return self.settings.write_needs_copies
        members = topology.of_tier(self.id.tier)
        return 1 if len(members) > 2 and all(one.rank is not c.Rank.SPARE for one in members) else 0

    def _config_values(self) -> dict[str, object]:
        return {
            "policy": POLICIES[self.settings.when_full],
            # Of the copies that are well the Sentinels promote one with the lowest.
            "priority": SPARE_PRIORITY if self.rank is c.Rank.SPARE else NORMAL_PRIORITY,
        }

    def _users(self, here: c.Context) -> dict[str, object]:
        applications = sorted({link.source.tier for link in here.topology.links if _leads_to(link, self.id.tier)})
        return {
            "applications": [(app.replace("-", "_"), accepted(here, app)) for app in applications],
            "accepted": {who: accepted(here, who) for who in ("agent", "replication", "sentinel", "figures")},
            "figures_user": texts.FIGURES_USER if here.is_called("metrics") else "",
        }

    def _agent(self, here: c.Context, tls: c.TlsFiles) -> str:
        tier, run = self.id.tier, f"/run/nospof/{self.id.tier}"
        timers = TIMERS[self.settings.timers]
        watchers = {target.owner.host: here.address(target.owner.host) for target in here.targets("watchers")}
        ports = sorted({target.listen.port for target in here.targets("watchers") if target.listen.port})
        return c.as_json(
            {
                "tier": tier,
                "host": here.host.name,
                "members": {one.id.host: here.address(one.id.host) for one in here.topology.of_tier(tier)},
                "spares": [one.id.host for one in here.topology.of_tier(tier) if one.rank is c.Rank.SPARE],
                "watchers": dict(sorted(watchers.items())),
                "port": self.settings.port,
                "watch_port": ports[0] if ports else WATCH_PORT,
                "socket": f"{run}/server.sock",
                "passwords_file": self._passwords_file,
                "needs": self._needs(here.topology),
                "trust_s": timers.trust_s,
                "look_every_s": timers.look_every_s,
                "replaced_s": REPLACED_S + timers.down_ms / 1000,
                "read_lag_limit_s": self.settings.read_lag_limit_s,
                "note_file": f"{run}/note.json",
                "start_file": f"{run}/start.conf",
                "leaving_file": f"{run}/leaving",
                "refused_file": f"{run}/refused",
                "data_folder": f"/var/lib/{self.product}",
                "log_checker": f"/usr/bin/{self.product}-check-aof",
                "ca": tls.ca,
                "certificate": tls.certificate,
                "key": tls.key,
            }
        )

    @property
    def _passwords_file(self) -> str:
        return f"/etc/nospof/{self.id.tier}/passwords.json"

    def _passwords(self, here: c.Context) -> str:
        """What the agent says to its server and to the Sentinels; it reads them when it connects."""
        watch = here.secret(f"{self.product}-sentinel/watch")
        return c.as_json({"server": here.secret(f"{self.id.tier}/agent"), "watchers": watch})

    def _ask(self, question: str) -> tuple[str, ...]:
        return role_server.question(self.id.host, self.settings.role_port, question)


def sysctls(here: c.Context) -> tuple[tuple[str, str], ...]:
    """A copy is made by a fork, which the kernel otherwise refuses where little memory is left.

    A lab's hosts share the machine's kernel, which is not ours to set.
    """
    return () if here.host.is_lab else (("vm.overcommit_memory", "1"),)


def loses_the_last(whom: str) -> c.Objection:
    """What `check` says of servers that copy a write after they have acknowledged it; `whom`: with whose loss."""
    what = f"writes of the last moment are lost with {whom}"
    why = "a cache acknowledges a write before its copies have it; planned changes hand over first and lose nothing"
    return c.Objection("F217", "component", what, why, "keep what must not be lost in a database, and only a copy of it here")


def accepted(here: c.Context, who: str) -> str:
    """The passwords of the tier that are taken from `who`, as an ACL rule has them."""
    return ">" + here.accepted(f"{here.me.id.tier}/{who}", between=" >")


def rules_of(users: str) -> str:
    """What stands for the rules in the text of users.acl, whatever its passwords are: with other rules the server restarts."""
    return hashlib.sha256(users.encode()).hexdigest()[:12]


def _leads_to(link: c.Link, tier: str) -> bool:
    route = link.target.listen.answers
    return isinstance(route, c.TcpRoute) and route.tier == tier


def _objections(tier: c.Tier, settings: CacheSettings) -> Iterator[c.Objection]:
    hosts = tier.hosts + tier.spare
    if settings.mode == "single" and len(hosts) > 1:
        why = "its other hosts would hold no copy and never take over"
        yield c.Objection("S012", "mode", 'mode "single" is for one host', why, "mode: primary-replica")
    if settings.mode == "primary-replica" and len(hosts) < 2:
        why = f"when {hosts[0]} stops, all of it is gone until it is back" if hosts else "there is nobody to hold the entries"
        fix = "add a host in another zone, or accept it: mode: single"
        yield c.Objection("S012", "hosts", 'mode "primary-replica" needs two hosts', why, fix)
    if settings.write_needs_copies and settings.write_needs_copies >= len(hosts):
        what = f"write_needs_copies: {settings.write_needs_copies} is more than there are copies"
        why = f"of {len(hosts)} servers one is the primary, so that no write would ever be taken"
        yield c.Objection("S012", "write_needs_copies", what, why, f"write_needs_copies: {max(0, len(hosts) - 2)}")

"""What tiers of MariaDB and of MySQL have in common: how they are reached, who agrees, the agent and what it is told.

The configuration says nothing of roles: every server boots read-only, and the agent beside it starts it, gives it its role and
replaces a lost primary; a small server of its own tells the role to the routers. Reasons and figures:
docs/decisions/0006-database.md and 0009-failover.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, TypeVar

from nospof import component as c
from nospof.components import database_alerts, role_server
from nospof.components import database_units as units
from nospof.components.exporter import Exporter, figures_unit, metrics_listen

WRITE_PORT, READ_PORT = 3306, 3307
# A lab's hosts share one machine's memory, and each sees all of it.
LAB_BUFFER_POOL_MIB, MIN_BUFFER_POOL_MIB = 128, 64
# So many copies beside the primary acknowledge its writes; a promotion must hear them all.
MOST_VOTERS = 2
# Connections that no application can take: without them no replica can follow, and the agent neither see nor move the server.
RESERVED_CONNECTIONS = 32
# There is room for so many hosts of applications, or twice as many, …: one more or less must not restart the servers.
ACCOUNTS_STEP = 4
# After so many seconds without a sign of the primary it is replaced; after so many a voter agrees to that.
TIMERS = {"lan-fast": (0.5, 0.35), "lan": (1.0, 0.6), "lan-safe": (2.0, 1.2), "cloud": (5.0, 3.0)}

FIGURES_USER = "nospof_figures"
COLLECTED = ("global_status", "global_variables", "slave_status")
NOT_COLLECTED = ("info_schema.innodb_cmp", "info_schema.innodb_cmpmem", "info_schema.query_response_time")
FIGURES_ACCOUNT = """\
# Written by nospof.
[client]
user = {{ user }}
password = {{ password }}
socket = /run/mysqld/mysqld.sock
"""

_MODES = {
    "lossless": "Failover is lossless: when no copy acknowledges, writes stop until one does again, so that none is ever lost.",
    "available": "Failover is available: when no copy acknowledges, the primary goes on alone. If it is lost while alone, "
    "what it wrote in that time is lost with it.",
}

_WITNESS = (
    " A witness is a voter that keeps a copy and acknowledges writes, but serves nobody and is never primary by choice: with "
    "it the loss of one host still leaves two copies, so that writes need not wait."
)


_SPARE = (
    " A spare is a copy that serves nobody while others can: it acknowledges only where fewer than two others do, is promoted "
    "only when no other host can be, and gives the role back once one can."
)


class DatabaseSettings(c.Settings):
    """What the stack file may say of a tier of any product."""

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
    max_connections: int = c.Field(
        200,
        ge=10,
        le=100_000,
        description="Connections each server takes from each host of an application; more are kept for replicas and agent.",
    )
    durability: Annotated[Literal["disk", "memory"], c.AmongSeveral()] = c.Field(
        "disk", description="What a replica's acknowledgement says: the write is on its disk, or in its memory only (faster)."
    )
    failover: Literal["lossless", "available"] | None = c.Field(
        None,
        description="When no copy acknowledges: lossless stops writes, available lets the primary go on alone. "
        "Default: lossless where two copies acknowledge, so that one loss stops nothing.",
    )
    timers: Annotated[Literal["lan-fast", "lan", "lan-safe", "cloud"], c.AmongSeveral()] = c.Field(
        "lan", description="A silent primary is replaced after 0.5, 1, 2 or 5 s; the shorter, the steadier the hosts must be."
    )
    notify_webhook: Annotated[str | None, c.Secret()] = c.Field(
        None, description="URL that gets a JSON document when the primary or redundancy changes."
    )
    notify_mail: str | None = c.Field(None, description="Address that gets a mail when the primary or the redundancy changes.")
    smtp: str = c.Field("localhost:25", description="Host and port that take such mails.")
    read_lag_limit_s: int = c.Field(10, ge=1, description="A replica further behind, or longer cut off, serves no reads.")
    binlog_keep_days: int = c.Field(7, ge=1, description="How long a host may be away and still catch up by itself.")
    metrics_port: int = c.Field(
        9104, ge=1024, le=65535, description="Port of the server's figures for those who watch the stack; shut if nobody does."
    )


S = TypeVar("S", bound=DatabaseSettings)


class Database(c.Component[S]):
    """A product that the agent drives. `parts` is the product's own; everything else of a tier is here."""

    engine: ClassVar[str]
    """What the agent calls the product; so is its unit named, and the program that makes its accounts."""
    drop_in: ClassVar[str]
    """Template of what our unit changes of the package's."""
    why = (
        "Pages, orders, accounts must outlive every process, disk and host; all other tiers can be made anew from their files."
    )
    when_lost = (
        "A lost replica: the primary goes on with the copies that are left. The lost primary: once it has given no sign of "
        "life for as long as timers says, a replica that has every acknowledged write takes over; until then writes wait or "
        "fail. Whether a write was kept that was not acknowledged yet nobody knows: the application must look first."
    )
    chooses_once = ("first-primary",)
    packages_if_watched = ("prometheus-mysqld-exporter",)

    @property
    def is_single(self) -> bool:
        return self.settings.mode == "single"

    @property
    def redundancy(self) -> c.Redundancy:
        if self.is_single:
            return c.OnePrimary(0, takes_over=False, goes_alone=True)
        mode = self.settings.failover
        return c.OnePrimary(MOST_VOTERS, takes_over=True, goes_alone=None if mode is None else mode == "available")

    @property
    def wants(self) -> tuple[c.Wants, ...]:
        """Who is primary is agreed by a majority of three; a single server has nobody to agree with."""
        return () if self.is_single else (c.Wants(c.Consensus(), c.Place.THREE_ZONES),)

    @property
    def connects(self) -> tuple[c.Connect, ...]:
        """None is required: a primary goes on without replicas and etcd, a replica answers reads without its primary."""
        if self.is_single:
            return ()
        return (
            c.Connect(c.Who.PEERS, c.Protocol.MYSQL, "replication", is_required=False),
            *self._copy_connects(),
            c.Connect(c.ProviderOf(c.Consensus), c.Protocol.CONTROL, "consensus", is_required=False),
        )

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        """One port for applications and replicas. Tls.SERVER is what it demands of all; replicas also show a certificate."""
        write = c.TcpRoute(self.id.tier, WRITE_PORT, "/primary", c.Protocol.MYSQL, writes=True)
        read = c.TcpRoute(self.id.tier, READ_PORT, "/replica", c.Protocol.MYSQL, or_else="/primary")
        sql = c.Listen(
            "sql", c.Protocol.MYSQL, self.settings.port, tls=c.Tls.SERVER, checked_at="role", reached_by=(write, read)
        )
        role = c.Listen("role", c.Protocol.CONTROL, self.settings.role_port, tls=c.Tls.SERVER)
        always = (sql, role, metrics_listen(self.settings.metrics_port))
        return always if self.is_single else (*always, *self._copy_listens())

    @property
    def touch_last_if(self) -> tuple[str, ...]:
        return self._ask("primary")

    @classmethod
    def objections(cls, tier: c.Tier) -> tuple[c.Objection, ...]:
        settings = tier.settings
        assert isinstance(settings, DatabaseSettings)  # noqa: S101 - the loader made it from this class
        return tuple(_objections(tier.hosts + tier.spare, settings))

    @classmethod
    def with_host(cls, tier: c.Tier, host: str) -> c.Tier:
        grown = super().with_host(tier, host)
        return replace(grown, settings=grown.settings.model_copy(update={"mode": "primary-replica"}))

    def remarks(self, topology: c.Topology) -> tuple[str, ...]:
        if self.is_single:
            away = "There is no copy: while its host is away nobody reads or writes."
            return (f"{away} After a power cut what was acknowledged is on its disk; what the disk loses is lost.",)
        members = topology.of_tier(self.id.tier)
        suspect_s, _ = TIMERS[self.settings.timers]
        memory = "on its disk" if self.settings.durability == "disk" else "in its memory, not necessarily on its disk"
        # Beside the primary there are one less than there are members.
        voters = min(MOST_VOTERS, len(members) - 1)
        return (
            f"All writes go to one server, the primary. A write is acknowledged to the application when one of {voters} voters "
            f"has it {memory}: a voter is a copy whose word counts. The stack's agents decide which copies these are. There "
            "are two so that one may be away: the other goes on acknowledging, so that writes go on. When the primary is lost, "
            "both are asked, and a copy that has all that either has takes its place."
            if voters > 1
            else "All writes go to one server, the primary. A write is acknowledged to the application when the other copy "
            f"has it {memory}.",
            _MODES[self._failover(len(members))],
            (
                f"A primary that gives no sign of life for {suspect_s:g} s (timers: {self.settings.timers}) is taken for lost "
                "and replaced by a copy that has every acknowledged write."
                + (_WITNESS if any(one.rank is c.Rank.WITNESS for one in members) else "")
                + (_SPARE if any(one.rank is c.Rank.SPARE for one in members) else "")
            ),
        )

    def alerts(self, topology: c.Topology) -> tuple[c.Alert, ...]:
        tier, at = self.id.tier, f'{{tier="{self.id.tier}"}}'
        hosts = [one.id.host for one in topology.of_tier(tier)]

        found = [
            c.Alert(
                "NotOnePrimary",
                c.not_one(f"nospof_database_takes_writes{at}", topology, hosts),
                f"tier {tier}: {{{{ $value }}}} servers take writes",
                "Exactly one server must take writes. With none, every write waits or fails.",
                "nospof status tells of each server why it is not primary. If none can take over by itself: nospof promote.",
                c.Urgency.CRITICAL,
                labels=(("tier", tier),),
            )
        ]
        if not self.is_single:
            found += [
                c.Alert(
                    "NobodyToPromote",
                    c.fewer(f"nospof_database_fit_for_promotion{at}", "== 0", topology, hosts),
                    f"tier {tier}: no replica could take over",
                    "No replica that serves is a voter and up to date: if the primary is lost now, writes stop.",
                    "nospof status tells of each replica what it lacks. One that was away catches up by itself.",
                    labels=(("tier", tier),),
                ),
                c.Alert(
                    "ReplicaBehind",
                    f"nospof_database_lag_seconds{at} > {self.settings.read_lag_limit_s}",
                    "{{ $labels.host }}: the copy is {{ $value | humanizeDuration }} behind",
                    "It serves no reads, and if it had to take over, it would have to catch up first.",
                    "On {{ $labels.host }}: is its disk or processor at its limit? Is one large change being copied?",
                    for_s=60,
                ),
                database_alerts.copy_stopped(tier),
            ]
        return (*found, *database_alerts.of_connections(tier, RESERVED_CONNECTIONS))

    def panels(self, topology: c.Topology) -> tuple[c.Panel, ...]:
        at = f'{{tier="{self.id.tier}"}}'
        primary = c.Panel(
            "Who takes writes",
            "One server at each moment.",
            ((f"nospof_database_takes_writes{at}", "{{host}}"),),
            c.Scale.YES_OR_NO,
        )
        asked = c.Panel(
            "Queries",
            "Statements a second of clients; the agents of other hosts send one or two of them.",
            ((f"nospof_database_queries_per_second{at}", "{{host}}"),),
            c.Scale.PER_S,
            can_be_empty=True,
        )
        if self.is_single:
            return (primary, asked)
        return (
            primary,
            c.Panel(
                "Who could take over",
                "Servers that are voters and up to date. With none, the loss of the primary stops writes.",
                ((f"nospof_database_fit_for_promotion{at}", "{{host}}"),),
                c.Scale.YES_OR_NO,
            ),
            c.Panel(
                "Behind",
                f"How far each copy is behind the primary; from {self.settings.read_lag_limit_s} s on it serves no reads.",
                ((f"nospof_database_lag_seconds{at}", "{{host}}"),),
                c.Scale.SECONDS,
                limit=float(self.settings.read_lag_limit_s),
            ),
            asked,
            c.Panel(
                "Changes of the primary",
                "How often it was replaced so far: a step for each time, also for those that were asked for.",
                ((f"max by (tier) (nospof_database_term{at})", "term"),),
            ),
        )

    def cautions(self, topology: c.Topology) -> tuple[c.Objection, ...]:
        return () if self.is_single else tuple(self._losable(topology))

    def _losable(self, topology: c.Topology) -> Iterator[c.Objection]:
        """Settings with which an acknowledged write may be lost. Two copies are `available` by default: F203 tells."""
        tier = f"in tier {self.id.tier}"
        if self.settings.failover == "available":
            what = "failover: available: an acknowledged write can be lost"
            why = "while no copy acknowledges, the primary goes on alone; what it takes then is lost if it is lost, too"
            # Of two copies alone, lossless would stop all writes with either of them.
            members = topology.of_tier(self.id.tier)
            zones = {topology.host(one.id.host).zone for one in members}
            third = next((host.name for host in topology.hosts if host.zone not in zones), "A-HOST-IN-A-THIRD-ZONE")
            witness = "" if len(members) > MOST_VOTERS else f", witness: {third}"
            yield c.Objection("F207", "failover", what, why, f"{tier} failover: lossless{witness}")
        if self.settings.durability == "memory":
            what = "durability: memory: an acknowledged write can be lost"
            why = "a copy acknowledges what is in its memory only: a power cut of all copies at once takes it"
            yield c.Objection("F207", "durability", what, why, f"{tier} durability: disk")

    def _failover(self, members: int) -> str:
        return self.settings.failover or ("lossless" if members > MOST_VOTERS else "available")

    def parts(self, here: c.Context) -> c.Parts:
        tier = self.id.tier
        agent, roles = f"nospof-{tier}-agent.service", f"nospof-{tier}-roles.service"
        exporter = self._exporter(here) if here.is_called("metrics") else None
        # The agent has the server load them without a restart.
        tls = here.tls(user="mysql", for_units=(agent, roles, *((exporter.unit_name,) if exporter else ())))
        folder = f"/etc/nospof/{tier}"
        files = (
            self._config(here, tls),
            c.File(f"{folder}/agent.json", self._agent(here, tls), for_units=(agent,)),
            c.File(f"{folder}/accounts.json", self._accounts(here), mode=0o600, for_units=(agent,)),
            c.File(f"{folder}/roles.json", role_server.config(here, self.settings.role_port, tls), for_units=(roles,)),
        )
        ask = ("/usr/bin/python3", c.ONHOST, "database_agent", "--ask", "restart", "--socket", self.asks_agent)
        names = {
            "tier": tier,
            "server": self._server_unit,
            "agent_program": here.program("database_agent"),
            "user": "mysql",
            "roles_program": here.program("database_roles"),
        }
        parts = (
            c.Unit(
                self._server_unit,
                c.OnChange.ASK,
                drop_in=here.template(self.drop_in, tier=tier),
                ask=ask,
                is_started=False,
            ),
            c.Unit(
                agent,
                c.OnChange.RELOAD,
                text=here.template(units.AGENT_UNIT, onhost=c.ONHOST, socket=self.asks_agent, **names),
            ),
            c.Unit(roles, c.OnChange.RELOAD, text=here.template(role_server.UNIT, **names)),
            *(self._copy_units(here, f"{folder}/agent.json") if not self.is_single else ()),
            *((exporter.unit,) if exporter else ()),
        )
        make_accounts = ("/usr/bin/python3", c.ONHOST, f"{self.engine}_accounts", "--config", f"{folder}/agent.json")
        return c.Parts(
            files=(*tls.files, *files, *(exporter.files if exporter else ())),
            units=parts,
            steps=(c.Step("accounts", make_accounts, done_when=(*make_accounts, "--check")),),
            healthy_when=(c.Probe("role", self._ask("health"), timeout_s=60),),
        )

    def _exporter(self, here: c.Context) -> Exporter:
        """Reads the server's counters over its socket. What looks at every table, or at what is run, is left out."""
        tier = self.id.tier
        account = here.template(FIGURES_ACCOUNT, user=FIGURES_USER, password=here.secret(f"{tier}/figures"))
        path = f"/etc/nospof/{tier}/figures.cnf"
        collected = [f"--collect.{name}" for name in COLLECTED] + [f"--no-collect.{name}" for name in NOT_COLLECTED]
        return Exporter(
            here,
            here.tls(user="mysql"),
            "prometheus-mysqld-exporter",
            self.settings.metrics_port,
            ("--config.my-cnf={FOLDER}/my.cnf", "--log.level=warn", *collected),
            secrets=(("my.cnf", c.File(path, account, mode=0o400, for_units=(figures_unit(tier),))),),
        )

    def _config(self, here: c.Context, tls: c.TlsFiles) -> c.File:
        """The server's own configuration."""
        raise NotImplementedError

    @property
    def _server_unit(self) -> str:
        return f"{self.engine}.service"

    # --- copies, where they need a program and a port of their own ------------------------------------------------
    def _copy_connects(self) -> tuple[c.Connect, ...]:
        return ()

    def _copy_listens(self) -> tuple[c.Listen, ...]:
        return ()

    def _copy_units(self, here: c.Context, config: str) -> tuple[c.Unit, ...]:
        return ()

    def _told_to_agent(self) -> dict[str, object]:
        """What the agent must know of this product."""
        return {}

    @property
    def asks_agent(self) -> str:
        """Where the agent that owns the server listens."""
        return f"/run/nospof/{self.id.tier}/agent.sock"

    @property
    def role_note(self) -> str:
        return f"/run/nospof/{self.id.tier}/note.json"

    def _ask(self, question: str) -> tuple[str, ...]:
        return role_server.question(self.id.host, self.settings.role_port, question)

    def _server_values(self, here: c.Context, tls: c.TlsFiles) -> dict[str, object]:
        """What the templates of all products' configurations fill in."""
        return {
            "me": here.host,
            "tls": tls,
            "set": self.settings,
            "connections": self._connections(here),
            "buffer_pool_mib": self._buffer_pool_mib(here),
        }

    def _connections(self, here: c.Context) -> int:
        """What the server takes in all; no account but root's may have more than the settings say.

        An application has an account for each of its hosts, and servers count each by itself. Incident: writers of two hosts,
        which waited for a voter, held all connections, so that no replica could connect to acknowledge, for ever.
        """
        accounts = sum(len(hosts) for hosts in self._callers(here).values())
        steps = max(1, math.ceil(accounts / ACCOUNTS_STEP))
        return self.settings.max_connections * steps * ACCOUNTS_STEP + RESERVED_CONNECTIONS

    def _buffer_pool_mib(self, here: c.Context) -> int:
        if self.settings.buffer_pool_mib is not None:
            return self.settings.buffer_pool_mib
        # What comes in by itself, etcd for one, is small.
        is_alone = len({one.id.tier for one in here.topology.on_host(here.host.name) if not one.demands}) == 1
        share_mib = here.facts.memory_mib // (2 if is_alone else 4)
        return max(MIN_BUFFER_POOL_MIB, min(share_mib, LAB_BUFFER_POOL_MIB) if here.host.is_lab else share_mib)

    def _agent(self, here: c.Context, tls: c.TlsFiles) -> str:
        tier = self.id.tier
        members = here.topology.of_tier(tier)
        suspect_s, agree_s = TIMERS[self.settings.timers]
        return c.as_json(
            {
                "stack": here.topology.stack,
                "tier": tier,
                "host": here.host.name,
                "number": here.host.number,
                "members": {one.id.host: here.address(one.id.host) for one in members},
                "witnesses": [one.id.host for one in members if one.rank is c.Rank.WITNESS],
                "spares": [one.id.host for one in members if one.rank is c.Rank.SPARE],
                "first_primary": here.choice("first-primary"),
                "mode": self._failover(len(members)),
                "most_voters": MOST_VOTERS,
                "durability": self.settings.durability,
                "suspect_s": suspect_s,
                "agree_s": agree_s,
                "port": self.settings.port,
                "role_port": self.settings.role_port,
                **self._told_to_agent(),
                "read_lag_limit_s": self.settings.read_lag_limit_s,
                "etcd": sorted([target.owner.host, target.listen.port] for target in here.targets("consensus")),
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
                "accepts": here.accepted(f"{tier}/{app}"),
                "from": sorted(here.address(host) for host in hosts),
                "database": _sql_name(app),
            }
            for app, hosts in sorted(self._callers(here).items())
        ]
        name = f"{tier}/replication"
        # The password is what the agents use, as callers of each other.
        taken = {"password": here.secret(name), "accepts": here.accepted(name)}
        replication = {"user": "nospof_replication", **taken, "from": members}
        # Whoever knows a webhook's address may write there, so it is as secret as the passwords.
        notify = {"webhook": self.settings.notify_webhook, "mail": self.settings.notify_mail, "smtp": self.settings.smtp}
        told = {"replication": replication, "applications": applications, "notify": notify}
        if here.is_called("metrics"):
            told["figures"] = {"user": FIGURES_USER, "accepts": here.accepted(f"{tier}/figures"), "from": ["localhost"]}
        return c.as_json(told)

    def _callers(self, here: c.Context) -> dict[str, set[str]]:
        """Tiers that reach this one through routers, and their hosts."""
        found: dict[str, set[str]] = {}
        for link in here.topology.links:
            route = link.target.listen.answers
            if isinstance(route, c.TcpRoute) and route.tier == self.id.tier:
                found.setdefault(link.source.tier, set()).add(link.source.host)
        return found


def _objections(hosts: tuple[str, ...], settings: DatabaseSettings) -> list[c.Objection]:
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

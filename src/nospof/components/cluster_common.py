"""What tiers of shards of Valkey and of Redis have in common: more memory than one server has, spread over three hosts or more.

Every host is home of one shard and has copies of the shards of the hosts before it, as many as a majority may do without.
The products' own cluster promotes copies; an agent beside the servers forms it, has a shard return to its home, and moves slots
when hosts come and go. Applications ask the servers themselves, with a client that knows such clusters.
Reasons and figures: docs/decisions/0029-cache-cluster.md.
Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ (8.0),
https://valkey.io/topics/cluster-spec/ (8.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar, TypeVar

from nospof import component as c
from nospof.components import cache_alerts
from nospof.components import cache_texts as texts
from nospof.components.cache_common import POLICIES, TIMERS, StoreSettings, Timers, accepted, loses_the_last, rules_of, sysctls

FEWEST_HOSTS = 3
# Beside detection, copies wait a second or so before they ask for votes; then a host that died comes back with what it has.
REPLACED_S = 8.0
# What a host that comes or goes needs: a quarter of the slots moves, each with some writes to disk.
SETTLED_S = 380.0


class ClusterSettings(StoreSettings):
    """What the stack file may say of a tier of shards."""

    copies: int = c.Field(
        1,
        ge=1,
        le=4,
        description="Copies of each shard, on other hosts: 1 with three or four hosts, 2 with five or six. Each host has "
        "memory for a shard and so many copies.",
    )
    port: int = c.Field(
        7000, ge=1024, le=65000, description="Port of each host's own shard; those of the copies that it holds follow."
    )
    bus_port: int = c.Field(17000, ge=1024, le=65000, description="Port where servers hear of each other; the copies' follow.")


S = TypeVar("S", bound=ClusterSettings)
_SPREAD = (
    "Entries are spread over {hosts} shards, each on its home and, as a copy, on {copies} of the next hosts: all of them "
    "together keep {mib} MiB of entries."
)
_TAKES_OVER = (
    "When a home was silent for {down_s:g} s (timers: {timers}) most of the primaries agree on it, and a copy takes its "
    "shard over; the other shards go on meanwhile. Once the home is well again, it takes its shard back."
)
_ASYNCHRONOUS = (
    "A write is acknowledged before any copy has it: what was acknowledged in the last moment before a home is lost is lost "
    "with it. Keep nothing here that is nowhere else and must not be lost."
)
_CLIENTS = (
    "Applications need a client that knows such clusters, and commands for several keys only work where these are in one "
    "shard, which names in braces see to: {user:7}:name, {user:7}:cart."
)


class CacheCluster(c.Component[S]):
    """A product whose servers form a cluster of their own."""

    product: ClassVar[str]
    """What its programs and its user are called after."""
    about = "A cache of several servers, each of which keeps a part of the entries and copies of others' parts."
    why = (
        "What is to be kept needs more memory, or more work, than one server has; where it does not, a cache with one "
        "primary is simpler."
    )
    when_lost = (
        "A copy of what the lost host kept takes over within seconds; until then a part of the entries cannot be "
        "reached, and what was acknowledged in the last moment may be gone. The rest goes on."
    )
    redundancy = c.Majority()
    moves_what_it_keeps = True

    @property
    def numbers(self) -> range:
        """The servers of one host: 0 is the home of its own shard."""
        return range(self.settings.copies + 1)

    @property
    def connects(self) -> tuple[c.Connect, ...]:
        return (
            c.Connect(c.Who.PEERS, c.Protocol.REDIS, "replication", is_required=False),
            c.Connect(c.Who.PEERS, c.Protocol.PEER, "bus", is_required=False),
        )

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        """Tls.SERVER: of applications no certificate is wanted."""
        port, bus_port = self.settings.port, self.settings.bus_port
        entries = (c.Listen(f"redis-{n}", c.Protocol.REDIS, port + n, tls=c.Tls.SERVER) for n in self.numbers)
        buses = (c.Listen(f"bus-{n}", c.Protocol.PEER, bus_port + n, tls=c.Tls.MUTUAL) for n in self.numbers)
        return (*entries, *buses)

    @classmethod
    def objections(cls, tier: c.Tier) -> tuple[c.Objection, ...]:
        settings = tier.settings
        assert isinstance(settings, ClusterSettings)  # noqa: S101 - the loader made it from this class
        return tuple(_objections(tier, settings))

    @classmethod
    def with_host(cls, tier: c.Tier, host: str) -> c.Tier:
        grown = super().with_host(tier, host)
        copies = max(grown.settings.copies, _copies_for(len(grown.hosts)))  # type: ignore[attr-defined]
        return replace(grown, settings=grown.settings.model_copy(update={"copies": copies}))

    def remarks(self, topology: c.Topology) -> tuple[str, ...]:
        hosts, set_ = len(topology.of_tier(self.id.tier)), self.settings
        return (
            _SPREAD.format(hosts=hosts, copies=set_.copies, mib=hosts * set_.memory_mib),
            _TAKES_OVER.format(down_s=self._timers.down_ms / 1000, timers=set_.timers),
            _ASYNCHRONOUS,
            _CLIENTS,
        )

    def cautions(self, topology: c.Topology) -> tuple[c.Objection, ...]:
        return (loses_the_last("a host"),)

    def alerts(self, topology: c.Topology) -> tuple[c.Alert, ...]:
        return cache_alerts.of_shards(topology, self.id.tier, is_refusing=self.settings.when_full == "refuse")

    def panels(self, topology: c.Topology) -> tuple[c.Panel, ...]:
        at = f'{{tier="{self.id.tier}"}}'
        return (
            c.Panel(
                "Shards by host",
                "Of how many shards a server of the host is primary. One each is as it should be; with two, a host stands in "
                "for another.",
                ((f"cache_cluster_primaries{at}", "{{host}}"),),
            ),
            c.Panel(
                "Memory",
                "Of the fullest server of each host, the share of its memory for entries that is used.",
                ((f"cache_cluster_memory_used_share{at}", "{{host}}"),),
                c.Scale.SHARE,
                limit=cache_alerts.NEARLY_FULL if self.settings.when_full == "refuse" else None,
            ),
        )

    @property
    def tells_figures(self) -> tuple[str, ...]:
        """The agent knows what no exporter does, and there are several servers on a host."""
        return self._ask("figures")

    @property
    def _timers(self) -> Timers:
        return TIMERS[self.settings.timers]

    @property
    def _folder(self) -> str:
        return f"/etc/nospof/{self.id.tier}"

    def _ask(self, question: str) -> tuple[str, ...]:
        return ("/usr/bin/python3", c.ONHOST, "cache_cluster", "--config", f"{self._folder}/agent.json", question)

    def unit(self, number: int) -> str:
        """Of one server. The first takes the place of Debian's own, which is not to run beside them."""
        return f"nospof-{self.id.tier}-copy-{number}.service" if number else f"{self.product}-server.service"

    # --- what is on the host -----------------------------------------------------------------------------------------
    def parts(self, here: c.Context) -> c.Parts:
        tier, product, folder = self.id.tier, self.product, self._folder
        tls = here.tls(user=product)
        agent = f"nospof-{tier}-agent.service"
        users = here.template(texts.CLUSTER_USERS, **self._users(here))
        replication = here.template(texts.REPLICATION, password=here.secret(f"{tier}/replication"))
        password = c.as_json({"agent": here.secret(f"{tier}/agent")})
        names = {"tier": tier, "product": product, "folder": folder}
        program = here.program("cache_cluster")
        return c.Parts(
            files=(
                *tls.files,
                c.File(f"{folder}/users.acl", users, mode=0o400, user=product, for_units=()),
                c.File(f"{folder}/passwords.json", password, mode=0o400, user=product, for_units=()),
                c.File(f"{folder}/replication.conf", replication, mode=0o400, user=product, for_units=()),
                c.File(f"{folder}/agent.json", self._agent(here, tls), mode=0o400, user=product, for_units=(agent,)),
                *(self._config(here, tls, number, rules_of(users)) for number in self.numbers),
            ),
            units=(
                c.Unit(agent, text=here.template(texts.AGENT_UNIT, program=program, **names)),
                *(self._server(here, number) for number in self.numbers),
            ),
            steps=(c.Step("passwords", self._ask("passwords"), done_when=self._ask("loaded")),),
            healthy_when=(c.Probe("shards", self._ask("health"), timeout_s=SETTLED_S),),
            sysctls=sysctls(here),
        )

    def _config(self, here: c.Context, tls: c.TlsFiles, number: int, rules: str) -> c.File:
        text = here.template(
            texts.CLUSTER_CONFIG,
            tls=tls,
            set=self.settings,
            tier=self.id.tier,
            folder=self._folder,
            rules=rules,
            server=number,
            port=self.settings.port + number,
            bus_port=self.settings.bus_port + number,
            data=self._data(number),
            policy=POLICIES[self.settings.when_full],
            timers=self._timers,
        )
        path = f"{self._folder}/server-{number}.conf"
        return c.File(path, text, mode=0o400, user=self.product, for_units=(self.unit(number),))

    def _server(self, here: c.Context, number: int) -> c.Unit:
        tier = self.id.tier
        text = here.template(
            texts.SERVER_UNIT,
            tier=tier,
            product=self.product,
            which=f", copy {number}" if number else "",
            number=f" {number}",
            agent=" ".join(self._ask("")).rstrip(),
            config=f"{self._folder}/server-{number}.conf",
            refused=f"/run/nospof/{tier}/refused-{number}",
            data=self._data(number),
        )
        return c.Unit(self.unit(number), text=text)

    def _data(self, number: int) -> str:
        return f"/var/lib/{self.product}/{self.id.tier}-{number}"

    def _users(self, here: c.Context) -> dict[str, object]:
        callers = {caller.tier for caller in here.callers("redis-0")} - {self.id.tier}
        return {
            "applications": [(tier.replace("-", "_"), accepted(here, tier)) for tier in sorted(callers)],
            "accepted": {who: accepted(here, who) for who in ("agent", "replication")},
        }

    def _agent(self, here: c.Context, tls: c.TlsFiles) -> str:
        tier, topology = self.id.tier, here.topology
        zones = {one.id.host: topology.host(one.id.host).zone for one in topology.of_tier(tier)}
        return c.as_json(
            {
                "tier": tier,
                "host": here.host.name,
                "ring": {host: here.address(host) for host in ring_of(zones)},
                "copies": self.settings.copies,
                "port": self.settings.port,
                "bus_port": self.settings.bus_port,
                "folder": self._folder,
                "run_folder": f"/run/nospof/{tier}",
                "data_folder": f"/var/lib/{self.product}/{tier}",
                "replaced_s": REPLACED_S + self._timers.down_ms / 1000,
                "cli": f"/usr/bin/{self.product}-cli",
                "log_checker": f"/usr/bin/{self.product}-check-aof",
                "ca": tls.ca,
                "certificate": tls.certificate,
                "key": tls.key,
            }
        )


def _copies_for(hosts: int) -> int:
    """As many as hosts may be lost while most are left: then no shard is lost before the majority is."""
    return (hosts - 1) // 2


def _objections(tier: c.Tier, settings: ClusterSettings) -> Iterator[c.Objection]:
    hosts = len(tier.hosts)
    if tier.spare:
        why = "every host has a shard of its own; one without would have no voice when the others agree who is lost"
        yield c.Objection("S012", "spare", "a cache of shards has no spare", why, "make it one of hosts:, or leave it out")
    if hosts < FEWEST_HOSTS:
        why = "a copy takes over when most primaries agree that the home is lost; of two hosts that would be both"
        plain = tier.component.split("-")[0]
        fix = f"name {FEWEST_HOSTS} hosts in three zones, or take a cache with one primary: component: {plain}"
        yield c.Objection("S012", "hosts", f"{hosts} hosts are too few for {tier.component}", why, fix)
    elif settings.copies >= hosts:
        what = f"copies: {settings.copies} is more than there are other hosts"
        yield c.Objection("S012", "copies", what, "no host has a shard twice", f"copies: {max(1, _copies_for(hosts))}")
    elif settings.copies < _copies_for(hosts):
        what = f"copies: {settings.copies} is too few for {hosts} hosts"
        why = f"{_copies_for(hosts)} of them can be lost while most are left, and with them all copies of a shard"
        yield c.Objection("S012", "copies", what, why, f"copies: {_copies_for(hosts)}")


def ring_of(zones: Mapping[str, str]) -> tuple[str, ...]:
    """Hosts, given with their zones, in an order in which neighbours are in different zones as far as that can be."""
    left: dict[str, list[str]] = {}
    for host in sorted(zones):
        left.setdefault(zones[host], []).append(host)
    found: list[str] = []
    while any(left.values()):
        others = [zone for zone, hosts in left.items() if hosts and (not found or zone != zones[found[-1]])]
        first = zones[found[0]] if found else ""
        # The fullest zone first; of equals not the first host's zone, since the ring closes there.
        choices = others or [zone for zone, hosts in left.items() if hosts]
        zone = min(choices, key=lambda zone: (-len(left[zone]), zone != first, zone))
        found.append(left[zone].pop(0))
    return tuple(found)

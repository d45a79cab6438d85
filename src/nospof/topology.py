"""The one graph: who runs where, what can be called, who calls what.

Values and queries only; it knows no component. Firewall, certificates, diagram, scrape targets, analysis and drills are
derived from here and from nothing else. `resolve` makes it, everybody else asks it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TypeVar

from pydantic import BaseModel

from nospof.stack.marks import Rank as Rank

K = TypeVar("K")
V = TypeVar("V")


class Protocol(Enum):
    """What an endpoint speaks."""

    HTTP = "http"
    FASTCGI = "fastcgi"
    FILES = "files"
    MYSQL = "mysql"
    REDIS = "redis"
    MEMCACHED = "memcached"
    METRICS = "metrics"
    CONTROL = "control"
    PEER = "peer"
    SESSIONS = "sessions"
    """Which visitor was given to which server."""
    GOSSIP = "gossip"
    SSH = "ssh"
    VRRP = "vrrp"

    @property
    def wires(self) -> tuple[str, ...]:
        """The IP protocols it needs, in nftables' words: tcp, udp, vrrp (protocol 112, which has no ports)."""
        if self is Protocol.VRRP:
            return ("vrrp",)
        return ("tcp", "udp") if self is Protocol.GOSSIP else ("tcp",)

    @property
    def carries_data(self) -> bool:
        """Whether users' data crosses it, so that it must be encrypted between hosts."""
        stores = (Protocol.MYSQL, Protocol.REDIS, Protocol.MEMCACHED)
        return self.carries_pages or self in (*stores, Protocol.CONTROL, Protocol.PEER, Protocol.SESSIONS)

    @property
    def is_copied(self) -> bool:
        """Whether members of a tier that send each other this keep data that is lost with the last of them."""
        # A visitor of whom nothing is known is given to some server: nothing that was stored is lost.
        return self.carries_data and self is not Protocol.SESSIONS

    @property
    def carries_pages(self) -> bool:
        """Whether visitors' requests are answered over it. FILES: by a folder that the caller reads, there is no daemon."""
        return self in (Protocol.HTTP, Protocol.FASTCGI, Protocol.FILES)


class Bind(Enum):
    """Which addresses an endpoint answers on."""

    HOST = "host"
    """The host's own address."""
    ROUTE = "route"
    """The routed tier's own loopback address, 127.0.1.n."""
    ANY = "any"
    """Every address, VIPs too."""


class Tls(Enum):
    """How a link is encrypted: not, with the server's certificate, or with both sides'."""

    NONE = "none"
    SERVER = "server"
    MUTUAL = "mutual"


@dataclass(frozen=True, order=True)
class InstanceId:
    """One component of one tier on one host. `str()` is "tier/host"."""

    tier: str
    host: str

    def __str__(self) -> str:
        return f"{self.tier}/{self.host}" if self.host else self.tier


HEALTH = "-health"
"""Ends the purpose of links over which only health is asked."""
OUTSIDE = InstanceId("outside", "")
"""Everybody who visits the site."""
ADMIN = InstanceId("admin", "")
"""The networks that may reach the hosts by SSH."""


@dataclass(frozen=True)
class Need:
    """A capability that one component wants of another; subclasses carry what the provider must know.

    Equal needs on one host are served together; instances that serve an equal need are peers.
    """

    @property
    def vip_name(self) -> str | None:
        """Name that gets a VIP of its own, allotted or given by the user; None = no VIP."""
        return None

    @property
    def has_vip_per_host(self) -> bool:
        """Whether it gets as many VIPs as there are hosts that are no spares, each at home on one of them; else one in all."""
        return False

    @property
    def routed_tier(self) -> str | None:
        """Tier that gets a loopback address of its own, under which callers on the same host reach it; None = none."""
        return None


@dataclass(frozen=True)
class Demand:
    """`by` has a `need`, and counts as much as `rank` says."""

    by: InstanceId
    rank: Rank
    need: Need


@dataclass(frozen=True)
class Site:
    """One application as seen from outside: where it is asked for, and where its health is."""

    tier: str
    domain: str
    path: str = "/"
    health: str = "/health"
    ready: str = ""
    static_path: str = ""
    """URL prefix of files that a web server on the same host may serve itself; "" = none."""
    static_folder: str = ""
    folder: str = ""
    """Folder on the host that is the site: a web server beside it serves its files, over FASTCGI it has its scripts run;
    "" = all that is not under `static_path` is asked of the endpoint."""
    code_folder: str = ""
    """The same folder under the path by which the endpoint's own processes know it."""
    front: str = ""
    """Script in `folder` that answers for what is no file there; "" = nothing does."""
    written: tuple[tuple[str, str], ...] = ()
    """URL prefixes in the site, each with the folder on the host where its scripts put files: sent back, and never run."""
    write_path: str = ""
    """Where a drill may write: a POST there of `write_body`, in which {token} is a word of its own; "" = it may not."""
    write_body: str = ""
    read_path: str = ""
    """Where what was written with {token} is found; another status than 200 to 399 says that it is not there."""
    page: str = ""
    """Path of a page that is there; "" = `path` itself is."""
    is_promised: bool = True
    """Whether it is for visitors. False: for those who look after the stack; goals, drills and capacity leave it out."""

    @property
    def asked(self) -> str:
        """What is asked for to see whether the site is there."""
        return self.page or self.path


@dataclass(frozen=True)
class Count:
    """A figure that counts what visitors ask, for whoever shows how much is asked and how much of it fails.

    `path`: where an endpoint of METRICS tells it, and as little else as it can. `labels`: those that a series must have; of
    those, what also has `failed` is what went wrong. All series together count each request once.
    """

    what: str
    path: str
    figure: str
    labels: tuple[tuple[str, str], ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Listen:
    """What a component offers to callers."""

    name: str
    speaks: Protocol
    port: int | None = None
    bind: Bind = Bind.HOST
    tls: Tls = Tls.NONE
    socket: str | None = None
    """A unix socket offered to callers on the same host, who then use nothing else."""
    is_local: bool = False
    """Whether only callers on the same host can call it at all."""
    alive_file: str = ""
    """A file on the host that is there for as long as it listens; "" = none tells."""
    checked_at: str = ""
    """Name of the sibling endpoint where this one's health is asked; "" = here."""
    reached_by: tuple[Need, ...] = ()
    """Callers go through providers of these needs on their own host."""
    answers: Need | None = None
    """The provider's side of `reached_by`: this endpoint is for those who demanded that need."""
    sites: tuple[Site, ...] = ()
    called_by: tuple[InstanceId, ...] = ()
    """Pseudo-sources that may call it: OUTSIDE, ADMIN."""
    counts: tuple[Count, ...] = ()
    """What it counts of visitors' requests, where it speaks METRICS."""


@dataclass(frozen=True)
class Endpoint:
    """One `Listen` of one instance."""

    owner: InstanceId
    rank: Rank
    listen: Listen

    def __str__(self) -> str:
        return f"{self.owner}:{self.listen.name}"

    @property
    def is_for_staff(self) -> bool:
        """Whether all that answers here is for those who look after the stack: no visitor misses it."""
        return bool(self.listen.sites) and not any(site.is_promised for site in self.listen.sites)


@dataclass(frozen=True)
class Link:
    """`source` calls `target`. Local links use a unix socket or loopback and never cross the network."""

    source: InstanceId
    target: Endpoint
    purpose: str
    is_required: bool
    is_local: bool

    @property
    def crosses(self) -> bool:
        """Whether it goes from one host to another, or comes from outside."""
        return not self.is_local and self.source.host != self.target.owner.host

    @property
    def asks_health(self) -> bool:
        """Whether nothing is asked here but whether the target is well."""
        return self.purpose.endswith(HEALTH)


@dataclass(frozen=True)
class Instance:
    """One component on one host, with its settings and what others demand of it."""

    id: InstanceId
    component: str
    settings: BaseModel
    rank: Rank = Rank.NORMAL
    to: tuple[str, ...] = ()
    demands: tuple[Demand, ...] = ()
    declared_at: str = ""
    """Where the stack file says so, e.g. "tiers.app"; for implied instances, who wanted them."""


@dataclass(frozen=True)
class Host:
    """A server: its name, failure domain and address.

    `number` (1 to 60 000) is allotted once and never changes; ids that must be unique in the stack come from it.
    `is_lab`: a virtual host inside the controlling machine; any other one is reached by SSH, on `ssh_port`.
    """

    name: str
    zone: str
    address: str
    number: int
    is_lab: bool = True
    ssh_port: int = 22


@dataclass(frozen=True)
class Vip:
    """A virtual IP address, which moves between hosts: "load-balancer" is 198.18.0.1, number 1 (1 to 255).

    Where a tier has several the further ones are called "load-balancer.2", "load-balancer.3", as no tier can be.
    """

    name: str
    address: str
    number: int
    tier: str
    """The tier that it leads to."""
    hosts: tuple[str, ...]
    """Who may hold it: the first of these that lives, where nobody holds it yet."""
    home: str = ""
    """The host that takes it back when it is well again; "": whoever has it keeps it."""


@dataclass(frozen=True)
class Topology:
    """All hosts, instances, endpoints and links of a stack, sorted; the same stack gives the same bytes."""

    stack: str
    domain: str
    hosts: tuple[Host, ...]
    instances: tuple[Instance, ...]
    endpoints: tuple[Endpoint, ...]
    links: tuple[Link, ...]
    vips: tuple[Vip, ...] = ()
    """Addresses that move between hosts."""
    routes: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Loopback address of each routed tier: {"database": "127.0.1.1"}."""
    admin: tuple[str, ...] = ()
    """Networks that may reach the hosts by SSH."""
    egress: tuple[str, ...] | None = None
    """Networks the hosts may call besides each other; None = the whole world."""
    has_firewall: bool = True

    @cached_property
    def sha256(self) -> str:
        """A fingerprint of all that everything else is derived from; the same stack gives the same."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    # --- lookups -------------------------------------------------------------------------------------------------
    @cached_property
    def _hosts_by_name(self) -> dict[str, Host]:
        return {host.name: host for host in self.hosts}

    @cached_property
    def _instances_by_id(self) -> dict[InstanceId, Instance]:
        return {instance.id: instance for instance in self.instances}

    @cached_property
    def _links_by_source(self) -> dict[InstanceId, tuple[Link, ...]]:
        return _grouped(self.links, lambda link: link.source)

    @cached_property
    def _links_by_target(self) -> dict[InstanceId, tuple[Link, ...]]:
        return _grouped(self.links, lambda link: link.target.owner)

    @cached_property
    def _links_by_target_host(self) -> dict[str, tuple[Link, ...]]:
        return _grouped(self.links, lambda link: link.target.owner.host)

    @cached_property
    def _instances_by_host(self) -> dict[str, tuple[Instance, ...]]:
        return _grouped(self.instances, lambda instance: instance.id.host)

    @cached_property
    def _instances_by_tier(self) -> dict[str, tuple[Instance, ...]]:
        return _grouped(self.instances, lambda instance: instance.id.tier)

    def host(self, name: str) -> Host:
        """Return the host called `name`; KeyError if there is none."""
        return self._hosts_by_name[name]

    def instance(self, instance: InstanceId) -> Instance:
        """Return the instance with this id; KeyError if there is none."""
        return self._instances_by_id[instance]

    # --- queries -------------------------------------------------------------------------------------------------
    def on_host(self, host: str) -> tuple[Instance, ...]:
        """All instances on `host`."""
        return self._instances_by_host.get(host, ())

    def of_tier(self, tier: str) -> tuple[Instance, ...]:
        """All instances of `tier`, in the order of their hosts."""
        return self._instances_by_tier.get(tier, ())

    def endpoints_of(self, instance: InstanceId) -> tuple[Endpoint, ...]:
        """Every endpoint that `instance` offers and somebody links to."""
        return tuple(endpoint for endpoint in self.endpoints if endpoint.owner == instance)

    def links_from(self, instance: InstanceId, purpose: str | None = None) -> tuple[Link, ...]:
        """Links that `instance` makes, of one purpose or of all."""
        links = self._links_by_source.get(instance, ())
        return links if purpose is None else tuple(link for link in links if link.purpose == purpose)

    def links_to(self, instance: InstanceId) -> tuple[Link, ...]:
        """Links that end at `instance`."""
        return self._links_by_target.get(instance, ())

    def vips_of(self, tier: str) -> tuple[Vip, ...]:
        """The VIPs that lead to `tier`, by number."""
        return tuple(sorted((vip for vip in self.vips if vip.tier == tier), key=lambda vip: vip.number))

    def on_visitors_way(self) -> set[str]:
        """Tiers that a visitor's request may have to pass."""
        found: set[str] = set()
        frontier = {link.target.owner.tier for link in self.links if link.source == OUTSIDE}
        while frontier:
            found |= frontier
            required = [link for link in self.links if link.source.tier in frontier and link.is_required]
            frontier = {link.target.owner.tier for link in required if not link.target.is_for_staff} - found
        return found

    def keeps_data(self, tier: str) -> bool:
        """Whether callers are led to the member of `tier` with the right role, or its members send each other users' data."""
        links = [link for member in self.of_tier(tier) for link in self.links_from(member.id)]
        return tier in self.routes or any(
            link.target.owner.tier == tier and link.target.listen.speaks.is_copied for link in links
        )

    def is_open(self, link: Link) -> bool:
        """Whether users' data crosses the network over `link` unencrypted."""
        listen = link.target.listen
        carries = listen.tls is Tls.NONE and listen.speaks.carries_data and not link.is_local
        return carries and not self.leads_to_https(link)

    def leads_to_https(self, link: Link) -> bool:
        """Whether visitors call `link` unencrypted only to be sent to HTTPS, which the same instance answers."""
        if link.source != OUTSIDE or link.target.listen.tls is not Tls.NONE:
            return False
        beside = [other.target.listen for other in self.links_to(link.target.owner) if other.source == OUTSIDE]
        return any(listen.tls is not Tls.NONE and listen.speaks is link.target.listen.speaks for listen in beside)

    def into(self, host: str) -> tuple[Link, ...]:
        """Links that reach `host` over the network: exactly what its firewall lets in."""
        return tuple(link for link in self._links_by_target_host.get(host, ()) if link.crosses)

    def sites_behind(self, endpoint: Endpoint) -> tuple[Site, ...]:
        """The applications that answer through `endpoint`, found by following links towards them."""
        found: list[Site] = []
        seen: set[Endpoint] = set()
        frontier = [endpoint]
        while frontier:
            here = frontier.pop()
            if here in seen:
                continue
            seen.add(here)
            found += here.listen.sites
            frontier += [link.target for link in self.links_from(here.owner) if link.target.listen.speaks.carries_pages]
        return tuple(sorted(set(found), key=lambda site: (site.domain, site.path, site.tier)))

    def promised_sites(self, endpoint: Endpoint) -> tuple[Site, ...]:
        """Those of them that are for visitors."""
        return tuple(site for site in self.sites_behind(endpoint) if site.is_promised)


def _grouped(values: Iterable[V], key: Callable[[V], K]) -> dict[K, tuple[V, ...]]:
    groups: dict[K, list[V]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return {name: tuple(members) for name, members in groups.items()}

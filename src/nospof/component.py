"""All that a component file imports: what a component says of itself, and what a host must have for it.

A component is a class. What it offers, calls and needs (`listens`, `connects`, `wants`) are declarations that depend on its
settings only; from them `resolve` makes the topology. What a host must have for one instance (`parts`) is a pure function of
the finished topology. A subclass registers itself under its `name`; nothing else in nospof names a component.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar, cast, get_args, get_origin

from jinja2 import Environment, StrictUndefined, Template
from pydantic import BaseModel, ConfigDict, Field

from nospof.stack.marks import AmongSeveral, FileIn, Folder, PlacesOn, Rank, Secret, Switch
from nospof.stack.model import Tier
from nospof.topology import (
    ADMIN,
    OUTSIDE,
    Bind,
    Count,
    Demand,
    Endpoint,
    Host,
    Instance,
    InstanceId,
    Link,
    Listen,
    Need,
    Protocol,
    Site,
    Tls,
    Topology,
    Vip,
)

__all__ = [
    "ADMIN",
    "ONHOST",
    "OUTSIDE",
    "RATE_WINDOW",
    "Agreement",
    "Alert",
    "AlertDelivery",
    "AmongSeveral",
    "Bind",
    "Component",
    "Connect",
    "Consensus",
    "Context",
    "Count",
    "Demand",
    "Each",
    "Endpoint",
    "Facts",
    "Field",
    "File",
    "FileIn",
    "Folder",
    "Host",
    "HostMetrics",
    "Instance",
    "InstanceId",
    "Link",
    "Listen",
    "Majority",
    "Need",
    "Objection",
    "OnChange",
    "OnePrimary",
    "Ownership",
    "Panel",
    "Parts",
    "Place",
    "PlacesOn",
    "Probe",
    "Protocol",
    "ProviderOf",
    "Rank",
    "Redundancy",
    "Scale",
    "Secret",
    "Settings",
    "Site",
    "Source",
    "Step",
    "Switch",
    "Symlink",
    "TcpRoute",
    "Tier",
    "Tls",
    "TlsFiles",
    "Topology",
    "Tree",
    "Unit",
    "Urgency",
    "Vip",
    "VipNeed",
    "Wants",
    "Who",
    "as_json",
    "fewer",
    "measured",
    "onhost_at",
    "token",
]


# --- what the user may set ----------------------------------------------------------------------------------------------
class Settings(BaseModel):
    """The keys of a tier that belong to its component. Unknown keys are errors; every field has a description."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Settings)
N = TypeVar("N", bound=Need)


# --- what components want of each other ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class VipNeed(Need):
    """An address that always leads to a living host of this tier.

    `alive_file` holds 0 while the service lives and -1 otherwise (keepalived's track_file); `alive_check` is a command that
    exits 0 while the service really answers, for what a file cannot tell: a frozen process.
    `is_shared`: all hosts of the tier work at the same time, each with an address of its own that the others take over.
    """

    name: str
    alive_file: str
    alive_check: tuple[str, ...]
    is_shared: bool = False

    @property
    def vip_name(self) -> str:
        return self.name

    @property
    def has_vip_per_host(self) -> bool:
        return self.is_shared


@dataclass(frozen=True)
class TcpRoute(Need):
    """A local port that leads to the member of `tier` whose role path answers 200, else to one of `or_else`."""

    tier: str
    port: int
    role_path: str
    speaks: Protocol
    or_else: str | None = None
    writes: bool = False
    """Whether what is called here changes data; else it only reads."""
    is_for_pages: bool = False
    """Whether showing a page takes a write here, as with sessions; what is written is no data of its own then."""
    hold_s: float | None = None
    """Seconds that new connections wait for a primary when there is none; None: as long as the provider is set to."""

    @property
    def routed_tier(self) -> str:
        return self.tier


@dataclass(frozen=True)
class Agreement(Need):
    """Voters in three zones, a majority of whom decides: three, or five for a tier with a spare, which is to outlive two.

    What on, a subclass says. A component may bring one of its own.
    """


@dataclass(frozen=True)
class Consensus(Agreement):
    """A key-value store that a majority of three zones agrees on."""


@dataclass(frozen=True)
class HostMetrics(Need):
    """Measurements of every host: what its kernel counts, and of each instance on it whether it is healthy.

    The figures beside the kernel's, which the expressions of alerts may use, are listed in nospof.onhost.measures.
    """


@dataclass(frozen=True)
class AlertDelivery(Need):
    """Somebody who tells people of an alert once, however many instances notice it, and again when it is over.

    `emails` get a mail through the server at `smtp` ("host:port"), `webhooks` a JSON document. `heartbeats` are URLs outside
    that hear every few minutes that alerts would still arrive. Passwords and URLs are secret.
    """

    emails: tuple[str, ...] = ()
    smtp: str = ""
    sender: str = ""
    smtp_user: str = ""
    smtp_password: str = field(default="", repr=False)
    smtp_tls: bool = True
    webhooks: tuple[str, ...] = field(default=(), repr=False)
    heartbeats: tuple[str, ...] = field(default=(), repr=False)


class Place(Enum):
    """Where the provider of a need runs."""

    BESIDE = "beside"
    EVERY_HOST = "every-host"
    THREE_ZONES = "three-zones"


@dataclass(frozen=True)
class Wants:
    """A need, and where its provider is to run."""

    need: Need
    place: Place = Place.BESIDE


# --- how a tier outlives its instances -----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Each:
    """Every instance serves by itself: one that lives is enough."""


@dataclass(frozen=True)
class Majority:
    """None serves unless more than half of all that serve the same need live."""


@dataclass(frozen=True)
class OnePrimary:
    """One instance takes writes, the others follow it; what takes its place, and what it waits for.

    `most_voters`: so many others acknowledge each write, 0: nobody. `hears_all`: all of them must be heard before one is
    promoted, so that nothing that was acknowledged is lost; False: any one of them is enough.
    `takes_over`: one of them is promoted by itself, while those who agree on it have a majority.
    `goes_alone`: without any of them the primary goes on taking writes; False: writes wait. None: only where there are fewer
    than `most_voters` others or, where any copy may be promoted, where a spare is one of them: the last one is to work.
    """

    most_voters: int
    takes_over: bool
    goes_alone: bool | None
    hears_all: bool = True


Redundancy = Each | Majority | OnePrimary


class Who(Enum):
    """Whom a component calls."""

    NAMED = "named"
    """The tiers under the user's `to:`."""
    PEERS = "peers"
    """The other instances of its tier; for a provider, those that serve an equal need."""
    DEMANDED = "demanded"
    """What those who need this provider would call."""
    DEMANDING = "demanding"
    """Those who need this provider."""
    ALL = "all"
    """Every endpoint of that protocol."""
    COUNTING = "counting"
    """Every endpoint of that protocol that counts what visitors ask."""
    ENTRANCE = "entrance"
    """Where visitors come in; encrypted, where the same instance also takes them unencrypted."""


@dataclass(frozen=True)
class Objection:
    """Why a component cannot, or should not, be used as a tier asks: `key` of the tier, what, why, fix."""

    code: str
    key: str
    what: str
    why: str
    fix: str


@dataclass(frozen=True)
class ProviderOf:
    """Whoever provides this kind of need."""

    need: type[Need]


@dataclass(frozen=True)
class Connect:
    """A call that a component makes. `checks`: it also asks where the target's health is told.

    `spreads`: it shares its calls among all of a tier, and the one beside it is called over the network as the others are.
    `besides`: tiers under the user's `to:` that are not meant. Of two calls of one endpoint for one purpose the first counts.
    """

    to: Who | ProviderOf
    speaks: Protocol
    purpose: str = "to"
    is_required: bool = True
    checks: bool = False
    spreads: bool = False
    besides: tuple[str, ...] = ()


# --- what people are told ------------------------------------------------------------------------------------------------
class Urgency(StrEnum):
    """How soon somebody must act on an alert."""

    CRITICAL = "critical"
    """At once, at night too: a goal fails, or nobody would notice if it did."""
    WARNING = "warning"
    """Before the next failure, which would not be outlived, or before what is growing is full."""


@dataclass(frozen=True)
class Alert:
    """Something that must not stay as it is. It fires for each series of `expression` (PromQL) after `for_s` seconds.

    Every series has the labels `host`, `zone`, `tier` and `component` of whom it was measured from. `says` is one line for
    the mail's subject, `means` what it is that happened, `do` what to look at and to do first; all three may use Prometheus'
    templates, e.g. {{ $labels.host }}. `every_s`: how often it is looked at; 0 = as often as everything is measured.
    `labels`: more of them, e.g. the tier where the expression has none; alerts of one name must differ in them.
    `hides`: names of alerts that say no more than this one, which are not sent where `hides_by` labels are equal.
    Source: https://prometheus.io/docs/prometheus/2.53/configuration/alerting_rules/.
    """

    name: str
    expression: str
    says: str
    means: str
    do: str
    urgency: Urgency = Urgency.WARNING
    for_s: int = 10
    every_s: int = 0
    labels: tuple[tuple[str, str], ...] = ()
    hides: tuple[str, ...] = ()
    hides_by: tuple[str, ...] = ()


class Scale(StrEnum):
    """What a figure is of, in the word that Grafana has for it."""

    COUNT = "short"
    PER_S = "reqps"
    SECONDS = "s"
    SHARE = "percentunit"
    """Of one: 0.2 is 20 %."""
    BYTES = "bytes"
    BYTES_PER_S = "Bps"
    YES_OR_NO = "bool"
    """1 or 0, drawn as a band."""


RATE_WINDOW = "$__rate_interval"
"""Stands in a panel's expressions for a time that suits what is drawn, at least four looks long."""


@dataclass(frozen=True)
class Panel:
    """Figures that are drawn over time. `queries`: each an expression (PromQL), and what its lines are called.

    Names may hold labels, e.g. {{host}}. `limit`: what a figure should not exceed, drawn as a line. `can_be_empty`: while all
    is well there may be no figures at all.
    """

    title: str
    about: str
    queries: tuple[tuple[str, str], ...]
    scale: Scale = Scale.COUNT
    limit: float | None = None
    can_be_empty: bool = False


# Alerts of which others must know: nothing is known of a host, or of one of its instances for so long.
NOT_MEASURED, INSTANCE_UNKNOWN, UNKNOWN_FOR_S = "NotMeasured", "InstanceUnknown", 600
# A host that was away answers before it knows what runs on it: until then it is lost, if it told of it in the last hours.
RETURNS_WITHIN, REMEMBERED = f"{UNKNOWN_FOR_S // 60}m", "6h"


def measured(topology: Topology, hosts: Iterable[str]) -> str:
    """The series (PromQL) that tell of `hosts` whether their figures could be read: 1 or 0."""
    tiers = {one.id.tier for one in topology.instances if any(isinstance(d.need, HostMetrics) for d in one.demands)}
    return f'up{{tier=~"{"|".join(sorted(tiers))}",host=~"{"|".join(sorted(set(hosts)))}"}}'


def fewer(told: str, than: str, topology: Topology, hosts: Iterable[str]) -> str:
    """How many series of `told` (PromQL, 1 or 0 for each host) are 1, where that is as `than` says, e.g. "< 2".

    Only where something is known of all `hosts`: whoever has just been started knows of nobody, and a host that is being set up
    tells nothing yet; neither must be taken for a loss. Where a host should tell and does not, people are told of that first
    (NotMeasured, InstanceUnknown), and then it counts as lost.
    """
    hosts = sorted(set(hosts))
    asked = measured(topology, hosts)
    returning = f"min_over_time({asked}[{RETURNS_WITHIN}]) == 0 and on (host) present_over_time({told}[{REMEMBERED}])"
    silent = f"{asked} == 0 or ({returning})"
    mute = f'ALERTS{{alertname=~"{NOT_MEASURED}|{INSTANCE_UNKNOWN}",alertstate="firing"}}'
    known = f"count({silent} or ({asked} and on (host) {told}) or ({asked} and on (host) {mute})) == {len(hosts)}"
    return f"(count({told} == 1) or vector(0)) {than} and on () {known}"


def not_one(told: str, topology: Topology, hosts: Iterable[str]) -> str:
    """How many series of `told` are 1, where that is not one: several are too many whatever others tell, none as in `fewer`."""
    return f"count({told} == 1) > 1 or {fewer(told, '== 0', topology, hosts)}"


# --- what a host must have -----------------------------------------------------------------------------------------------
class Ownership(Enum):
    """Whose a file is."""

    WHOLE = "whole"
    """Ours: always as rendered."""
    BLOCK = "block"
    """Ours is what stands between our marks; the rest is the host's."""
    SEED = "seed"
    """Written where absent, then the daemon's own."""


ALL_UNITS = ("*",)
DRAINING = "/run/nospof-draining"
"""Where a folder with a tier's name says that this host's instance is about to change."""
HEALTH_AGENT = "nospof-health"
"""How balancers call themselves where they ask for an application's health."""
ONHOST = "/usr/lib/nospof/onhost"
"""Where nospof's own programs lie on a host; run as `/usr/bin/python3 /usr/lib/nospof/onhost PROGRAM`."""


def onhost_at(sha256: str) -> str:
    """Where those programs lie whose content has this hash: a link leads from `ONHOST` to the present ones."""
    return f"{ONHOST}-{sha256[:12]}"


@dataclass(frozen=True)
class File:
    """A text file. `check`: the daemon's own checker, run where /etc already holds the new files.

    `for_units`: which units of its instance must notice a change; ("*",) is all of them, () none. Secrets and keys are
    tokens in `text`.
    """

    path: str
    text: str
    check: tuple[str, ...] = ()
    mode: int = 0o644
    user: str = "root"
    ownership: Ownership = Ownership.WHOLE
    for_units: tuple[str, ...] = ALL_UNITS


@dataclass(frozen=True)
class Symlink:
    """A symbolic link, replaced atomically."""

    path: str
    target: str
    for_units: tuple[str, ...] = ALL_UNITS


@dataclass(frozen=True)
class Tree:
    """A folder unpacked once from the blob with this sha256; `path` must contain what makes it unique."""

    path: str
    blob: str


class OnChange(Enum):
    """What a unit does when one of its files changed."""

    RELOAD = "reload"
    RESTART = "restart"
    ASK = "ask"
    """Run `ask`: the agent that owns the daemon restarts it in an order of its own."""


@dataclass(frozen=True)
class Unit:
    """A systemd unit that is enabled and running. `text` makes it ours, `drop_in` adds to the package's.

    A change of `text` or `drop_in` restarts it, or is asked for. `is_started`: False for what something else starts, e.g. by
    its socket. `is_aside`: True for what only measures the instance, which is as healthy without it.
    """

    name: str
    on_change: OnChange = OnChange.RESTART
    text: str | None = None
    drop_in: str | None = None
    ask: tuple[str, ...] = ()
    is_started: bool = True
    is_aside: bool = False


@dataclass(frozen=True)
class Step:
    """A program of ours that looks before it acts, run after the units; `done_when` exits 0 when nothing is left to do."""

    name: str
    argv: tuple[str, ...]
    done_when: tuple[str, ...]
    timeout_s: float = 60.0


@dataclass(frozen=True)
class Probe:
    """A command that exits 0 once the instance is healthy; asked until then, `timeout_s` seconds at most."""

    name: str
    argv: tuple[str, ...]
    timeout_s: float = 20.0


@dataclass(frozen=True)
class Parts:
    """Everything one instance needs on its host. Units start in this order; steps follow, then probes."""

    files: tuple[File, ...] = ()
    symlinks: tuple[Symlink, ...] = ()
    trees: tuple[Tree, ...] = ()
    units: tuple[Unit, ...] = ()
    steps: tuple[Step, ...] = ()
    healthy_when: tuple[Probe, ...] = ()
    users: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    """(address, name) pairs for the host's /etc/hosts."""


@dataclass(frozen=True)
class Source:
    """A folder beside the stack file that travels to the hosts as a blob, with the Python packages it requires."""

    name: str
    folder: str
    requirements: str | None = None
    """File inside `folder` with pip's requirements; None = the folder alone."""


@dataclass(frozen=True)
class Facts:
    """What only the host knows."""

    python: str
    """e.g. "3.13"."""
    debian: str
    """e.g. "13.1"."""
    machine: str
    """e.g. "x86_64"."""
    interface: str
    """The interface that has the host's address."""
    prefix_length: int
    """Of the network on that interface, 0 to 32."""
    max_open_files: int
    memory_mib: int
    cpus: int


@dataclass(frozen=True)
class TlsFiles:
    """Where an instance finds its certificate and key, and the CA that signed everybody's."""

    ca: str
    certificate: str
    key: str
    files: tuple[File, ...]


def token(kind: str, name: str = "") -> str:
    """Stand in for a secret, certificate or key, which `seal` fills in on the way out."""
    return f"\x02{kind}:{name}\x03"


def as_json(value: Mapping[str, object]) -> str:
    """JSON in which tokens stay as they are, so that `seal` finds them; what comes in their place needs no escapes."""
    return json.dumps(value, indent=1).replace("\\u0002", "\x02").replace("\\u0003", "\x03") + "\n"


HARDENING = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
PrivateIPC=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
CapabilityBoundingSet=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# A call that is refused is an error the program can deal with, not its end.
SystemCallErrorNumber=EPERM
DevicePolicy=closed"""
"""What a service that needs nothing of root gives up, for a unit's [Service]: `{{ hardening }}` in every template.

With it `systemd-analyze security` says 1.1 for nginx and for applications, instead of 9.6.
"""

_TEMPLATES = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
_TEMPLATES.globals["hardening"] = HARDENING


@cache
def _compiled(text: str) -> Template:
    """Compile once what is rendered for every host: half the time of a run that changes nothing went there."""
    return _TEMPLATES.from_string(text)


@dataclass(frozen=True)
class Context:
    """The finished topology seen from one instance: queries only."""

    topology: Topology
    me: Instance
    facts: Facts
    choices: Mapping[str, str]
    """Choices made once: {"database/first-primary": "db1"}."""
    blobs: Mapping[str, str]
    """sha256 by name, for this host: {"app/release": "9f…"}."""

    @property
    def host(self) -> Host:
        """The host this instance runs on."""
        return self.topology.host(self.me.id.host)

    def address(self, host: str) -> str:
        """Address of `host`."""
        return self.topology.host(host).address

    def vips(self, tier: str) -> tuple[Vip, ...]:
        """The VIPs that lead to `tier`, by number."""
        return self.topology.vips_of(tier)

    def route(self, tier: str) -> str:
        """Loopback address under which `tier` is reached from this host."""
        return self.topology.routes[tier]

    def targets(self, purpose: str = "to") -> tuple[Endpoint, ...]:
        """Endpoints this instance calls for `purpose`, without those where it only asks for health."""
        return tuple(link.target for link in self.topology.links_from(self.me.id, purpose))

    def is_beside(self, endpoint: Endpoint) -> bool:
        """Whether `endpoint` is on this host, so that its socket, if it has one, is the way to it."""
        return endpoint.owner.host == self.me.id.host

    def alive_files_beside(self) -> tuple[str, ...]:
        """Files that are there while what this instance cannot do without runs on its own host: its health includes that."""
        links = [link for link in self.topology.links_from(self.me.id) if link.is_local and link.is_required]
        return tuple(sorted({link.target.listen.alive_file for link in links} - {""}))

    def names_needed(self) -> tuple[str, ...]:
        """Tiers that this instance cannot do without and finds by their names on its own host: its health includes that too."""
        links = [link for link in self.topology.links_from(self.me.id) if link.is_local and link.is_required]
        answers = [link.target.listen.answers for link in links]
        return tuple(sorted({route.tier for route in answers if isinstance(route, TcpRoute)}))

    def callers(self, listen: str) -> tuple[InstanceId, ...]:
        """Who calls this instance's endpoint `listen`."""
        links = self.topology.links_to(self.me.id)
        return tuple(link.source for link in links if link.target.listen.name == listen)

    def is_called(self, listen: str) -> bool:
        """Whether anybody does, and so whether it is to be opened at all."""
        return bool(self.callers(listen))

    def alerts(self) -> tuple[Alert, ...]:
        """What the components of the whole stack want people to be told of; each once, sorted by name."""
        instances = self.topology.instances
        found = {alert for one in instances for alert in Component.kinds[one.component](one).alerts(self.topology)}
        return tuple(sorted(found, key=lambda alert: (alert.name, alert.expression)))

    def choice(self, name: str) -> str:
        """A host of this tier that was chosen once, for `name` in the component's `chooses_once`."""
        return self.choices[f"{self.me.id.tier}/{name}"]

    def blob(self, source: str) -> str:
        """sha256 of the content gathered for the component's `Source` of this name."""
        return self.blobs[f"{self.me.id.tier}/{source}"]

    def program(self, name: str, *arguments: str) -> str:
        """Command line of one of nospof's own programs on the host; it changes with the program, so that units restart."""
        return " ".join(("/usr/bin/python3", onhost_at(self.blobs["base/onhost"]), name, *arguments))

    def secret(self, name: str) -> str:
        """A token for the secret called `name`, made once per stack: 32 characters of [A-Za-z0-9].

        Of a password it is the one that callers use; `nospof rotate passwords` replaces those whose servers say `accepted`.
        """
        return token("secret", name)

    def accepted(self, name: str, between: str = " ") -> str:
        """A token for what a server takes as the password called `name`: the secret, and while it is replaced two of them.

        They are joined by `between`, in an order that stays while which of them is used changes.
        """
        return token("accepted", f"{name}|{between}")

    def tls(self, user: str = "root", for_units: tuple[str, ...] = ALL_UNITS) -> TlsFiles:
        """This instance's certificate and key, readable by `user`, and the CA. Names: host, tier, address, its domains."""
        stem, me = f"/etc/nospof/tls/{self.me.id.tier}", str(self.me.id)
        ca = File("/etc/nospof/tls/ca.pem", token("ca"), for_units=for_units)
        certificate = File(f"{stem}.crt", token("certificate", me), for_units=for_units)
        key = File(f"{stem}.key", token("key", me), mode=0o400, user=user, for_units=for_units)
        return TlsFiles(ca.path, certificate.path, key.path, (ca, certificate, key))

    def template(self, text: str, **values: object) -> str:
        """Fill in a Jinja template; `here` is this context, an unknown name is an error."""
        return _compiled(text).render(here=self, **values)


# --- the component itself ------------------------------------------------------------------------------------------------
class Component(Generic[S]):
    """One kind of software. Subclass it as `class Varnish(Component[VarnishSettings])` and it is known by its `name`.

    `listens`, `connects`, `wants`, `sources`, `touch_last_if`, `asks_agent` may be class constants or, where settings decide,
    properties.
    """

    name: ClassVar[str]
    about: ClassVar[str] = ""
    """What it does, for somebody who hears of it for the first time: one sentence."""
    why: ClassVar[str] = ""
    """Why a stack has it, and what would be without it."""
    when_lost: ClassVar[str] = ""
    """What happens when one of several instances is lost."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Debian packages: constant, since the lab's image is made from all of them."""
    packages_if_watched: ClassVar[tuple[str, ...]] = ()
    """More of them, where somebody reads its figures."""
    suite: ClassVar[str] = "trixie"
    """Debian's suite that has the packages; another one than this gives the stack's lab an image of its own."""
    lets_go: ClassVar[tuple[str, ...]] = ()
    """A command after which its host holds no VIP and another one takes them; (): it moves none."""
    if_vip_stays: ClassVar[str] = ""
    """What to do where a VIP that has moved is still looked for at the host that had it."""
    conflicts: ClassVar[tuple[str, ...]] = ()
    """Components whose packages cannot be installed beside these."""
    stores: ClassVar[tuple[str, ...]] = ()
    """Folders of the host that hold its data: what somebody else has there is never taken over."""
    provides: ClassVar[tuple[type[Need], ...]] = ()
    runs_per_host: ClassVar[int] = 1
    """How many instances one host can carry; 0 = any number."""
    missed_s: ClassVar[float | None] = None
    """Seconds without a good answer after the host of one of several instances went dark, measured; None: never measured."""
    is_drained: ClassVar[bool] = False
    """Whether web servers beside it say that it is ill while `DRAINING` has a folder of its tier's name."""
    saved_by: ClassVar[str] = ""
    """Command of a host that writes all its data as text, to be kept elsewhere; "" = it keeps none, or has no such way."""
    chooses_once: ClassVar[tuple[str, ...]] = ()
    """Names of choices of one host of the tier that must never change later; the first host is taken."""
    moves_what_it_keeps: ClassVar[bool] = False
    """Whether a host that leaves the tier gives what it keeps to the others, so that none may join it in the same `up`: their
    firewalls let in who is of the old tier, or who is of the new one, and these two never each other."""
    dump: ClassVar[tuple[str, ...]] = ()
    """A command that prints all that an instance stores, a row a line, and the same for equal copies; (): it stores nothing."""
    mends_saying: ClassVar[tuple[str, ...]] = ()
    """Regular expressions: its log's lines after a power cut when it drops the last it had, which it never promised to keep."""
    kinds: ClassVar[dict[str, type[Component[Any]]]] = {}
    settings_type: ClassVar[type[Settings]] = Settings

    def __init_subclass__(cls) -> None:
        if "name" not in vars(cls):
            return  # what several components share
        if cls.name in Component.kinds:
            raise TypeError(f"two components are named {cls.name}")
        Component.kinds[cls.name] = cls
        bases = getattr(cls, "__orig_bases__", ())
        cls.settings_type = next(get_args(base)[0] for base in bases if issubclass(get_origin(base) or object, Component))

    def __init__(self, instance: Instance) -> None:
        self.id, self.rank, self.demands = instance.id, instance.rank, instance.demands
        self.settings = cast(S, instance.settings)

    @property
    def listens(self) -> tuple[Listen, ...]:
        """What it offers to callers."""
        return ()

    @property
    def connects(self) -> tuple[Connect, ...]:
        """Whom it calls."""
        return ()

    @property
    def is_sticky(self) -> bool:
        """Whether a caller that it leads to another target stays there."""
        return False

    @property
    def notices_s(self) -> float:
        """Seconds until a target that says it is ill gets no requests any more, or those of one that is well again it does."""
        return 0.0

    @property
    def wants(self) -> tuple[Wants, ...]:
        """What it needs others to provide."""
        return ()

    @classmethod
    def objections(cls, tier: Tier) -> tuple[Objection, ...]:
        """What is wrong with `tier` beyond single settings: too few hosts for its mode, nothing to call."""
        return ()

    @classmethod
    def with_host(cls, tier: Tier, host: str) -> Tier:
        """`tier` with one host more, and with the settings that make use of it."""
        return replace(tier, hosts=(*tier.hosts, host))

    @classmethod
    def with_witness(cls, tier: Tier, host: str) -> Tier:
        """`tier` with its witness on `host`; as it is where its settings know of none."""
        for name, info in cls.settings_type.model_fields.items():
            is_place = any(isinstance(mark, PlacesOn) and mark.rank is Rank.WITNESS for mark in info.metadata)
            if is_place:
                return replace(tier, settings=tier.settings.model_copy(update={name: host}))
        return tier

    @property
    def sources(self) -> tuple[Source, ...]:
        """Folders of the user's that it runs or serves."""
        return ()

    @property
    def touch_last_if(self) -> tuple[str, ...]:
        """A command that exits 0 on the host which is to be changed last in its tier (VIP holder, primary)."""
        return ()

    @property
    def redundancy(self) -> Redundancy:
        """How the tier outlives the loss of instances like this one."""
        return Each()

    @property
    def most_at_once_per_target(self) -> int | None:
        """How many requests it gives one target at a time, while more wait. None: it does not hold them back."""
        return None

    @property
    def hands_over(self) -> tuple[str, ...]:
        """A command of the host that leads, which has another instance lead, with `--to HOST` after it that one.

        (): an agent is asked for it, or nobody can.
        """
        return ()

    @property
    def asks_agent(self) -> str | None:
        """Where its failover agent hears people: a unix socket on the host. None: it has none."""
        return None

    @property
    def hears_of_drills(self) -> str:
        """A file on its host to which a line of JSON is added for each drill that ended; "": it is not told.

        Each line has `at` (seconds since the epoch), `level` (good, weak, open, bad), `name` and `says`.
        """
        return ""

    @property
    def role_note(self) -> str | None:
        """Where its agent writes down what role its server has. None: it has no roles, or nobody writes them down."""
        return None

    @property
    def tells_figures(self) -> tuple[str, ...]:
        """A command of the host that prints figures of its own, for where no endpoint does: {name: [kind, meaning, value]}.

        `kind` is gauge or counter. Run every few seconds where hosts are measured; ends within 2 s. (): it has none.
        """
        return ()

    @property
    def tells(self) -> AlertDelivery | None:
        """Whom it tells of what it notices, by itself. None: it wants an AlertDelivery for that, or notices nothing."""
        return None

    def remarks(self, topology: Topology) -> tuple[str, ...]:
        """What else a reader of the design must know of this tier with these settings: a paragraph each. Pure."""
        return ()

    def cautions(self, topology: Topology) -> tuple[Objection, ...]:
        """What `check` warns of in the tier's settings, with an F-code: allowed, and less safe than without. Pure."""
        return ()

    def alerts(self, topology: Topology) -> tuple[Alert, ...]:
        """What people are to be told of in a stack that is watched; instances of a tier may say the same. Pure."""
        return ()

    def panels(self, topology: Topology) -> tuple[Panel, ...]:
        """What is worth drawing of its tier in a stack that is watched; instances of a tier say the same. Pure."""
        return ()

    def parts(self, here: Context) -> Parts:
        """What the host must have for this instance. Pure."""
        return Parts()

    def needs(self, kind: type[N]) -> list[N]:
        """The distinct needs of one kind that this provider serves, sorted."""
        return sorted({demand.need for demand in self.demands if isinstance(demand.need, kind)}, key=repr)

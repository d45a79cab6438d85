"""Components for tests of what works on any component: small copies of the real ones, which may change without these.

Their names begin with "test-", and so do those of their needs' providers, so that no real component is taken for them.
Import this module as `tests.unit.kinds` only: components register once per process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from nospof import component as c


@dataclass(frozen=True)
class MovingAddress(c.Need):
    name: str

    @property
    def vip_name(self) -> str:
        return self.name


@dataclass(frozen=True)
class Route(c.Need):
    tier: str
    port: int

    @property
    def routed_tier(self) -> str:
        return self.tier


@dataclass(frozen=True)
class Agreement(c.Need):
    pass


@dataclass(frozen=True)
class Measurements(c.Need):
    pass


@dataclass(frozen=True)
class Nobody(c.Need):
    """A need that no component provides."""


class Plain(c.Settings):
    pass


class BalancerSettings(c.Settings):
    https: c.Switch = c.Field(True, description="Answer over HTTPS.")


class Balancer(c.Component[BalancerSettings]):
    name = "test-balancer"
    packages = ("test-balancer",)
    connects = (c.Connect(c.Who.NAMED, c.Protocol.HTTP, checks=True, spreads=True),)

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        outside = (c.OUTSIDE,)
        https = c.Listen("https", c.Protocol.HTTP, 443, c.Bind.ANY, c.Tls.SERVER, called_by=outside)
        http = c.Listen("http", c.Protocol.HTTP, 80, c.Bind.ANY, called_by=outside)
        metrics = c.Listen("metrics", c.Protocol.METRICS, 8405)
        return (https, http, metrics) if self.settings.https else (http, metrics)

    @property
    def wants(self) -> tuple[c.Wants, ...]:
        return (c.Wants(MovingAddress(self.id.tier)),)


class Mover(c.Component[Plain]):
    name = "test-mover"
    provides = (MovingAddress,)
    listens = (c.Listen("vrrp", c.Protocol.VRRP),)
    connects = (c.Connect(c.Who.PEERS, c.Protocol.VRRP, "peers"),)


class BalancerOnDatabasePort(c.Component[Plain]):
    name = "test-balancer-on-3306"
    listens = (c.Listen("sql", c.Protocol.HTTP, 3306, c.Bind.ANY, called_by=(c.OUTSIDE,)),)


class WebSettings(c.Settings):
    port: int = c.Field(8443, description="Port.")


class Web(c.Component[WebSettings]):
    name = "test-web"
    packages = ("test-web",)
    connects = (c.Connect(c.Who.NAMED, c.Protocol.HTTP),)

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        return (
            c.Listen("http", c.Protocol.HTTP, self.settings.port, tls=c.Tls.MUTUAL),
            c.Listen("metrics", c.Protocol.METRICS, 9113),
        )


class ApplicationSettings(c.Settings):
    port: int = c.Field(8000, description="Port.")
    path: str = c.Field("/", description="Path.")
    domain: str = c.Field("", description="Domain.")


class Application(c.Component[ApplicationSettings]):
    name = "test-application"
    runs_per_host = 0
    connects = (
        c.Connect(c.Who.NAMED, c.Protocol.MYSQL, "database"),
        c.Connect(c.Who.NAMED, c.Protocol.REDIS, "cache", is_required=False),
    )

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        tier, port = self.id.tier, self.settings.port
        site = c.Site(tier, self.settings.domain, self.settings.path)
        socket = f"/run/{tier}.sock"
        return (c.Listen("http", c.Protocol.HTTP, port, tls=c.Tls.MUTUAL, socket=socket, sites=(site,)),)


class DatabaseSettings(c.Settings):
    port: int = c.Field(3306, description="Port.")
    witness: Annotated[str | None, c.PlacesOn(c.Rank.WITNESS)] = c.Field(None, description="Host of the witness.")


class Database(c.Component[DatabaseSettings]):
    name = "test-database"
    packages = ("test-database",)
    chooses_once = ("first-primary",)
    wants = (c.Wants(Agreement(), c.Place.THREE_ZONES),)
    connects = (
        c.Connect(c.Who.PEERS, c.Protocol.MYSQL, "replication"),
        c.Connect(c.ProviderOf(Agreement), c.Protocol.CONTROL, "agreement", is_required=False),
    )

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        routes = (Route(self.id.tier, 3306), Route(self.id.tier, 3307))
        return (
            c.Listen("sql", c.Protocol.MYSQL, self.settings.port, tls=c.Tls.MUTUAL, reached_by=routes, checked_at="role"),
            c.Listen("role", c.Protocol.CONTROL, 8008, tls=c.Tls.SERVER),
        )


class Router(c.Component[Plain]):
    name = "test-router"
    provides = (Route,)
    connects = (c.Connect(c.Who.DEMANDED, c.Protocol.MYSQL, checks=True),)

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        return tuple(
            c.Listen(f"{route.tier}-{route.port}", c.Protocol.MYSQL, route.port, c.Bind.ROUTE, answers=route)
            for route in self.needs(Route)
        )


class CacheSettings(c.Settings):
    port: int = c.Field(6379, description="Port.")


class Cache(c.Component[CacheSettings]):
    name = "test-cache"

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        return (c.Listen("redis", c.Protocol.REDIS, self.settings.port),)


class Voter(c.Component[Plain]):
    name = "test-voter"
    provides = (Agreement,)
    listens = (
        c.Listen("client", c.Protocol.CONTROL, 2379, tls=c.Tls.MUTUAL),
        c.Listen("peer", c.Protocol.PEER, 2380, tls=c.Tls.MUTUAL),
    )
    connects = (c.Connect(c.Who.PEERS, c.Protocol.PEER, "peers"),)


class Watcher(c.Component[Plain]):
    name = "test-watcher"
    connects = (
        c.Connect(c.Who.ALL, c.Protocol.METRICS, "scrape", is_required=False),
        c.Connect(c.Who.PEERS, c.Protocol.GOSSIP, "gossip", is_required=False),
    )
    wants = (c.Wants(Measurements(), c.Place.EVERY_HOST),)
    listens = (c.Listen("gossip", c.Protocol.GOSSIP, 9094), c.Listen("metrics", c.Protocol.METRICS, 9090))


class Meter(c.Component[Plain]):
    name = "test-meter"
    packages = ("test-meter",)
    provides = (Measurements,)
    listens = (c.Listen("metrics", c.Protocol.METRICS, 9100),)


class Needy(c.Component[Plain]):
    name = "test-needy"
    wants = (c.Wants(Nobody()),)


class Terminal(c.Component[Plain]):
    """What administrators reach."""

    name = "test-terminal"
    listens = (c.Listen("ssh", c.Protocol.SSH, 22, called_by=(c.ADMIN,)),)


class WriterSettings(c.Settings):
    text: str = c.Field("same", description="What to write.")
    backlog: str = c.Field("4", description="A kernel setting.")


class Writer(c.Component[WriterSettings]):
    """Asks for one of everything that tiers on a host may want differently."""

    name = "test-writer"
    runs_per_host = 0

    def parts(self, here: c.Context) -> c.Parts:
        return c.Parts(
            files=(c.File("/etc/shared", self.settings.text),),
            users=("writer",),
            sysctls=(("net.core.somaxconn", self.settings.backlog),),
            names=(("127.0.1.9", "somewhere"),),
        )

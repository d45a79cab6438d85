"""What application servers have in common: the release and its site, who may ask it, and what the application is told.

An application is a folder of the user's. Each version of it is a release, a folder named after its content; the unit names that
folder, so that a new release is a new unit and a restart, while systemd holds the sockets and connections wait in them.
Reasons and figures: docs/decisions/0005-application-releases.md.
Source: systemd.exec(5), systemd.socket(5).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, TypeVar

from nospof import component as c

SITE_PATH = r"^/([A-Za-z0-9_.-]+/)*$"
URL_PATH = r"^/[A-Za-z0-9_./~-]*$"
FOLDER_PATH = r"^([A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*)?$"
# useradd(8) takes 32 characters; the unit's user is one of them.
LONGEST_USER_NAME = 31
# Web servers keep idle connections for 60 s. The side that closes first must be the one that also sends first.
KEEP_ALIVE_S = 75


class TrialWrite(c.Settings):
    """A write that drills make, each with a token of its own."""

    path: str = c.Field(pattern=URL_PATH, description="Where it is sent, by POST; 2xx says that it is stored for good.")
    body: str = c.Field(pattern=r"\{token\}", description="The JSON that is sent; {token} is replaced in each request.")
    read: str = c.Field(pattern=r"^/.*\{token\}", description="Path where it is found again; 404 says that it is not there.")


class ApplicationSettings(c.Settings):
    """What the stack file may say of an application in any language."""

    source: Annotated[str, c.Folder()] = c.Field(description="Folder of the application, beside the stack file.")
    domain: str = c.Field("", pattern=r"^[a-z0-9.-]*$", description="Domain under which it is visited. Default: the stack's.")
    path: str = c.Field("/", pattern=SITE_PATH, description="Path under which it is visited, with / at both ends.")
    health: str = c.Field("/health", pattern=URL_PATH, description="Path in the application that answers 200 for itself alone.")
    ready: str = c.Field("/ready", pattern=URL_PATH, description="Path in the application that tells of its dependencies.")
    needs_cache: c.Switch = c.Field(
        False, description="on: it shows no page without its caches, as with sessions in them; off: it does without them."
    )
    optional_caches: list[str] = c.Field(
        [], description="Caches among those under `to:` that pages do without, though needs_cache is on."
    )
    timeout_s: int = c.Field(30, ge=1, le=3600, description="A process that does not react for so long is replaced.")
    migrate: str = c.Field(
        "",
        pattern=r"^[^\x00-\x1f]*$",
        description="Command that brings the database to what a release needs, run in `source` by one host, once per release, "
        'e.g. "python3 manage.py migrate --noinput".',
    )
    migrated: str = c.Field(
        "",
        pattern=r"^[^\x00-\x1f]*$",
        description='Command that ends with 0 when there is nothing to migrate, e.g. "python3 manage.py migrate --check".',
    )
    migrate_s: int = c.Field(300, ge=1, le=86_400, description="Seconds that the migration may take.")
    trial_write: TrialWrite | None = c.Field(None, description="A write that drills may make to see whether writes are kept.")
    environment: Annotated[
        dict[
            Annotated[str, c.Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")],
            Annotated[str, c.Field(pattern=r"^[^\x00-\x08]*$")],
        ],
        c.Secret(),
    ] = c.Field({}, description="More environment variables for the application; they win over those nospof sets.")


S = TypeVar("S", bound=ApplicationSettings)


class Application(c.Component[S]):
    """An application in its server. Which server, and how it is told, is each component's own; everything else is here."""

    when_lost = "The web servers get no answer from it, so that its health checks fail and its work goes to the others."
    runs_per_host = 0
    is_drained = True

    @property
    def connects(self) -> tuple[c.Connect, ...]:
        return (
            c.Connect(c.Who.NAMED, c.Protocol.MYSQL, "database"),
            *self._needed_caches,
            c.Connect(c.Who.NAMED, c.Protocol.REDIS, "cache", is_required=False),
            c.Connect(c.Who.NAMED, c.Protocol.MEMCACHED, "cache", is_required=False),
        )

    @property
    def _needed_caches(self) -> tuple[c.Connect, ...]:
        if not self.settings.needs_cache:
            return ()
        besides = tuple(self.settings.optional_caches)
        return tuple(
            c.Connect(c.Who.NAMED, speaks, "cache", besides=besides) for speaks in (c.Protocol.REDIS, c.Protocol.MEMCACHED)
        )

    @classmethod
    def objections(cls, tier: c.Tier) -> tuple[c.Objection, ...]:
        settings = tier.settings
        assert isinstance(settings, ApplicationSettings)  # noqa: S101 - the loader made it from this class
        return (*_about_migration(settings), *_about_caches(tier, settings))

    def cautions(self, topology: c.Topology) -> tuple[c.Objection, ...]:
        if self.settings.health != self.settings.ready:
            return ()
        what = f"health: {self.settings.health} is also where the application tells of what it calls"
        why = "when its database is away for a second, the load balancers take every server out; it must tell of itself alone"
        fix = f"in tier {self.id.tier} health: /health"
        return (c.Objection("F208", "health", what, why, fix),)

    @property
    def sources(self) -> tuple[c.Source, ...]:
        return (c.Source("release", self.settings.source, self._requirements),)

    @property
    def _requirements(self) -> str | None:
        """File in `source` that says which packages the release also has."""
        return None

    # --- names on the host -------------------------------------------------------------------------------------------
    @property
    def user(self) -> str:
        """Who runs it: a user of the tier's own."""
        tier = self.id.tier
        name = f"nospof-{tier}"
        return name if len(name) <= LONGEST_USER_NAME else f"nospof-{hashlib.sha256(tier.encode()).hexdigest()[:16]}"

    @property
    def socket(self) -> str:
        return f"/run/nospof/{self.id.tier}/http.sock"

    @property
    def socket_unit(self) -> str:
        return f"nospof-{self.id.tier}.socket"

    @property
    def service(self) -> str:
        return f"nospof-{self.id.tier}.service"

    @property
    def current(self) -> str:
        """The folder as the web server finds it: what is served as files comes from the newest release."""
        return f"/srv/nospof/{self.id.tier}/current/app"

    def release(self, here: c.Context) -> str:
        return f"/srv/nospof/{self.id.tier}/releases/{here.blob('release')[:12]}"

    # --- as others see it --------------------------------------------------------------------------------------------
    def _site(
        self,
        static: str = "",
        folder: str = "",
        code_folder: str = "",
        front: str = "",
        written: tuple[tuple[str, str], ...] = (),
    ) -> c.Site:
        """The site; `static` is a folder in `source` that a web server beside it serves under the same path."""
        settings, write = self.settings, self.settings.trial_write
        return c.Site(
            self.id.tier,
            settings.domain,
            settings.path,
            health=settings.path + settings.health.removeprefix("/"),
            ready=settings.path + settings.ready.removeprefix("/"),
            static_path=f"{settings.path}{static}/" if static else "",
            static_folder=f"{self.current}/{static}" if static else "",
            write_path=settings.path + write.path.removeprefix("/") if write else "",
            write_body=write.body if write else "",
            read_path=settings.path + write.read.removeprefix("/") if write else "",
            folder=folder,
            code_folder=code_folder,
            front=front,
            written=written,
        )

    def is_called_over_network(self, here: c.Context) -> bool:
        return any(not link.is_local and link.target.listen.sites for link in here.topology.links_to(self.id))

    def speaks_tls(self, here: c.Context) -> bool:
        """Whether it encrypts by itself, and then on its unix socket too: servers of Python do so on all sockets or on none."""
        return self.is_called_over_network(here)

    def tls_files(self, here: c.Context, tls: c.TlsFiles) -> tuple[c.File, ...]:
        """What of `tls` it needs: beside its web server it opens no port, and verifies the database's certificate only."""
        return tls.files if self.is_called_over_network(here) else tuple(file for file in tls.files if file.path == tls.ca)

    def curl(self, here: c.Context, tls: c.TlsFiles) -> tuple[str, ...]:
        """The command that asks the application for its health over its socket, as the web server would."""
        is_encrypted = self.speaks_tls(here)
        scheme = "https" if is_encrypted else "http"
        certificate = ("--cacert", tls.ca, "--cert", tls.certificate, "--key", tls.key) if is_encrypted else ()
        url = f"{scheme}://{self.id.tier}{self.listens[0].sites[0].health}"
        quietly = ("curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", "--max-time", "4")
        # As if a visitor came by the web server: applications ask who it is, and send away whom HTTPS did not bring.
        said = (
            f"Host: {self.settings.domain or here.topology.domain}",
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-Proto: https",
        )
        headers = tuple(word for line in said for word in ("--header", line))
        return (*quietly, "--unix-socket", self.socket, *certificate, *headers, url)

    # --- what is on the host -----------------------------------------------------------------------------------------
    def release_parts(self, here: c.Context) -> tuple[tuple[c.Tree, ...], tuple[c.Symlink, ...]]:
        release = self.release(here)
        tree = c.Tree(release, here.blob("release"))
        return (tree,), (c.Symlink(f"/srv/nospof/{self.id.tier}/current", release, for_units=()),)

    def socket_text(self, here: c.Context) -> str:
        """The unit that holds its sockets."""
        return here.template(
            SOCKET,
            tier=self.id.tier,
            socket=self.socket,
            port=self.listens[0].port,
            is_networked=self.speaks_tls(here),
        )

    def steps(self, here: c.Context) -> tuple[c.Step, ...]:
        """The migration. The first host of a tier is changed alone, so that the others find it done."""
        settings = self.settings
        if not settings.migrate:
            return ()
        return (c.Step("migrate", self._run(here, settings.migrate), self._run(here, settings.migrated), settings.migrate_s),)

    def _run(self, here: c.Context, command: str) -> tuple[str, ...]:
        """`command` as the application itself would run it: its user, its release, its environment."""
        runtime = {**self._runtime(here), "PYTHONDONTWRITEBYTECODE": "1"}
        return (
            *("/usr/bin/systemd-run", "--quiet", "--collect", "--wait", "--pipe", f"--uid={self.user}"),
            f"--property=EnvironmentFile=/etc/nospof/{self.id.tier}.env",
            f"--property=WorkingDirectory={self.release(here)}/app",
            *(f"--setenv={name}={value}" for name, value in sorted(runtime.items())),
            *("/bin/sh", "-c", command),
        )

    def _runtime(self, here: c.Context) -> dict[str, str]:
        """What the language needs in the environment to find the release."""
        return {}

    def environment_file(self, here: c.Context) -> c.File:
        path = f"/etc/nospof/{self.id.tier}.env"
        values = {**self._environment(here), **self.settings.environment}
        text = "".join(f"{name}={_quoted(value)}\n" for name, value in sorted(values.items()))
        return c.File(path, text, mode=0o600, for_units=(self.service,))

    def _environment(self, here: c.Context) -> dict[str, str]:
        """What the application is told."""
        tier = self.id.tier
        values = {"APP_NAME": tier, "HOST_NAME": here.host.name, "SECRET_KEY": here.secret(f"{tier}/secret-key")}
        for purpose in ("database", "cache"):
            reached = list(_reached(here, purpose))
            for service in reached:
                values |= _variables(here, service, service.tier.upper().replace("-", "_"))
            if reached:
                values |= _variables(here, reached[0], purpose.upper())
        return values


def _about_migration(settings: ApplicationSettings) -> Iterator[c.Objection]:
    if bool(settings.migrate) != bool(settings.migrated):
        key, other = ("migrate", "migrated") if settings.migrate else ("migrated", "migrate")
        what = f"{key} is given, {other} is not"
        why = "what is run once must know when it was: each `up` asks, and each host"
        yield c.Objection("S011", key, what, why, f"add {other}: the command that belongs to it")


def _about_caches(tier: c.Tier, settings: ApplicationSettings) -> Iterator[c.Objection]:
    unknown = [name for name in settings.optional_caches if name not in tier.to]
    if unknown:
        what = f"optional_caches: {', '.join(unknown)} is not among the tiers that it calls"
        why = "it says which of the caches under `to:` pages do without; another name, misspelt perhaps, says nothing"
        yield c.Objection(
            "S015", "optional_caches", what, why, f"one or more of {', '.join(tier.to)}" if tier.to else "add it to to:"
        )
    elif settings.optional_caches and not settings.needs_cache:
        what = "optional_caches is given, needs_cache is not on"
        why = "without needs_cache pages do without every cache"
        yield c.Objection("S011", "optional_caches", what, why, "add needs_cache: on, or remove optional_caches")


@dataclass(frozen=True)
class _Reached:
    """A database or cache as the application reaches it."""

    tier: str
    host: str
    port: int
    read_port: int
    protocol: c.Protocol
    servers: tuple[str, ...] = ()
    """Addresses with ports, where it is several that the application itself calls."""


SCHEME = {c.Protocol.MYSQL: "mysql", c.Protocol.REDIS: "rediss"}
# A page that asks a cache whose host is dark must not wait for long: it has the database.
MORE_PARAMETERS = {c.Protocol.REDIS: "&socket_connect_timeout=0.5&socket_timeout=1"}
CA_PARAMETER = {c.Protocol.MYSQL: "ssl_ca", c.Protocol.REDIS: "ssl_ca_certs"}


def _reached(here: c.Context, purpose: str) -> Iterator[_Reached]:
    """Each tier called for `purpose` once, in the order of the user's `to:`."""
    endpoints = here.targets(purpose)
    for tier in here.me.to:
        routes = {route.role_path: e.listen for e in endpoints if (route := _route_to(tier, e))}
        direct = [e for e in endpoints if e.owner.tier == tier]
        if routes:
            write = routes.get("/primary") or next(iter(routes.values()))
            read = routes.get("/replica", write)
            yield _Reached(tier, tier, write.port or 0, read.port or 0, write.speaks)
        elif direct:
            listen = direct[0].listen
            servers = tuple(f"{here.address(e.owner.host)}:{e.listen.port}" for e in direct) if len(direct) > 1 else ()
            yield _Reached(tier, here.address(direct[0].owner.host), listen.port or 0, listen.port or 0, listen.speaks, servers)


def _route_to(tier: str, endpoint: c.Endpoint) -> c.TcpRoute | None:
    route = endpoint.listen.answers
    return route if isinstance(route, c.TcpRoute) and route.tier == tier else None


def _variables(here: c.Context, service: _Reached, prefix: str) -> dict[str, str]:
    if service.protocol is c.Protocol.MEMCACHED:  # without users, and encrypted only beyond this host
        reached = f"memcached://{service.host}:{service.port}"
        return {f"{prefix}_URL": reached, f"{prefix}_HOST": service.host, f"{prefix}_PORT": str(service.port)}
    user, password = here.me.id.tier.replace("-", "_"), here.secret(f"{service.tier}/{here.me.id.tier}")
    ca = here.tls().ca
    name = user if service.protocol is c.Protocol.MYSQL else "0"

    def url(port: int) -> str:
        query = f"{CA_PARAMETER[service.protocol]}={ca}{MORE_PARAMETERS.get(service.protocol, '')}"
        return f"{SCHEME[service.protocol]}://{user}:{password}@{service.host}:{port}/{name}?{query}"

    several = {f"{prefix}_SERVERS": ",".join(service.servers)} if service.servers else {}
    return several | {
        f"{prefix}_URL": url(service.port),
        f"{prefix}_READ_URL": url(service.read_port),
        f"{prefix}_HOST": service.host,
        f"{prefix}_PORT": str(service.port),
        f"{prefix}_READ_PORT": str(service.read_port),
        f"{prefix}_USER": user,
        f"{prefix}_PASSWORD": password,
        f"{prefix}_NAME": name,
        f"{prefix}_SSL_CA": ca,
    }


def _quoted(value: str) -> str:
    """As systemd.exec(5) reads it in an EnvironmentFile."""
    escaped = "".join(f"\\{char}" if char in '"\\`$' else char for char in value)
    return f'"{escaped}"'


# The limit on triggers is off: with it, a service that fails a few times would take the socket down for good.
SOCKET = """[Unit]
Description=Sockets of {{ tier }}: connections wait here while the application restarts

[Socket]
ListenStream={{ socket }}
{% if is_networked %}
ListenStream={{ here.host.address }}:{{ port }}
FreeBind=yes
{% endif %}
# For nginx and other web servers of Debian's.
SocketUser=www-data
SocketGroup=www-data
SocketMode=0660
TriggerLimitIntervalSec=0

[Install]
WantedBy=sockets.target
"""

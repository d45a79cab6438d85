"""Gunicorn: runs the team's Python web application (WSGI) from a release folder that nospof unpacks.

systemd holds the sockets, so that connections wait during a restart instead of being refused. A release is a folder named
after its content; the unit names it, so that a new release is a new unit and a restart. Why not `current` in the unit: an old
process that imports late must not load new code, and Python's bytecode cache tells files apart by path, time and size only.
Limits: gunicorn speaks TLS on all its sockets or on none, so a caller beside it uses TLS too once one calls over the network.
Reasons and figures: docs/decisions/0005-application-releases.md.
Source: https://docs.gunicorn.org/en/23.0.0/deploy.html#systemd, systemd.exec(5), systemd.socket(5).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from nospof import component as c
from nospof.components.gunicorn import texts

SITE_PATH = r"^/([A-Za-z0-9_.-]+/)*$"
URL_PATH = r"^/[A-Za-z0-9_./~-]*$"
# useradd(8) takes 32 characters; the unit's user is one of them.
LONGEST_USER_NAME = 31
# One worker that dies must not stop the site; more than 16 in one process group only waits for the database.
FEWEST_WORKERS, MOST_WORKERS = 2, 16
WORKER_FOLDER = "/usr/lib/nospof/gunicorn"
# nginx keeps idle connections for 60 s. The side that closes first must be the one that also sends first.
KEEP_ALIVE_S = 75


class TrialWrite(c.Settings):
    """A write that drills make, each with a token of its own."""

    path: str = c.Field(pattern=URL_PATH, description="Where it is sent, by POST; 2xx says that it is stored for good.")
    body: str = c.Field(pattern=r"\{token\}", description="The JSON that is sent; {token} is replaced in each request.")
    read: str = c.Field(pattern=r"^/.*\{token\}", description="Path where it is found again; 404 says that it is not there.")


class GunicornSettings(c.Settings):
    source: Annotated[str, c.Folder()] = c.Field(description="Folder of the application, beside the stack file.")
    module: str = c.Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_]*(\(\))?)?$",
        description='What to run: module and WSGI object, e.g. "shop:app" or "shop.wsgi:application".',
    )
    requirements: str | None = c.Field("requirements.txt", description="File in `source` with pip's requirements; null: none.")
    workers: int | None = c.Field(None, ge=1, le=256, description="Processes. Default: one per CPU, at least 2, at most 16.")
    threads: int = c.Field(16, ge=1, le=256, description="Requests that one process works on at once.")
    port: int = c.Field(8000, ge=1024, le=65535, description="TCP port for web servers on other hosts.")
    domain: str = c.Field("", pattern=r"^[a-z0-9.-]*$", description="Domain under which it is visited. Default: the stack's.")
    path: str = c.Field("/", pattern=SITE_PATH, description="Path under which it is visited, with / at both ends.")
    health: str = c.Field("/health", pattern=URL_PATH, description="Path in the application that answers 200 for itself alone.")
    ready: str = c.Field("/ready", pattern=URL_PATH, description="Path in the application that tells of its dependencies.")
    static: str = c.Field(
        "static",
        pattern=r"^([A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*)?$",
        description='Folder in `source` that the web server beside it serves under the same path; "": none.',
    )
    timeout_s: int = c.Field(30, ge=1, le=3600, description="A process that does not react for so long is replaced.")
    trial_write: TrialWrite | None = c.Field(None, description="A write that drills may make to see whether writes are kept.")
    environment: Annotated[
        dict[
            Annotated[str, c.Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")],
            Annotated[str, c.Field(pattern=r"^[^\x00-\x08]*$")],
        ],
        c.Secret(),
    ] = c.Field({}, description="More environment variables for the application; they win over those nospof sets.")


class Gunicorn(c.Component[GunicornSettings]):
    name = "gunicorn"
    missed_s = 0.0
    about = "An application server: it runs your Python web application (WSGI) in several processes."
    why = "Python code needs processes that are started, watched and replaced when they hang; the web server does none of that."
    when_lost = "The web servers get no answer from it, so that its health checks fail and its work goes to the others."
    packages = ("curl", "gunicorn", "python3")
    runs_per_host = 0
    connects = (
        c.Connect(c.Who.NAMED, c.Protocol.MYSQL, "database"),
        c.Connect(c.Who.NAMED, c.Protocol.REDIS, "cache", is_required=False),
    )

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        """One endpoint: a unix socket for callers beside it, TCP for others."""
        settings, tier, write = self.settings, self.id.tier, self.settings.trial_write
        site = c.Site(
            tier,
            settings.domain,
            settings.path,
            health=settings.path + settings.health.removeprefix("/"),
            ready=settings.path + settings.ready.removeprefix("/"),
            static_path=f"{settings.path}{settings.static}/" if settings.static else "",
            static_folder=f"/srv/nospof/{tier}/current/app/{settings.static}" if settings.static else "",
            write_path=settings.path + write.path.removeprefix("/") if write else "",
            write_body=write.body if write else "",
            read_path=settings.path + write.read.removeprefix("/") if write else "",
        )
        return (c.Listen("http", c.Protocol.HTTP, settings.port, tls=c.Tls.MUTUAL, socket=_socket(tier), sites=(site,)),)

    def cautions(self, topology: c.Topology) -> tuple[c.Objection, ...]:
        if self.settings.health != self.settings.ready:
            return ()
        what = f"health: {self.settings.health} is also where the application tells of what it calls"
        why = "when its database is away for a second, the load balancers take every server out; it must tell of itself alone"
        fix = f"in tier {self.id.tier} health: /health"
        return (c.Objection("F208", "health", what, why, fix),)

    @property
    def sources(self) -> tuple[c.Source, ...]:
        return (c.Source("release", self.settings.source, self.settings.requirements),)

    def parts(self, here: c.Context) -> c.Parts:
        tier, user = self.id.tier, _user(self.id.tier)
        release, service = f"/srv/nospof/{tier}/releases/{here.blob('release')[:12]}", f"nospof-{tier}.service"
        # Gunicorn reads its certificate at each handshake: a new one needs no restart.
        tls = here.tls(user=user, for_units=())
        tls_files = tls.files if _is_called_over_network(here) else tuple(file for file in tls.files if file.path == tls.ca)
        values = {"tier": tier, "user": user, "socket": _socket(tier), "set": self.settings, "release": release}
        socket_unit = here.template(texts.SOCKET, is_networked=_is_called_over_network(here), **values)
        service_unit = here.template(
            texts.SERVICE,
            worker_folder=WORKER_FOLDER,
            tls=tls if _is_called_over_network(here) else None,
            workers=self.settings.workers or max(FEWEST_WORKERS, min(here.facts.cpus, MOST_WORKERS)),
            keep_alive_s=KEEP_ALIVE_S,
            proxies=sorted({here.address(caller.host) for caller in here.callers("http")}),
            open_files=min(here.facts.max_open_files, 65536),
            **values,
        )
        environment = c.File(f"/etc/nospof/{tier}.env", self._environment(here), mode=0o600, for_units=(service,))
        worker = c.File(f"{WORKER_FOLDER}/nospof_worker.py", texts.WORKER, for_units=(service,))
        return c.Parts(
            files=(*tls_files, environment, worker),
            trees=(c.Tree(release, here.blob("release")),),
            symlinks=(c.Symlink(f"/srv/nospof/{tier}/current", release, for_units=()),),
            units=(c.Unit(f"nospof-{tier}.socket", text=socket_unit), c.Unit(service, text=service_unit)),
            healthy_when=(c.Probe("health", self._probe(here, tls), timeout_s=20),),
            users=(user,),
        )

    def _probe(self, here: c.Context, tls: c.TlsFiles) -> tuple[str, ...]:
        """Ask the application for its health as the web server would."""
        is_encrypted = _is_called_over_network(here)
        scheme = "https" if is_encrypted else "http"
        certificate = ("--cacert", tls.ca, "--cert", tls.certificate, "--key", tls.key) if is_encrypted else ()
        url = f"{scheme}://{self.id.tier}{self.listens[0].sites[0].health}"
        quietly = ("curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", "--max-time", "4")
        host = f"Host: {self.settings.domain or here.topology.domain}"
        return (*quietly, "--unix-socket", _socket(self.id.tier), *certificate, "--header", host, url)

    # --- what the application is told --------------------------------------------------------------------------------
    def _environment(self, here: c.Context) -> str:
        tier = self.id.tier
        values = {
            "APP_NAME": tier,
            "HOST_NAME": here.host.name,
            "SECRET_KEY": here.secret(f"{tier}/secret-key"),
            # Gunicorn takes it off the request's path and tells the application where it is mounted.
            **({"SCRIPT_NAME": self.settings.path.rstrip("/")} if self.settings.path != "/" else {}),
        }
        for purpose in ("database", "cache"):
            reached = list(_reached(here, purpose))
            for service in reached:
                values |= _variables(here, service, service.tier.upper().replace("-", "_"))
            if reached:
                values |= _variables(here, reached[0], purpose.upper())
        return "".join(f"{name}={_quoted(value)}\n" for name, value in sorted({**values, **self.settings.environment}.items()))


@dataclass(frozen=True)
class _Reached:
    """A database or cache as the application reaches it."""

    tier: str
    host: str
    port: int
    read_port: int
    protocol: c.Protocol


SCHEME = {c.Protocol.MYSQL: "mysql", c.Protocol.REDIS: "rediss"}
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
            yield _Reached(tier, here.address(direct[0].owner.host), listen.port or 0, listen.port or 0, listen.speaks)


def _route_to(tier: str, endpoint: c.Endpoint) -> c.TcpRoute | None:
    route = endpoint.listen.answers
    return route if isinstance(route, c.TcpRoute) and route.tier == tier else None


def _variables(here: c.Context, service: _Reached, prefix: str) -> dict[str, str]:
    user, password = here.me.id.tier.replace("-", "_"), here.secret(f"{service.tier}/{here.me.id.tier}")
    ca = here.tls().ca
    name = user if service.protocol is c.Protocol.MYSQL else "0"

    def url(port: int) -> str:
        query = f"{CA_PARAMETER[service.protocol]}={ca}"
        return f"{SCHEME[service.protocol]}://{user}:{password}@{service.host}:{port}/{name}?{query}"

    return {
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


def _is_called_over_network(here: c.Context) -> bool:
    return any(not link.is_local and link.target.listen.name == "http" for link in here.topology.links_to(here.me.id))


def _socket(tier: str) -> str:
    return f"/run/nospof/{tier}/http.sock"


def _user(tier: str) -> str:
    name = f"nospof-{tier}"
    return name if len(name) <= LONGEST_USER_NAME else f"nospof-{hashlib.sha256(tier.encode()).hexdigest()[:16]}"

"""Gunicorn: runs the team's Python web application (WSGI) from a release folder that nospof unpacks.

systemd holds the sockets, so that connections wait during a restart instead of being refused. A release is a folder named
after its content; the unit names it, so that a new release is a new unit and a restart. Why not `current` in the unit: an old
process that imports late must not load new code, and Python's bytecode cache tells files apart by path, time and size only.
Limits: gunicorn speaks TLS on all its sockets or on none, so a caller beside it uses TLS too once one calls over the network.
Reasons and figures: docs/decisions/0005-application-releases.md.
Source: https://docs.gunicorn.org/en/23.0.0/deploy.html#systemd, systemd.exec(5), systemd.socket(5).
"""

from __future__ import annotations

from nospof import component as c
from nospof.components.application_common import FOLDER_PATH, KEEP_ALIVE_S, Application, ApplicationSettings
from nospof.components.gunicorn import texts

# One worker that dies must not stop the site; more than 16 in one process group only waits for the database.
FEWEST_WORKERS, MOST_WORKERS = 2, 16
WORKER_FOLDER = "/usr/lib/nospof/gunicorn"


class GunicornSettings(ApplicationSettings):
    module: str = c.Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_]*(\(\))?)?$",
        description='What to run: module and WSGI object, e.g. "shop:app" or "shop.wsgi:application".',
    )
    requirements: str | None = c.Field("requirements.txt", description="File in `source` with pip's requirements; null: none.")
    workers: int | None = c.Field(None, ge=1, le=256, description="Processes. Default: one per CPU, at least 2, at most 16.")
    threads: int = c.Field(16, ge=1, le=256, description="Requests that one process works on at once.")
    port: int = c.Field(8000, ge=1024, le=65535, description="TCP port for web servers on other hosts.")
    static: str = c.Field(
        "static",
        pattern=FOLDER_PATH,
        description='Folder in `source` that the web server beside it serves under the same path; "": none.',
    )


class Gunicorn(Application[GunicornSettings]):
    name = "gunicorn"
    about = "An application server: it runs your Python web application (WSGI) in several processes."
    why = "Python code needs processes that are started, watched and replaced when they hang; the web server does none of that."
    packages = ("curl", "gunicorn", "python3")

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        """One endpoint: a unix socket for callers beside it, TCP for others."""
        sites = (self._site(self.settings.static),)
        return (c.Listen("http", c.Protocol.HTTP, self.settings.port, tls=c.Tls.MUTUAL, socket=self.socket, sites=sites),)

    @property
    def _requirements(self) -> str | None:
        return self.settings.requirements

    def parts(self, here: c.Context) -> c.Parts:
        is_networked = self.is_called_over_network(here)
        # Gunicorn reads its certificate at each handshake: a new one needs no restart.
        tls = here.tls(user=self.user, for_units=())
        service_unit = here.template(
            texts.SERVICE,
            tier=self.id.tier,
            user=self.user,
            set=self.settings,
            release=self.release(here),
            worker_folder=WORKER_FOLDER,
            tls=tls if is_networked else None,
            workers=self.settings.workers or max(FEWEST_WORKERS, min(here.facts.cpus, MOST_WORKERS)),
            keep_alive_s=KEEP_ALIVE_S,
            proxies=sorted({here.address(caller.host) for caller in here.callers("http")}),
            open_files=min(here.facts.max_open_files, 65536),
        )
        worker = c.File(f"{WORKER_FOLDER}/nospof_worker.py", texts.WORKER, for_units=(self.service,))
        trees, symlinks = self.release_parts(here)
        return c.Parts(
            files=(*self.tls_files(here, tls), self.environment_file(here), worker),
            trees=trees,
            symlinks=symlinks,
            units=(c.Unit(self.socket_unit, text=self.socket_text(here)), c.Unit(self.service, text=service_unit)),
            healthy_when=(c.Probe("health", self.curl(here, tls), timeout_s=20),),
            users=(self.user,),
        )

    def _environment(self, here: c.Context) -> dict[str, str]:
        values, path = super()._environment(here), self.settings.path
        # Gunicorn takes it off the request's path and tells the application where it is mounted.
        return values if path == "/" else {**values, "SCRIPT_NAME": path.rstrip("/")}

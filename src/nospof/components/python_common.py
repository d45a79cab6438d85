"""What servers of Python applications have in common: gunicorn's first process, its workers, and the wheels in the release.

systemd holds the sockets, so that connections wait during a restart instead of being refused. A release is a folder named
after its content; the unit names it, so that a new release is a new unit and a restart. Why not `current` in the unit: an old
process that imports late must not load new code, and Python's bytecode cache tells files apart by path, time and size only.
Limits: gunicorn speaks TLS on all its sockets or on none, so a caller beside it uses TLS too once one calls over the network.
Reasons and figures: docs/decisions/0005-application-releases.md.
Source: https://docs.gunicorn.org/en/23.0.0/deploy.html#systemd, systemd.exec(5), systemd.socket(5).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, TypeVar

from nospof import component as c
from nospof.components.application_common import FOLDER_PATH, KEEP_ALIVE_S, Application, ApplicationSettings

# One worker that dies must not stop the site; more than 16 in one process group only waits for the database.
FEWEST_WORKERS, MOST_WORKERS = 2, 16


class PythonSettings(ApplicationSettings):
    """What the stack file may say of a Python application."""

    module: str = c.Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_]*(\(\))?)?$",
        description='What to run: module and its application, e.g. "shop:app" or "shop.wsgi:application".',
    )
    requirements: str = c.Field("requirements.txt", description='File in `source` with pip\'s requirements; "": none.')
    workers: int | None = c.Field(None, ge=1, le=256, description="Processes. Default: one per CPU, at least 2, at most 16.")
    port: int = c.Field(8000, ge=1024, le=65535, description="TCP port for web servers on other hosts.")
    static: str = c.Field(
        "static",
        pattern=FOLDER_PATH,
        description='Folder in `source` that the web server beside it serves under the same path; "": none.',
    )


S = TypeVar("S", bound=PythonSettings)


class PythonApplication(Application[S]):
    """A Python application under gunicorn. What its workers are is each component's own."""

    why = "Python code needs processes that are started, watched and replaced when they hang; the web server does none of that."
    worker_folder: ClassVar[str]
    worker_class: ClassVar[str]
    worker_text: ClassVar[str]

    @property
    @abstractmethod
    def worker_options(self) -> str:
        """Options of gunicorn's that these workers know."""

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        """One endpoint: a unix socket for callers beside it, TCP for others."""
        sites = (self._site(self.settings.static),)
        return (c.Listen("http", c.Protocol.HTTP, self.settings.port, tls=c.Tls.MUTUAL, socket=self.socket, sites=sites),)

    @property
    def _requirements(self) -> str | None:
        return self.settings.requirements or None

    def parts(self, here: c.Context) -> c.Parts:
        is_networked = self.is_called_over_network(here)
        # Gunicorn reads its certificate at each handshake: a new one needs no restart.
        tls = here.tls(user=self.user, for_units=())
        service_unit = here.template(
            SERVICE,
            tier=self.id.tier,
            user=self.user,
            set=self.settings,
            release=self.release(here),
            worker_folder=self.worker_folder,
            worker=f"{self.worker_class} --workers {self._workers(here.facts)} {self.worker_options}".rstrip(),
            tls=tls if is_networked else None,
            keep_alive_s=KEEP_ALIVE_S,
            believed=self._believed(here),
            open_files=min(here.facts.max_open_files, 65536),
        )
        worker = c.File(f"{self.worker_folder}/nospof_worker.py", self.worker_text, for_units=(self.service,))
        trees, symlinks = self.release_parts(here)
        return c.Parts(
            files=(*self.tls_files(here, tls), self.environment_file(here), worker),
            trees=trees,
            symlinks=symlinks,
            units=(c.Unit(self.socket_unit, text=self.socket_text(here)), c.Unit(self.service, text=service_unit)),
            steps=self.steps(here),
            healthy_when=(c.Probe("health", self.curl(here, tls), timeout_s=20),),
            users=(self.user,),
        )

    def _believed(self, here: c.Context) -> str:
        """Who may say where the visitor is, as gunicorn takes it; a unix socket's callers always may."""
        return ",".join(sorted({here.address(caller.host) for caller in here.callers("http")})) or "127.0.0.1"

    def _workers(self, facts: c.Facts) -> int:
        return self.settings.workers or max(FEWEST_WORKERS, min(facts.cpus, MOST_WORKERS))

    def _runtime(self, here: c.Context) -> dict[str, str]:
        path = f"{self.release(here)}/site-packages"
        return {"PYTHONPATH": path, "PYTHONPYCACHEPREFIX": f"/var/cache/nospof/{self.id.tier}"}

    def _environment(self, here: c.Context) -> dict[str, str]:
        values, path = super()._environment(here), self.settings.path
        # Gunicorn takes it off the request's path and tells the application where it is mounted.
        return values if path == "/" else {**values, "SCRIPT_NAME": path.rstrip("/")}


SERVICE = """[Unit]
Description=Application {{ tier }}
Requires=nospof-{{ tier }}.socket
After=network.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
User={{ user }}
Group={{ user }}
WorkingDirectory={{ release }}/app
Environment=PYTHONPATH={{ release }}/site-packages:{{ worker_folder }}
Environment=PYTHONPYCACHEPREFIX=/var/cache/nospof/{{ tier }}
CacheDirectory=nospof/{{ tier }}
CacheDirectoryMode=0700
EnvironmentFile=/etc/nospof/{{ tier }}.env
Environment=NOSPOF_HEALTH={{ set.health }}
Environment=NOSPOF_BESIDE={{ here.alive_files_beside() | join(":") }}
Environment=NOSPOF_NAMES={{ here.names_needed() | join(":") }}
ExecStart=/usr/bin/gunicorn --name {{ tier }} \\
  --worker-class {{ worker }} \\
  --timeout {{ set.timeout_s }} --graceful-timeout {{ set.timeout_s }} --keep-alive {{ keep_alive_s }} \\
  --worker-tmp-dir /dev/shm --forwarded-allow-ips {{ believed }} \\
{% if tls %}
  --certfile {{ tls.certificate }} --keyfile {{ tls.key }} --ca-certs {{ tls.ca }} --cert-reqs 2 \\
{% endif %}
  {{ set.module }}
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
# Requests that are being worked on may end.
TimeoutStopSec={{ set.timeout_s + 5 }}
Restart=always
RestartSec=100ms
# A process that the kernel kills for its memory is replaced by gunicorn; the others go on.
OOMPolicy=continue
LimitNOFILE={{ open_files }}

{{ hardening }}
UMask=0077

[Install]
WantedBy=multi-user.target
"""

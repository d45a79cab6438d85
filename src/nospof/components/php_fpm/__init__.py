"""PHP-FPM: runs the team's PHP application from a release folder that nospof unpacks, for the web server beside it.

The web server serves the folder's files and names the script that is to run; it finds both through `current`. The processes see
their release under a path of its own that never changes (a bind mount in the unit): which code runs is therefore decided by the
unit alone, old processes never load new code, and what PHP remembers by path ends with them.
systemd holds the socket and hands it over in the variable that PHP-FPM uses for its own reloads, so that connections wait
during a restart. It is started as the application's user, who cannot remove the socket's name: PHP-FPM tries to at its end.
Limits: FastCGI has no encryption, so it is called on its own host only; sessions in PHP's own files are on one host.
Reasons and figures: docs/decisions/0018-web-and-php.md.
Source: https://www.php.net/manual/en/install.fpm.configuration.php, …/ini.core.php, …/opcache.configuration.php,
https://systemd.io/DAEMON_SOCKET_ACTIVATION/ (FPM_SOCKETS).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from nospof import component as c
from nospof.components.application_common import FOLDER_PATH, Application, ApplicationSettings
from nospof.components.php_fpm import texts

GUARD = "/usr/lib/nospof/php/health.php"
# Processes for the time an application waits for its database; the memory of the host bounds them.
PER_CPU, FEWEST, MOST = 16, 8, 128
MIB_PER_PROCESS = 64
# What nospof's own part needs as it is: the honest health, and the line between the release and what visitors send.
OURS = ("auto_prepend_file", "cgi.fix_pathinfo", "doc_root", "user_dir", "opcache.validate_timestamps")


def _not_ours(name: str) -> str:
    if name in OURS:
        raise PydanticCustomError("ours", "{name} is what nospof itself rests on; it cannot be set", {"name": name})
    return name


WRITTEN_PATH = r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"
SESSIONS = (
    "PHP's own sessions are files on one host: a visitor whose next request goes to another host is not known there. "
    "Keep what must be remembered in the database, in a cache, or signed in a cookie."
)


class PhpFpmSettings(ApplicationSettings):
    public: str = c.Field(
        "",
        pattern=FOLDER_PATH,
        description="Folder in `source` that visitors reach, e.g. public; what lies outside of it is for scripts only. "
        "Default: all of it.",
    )
    front: str = c.Field(
        "index.php",
        pattern=r"^([A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*\.php)?$",
        description='Script that answers for every path that is no file; "": such a path is 404.',
    )
    processes: int | None = c.Field(
        None,
        ge=1,
        le=1024,
        description="Requests worked on at once, a process each. Default: 16 per CPU, 64 MiB of memory each.",
    )
    max_body_mib: int = c.Field(16, ge=1, le=102_400, description="Largest request body, and largest file sent in it.")
    writes: tuple[Annotated[str, c.Field(pattern=WRITTEN_PATH)], ...] = c.Field(
        (),
        description="Folders in `source`, there and empty, that scripts may write to, e.g. [wp-content/uploads]. Each host has "
        "its own; they outlive releases, and what visitors reach of them is sent and never run. Default: none.",
    )
    php: dict[
        Annotated[str, c.Field(pattern=r"^[a-z0-9_.]+$"), AfterValidator(_not_ours)],
        Annotated[str, c.Field(pattern=r"^[^\x00-\x1f\"]*$")],
    ] = c.Field({}, description="More settings as in php.ini, e.g. memory_limit: 256M; they win over those nospof sets.")


class PhpFpm(Application[PhpFpmSettings]):
    name = "php-fpm"
    missed_s = 0.0
    is_drained = False  # web servers run its health as any other script, and look for no mark
    about = "An application server: it runs your PHP application in processes that are there before visitors come."
    why = (
        "PHP inside the web server would make each of its connections carry an interpreter; beside it, the web server keeps "
        "thousands of connections and PHP a few processes, under a user of its own."
    )
    packages = (
        "php-bcmath", "php-curl", "php-fpm", "php-gd", "php-intl", "php-mbstring", "php-mysql", "php-redis", "php-xml",
        "php-zip",
    )  # fmt: skip

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        public = f"/{self.settings.public}" if self.settings.public else ""
        site = self._site(
            folder=self.current + public,
            code_folder=self._code + public,
            front=self.settings.front,
            written=self._written,
        )
        return (c.Listen("http", c.Protocol.FASTCGI, socket=self.socket, is_local=True, sites=(site,)),)

    @property
    def _code(self) -> str:
        """Where its own processes find the release."""
        return f"/srv/nospof/{self.id.tier}/running"

    @property
    def _written(self) -> tuple[tuple[str, str], ...]:
        """What visitors reach of the folders that scripts write to: (URL prefix, folder on the host)."""
        public = f"{self.settings.public}/" if self.settings.public else ""
        reached = [folder for folder in self.settings.writes if folder.startswith(public)]
        return tuple((f"{self.settings.path}{one.removeprefix(public)}/", f"/var/lib/{self._kept}/{one}") for one in reached)

    @property
    def _kept(self) -> str:
        """Where the folders that scripts write to are, below /var/lib: beside the releases, which come and go."""
        return f"nospof-files/{self.id.tier}"

    @property
    def tells_figures(self) -> tuple[str, ...]:
        return ("/usr/bin/python3", c.ONHOST, "php_fpm_figures", self._status_socket)

    @property
    def _status_socket(self) -> str:
        """Where a process of its own tells how busy the others are; one of them would tell only when it is not."""
        return f"/run/{self._status_folder}/status.sock"

    @property
    def _status_folder(self) -> str:
        return f"nospof-{self.id.tier}-figures"

    def alerts(self, topology: c.Topology) -> tuple[c.Alert, ...]:
        at = f'{{tier="{self.id.tier}"}}'
        return (
            c.Alert(
                "ApplicationProcessesBusy",
                f"phpfpm_idle_processes{at} == 0",
                "{{ $labels.host }}: all PHP processes of {{ $labels.tier }} are busy",
                "Each works on a request; whoever comes now waits until one is free.",
                "Is the database slow, or a service that scripts ask? nospof logs tells what scripts say. More of them, and "
                f"memory for them: processes of tier {self.id.tier}.",
                for_s=30,
            ),
        )

    @classmethod
    def objections(cls, tier: c.Tier) -> tuple[c.Objection, ...]:
        settings = tier.settings
        assert isinstance(settings, PhpFpmSettings)  # noqa: S101 - the loader made it from this class
        public = f"{settings.public}/"
        covered = [folder for folder in settings.writes if public.startswith(f"{folder}/")]
        return super().objections(tier) + tuple(
            c.Objection(
                "S016",
                "writes",
                f"{folder} has the scripts that visitors reach",
                "a script that can be written is run for whoever wrote it",
                f"name a folder in it, e.g. writes: [{public}uploads]",
            )
            for folder in covered
        )

    def cautions(self, topology: c.Topology) -> tuple[c.Objection, ...]:
        others = len(topology.of_tier(self.id.tier)) > 1 and self.settings.writes
        what = f"what is written to {' and '.join(self.settings.writes)} stays on the host that took it"
        why = (
            "a visitor whose request comes to another host does not find it, nobody does while that host is away, and what its "
            "disk loses is lost"
        )
        fix = (
            "keep such files in the database, or with a service for files outside that the application sends them to, and take "
            "writes: out; nospof has no component for files yet"
        )
        return super().cautions(topology) + ((c.Objection("F218", "writes", what, why, fix),) if others else ())

    def remarks(self, topology: c.Topology) -> tuple[str, ...]:
        if len(topology.of_tier(self.id.tier)) < 2 or "session.save_handler" in self.settings.php:
            return ()
        return (SESSIONS,)

    def parts(self, here: c.Context) -> c.Parts:
        tier, tls = self.id.tier, here.tls(user=self.user, for_units=())
        site = self.listens[0].sites[0]
        beside = here.alive_files_beside()
        is_guarded = bool(beside or here.names_needed())
        values = {"tier": tier, "user": self.user, "set": self.settings, "socket": self.socket, "beside": beside}
        values |= {"kept": self._kept, "status_socket": self._status_socket, "status_folder": self._status_folder}
        pool = here.template(
            texts.POOL, processes=self._processes(here.facts), open_files=min(here.facts.max_open_files, 65536), **values
        )
        ini = here.template(texts.INI, guard=GUARD if is_guarded else "", more=sorted(self.settings.php.items()), **values)
        unit = here.template(
            texts.SERVICE,
            release=self.release(here),
            code=self._code,
            health=site.health,
            open_files=min(here.facts.max_open_files, 65536),
            **values,
        )
        guard = (c.File(GUARD, texts.GUARD, for_units=(self.service,)),) if is_guarded else ()
        ask = here.program("fastcgi", self.socket, f"{site.code_folder}/{self._health_script}", site.health).split()
        trees, symlinks = self.release_parts(here)
        return c.Parts(
            files=(
                *self.tls_files(here, tls),
                self.environment_file(here),
                c.File(f"/etc/nospof/{tier}.php.ini", ini, for_units=(self.service,)),
                c.File(f"/etc/nospof/{tier}.fpm.conf", pool, for_units=(self.service,)),
                *guard,
            ),
            trees=trees,
            symlinks=symlinks,
            units=(c.Unit(self.socket_unit, text=self.socket_text(here)), c.Unit(self.service, text=unit)),
            steps=self.steps(here),
            healthy_when=(c.Probe("health", tuple(ask), timeout_s=20),),
            users=(self.user,),
        )

    @property
    def _health_script(self) -> str:
        """Who answers for the health's path: the script of that name, or the front script."""
        path = self.settings.health.removeprefix("/")
        return path if path.endswith(".php") or not self.settings.front else self.settings.front

    def _processes(self, facts: c.Facts) -> int:
        by_memory = facts.memory_mib // 2 // MIB_PER_PROCESS
        return self.settings.processes or max(1, min(by_memory, max(FEWEST, facts.cpus * PER_CPU), MOST))

"""Starman: runs the team's Perl web application (PSGI) from a release folder that nospof unpacks, one request per process.

systemd holds its unix socket, so that connections wait during a restart instead of being refused; Net::Server finds it in the
variable that it has for its own restarts. Callers on other hosts reach it through a HAProxy of the component's own, with
certificates on both sides: Starman's TLS is an experiment by its own words, and a process that waits for a caller's handshake
serves nobody.
Limits: no connection is kept open by Starman, since each would hold a process; websockets need another server.
Source: https://metacpan.org/pod/Starman (0.4018), Net::Server 2.014's Net/Server.pm (BOUND_SOCKETS) and Net/Server/PreFork.pm
(signals, what children say), https://metacpan.org/pod/PSGI, sd_notify(3), systemd.socket(5).
"""

from __future__ import annotations

from nospof import component as c
from nospof.components.application_common import FOLDER_PATH, KEEP_ALIVE_S, Application, ApplicationSettings
from nospof.components.starman import texts

# Who may call the socket.
WEB_USER = "www-data"
SERVER = "/usr/lib/nospof/starman/serve.pl"
# Processes for the time an application waits for its database; the memory of the host bounds them.
PER_CPU, FEWEST, MOST = 8, 4, 128
MIB_PER_PROCESS = 64


class StarmanSettings(ApplicationSettings):
    application: str = c.Field(
        "app.psgi",
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$",
        description="File in `source` that ends with the application, as plackup takes it.",
    )
    processes: int | None = c.Field(
        None,
        ge=1,
        le=1024,
        description="Requests worked on at once, a process each. Default: 8 per CPU, 64 MiB of memory each.",
    )
    port: int = c.Field(8200, ge=1024, le=65535, description="TCP port for web servers on other hosts.")
    static: str = c.Field(
        "static",
        pattern=FOLDER_PATH,
        description='Folder in `source` that the web server beside it serves under the same path; "": none.',
    )


class Starman(Application[StarmanSettings]):
    name = "starman"
    about = "An application server: it runs your Perl web application (PSGI) in several processes."
    why = "Perl code needs processes that are started, watched and replaced when they hang; the web server does none of that."
    packages = (
        "curl", "haproxy", "libcache-memcached-fast-perl", "libdbd-mariadb-perl", "libdbd-mysql-perl", "libio-socket-ssl-perl",
        "libjson-xs-perl", "libredis-perl", "starman",
    )  # fmt: skip

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        """Two endpoints of one site: the unix socket for callers beside it, and TLS for others."""
        sites = (self._site(self.settings.static),)
        return (
            c.Listen("http", c.Protocol.HTTP, socket=self.socket, is_local=True, sites=sites),
            c.Listen("https", c.Protocol.HTTP, self.settings.port, tls=c.Tls.MUTUAL, sites=sites),
        )

    def speaks_tls(self, here: c.Context) -> bool:
        return False

    @property
    def _links(self) -> str:
        return f"nospof-{self.id.tier}-tls.service"

    def parts(self, here: c.Context) -> c.Parts:
        is_networked = self.is_called_over_network(here)
        tls = here.tls(user=WEB_USER, for_units=(self._links,) if is_networked else ())
        values = {
            "tier": self.id.tier,
            "user": self.user,
            "web_user": WEB_USER,
            "set": self.settings,
            "socket": self.socket,
            "open_files": min(here.facts.max_open_files, 65536),
        }
        service = here.template(
            texts.SERVICE,
            server=SERVER,
            release=self.release(here),
            path=self._perl_path(here),
            processes=self._processes(here.facts),
            **values,
        )
        units = [c.Unit(self.socket_unit, text=self.socket_text(here)), c.Unit(self.service, text=service)]
        files = [
            *self.tls_files(here, tls),
            self.environment_file(here),
            c.File(SERVER, texts.SERVE, for_units=(self.service,)),
        ]
        if is_networked:
            path = f"/etc/nospof/{self.id.tier}.tls.cfg"
            config = here.template(texts.TLS_CONFIG, tls=tls, keep_alive_s=KEEP_ALIVE_S, **values)
            files.append(c.File(path, config, check=("haproxy", "-c", "-f", path), for_units=(self._links,)))
            units.append(c.Unit(self._links, c.OnChange.RELOAD, text=here.template(texts.TLS_UNIT, config=path, **values)))
        trees, symlinks = self.release_parts(here)
        return c.Parts(
            files=tuple(files),
            trees=trees,
            symlinks=symlinks,
            units=tuple(units),
            steps=self.steps(here),
            healthy_when=(c.Probe("health", self.curl(here, tls), timeout_s=20),),
            users=(self.user,),
        )

    def _perl_path(self, here: c.Context) -> str:
        """Where modules of the release are: those of the application, and what carton or cpanm have put beside them."""
        return ":".join(f"{self.release(here)}/app/{folder}" for folder in ("lib", "local/lib/perl5"))

    def _runtime(self, here: c.Context) -> dict[str, str]:
        return {"PERL5LIB": self._perl_path(here)}

    def _processes(self, facts: c.Facts) -> int:
        by_memory = facts.memory_mib // 2 // MIB_PER_PROCESS
        return self.settings.processes or max(1, min(by_memory, max(FEWEST, facts.cpus * PER_CPU), MOST))

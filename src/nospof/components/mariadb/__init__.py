"""MariaDB: one primary that takes writes, replicas that acknowledge each of them, a witness that is one copy more.

The configuration says nothing of roles: every server boots read-only, and the agent beside it starts it, gives it its role and
replaces a lost primary; a small server of its own tells the role to the routers. Reasons and figures:
docs/decisions/0006-database.md and 0009-failover.md.
Source: https://mariadb.com/docs/server/ha-and-performance/standard-replication (semi-synchronous replication, GTID).
"""

from __future__ import annotations

from nospof import component as c
from nospof.components.database_common import Database, DatabaseSettings
from nospof.components.mariadb import texts
from nospof.components.mariadb.copy_units import copy_units


class MariadbSettings(DatabaseSettings):
    copy_port: int = c.Field(
        4444, ge=1, le=65535, description="Port where a host gives all its data to one that needs them anew."
    )
    copy_limit_mib_s: int | None = c.Field(None, ge=1, description="Most mebibytes a second of such a copy. Default: no limit.")


class Mariadb(Database[MariadbSettings]):
    name = engine = "mariadb"
    missed_s = 1.5
    saved_by = "mariadb-dump --all-databases --single-transaction"
    about = "A database: it keeps the data on disk and answers SQL."
    packages = ("mariadb-server", "mariadb-backup", "python3-pymysql")
    stores = ("/var/lib/mysql",)
    drop_in = texts.SERVER_DROP_IN
    dump = ("sh", "-c", texts.DUMP)

    def _config(self, here: c.Context, tls: c.TlsFiles) -> c.File:
        return c.File(
            "/etc/mysql/mariadb.conf.d/99-nospof.cnf",
            here.template(
                texts.CONFIG,
                **self._server_values(here, tls),
            ),
            # Reads all of the configuration, prints it and ends; touches no data.
            check=("mariadbd", "--user=mysql", "--help", "--verbose"),
            for_units=(self._server_unit,),
        )

    def _copy_connects(self) -> tuple[c.Connect, ...]:
        return (c.Connect(c.Who.PEERS, c.Protocol.PEER, "copy", is_required=False),)

    def _copy_listens(self) -> tuple[c.Listen, ...]:
        return (c.Listen("copy", c.Protocol.PEER, self.settings.copy_port, tls=c.Tls.MUTUAL),)

    def _copy_units(self, here: c.Context, config: str) -> tuple[c.Unit, ...]:
        return copy_units(here, self.id.tier, self.settings.copy_port, config)

    def _told_to_agent(self) -> dict[str, object]:
        return {"copy_port": self.settings.copy_port, "copy_limit_mib_s": self.settings.copy_limit_mib_s}

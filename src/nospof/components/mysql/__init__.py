"""MySQL 9: one primary that takes writes, replicas that acknowledge each of them, a witness that is one copy more.

As MariaDB's tiers, and driven by the same agent. Replicas follow by GTID and acknowledge semi-synchronously; a host whose data
are of no use gets a clone of another's, over the server's own port.
Source: https://dev.mysql.com/doc/refman/9.7/en/replication.html (GTID, semi-synchronous replication, clone plugin).
"""

from __future__ import annotations

from nospof import component as c
from nospof.components.database_common import Database, DatabaseSettings
from nospof.components.mysql import texts


class MysqlSettings(DatabaseSettings):
    pass


class Mysql(Database[MysqlSettings]):
    name = engine = "mysql"
    missed_s = 3.4
    dump = ("sh", "-c", texts.DUMP)
    saved_by = "mysqldump --all-databases --single-transaction --set-gtid-purged=OFF"
    about = "A database: it keeps the data on disk and answers SQL."
    packages = ("mysql-server", "mysql-client", "python3-pymysql")
    stores = ("/var/lib/mysql",)
    # Debian's releases have MariaDB instead.
    suite = "sid"
    conflicts = ("mariadb",)
    drop_in = texts.SERVER_DROP_IN

    def _config(self, here: c.Context, tls: c.TlsFiles) -> c.File:
        members = sorted(here.address(one.id.host) for one in here.topology.of_tier(self.id.tier))
        return c.File(
            # Read after the package's mysqld.cnf.
            "/etc/mysql/mysql.conf.d/zz-nospof.cnf",
            here.template(
                texts.CONFIG,
                **self._server_values(here, tls),
                donors=",".join(f"{address}:{self.settings.port}" for address in members),
            ),
            # Reads all of the configuration and ends; touches no data.
            check=("mysqld", "--user=mysql", "--validate-config"),
            for_units=(self._server_unit,),
        )

    def _told_to_agent(self) -> dict[str, object]:
        return {"engine": self.engine}

"""The local MariaDB server, as the programs beside it see it: over its unix socket, as root.

Limits: one replication source per server; a call waits for at most as long as it is told, or for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pymysql
import pymysql.cursors

SOCKET = "/run/mysqld/mysqld.sock"
# STOP REPLICA may wait one second for a dead primary, all else takes some milliseconds.
LIMIT_S = 5.0


@dataclass(frozen=True)
class Source:
    """Where a replica takes its changes from, and whether it gets and applies them."""

    address: str
    port: int
    user: str
    ca: str
    is_verified: bool
    uses_gtid: bool
    is_receiving: bool
    """Connected, and getting changes or heartbeats."""
    is_asking: bool
    """Its receiving thread is running, connected or trying to."""
    is_applying: bool
    lag_s: float | None
    receive_errno: int = 0
    receive_error: str = ""
    apply_error: str = ""


@dataclass(frozen=True)
class Observed:
    """One look at the server."""

    is_read_only: bool
    waits_for_voters: bool
    acknowledges: bool
    is_semi_sync: bool
    voters: int
    gtid_binlog_pos: str
    gtid_slave_pos: str
    source: Source | None = None


class Server:
    """The local server, over its unix socket as root. Every call raises pymysql.Error when it fails or takes too long."""

    def __init__(self, path: str = SOCKET, limit_s: float | None = LIMIT_S) -> None:
        self.path, self.limit_s = path, limit_s
        self._connection: pymysql.Connection[pymysql.cursors.DictCursor] | None = None

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Run one statement."""
        if self._connection is None:
            self._connection = pymysql.connect(
                unix_socket=self.path,
                user="root",
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=2,
                read_timeout=self.limit_s,
                write_timeout=self.limit_s,
                cursorclass=pymysql.cursors.DictCursor,
            )
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def forget(self) -> None:
        """Begin with a new connection next time."""
        if self._connection is not None:
            self._connection._force_close()  # type: ignore[attr-defined]
            self._connection = None

    def look(self) -> Observed:
        """See what role the server plays now."""
        now = self.rows(VARIABLES)[0]
        status = {row["name"]: row["value"] for row in self.rows(STATUS)}
        sources = self.rows("SHOW REPLICA STATUS")
        return Observed(
            is_read_only=bool(now["is_read_only"]),
            waits_for_voters=bool(now["waits_for_voters"]),
            acknowledges=bool(now["acknowledges"]),
            is_semi_sync=status["RPL_SEMI_SYNC_MASTER_STATUS"] == "ON",
            voters=int(status["RPL_SEMI_SYNC_MASTER_CLIENTS"]),
            gtid_binlog_pos=now["binlog_pos"],
            gtid_slave_pos=now["slave_pos"],
            source=_source(sources[0]) if sources else None,
        )


# Two statements: 11.8.6 gives 0 for @@read_only in a query that also has MAX().
VARIABLES = """
SELECT @@GLOBAL.read_only AS is_read_only, @@GLOBAL.rpl_semi_sync_master_enabled AS waits_for_voters,
  @@GLOBAL.rpl_semi_sync_slave_enabled AS acknowledges,
  @@GLOBAL.gtid_binlog_pos AS binlog_pos, @@GLOBAL.gtid_slave_pos AS slave_pos
"""
STATUS = """
SELECT variable_name AS name, variable_value AS value FROM information_schema.global_status
WHERE variable_name IN ('RPL_SEMI_SYNC_MASTER_STATUS', 'RPL_SEMI_SYNC_MASTER_CLIENTS')
"""


def _source(row: Mapping[str, Any]) -> Source:
    lag_s = row["Seconds_Behind_Master"]
    return Source(
        address=row["Master_Host"],
        port=int(row["Master_Port"]),
        user=row["Master_User"],
        ca=row["Master_SSL_CA_File"],
        is_verified=row["Master_SSL_Verify_Server_Cert"] == "Yes",
        uses_gtid=row["Using_Gtid"] == "Slave_Pos",
        is_receiving=row["Slave_IO_Running"] == "Yes",
        is_asking=row["Slave_IO_Running"] != "No",
        is_applying=row["Slave_SQL_Running"] == "Yes",
        lag_s=None if lag_s is None else float(lag_s),
        receive_errno=int(row["Last_IO_Errno"]),
        receive_error=row["Last_IO_Error"],
        apply_error=row["Last_SQL_Error"],
    )


def was_refused(error: pymysql.Error) -> bool:
    """Whether the server answered and said no: its own error numbers, not the client's from 2000 to 2999."""
    code = error.args[0] if error.args else None
    return isinstance(code, int) and code // 1000 != 2


def quoted(text: str) -> str:
    """Write `text` as an SQL string. Raises ValueError for characters that nothing of ours contains."""
    if not text.isprintable() or set(text) & set("'\"\\`"):
        raise ValueError("a name, path or password has a character that is not allowed in SQL here")
    return f"'{text}'"

"""The local MariaDB server, as the programs beside it see it: over its unix socket, as root.

Limits: one replication source per server; a call waits for at most as long as it is told, or for ever.
"""

from __future__ import annotations

from typing import Any

import pymysql
import pymysql.cursors

SOCKET = "/run/mysqld/mysqld.sock"
# STOP REPLICA may wait one second for a dead primary, all else takes some milliseconds.
LIMIT_S = 5.0


class Server:
    """The local server, over its unix socket as root. Every call raises pymysql.Error when it fails or takes too long."""

    def __init__(self, path: str = SOCKET, limit_s: float | None = LIMIT_S) -> None:
        self.path, self.limit_s = path, limit_s
        self.sent = 0
        """Statements so far, over all connections."""
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
        self.sent += 1
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def forget(self) -> None:
        """Begin with a new connection next time."""
        if self._connection is not None:
            self._connection._force_close()  # type: ignore[attr-defined]
            self._connection = None


def quoted(text: str) -> str:
    """Write `text` as an SQL string. Raises ValueError for characters that nothing of ours contains."""
    if not text.isprintable() or set(text) & set("'\"\\`"):
        raise ValueError("a name, path or password has a character that is not allowed in SQL here")
    return f"'{text}'"

"""What MariaDB's rows say, as the values that the agent decides on. Pure.

Source: https://mariadb.com/docs/server/reference/sql-statements/administrative-sql-statements/show/show-replica-status
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nospof.onhost.agent.engine import positions
from nospof.onhost.agent.model import BEGINNING, Position, Source

Row = Mapping[str, Any]

# In a query of their own: 11.8.6 gives 0 for @@read_only in one that also has MAX().
VARIABLES = """
SELECT @@GLOBAL.read_only AS is_read_only, @@GLOBAL.rpl_semi_sync_master_enabled AS waits_for_voters,
  @@GLOBAL.rpl_semi_sync_slave_enabled AS acknowledges,
  @@GLOBAL.gtid_binlog_pos AS binlog_pos, @@GLOBAL.gtid_slave_pos AS slave_pos
"""
SOURCE = "SHOW REPLICA STATUS"
SEMI_SYNC = "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_status'"
# Whether it waits for voters, and how many clients do: both in one statement.
WAITS = "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_%s'"
# What clients have sent, other than Queries, which also counts what procedures do.
QUESTIONS = "SHOW GLOBAL STATUS LIKE 'Questions'"
FEEDS = "SELECT id, host FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'"
WAITING = (
    "SELECT query_id FROM information_schema.processlist WHERE state = 'Waiting for semi-sync ACK from slave' ORDER BY query_id"
)
TABLE_CHANGES = """
SELECT id FROM information_schema.processlist
WHERE command = 'Query' AND time_ms > 200
  AND info REGEXP '^[[:space:]]*(ALTER|CREATE|OPTIMIZE|DROP|TRUNCATE|REPAIR|RENAME)[[:space:]]'
"""


@dataclass(frozen=True)
class Dialect:
    """What the products say differently and mean the same by: columns of a replica's status, variables, whole statements."""

    receives: str
    applies: str
    waits: str
    acknowledges: str
    read_only: str
    took_too_long: frozenset[int]
    """How a statement ends that was given too little time."""
    variables: str
    semi_sync: str
    waiting: str
    table_changes: str
    loads_certificates: str


MARIADB = Dialect(
    receives="Slave_IO_Running",
    applies="Slave_SQL_Running",
    waits="rpl_semi_sync_master_enabled",
    acknowledges="rpl_semi_sync_slave_enabled",
    read_only="read_only",
    took_too_long=frozenset({1205, 1969}),
    variables=VARIABLES,
    semi_sync=SEMI_SYNC,
    waiting=WAITING,
    table_changes=TABLE_CHANGES,
    # LOCAL, else it would be a write of the server's own.
    loads_certificates="FLUSH LOCAL SSL",
)

ACCESS_DENIED = 1045
# The source lacks what is asked for, or has another history; the same found while applying: a row that is missing or there
# twice, or a number that was used before.
ONLY_A_COPY_HELPS = {1236}
HISTORIES_DIFFER = {1032, 1062, 1950}


@dataclass(frozen=True)
class Settings:
    """How replication is to be set up on this host."""

    members: Mapping[str, str]
    """Host → address."""
    port: int
    user: str
    password: str = field(repr=False)
    ca: str
    certificate: str
    key: str

    def node_at(self, address: str) -> str:
        return next((node for node, its in self.members.items() if its == address), "?")


def position_of(gtids: str) -> Position:
    """Read "domain-server-number,…"; the writer is that of the highest number."""
    found = [tuple(int(part) for part in gtid.strip().split("-")) for gtid in gtids.split(",") if gtid.strip()]
    if not found:
        return BEGINNING
    numbers = {str(domain): 0 for domain, _, _ in found}
    for domain, _, number in found:
        numbers[str(domain)] = max(numbers[str(domain)], number)
    writer = max(found, key=lambda gtid: gtid[2])[1]
    return positions(numbers, str(writer))


def furthest(*several: Position) -> Position:
    """The position that covers the others, of one history; the first of equals."""
    best = several[0]
    for position in several[1:]:
        if position.covers(best) and not best.covers(position):
            best = position
    return best


def received_of(row: Row, applied: Position) -> Position:
    """All that the replica has. Gtid_IO_Pos names whole transactions only, and nothing before the first connection."""
    return furthest(applied, position_of(row["Gtid_IO_Pos"]))


def source_of(row: Row, settings: Settings) -> Source:
    """Read one row of SHOW REPLICA STATUS."""
    lag_s = row["Seconds_Behind_Master"]
    receive_errno, apply_errno = int(row["Last_IO_Errno"]), int(row["Last_SQL_Errno"])
    is_asking, is_applying = row["Slave_IO_Running"] != "No", row["Slave_SQL_Running"] == "Yes"
    return Source(
        node=settings.node_at(row["Master_Host"]),
        is_receiving=row["Slave_IO_Running"] == "Yes",
        is_asking=is_asking,
        is_applying=is_applying,
        is_ours=_is_ours(row, settings),
        needs_copy=(not is_asking and receive_errno in ONLY_A_COPY_HELPS)
        or (not is_applying and apply_errno in HISTORIES_DIFFER),
        was_refused=receive_errno == ACCESS_DENIED and row["Slave_IO_Running"] != "Yes",
        error=str(row["Last_IO_Error"] or row["Last_SQL_Error"] or ""),
        lag_s=None if lag_s is None else float(lag_s),
    )


def _is_ours(row: Row, settings: Settings) -> bool:
    found = (
        int(row["Master_Port"]),
        row["Master_User"],
        row["Master_SSL_CA_File"],
        row["Master_SSL_Cert"],
        row["Master_SSL_Key"],
        row["Master_SSL_Verify_Server_Cert"],
        row["Using_Gtid"],
    )
    wanted = (settings.port, settings.user, settings.ca, settings.certificate, settings.key, "Yes", "Slave_Pos")
    return bool(found == wanted)


def waits_of(rows: Iterable[Row]) -> tuple[bool, int]:
    """Whether the server waits for voters, and how many clients wait for one. `rows`: the answer to WAITS, of any product."""
    told = {str(row["Variable_name"]).rpartition("_sync_")[2].partition("_")[2]: row["Value"] for row in rows}
    return told["status"] == "ON", int(told["wait_sessions"])


def feeds_of(rows: Iterable[Row], settings: Settings) -> dict[str, tuple[int, str]]:
    """Host of the tier → (thread, "address:port") of the newest feed to it."""
    found: dict[str, tuple[int, str]] = {}
    for row in rows:
        node = settings.node_at(str(row["host"]).rpartition(":")[0])
        found[node] = max(found.get(node, (0, "")), (int(row["id"]), str(row["host"])))
    return found

"""What MySQL's rows say, as the values that the agent decides on. Pure.

Source: https://dev.mysql.com/doc/refman/9.7/en/show-replica-status.html
"""

from __future__ import annotations

from nospof.onhost.agent.mariadb_seen import ACCESS_DENIED, Dialect, Row, Settings
from nospof.onhost.agent.model import Source
from nospof.onhost.agent.mysql_gtids import Gtids, gtids

VARIABLES = """
SELECT @@GLOBAL.super_read_only AS is_read_only, @@GLOBAL.rpl_semi_sync_source_enabled AS waits_for_voters,
  @@GLOBAL.rpl_semi_sync_replica_enabled AS acknowledges, @@GLOBAL.gtid_executed AS executed
"""
SOURCE = "SHOW REPLICA STATUS"
SEMI_SYNC = "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_source_status'"
WAITS = "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_source_%s'"
FEEDS = "SELECT id AS id, host AS host FROM performance_schema.processlist WHERE command LIKE 'Binlog Dump%'"
# The first of them holds up the others, which have their places in the log behind it.
WAITING = (
    "SELECT id AS id FROM performance_schema.processlist "
    "WHERE state IN ('Waiting for semi-sync ACK from replica', 'waiting for handler commit')"
)
# The applying thread that hands out transactions, while it is in the midst of one.
IN_THE_MIDST = (
    "SELECT threads.processlist_id AS id FROM performance_schema.replication_applier_status_by_coordinator AS coordinator "
    "JOIN performance_schema.threads AS threads USING (thread_id) WHERE coordinator.processing_transaction <> ''"
)
TABLE_CHANGES = """
SELECT id AS id FROM performance_schema.processlist
WHERE command = 'Query' AND time > 0
  AND info REGEXP '^[[:space:]]*(ALTER|CREATE|OPTIMIZE|DROP|TRUNCATE|REPAIR|RENAME)[[:space:]]'
"""

MYSQL = Dialect(
    receives="Replica_IO_Running",
    applies="Replica_SQL_Running",
    waits="rpl_semi_sync_source_enabled",
    acknowledges="rpl_semi_sync_replica_enabled",
    read_only="super_read_only",
    took_too_long=frozenset({1317}),
    variables=VARIABLES,
    semi_sync=SEMI_SYNC,
    waiting=WAITING,
    table_changes=TABLE_CHANGES,
    loads_certificates="ALTER INSTANCE RELOAD TLS",
)

# The source lacks what is asked for, or this server has more of the source's own writes than the source.
ONLY_A_COPY_HELPS = {1236, 13114}
# Not so: another connection of the same replica took this one's place.
TAKEN_OVER = "same server_uuid"
# While applying: a row that is missing or there twice, a database or table that is not or already there.
HISTORIES_DIFFER = {1007, 1008, 1032, 1050, 1051, 1062, 1146, 1396}


def received_of(row: Row, executed: Gtids) -> Gtids:
    """All that the replica has; what is named as retrieved is whole, and on its disk before it is acknowledged."""
    return executed.with_these(gtids(row["Retrieved_Gtid_Set"]))


def source_of(row: Row, settings: Settings) -> Source:
    """Read one row of SHOW REPLICA STATUS."""
    lag_s = row["Seconds_Behind_Source"]
    receive_errno, apply_errno = int(row["Last_IO_Errno"]), int(row["Last_SQL_Errno"])
    is_asking, is_applying = row["Replica_IO_Running"] != "No", row["Replica_SQL_Running"] == "Yes"
    is_lacking = receive_errno in ONLY_A_COPY_HELPS and TAKEN_OVER not in row["Last_IO_Error"]
    return Source(
        node=settings.node_at(row["Source_Host"]),
        is_receiving=row["Replica_IO_Running"] == "Yes",
        is_asking=is_asking,
        is_applying=is_applying,
        is_ours=_is_ours(row, settings),
        needs_copy=(not is_asking and is_lacking) or (not is_applying and apply_errno in HISTORIES_DIFFER),
        was_refused=receive_errno == ACCESS_DENIED and row["Replica_IO_Running"] != "Yes",
        error=str(row["Last_IO_Error"] or row["Last_SQL_Error"] or ""),
        lag_s=None if lag_s is None else float(lag_s),
    )


def _is_ours(row: Row, settings: Settings) -> bool:
    found = (
        int(row["Source_Port"]),
        row["Source_User"],
        row["Source_SSL_CA_File"],
        row["Source_SSL_Cert"],
        row["Source_SSL_Key"],
        row["Source_SSL_Verify_Server_Cert"],
        int(row["Auto_Position"]),
    )
    wanted = (settings.port, settings.user, settings.ca, settings.certificate, settings.key, "Yes", 1)
    return bool(found == wanted)

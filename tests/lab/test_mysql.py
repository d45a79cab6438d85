"""MySQL behind the agent, under writing clients: no acknowledged write is lost, and everybody is back without hands.

Its hosts are made from the Debian suite that changes each day, so that a run may fail for reasons of that day: it is for who
asks for it, `NOSPOF_TEST_SID=1 pytest tests/lab/test_mysql.py`. Figures: `script/bench-database --component mysql`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from failing_database import MYSQL, PORT, FailingDatabase

from nospof.drills.workloads.http_get import Outcome
from nospof.drills.workloads.sql_write import Kind, Load
from nospof.lab.machine import wait_until
from nospof.onhost.agent.mysql_seen import WAITING

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
    pytest.mark.skipif(not os.environ.get("NOSPOF_TEST_SID"), reason="NOSPOF_TEST_SID is not set"),
]
FAULTS: dict[str, Callable[[FailingDatabase], object]] = {
    "switchover": FailingDatabase.switchover,
    "process kill": FailingDatabase.kill_primary,
    "host dark": lambda database: database.dark(database.primary()),
}
BEFORE, SECONDS = 100, 300.0
BLOBS = "blobs"
SIXTY_MEGABYTES = (
    "WITH RECURSIVE numbers (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM numbers WHERE id < 60) "
    "SELECT id, REPEAT('x', 1000000) FROM numbers"
)
PART = 4_000_000
SAVED = "/var/lib/nospof/database/beyond"
WORDS = "SELECT word FROM app.alone"
COMPRESSED = """\
SELECT COALESCE(SUM(transaction_counter), 0) FROM performance_schema.binary_log_transaction_compression_stats
 WHERE log_type = 'RELAY' AND compression_type = 'ZSTD'
"""
# STOP REPLICA alone would wait for sixty.
TAKEN_OVER_WITHIN_S = 20.0


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingDatabase]:
    with FailingDatabase.brought_up(tmp_path_factory.mktemp("stack"), MYSQL) as database:
        yield database


def received_bytes(database: FailingDatabase, node: str) -> int:
    """How large the replica's relay logs are."""
    return int(database.on(node, "sh", "-c", "cat /var/lib/mysql/relay.[0-9]* | wc -c"))


def is_in_the_midst(database: FailingDatabase, node: str) -> bool:
    """Whether the replica has begun to hand out a transaction whose end it has not seen."""
    rows = database.sql(node, "SELECT processing_transaction FROM performance_schema.replication_applier_status_by_coordinator")
    return bool(rows and rows[0][0])


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_acknowledged_is_lost_and_all_come_back(database: FailingDatabase, fault: str) -> None:
    table, before = f"drill_{[*FAULTS].index(fault)}", database.primary()
    with database.under(Load(Kind.WRITE, table, clients=8, seconds=SECONDS)) as writes:
        assert wait_until(lambda: writes.progress().good >= BEFORE, 30.0)
        FAULTS[fault](database)
        assert writes.is_good_after(time.monotonic() + 0.1, 30.0)
        database.healed(is_quiet=False)
        history = writes.finish()
    database.healed()
    assert database.primary() != before
    verdicts = database.audit(history, table).verdicts
    assert all(verdict.is_pass for verdict in verdicts.values()), verdicts


def test_other_passwords_come_under_writes_and_fail_none(database: FailingDatabase) -> None:
    old, live = database.live.passwords(), database.live
    with database.under(Load(Kind.WRITE, "drill_passwords", clients=4, seconds=SECONDS)) as writes:
        assert wait_until(lambda: writes.progress().good >= BEFORE, 30.0)
        live.nospof("rotate passwords")
        assert writes.is_good_after(time.monotonic() + 0.1, 30.0)
        history = writes.finish()
    new = live.passwords()
    assert {write.outcome for write in history.writes} == {Outcome.OK}
    assert live.database_takes("web1", PORT, old["database.app"]) == "1045"
    assert live.database_takes("web1", PORT, new["database.app"]) == "taken"
    database.kill_primary()
    database.healed()
    verdicts = database.audit(history, "drill_passwords").verdicts
    assert all(verdict.is_pass for verdict in verdicts.values()), verdicts


def test_transaction_that_came_in_part_holds_no_takeover_up(database: FailingDatabase) -> None:
    """STOP REPLICA waits a minute for the rest of it, which the primary that ended in its midst does not send any more."""
    primary = database.primary()
    voter = next(node for node in database.nodes if node != primary)
    assert database.sql(primary, f"CREATE TABLE app.{BLOBS} (id INT PRIMARY KEY, filler LONGBLOB NOT NULL)") is not None
    before = received_bytes(database, voter)
    as_it_is = "SET SESSION binlog_transaction_compression = OFF"  # it would be one small event
    insert = f"{as_it_is}, cte_max_recursion_depth = 1000; INSERT INTO app.{BLOBS} {SIXTY_MEGABYTES}"
    inserting = threading.Thread(target=database.sql, args=(primary, insert))
    inserting.start()
    assert wait_until(lambda: received_bytes(database, voter) > before + PART, 30.0, step_s=0.0)
    killed = database.kill_primary()
    in_part = [node for node in database.nodes if node != primary and is_in_the_midst(database, node)]
    assert database.primary() != primary
    took_s = time.monotonic() - killed
    inserting.join()
    database.healed()
    assert in_part, "it came whole: nothing was tested"
    assert took_s < TAKEN_OVER_WITHIN_S
    assert {tuple(database.sql(node, f"SELECT COUNT(*) FROM app.{BLOBS}")[0]) for node in database.nodes} == {("0",)}


def test_write_that_nobody_acknowledged_is_saved_in_clear_and_can_be_replayed(database: FailingDatabase) -> None:
    """Transactions are compressed in the log, which must not keep anybody from reading what was saved of it."""
    primary = database.primary()
    assert database.sql(primary, "CREATE TABLE app.alone (word VARCHAR(40) PRIMARY KEY)") is not None
    database.healed()
    with database.replication_cut(primary):
        writing = threading.Thread(target=database.sql, args=(primary, "INSERT INTO app.alone VALUES ('only here')"))
        writing.start()
        assert wait_until(lambda: database.sql(primary, WAITING) != [], 10.0, step_s=0.05)
        database.kill_primary()
        assert wait_until(lambda: database.primaries() not in ((), (primary,)), 30.0)
    writing.join()
    database.healed()
    saved = database.on(primary, "sh", "-c", f"cat {SAVED}/$(ls -t {SAVED} | head -1)")
    assert "@1='only here'" in saved
    assert {str(database.sql(node, WORDS)) for node in database.nodes} == {"[]"}
    assert database.lab.run(database.primary(), ["mysql"], saved.encode()).exit_code == 0  # type: ignore[union-attr]
    assert wait_until(lambda: {str(database.sql(node, WORDS)) for node in database.nodes} == {"[['only here']]"}, 10.0)
    database.healed()


def test_voter_is_sent_each_transaction_as_one_event_behind_its_number(database: FailingDatabase) -> None:
    """It syncs after each event: with five of them, a third fewer writes a second were acknowledged."""
    primary = database.primary()
    voter = next(node for node in database.nodes if node != primary)
    (before,) = database.sql(voter, COMPRESSED) or ()
    inserts = [f"INSERT INTO app.many VALUES ({number});" for number in range(20)]
    assert database.sql(primary, "\n".join(["CREATE TABLE app.many (id INT PRIMARY KEY);", *inserts])) is not None
    database.healed()
    (after,) = database.sql(voter, COMPRESSED) or ()
    assert int(after[0]) >= int(before[0]) + 20

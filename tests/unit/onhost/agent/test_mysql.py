"""MySQL as the agent drives it: what rows say, and which statements are sent in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pymysql
import pytest

from nospof.onhost.agent import mysql
from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.mysql import MysqlEngine, MysqlPlaces
from nospof.onhost.agent.mysql_gtids import gtids
from nospof.onhost.agent.mysql_log import Logged
from nospof.onhost.agent.mysql_seen import received_of, source_of

A, B = "c2fd0ba5-e58c-11f1-918b-0200c6120101", "9d5682cf-e58d-11f1-9f3b-0200c6120102"
PASSWORD = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6"
PLACES = MysqlPlaces(
    tier="database",
    host="db1",
    members={"db1": "198.18.1.1", "db2": "198.18.1.2", "w1": "198.18.1.3"},
    port=3306,
    copy_port=0,
    server_id=1,
    replication_user="nospof_replication",
    replication_password=PASSWORD,
    ca="/ca.pem",
    certificate="/db.crt",
    key="/db.key",
)
ROW: dict[str, Any] = {
    "Source_Host": "198.18.1.2",
    "Source_Port": 3306,
    "Source_User": "nospof_replication",
    "Source_UUID": B,
    "Source_SSL_CA_File": "/ca.pem",
    "Source_SSL_Cert": "/db.crt",
    "Source_SSL_Key": "/db.key",
    "Source_SSL_Verify_Server_Cert": "Yes",
    "Auto_Position": 1,
    "Replica_IO_Running": "Yes",
    "Replica_SQL_Running": "Yes",
    "Retrieved_Gtid_Set": f"{B}:5-7",
    "Seconds_Behind_Source": 0,
    "Last_IO_Errno": 0,
    "Last_IO_Error": "",
    "Last_SQL_Errno": 0,
    "Last_SQL_Error": "",
}
NOW = {"is_read_only": 1, "waits_for_voters": 0, "acknowledges": 1, "executed": f"{A}:1-3,\n{B}:1-7"}
INTERRUPTED = pymysql.OperationalError(1317, "Query execution was interrupted")


class FakeSql:
    """Answers by the beginning of a statement; an exception is raised once."""

    def __init__(self, **answers: Any) -> None:
        self.source: list[dict[str, Any]] = answers.pop("source", [])
        self.now: dict[str, Any] = {**NOW, **answers.pop("now", {})}
        self.other: dict[str, Any] = {"CONNECTION_ID": [{"it": 5}], **answers.pop("other", {})}
        self.asked: list[str] = []

    def take_over(self) -> None:
        self.asked.append("(takes over)")

    def forget(self) -> None:
        pass

    def rows(self, statement: str) -> list[dict[str, Any]]:
        if statement.startswith("SHOW REPLICA STATUS"):
            return self.source
        if "gtid_executed AS executed" in statement:
            return [self.now]
        if not statement.startswith(("SHOW", "SELECT", "\nSELECT", "DO")):
            self.asked.append(statement.partition(" SOURCE_HOST")[0])
        for start, said in self.other.items():
            if start in statement:
                if isinstance(said, Exception):
                    del self.other[start]
                    raise said
                return list(said)
        return []


@pytest.fixture(autouse=True)
def _no_other_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "Sql", lambda *_: FakeSql())


def engine_on(sql: FakeSql, *, upstream: str = "", logged: Logged | None = None) -> MysqlEngine:
    engine = MysqlEngine(PLACES)
    engine._acting = engine._looking = sql  # type: ignore[assignment]
    engine._looked_at = engine.pid()

    class Upstream:
        def applied(self, _: str) -> object:
            if not upstream:
                raise OSError("does not answer")
            return gtids(upstream).position

        def forget(self) -> None:
            pass

    class Log:
        def read(self) -> Logged | None:
            return logged

    engine._replica = lambda _: Upstream()  # type: ignore[method-assign,assignment,return-value]
    engine._log = Log()  # type: ignore[assignment]
    return engine


# --- what rows say -------------------------------------------------------------------------------------------------------
def test_replica_has_what_it_executed_and_what_it_retrieved() -> None:
    assert received_of(ROW, gtids(f"{A}:1-3,{B}:1-5")) == gtids(f"{A}:1-3,{B}:1-7")


@pytest.mark.parametrize("change", [{"Source_User": "root"}, {"Auto_Position": 0}, {"Source_SSL_Verify_Server_Cert": "No"}])
def test_source_with_other_settings_is_not_ours(change: dict[str, Any]) -> None:
    assert source_of(ROW, PLACES.settings).is_ours
    assert not source_of({**ROW, **change}, PLACES.settings).is_ours


def test_only_a_copy_helps_when_histories_differ_and_not_when_its_place_was_taken() -> None:
    stopped = {"Replica_IO_Running": "No", "Last_IO_Errno": 13114, "Last_IO_Error": "purged required binary logs"}
    assert source_of({**ROW, **stopped}, PLACES.settings).needs_copy
    assert source_of({**ROW, "Replica_SQL_Running": "No", "Last_SQL_Errno": 1062}, PLACES.settings).needs_copy
    taken = {**stopped, "Last_IO_Error": "A replica with the same server_uuid/server_id as this replica has connected"}
    assert not source_of({**ROW, **taken}, PLACES.settings).needs_copy


def test_primary_has_written_what_is_in_its_log_and_waits() -> None:
    """9.7.4: a transaction that waits for a voter is neither in gtid_executed nor in gtid_owned."""
    seen = engine_on(FakeSql(), logged=Logged(A, 5, 0, 0, 0)).look()
    assert (seen.written, seen.applied) == (gtids(f"{A}:1-5,{B}:1-7").position, gtids(f"{A}:1-3,{B}:1-7").position)


def test_replica_that_has_more_than_its_source_needs_a_copy_and_counts_as_hearing_nothing() -> None:
    """Who was no voter may have writes of a lost primary which nobody else has; the new one feeds it all the same."""
    source = engine_on(FakeSql(source=[ROW]), upstream=f"{A}:1-2,{B}:1-7").look().source
    assert source is not None
    assert source.needs_copy
    assert not source.is_receiving


def test_sources_own_writes_that_wait_there_are_no_difference() -> None:
    source = engine_on(FakeSql(source=[ROW]), upstream=f"{A}:1-3,{B}:1-6").look().source
    assert source is not None
    assert source.is_receiving
    assert not source.needs_copy


def test_source_that_does_not_say_what_it_has_is_not_trusted_yet() -> None:
    source = engine_on(FakeSql(source=[ROW])).look().source
    assert source is not None
    assert not source.is_receiving
    assert not source.needs_copy


def test_source_is_compared_once_for_each_time_it_is_followed() -> None:
    sql = FakeSql(source=[ROW])
    engine = engine_on(sql, upstream=f"{A}:1-3,{B}:1-7")
    engine.look()
    engine._replica = lambda _: pytest.fail("asked again")  # type: ignore[method-assign,assignment]
    engine.look()
    engine.follow("db2", acknowledges=False, may_forget=True)
    with pytest.raises(pytest.fail.Exception):
        engine.look()


# --- statements and their order ------------------------------------------------------------------------------------------
def test_primary_waits_for_voters_before_it_takes_the_first_write() -> None:
    sql = FakeSql()
    engine_on(sql).be_primary(waits_for_voters=True, takes_writes=True)
    assert sql.asked == [
        "(takes over)",
        "SET GLOBAL rpl_semi_sync_replica_enabled = OFF",
        "SET GLOBAL rpl_semi_sync_source_enabled = ON",
        "SET GLOBAL read_only = OFF",
    ]


def test_primary_that_may_not_write_stops_writes_before_it_releases_who_waits() -> None:
    sql = FakeSql(now={"waits_for_voters": 1, "is_read_only": 0})
    engine_on(sql).be_primary(waits_for_voters=False, takes_writes=False)
    assert sql.asked[-2:] == ["SET GLOBAL super_read_only = ON", "SET GLOBAL rpl_semi_sync_source_enabled = OFF"]


def test_promotion_is_refused_while_something_received_is_not_applied() -> None:
    sql = FakeSql(source=[ROW], now={"executed": f"{B}:1-6"})
    with pytest.raises(EngineError, match="received"):
        engine_on(sql).be_primary(waits_for_voters=True, takes_writes=True)
    assert "RESET REPLICA ALL" not in sql.asked
    assert sql.asked[-1] == "START REPLICA IO_THREAD"


def test_follower_forgets_nothing_it_received_unless_it_may() -> None:
    behind = {"executed": f"{B}:1-6"}
    with pytest.raises(EngineError, match="received"):
        engine_on(FakeSql(source=[ROW], now=behind)).follow("db2", acknowledges=True, may_forget=False)
    sql = FakeSql(source=[ROW], now=behind)
    engine_on(sql).follow("db2", acknowledges=False, may_forget=True)
    assert sql.asked[-3:] == [
        "SET GLOBAL rpl_semi_sync_replica_enabled = OFF",
        "CHANGE REPLICATION SOURCE TO",
        "START REPLICA",
    ]


@pytest.mark.parametrize("may_forget", [False, True])
def test_who_applies_a_transaction_that_came_in_part_is_ended_before_it_is_told_to_stop(*, may_forget: bool) -> None:
    """A voter that went ahead was told to stop in the midst of one: it waited a minute for the rest, and was no voter then."""
    sql = FakeSql(source=[ROW], other={"processing_transaction": [{"id": 71}]})
    engine_on(sql).follow("db2", acknowledges=True, may_forget=may_forget)
    assert sql.asked[-6:-4] == ["KILL 71", "STOP REPLICA"]
    assert sql.asked.count("STOP REPLICA IO_THREAD") >= 1
    assert "STOP REPLICA IO_THREAD" not in sql.asked[sql.asked.index("KILL 71") :]
    sql = FakeSql(source=[ROW], other={"processing_transaction": [{"id": 71}]})
    engine_on(sql).be_primary(waits_for_voters=True, takes_writes=True)
    assert sql.asked.index("KILL 71") + 1 == sql.asked.index("STOP REPLICA") == sql.asked.index("RESET REPLICA ALL") - 1


def test_who_is_between_two_transactions_is_told_to_stop_and_not_ended() -> None:
    sql = FakeSql(source=[ROW])
    engine_on(sql).follow("db2", acknowledges=False, may_forget=True)
    assert "STOP REPLICA" in sql.asked
    assert not [statement for statement in sql.asked if statement.startswith("KILL")]


def test_nobody_follows_while_clients_wait() -> None:
    sql = FakeSql(other={"Waiting for semi-sync": [{"id": 7}]})
    with pytest.raises(EngineError, match="clients wait"):
        engine_on(sql).follow("db2", acknowledges=False, may_forget=True)
    assert sql.asked == ["(takes over)"]


def test_torn_files_are_made_anew_only_if_what_was_received_may_go() -> None:
    torn = {"CHANGE REPLICATION": pymysql.OperationalError(1872, "failed to initialize")}
    sql = FakeSql(source=[ROW], other=dict(torn))
    engine_on(sql).follow("db2", acknowledges=False, may_forget=True)
    assert sql.asked[-4:] == [
        "CHANGE REPLICATION SOURCE TO",
        "RESET REPLICA ALL",
        "CHANGE REPLICATION SOURCE TO",
        "START REPLICA",
    ]
    sql = FakeSql(source=[ROW], other=dict(torn))
    with pytest.raises(EngineError):
        engine_on(sql).follow("db2", acknowledges=True, may_forget=False)
    assert "RESET REPLICA ALL" not in sql.asked


def test_receiving_is_not_resumed_while_nothing_is_applied() -> None:
    sql = FakeSql(source=[{**ROW, "Replica_SQL_Running": "No"}])
    with pytest.raises(EngineError):
        engine_on(sql).resume_receiving()
    assert sql.asked == ["(takes over)"]


def test_acknowledging_is_switched_while_nothing_is_received_and_synced_where_it_must_be() -> None:
    sql = FakeSql(source=[ROW])
    engine_on(sql).acknowledge(on=True)
    assert sql.asked == [
        "(takes over)",
        "STOP REPLICA IO_THREAD",
        "SET GLOBAL sync_relay_log = 1",
        "SET GLOBAL rpl_semi_sync_replica_enabled = ON",
        "START REPLICA IO_THREAD",
    ]
    assert replace(PLACES, syncs_relay_log=False).unit == "mysql.service"


def test_freeze_that_takes_too_long_is_no_and_every_other_refusal_an_error() -> None:
    assert engine_on(FakeSql()).freeze(0.3)
    assert not engine_on(FakeSql(other={"super_read_only = ON": INTERRUPTED})).freeze(0.3)
    with pytest.raises(EngineError):
        engine_on(FakeSql(other={"super_read_only = ON": pymysql.OperationalError(1290, "no")})).freeze(0.3)


def test_statement_that_is_ended_in_time_is_not_ended_again(monkeypatch: pytest.MonkeyPatch) -> None:
    other = FakeSql()
    with mysql._ended_after(60.0, 5, other):  # type: ignore[arg-type]
        pass
    assert other.asked == []


def test_who_waits_is_released_by_a_write_that_waits_for_nobodys_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """No KILL QUERY releases a client in 9.7. The row that is beaten twice a second is locked by whoever waits with it."""
    sql = FakeSql(other={"Waiting for semi-sync": [{"id": 7}]})
    monkeypatch.setattr(mysql, "Sql", lambda *_: sql)
    engine = engine_on(FakeSql())
    engine.release(gtids(f"{A}:1").position)
    (statement,) = sql.asked
    assert statement.startswith("REPLACE INTO nospof.pulse VALUES (")
    assert "VALUES (1," not in statement


def test_barrier_is_all_that_is_in_the_log() -> None:
    assert engine_on(FakeSql(), logged=Logged(A, 9, 0, 0, 0)).barrier() == gtids(f"{A}:1-9,{B}:1-7").position


def test_password_is_in_no_error() -> None:
    sql = FakeSql(other={"CHANGE REPLICATION": pymysql.OperationalError(1064, "refused")})
    with pytest.raises(EngineError) as refused:
        engine_on(FakeSql(source=[ROW], other=sql.other)).follow("db2", acknowledges=True, may_forget=False)
    assert PASSWORD not in str(refused.value)
    assert PASSWORD not in repr(PLACES)

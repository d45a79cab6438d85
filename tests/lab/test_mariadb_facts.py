"""What MariaDB 11.8.6 really does where failover leans on it, and `MariadbEngine` on real servers.

Each test begins with db1 as primary and db2 and w1 as its voters. Findings and figures: docs/decisions/0009-failover.md.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pymysql
import pytest
from mariadb_lab import MariadbLab, Pending, Server, Session, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]
WAITS = "Waiting for semi-sync ACK from slave"
# Long enough that something that does not happen would have.
A_WHILE_S = 0.6


@pytest.fixture(scope="module")
def made() -> Iterator[MariadbLab]:
    lab = MariadbLab()
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


@pytest.fixture
def servers(made: MariadbLab) -> MariadbLab:
    settle(made)
    return made


def settle(lab: MariadbLab, voters: tuple[str, ...] = ("db2", "w1")) -> None:
    """Have db1 take writes that `voters` acknowledge, after whatever went before."""
    for server in lab.servers.values():
        if server.main_pid() == 0:
            server.start("MASTER" if server is lab["db1"] else "SLAVE")
    others = [server for server in lab.servers.values() if server is not lab["db1"]]
    primary = next((server for server in others if not server.one("@@GLOBAL.read_only")), None)
    if primary is not None:
        primary.engine("assert engine.freeze(0.3)")
        lab["db1"].engine(f"engine.follow({primary.host.name!r}, acknowledges=False, may_forget=True)")
        wait_until(lambda: lab["db1"].one("@@gtid_slave_pos") == primary.one("@@gtid_binlog_pos"), "db1 has everything")
    lab["db1"].engine("engine.be_primary(waits_for_voters=True, takes_writes=True)")
    for server in others:
        server.engine(f"engine.follow('db1', acknowledges={server.host.name in voters}, may_forget=True)")
    wait_until(lambda: lab["db1"].status("Rpl_semi_sync_master_clients") == str(len(voters)), "all voters acknowledge")
    wait_until(lambda: len({server.one("@@gtid_binlog_pos") for server in lab.servers.values()}) == 1, "all have the same")


@contextmanager
def writing(server: Server) -> Iterator[list[int]]:
    """Four clients write all the time; gives the number of their writes that were confirmed."""
    done, is_over = [0], threading.Event()

    def write() -> None:
        with server.connect() as session:
            while not is_over.is_set():
                session.rows("INSERT INTO t.a (v) VALUES ('load')")
                done[0] += 1
                is_over.wait(0.02)

    clients = [Pending(write) for _ in range(4)]
    try:
        yield done
    finally:
        is_over.set()
    assert all(client.ends_within(10) and client.error is None for client in clients)


def silence(*voters: Server) -> None:
    for voter in voters:
        voter.sql("STOP REPLICA IO_THREAD")


def insert(session: Session, text: str) -> Pending:
    return session.begin(f"INSERT INTO t.a (v) VALUES ('{text}')")


def waiting_write(server: Server, text: str, user: str = "root", password: str = "") -> tuple[Session, Pending]:
    """A write that waits for an acknowledgement."""
    session = server.connect(user=user, password=password)
    write = insert(session, text)
    wait_until(lambda: server.processes(state=WAITS), "a write waits")
    return session, write


def count(server: Server, text: str) -> int:
    return int(server.one(f"(SELECT COUNT(*) FROM t.a WHERE v = '{text}')"))


# --- what releases a waiting write ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("kill", ["KILL", "KILL QUERY"])
def test_killing_a_waiting_write_commits_it_without_an_acknowledgement(servers: MariadbLab, kill: str) -> None:
    """So the agent never kills a waiting session, but one whose write it knows a voter to have."""
    db1, text = servers["db1"], kill.replace(" ", "")
    silence(servers["db2"], servers["w1"])
    session, write = waiting_write(db1, text)
    assert count(db1, text) == 0
    db1.sql(f"{kill} {session.id}")
    assert write.ends_within(10)
    assert count(db1, text) == 1
    assert (write.error is None) is (kill == "KILL QUERY")


def test_neither_a_time_limit_nor_a_client_that_leaves_releases_a_waiting_write(servers: MariadbLab) -> None:
    """So clients may do what they like while the primary has no voter."""
    db1 = servers["db1"]
    silence(servers["db2"], servers["w1"])
    limited = db1.connect()
    limited.rows("SET max_statement_time = 0.2")
    write = insert(limited, "limited")
    assert not write.ends_within(A_WHILE_S)
    left, _ = waiting_write(db1, "left")
    left.hang_up()
    assert not write.ends_within(A_WHILE_S)
    assert count(db1, "limited") == count(db1, "left") == 0


def test_graceful_shutdown_commits_what_waits(servers: MariadbLab) -> None:
    """So a primary that may be replaced is only ever killed."""
    db1 = servers["db1"]
    silence(servers["db2"], servers["w1"])
    waiting_write(db1, "shutdown")
    db1.sql("SHUTDOWN")
    wait_until(lambda: db1.main_pid() == 0, "the server ends")
    db1.start("SLAVE")
    assert count(db1, "shutdown") == 1, "SLAVE did not cut it off, as it does after a crash"


# --- freezing ------------------------------------------------------------------------------------------------------------
def test_freeze_behind_a_waiting_write_ends_at_its_limit_and_leaves_everything_as_it_was(servers: MariadbLab) -> None:
    db1 = servers["db1"]
    silence(servers["db2"], servers["w1"])
    _, write = waiting_write(db1, "before")
    assert db1.engine("result = engine.freeze(0.3)") is False
    assert db1.one("@@GLOBAL.read_only") == 0
    assert write.is_waiting
    servers["db2"].engine("engine.resume_receiving()")
    assert write.ends_within(10)
    assert db1.engine("result = engine.freeze(0.3)") is True
    with pytest.raises(pymysql.Error):
        db1.connect(user="app", password="x").rows("INSERT INTO t.a (v) VALUES ('frozen')")


def test_transaction_that_was_open_when_writes_were_frozen_cannot_commit(servers: MariadbLab) -> None:
    """Else the position where a primary's history ends would not be its end."""
    db1 = servers["db1"]
    session = db1.connect(user="app", password="x")
    session.rows("BEGIN")
    session.rows("INSERT INTO t.a (v) VALUES ('open')")
    assert db1.engine("result = engine.freeze(0.3)") is True
    with pytest.raises(pymysql.Error, match="read-only"):
        session.rows("COMMIT")
    db1.engine("engine.be_primary(waits_for_voters=True, takes_writes=True)")
    session.rows("COMMIT")
    assert count(db1, "open") == 0, "it was told that it is rolled back, and it is"


def test_barrier_waits_for_every_commit_that_began(servers: MariadbLab) -> None:
    db1 = servers["db1"]
    assert db1.engine("result = str(engine.barrier()) == str(engine.look().written)")
    silence(servers["db2"], servers["w1"])
    waiting_write(db1, "behind")
    assert db1.engine("result = refused(engine.barrier)")


# --- stopping to receive -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["dark", "frozen"])
def test_stopping_to_receive_does_not_wait_for_a_silent_primary(servers: MariadbLab, fault: str) -> None:
    """STOP alone asks the primary to end its feed, and waits one second for that with the shortest limit there is."""
    db1, db2 = servers["db1"], servers["db2"]
    received = db2.replication()["Gtid_IO_Pos"]
    servers.lab.link("db1", False) if fault == "dark" else db1.signal("STOP")
    try:
        db2.engine("engine.stop_receiving()")
        row = db2.replication()
        assert (row["Slave_IO_Running"], row["Slave_SQL_Running"], row["Gtid_IO_Pos"]) == ("No", "Yes", received)
    finally:
        servers.lab.link("db1", True) if fault == "dark" else db1.signal("CONT")


def test_no_statement_of_an_earlier_agent_starts_receiving_afterwards(servers: MariadbLab) -> None:
    """An agent that died may have left a statement behind, which the server carries out later."""
    db2 = servers["db2"]
    with db2.connect() as earlier:
        earlier.rows("SELECT GET_LOCK('nospof_acts', 0)")
        hangs = earlier.begin("SELECT SLEEP(30)")
        db2.engine("engine.stop_receiving()")
        assert hangs.ends_within(10)
        with pytest.raises(pymysql.Error):
            earlier.rows("START REPLICA IO_THREAD")
    assert db2.replication()["Slave_IO_Running"] == "No"


def test_with_both_threads_stopped_what_was_received_is_forgotten_and_otherwise_not(servers: MariadbLab) -> None:
    """So only receiving is ever stopped, and a position is what was received, applied or not."""
    db1, db2 = servers["db1"], servers["db2"]
    before = db2.one("@@gtid_slave_pos")
    db2.sql("STOP REPLICA SQL_THREAD")
    db1.sql("INSERT INTO t.a (v) VALUES ('received')")
    received = db1.one("@@gtid_binlog_pos")
    wait_until(lambda: db2.replication()["Gtid_IO_Pos"] == received, "it is received")
    silence(db2)
    assert db2.replication()["Gtid_IO_Pos"] == received, "it is known after receiving stopped"
    assert db2.engine("result = refused(engine.resume_receiving)"), "which would have forgotten it"
    assert db2.engine("result = refused(engine.follow, 'db1', acknowledges=True, may_forget=False)")
    assert db2.replication()["Gtid_IO_Pos"] == received
    db2.sql("START REPLICA SQL_THREAD")
    assert (db2.replication()["Gtid_IO_Pos"], db2.one("@@gtid_slave_pos")) == (before, before)


def test_position_received_names_whole_transactions_only(servers: MariadbLab) -> None:
    db1, db2 = servers["db1"], servers["db2"]
    before = db2.replication()["Gtid_IO_Pos"]
    session = db1.connect(60)
    session.connection.select_db("t")
    big = session.begin("INSERT INTO t.big (v) SELECT REPEAT(MD5(seq), 32768) FROM seq_1_to_60")
    wait_until(lambda: int(db2.replication()["Relay_Log_Space"]) > 8_000_000, "it is half received")
    silence(db2)
    assert db2.replication()["Gtid_IO_Pos"] == before
    assert big.ends_within(30), "the other voter acknowledges it"
    db2.engine("engine.resume_receiving()")
    wait_until(lambda: db2.one("@@gtid_slave_pos") == db1.one("@@gtid_binlog_pos"), "the rest is received")


# --- crashes -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["killed", "power"])
@pytest.mark.parametrize("role", ["SLAVE", "MASTER"])
def test_what_nobody_acknowledged_is_cut_off_in_role_slave_and_kept_in_role_master(
    servers: MariadbLab, role: str, fault: str
) -> None:
    """So a primary that nobody replaced starts as MASTER, and one that was replaced as SLAVE."""
    db1, text = servers["db1"], f"{role}-{fault}"
    silence(servers["db2"], servers["w1"])
    before = db1.one("@@gtid_binlog_pos")
    _, first = waiting_write(db1, text)
    if fault == "killed":
        db1.engine("engine.kill()")
    else:
        servers.lab.power_off("db1")
        servers.lab.power_on("db1")
    assert first.ends_within(40)
    db1.engine(f"engine.start(Role.{role})")
    assert (count(db1, text), db1.one("@@gtid_binlog_pos") == before) == ((0, True) if role == "SLAVE" else (1, False))


def test_acknowledged_write_may_be_cut_off_after_a_power_loss_in_role_slave_and_a_voter_has_it(servers: MariadbLab) -> None:
    """The last commits are only prepared on the disk: why a lone primary must not start as SLAVE while nobody was promoted."""
    db1, db2 = servers["db1"], servers["db2"]
    db1.sql("INSERT INTO t.a (v) VALUES ('acknowledged')")
    wait_until(lambda: count(db2, "acknowledged") == 1, "it is applied")
    number = db1.one("@@server_id")
    servers.lab.power_off("db1")
    servers.lab.power_on("db1")
    db1.engine("engine.start(Role.SLAVE)")
    assert db1.one("@@server_id") != number
    assert count(db2, "acknowledged") == 1
    # Whichever it is, it gets the rest from the voter.
    db2.engine("engine.be_primary(waits_for_voters=False, takes_writes=True)")
    db1.engine("engine.follow('db2', acknowledges=False, may_forget=False)")
    wait_until(lambda: count(db1, "acknowledged") == 1, "it has it again")


def test_nobody_but_the_agent_starts_the_server(servers: MariadbLab) -> None:
    db2 = servers["db2"]
    db2.engine("engine.kill()")
    db2.run("systemctl", "start", "mariadb.service")
    assert db2.main_pid() == 0
    db2.engine("engine.start(Role.SLAVE); result = str(engine.look().is_read_only)")
    assert db2.replication()["Slave_IO_Running"] == "No"


def test_replica_follows_again_after_a_power_cut_that_tore_its_files(servers: MariadbLab) -> None:
    w1 = servers["w1"]
    servers.lab.power_off("w1")
    servers.lab.power_on("w1")
    w1.engine("engine.start(Role.SLAVE); engine.follow('db1', acknowledges=True, may_forget=False)")
    wait_until(lambda: servers["db1"].status("Rpl_semi_sync_master_clients") == "2", "it acknowledges")


# --- voters that come back -----------------------------------------------------------------------------------------------
def test_lone_voter_that_comes_back_acknowledging_releases_who_waits(servers: MariadbLab) -> None:
    db1, db2 = servers["db1"], servers["db2"]
    silence(servers["w1"])
    db2.engine("engine.kill()")
    _, write = waiting_write(db1, "back")
    db2.engine("engine.start(Role.SLAVE); engine.follow('db1', acknowledges=True, may_forget=True)")
    assert write.ends_within(10)
    assert write.error is None


def test_lone_voter_that_got_everything_before_it_acknowledges_releases_nobody_until_the_agent_does(
    servers: MariadbLab,
) -> None:
    """The primary asks for no acknowledgement of what it sent before, and nothing new gets into its log: a hang without end."""
    db1, db2 = servers["db1"], servers["db2"]
    silence(servers["w1"])
    db2.engine("engine.kill()")
    waiting_write(db1, "first")
    writes = [insert(db1.connect(), "more") for _ in range(3)]
    db2.engine("engine.start(Role.SLAVE); engine.follow('db1', acknowledges=False, may_forget=True)")
    wait_until(lambda: db2.replication()["Gtid_IO_Pos"] == db1.one("@@gtid_binlog_pos"), "it has everything")
    db2.engine("engine.acknowledge(on=True)")
    wait_until(lambda: db1.status("Rpl_semi_sync_master_clients") == "1", "it acknowledges")
    later = insert(db1.connect(), "later")
    assert not later.ends_within(A_WHILE_S)
    assert db1.engine("result = engine.release(position_of('0-1-1'))") == 0, "not what the voter does not have"
    assert later.is_waiting
    received = db2.replication()["Gtid_IO_Pos"]
    assert db1.engine(f"result = engine.release(position_of({received!r}))") == 1
    assert later.ends_within(10)
    assert all(write.ends_within(10) and write.error is None for write in writes)
    wait_until(lambda: (count(db2, "more"), count(db2, "later")) == (3, 1), "the voter has it all")


def test_primary_without_voters_answers_everything_but_what_reads_its_log_names(servers: MariadbLab) -> None:
    """SHOW MASTER STATUS and SHOW BINARY LOGS hang behind two waiting commits; nothing of ours uses them."""
    db1 = servers["db1"]
    silence(servers["db2"], servers["w1"])
    waiting_write(db1, "one")
    insert(db1.connect(), "two")
    wait_until(lambda: len(db1.processes(command="Query")) >= 3, "both are under way")
    look = db1.engine("engine.end_feeds(frozenset({'db2'})); result = str(engine.look())")
    assert "answers=True" in look
    shown = db1.connect().begin("SHOW BINARY LOGS")
    assert not shown.ends_within(A_WHILE_S)


def test_waiting_switched_on_under_load_with_an_acknowledging_voter_stalls_nobody(servers: MariadbLab) -> None:
    """The order of joining: first the voter acknowledges, then the primary waits for it."""
    db1, db2 = servers["db1"], servers["db2"]
    silence(servers["w1"])
    db1.engine("engine.be_primary(waits_for_voters=False, takes_writes=True)")
    db2.engine("engine.acknowledge(on=True)")
    wait_until(lambda: db2.replication()["Slave_IO_Running"] == "Yes", "it receives")
    with writing(db1) as done:
        wait_until(lambda: done[0] > 5, "writes flow")
        db1.engine("engine.be_primary(waits_for_voters=True, takes_writes=True)")
        before = done[0]
        wait_until(lambda: done[0] > before + 5, "writes flow, acknowledged")
    assert db1.status("Rpl_semi_sync_master_status") == "ON"


# --- roles ---------------------------------------------------------------------------------------------------------------
def test_roles_change_there_and_back_without_a_restart(servers: MariadbLab) -> None:
    """A handover: freeze, wait for the target, promote it, the others fetch from it, the old one follows."""
    for old, new in (("db1", "db2"), ("db2", "db1")):
        other = "w1"
        pid = servers[old].main_pid()
        position = servers[old].engine("assert engine.freeze(0.3); result = str(engine.look().written)")
        wait_until(lambda: servers[new].engine("result = str(engine.look().applied)") == position, "the target has it")  # noqa: B023
        servers[new].engine("engine.be_primary(waits_for_voters=True, takes_writes=True)")
        for name in (old, other):
            servers[name].engine(f"engine.follow({new!r}, acknowledges=True, may_forget=False)")
        servers[new].sql(f"INSERT INTO t.a (v) VALUES ('by {new}')")
        wait_until(lambda: count(servers[old], f"by {new}") == count(servers[other], f"by {new}") == 1, "both follow")  # noqa: B023
        assert servers[old].main_pid() == pid
        look = servers[old].engine("result = str(engine.look().source)")
        assert f"node='{new}'" in look
        assert "is_ours=True" in look


def test_voter_that_went_ahead_acknowledges_the_first_write_of_the_next_primary(servers: MariadbLab) -> None:
    """It connected while nobody waited for it there; the former primary, which follows last, is not needed."""
    db1, db2, w1 = servers["db1"], servers["db2"], servers["w1"]
    with writing(db1) as done:
        # On a busy machine the target may be behind for longer than it is waited for; the agent tries again, too.
        ahead = "engine.follow('db2', acknowledges=True, may_forget=False, goes_ahead=True)"
        once = f"try: {ahead}; result = 'ahead'\nexcept EngineError: engine.resume_receiving(); result = 'behind'"
        wait_until(lambda: w1.engine(once) == "ahead", "the target has come")
        before = done[0]
        wait_until(lambda: done[0] > before + 5, "the target alone acknowledges")
    db1.engine("assert engine.freeze(0.3); engine.ask_replicas(); engine.ask_replica('db2')")
    db2.engine("engine.be_primary(waits_for_voters=True, takes_writes=True)")
    db2.sql("INSERT INTO t.a (v) VALUES ('first of the next')")
    wait_until(lambda: count(w1, "first of the next") == 1, "it came over the voter that was there")
    assert count(db1, "first of the next") == 0


def test_former_primary_with_writes_of_its_own_needs_a_copy(servers: MariadbLab) -> None:
    """It has a number that the new primary gave to another write; strict mode refuses it, however far that one went on."""
    db1, db2 = servers["db1"], servers["db2"]
    silence(db2, servers["w1"])
    waiting_write(db1, "own")
    db1.engine("engine.kill(); engine.start(Role.MASTER)")
    assert count(db1, "own") == 1
    db2.engine("engine.be_primary(waits_for_voters=False, takes_writes=True)")
    for _ in range(3):
        db2.sql("INSERT INTO t.a (v) VALUES ('theirs')")
    try:
        db1.engine("engine.follow('db2', acknowledges=False, may_forget=False)")
        wait_until(lambda: db1.engine("result = engine.look().source.needs_copy"), "it is seen that only a copy helps")
        assert count(db1, "theirs") == 0
    finally:
        for server in (db2, servers["w1"]):  # db1's history is the one that all have from now on
            server.engine("engine.kill()")
            copy_by_hand(db1, server)


def copy_by_hand(source: Server, target: Server) -> None:
    """Give `target` the data of `source`, both stopped for it."""
    if source.main_pid():
        source.engine("engine.kill()")
    data = source.run_bytes("tar", "-C", "/var/lib/mysql", "-cf", "-", ".")
    target.run("sh", "-euc", "rm -rf /var/lib/mysql/*; tar -C /var/lib/mysql -xf -", stdin=data)


# --- a server that hangs -------------------------------------------------------------------------------------------------
def test_frozen_server_answers_nothing_and_can_be_killed(servers: MariadbLab) -> None:
    db1, db2 = servers["db1"], servers["db2"]
    db1.signal("STOP")
    assert db1.engine("result = [engine.pid() is not None, refused(engine.look) != '']") == [True, True]
    heard = "engine.heard(); time.sleep(0.5); first = engine.heard(); time.sleep(0.7); result = engine.heard() - first"
    assert db2.engine(heard) == 0, "no heartbeat comes any more"
    db1.engine("engine.kill()")
    assert db1.main_pid() == 0


def test_server_whose_disk_stalls_answers_and_is_heard_but_writes_nothing(servers: MariadbLab) -> None:
    """So only the row that the primary writes shows it, while no session waits for an acknowledgement."""
    db1 = servers["db1"]
    db1.engine("engine.beat()")  # its table is there
    session = db1.connect()
    before = session.rows("SELECT @@gtid_binlog_pos AS it")[0]["it"]
    servers.lab.stall_disk("db1", True)
    try:
        write = insert(db1.connect(), "stalled")
        assert not write.ends_within(A_WHILE_S)
        assert not db1.processes(state=WAITS)
        assert session.rows("SELECT @@gtid_binlog_pos AS it")[0]["it"] == before
        assert (
            servers["db2"].engine("engine.heard(); first = engine.heard(); time.sleep(0.7); result = engine.heard() - first")
            > 0
        )
    finally:
        servers.lab.stall_disk("db1", False)
    assert write.ends_within(20)


def test_primary_asks_its_replicas_what_they_have_applied(servers: MariadbLab) -> None:
    has_all = "look = engine.look(); result = sorted(node for node, has in look.feeds.items() if has.covers(look.written))"
    wait_until(
        lambda: servers["db1"].engine("engine.beat(); engine.ask_replicas()", has_all) == ["db2", "w1"], "both have everything"
    )

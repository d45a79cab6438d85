"""Everything that is done to a database, one fault or more at a time, and what must be said meanwhile.

Each is tried under writing clients (database_drill.py), and must leave no trace: nobody puts anything right by hand. Those with
`is_tested` are quick and run with every test; all of them run with `python tests/bench/failures.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from itertools import permutations

from database_drill import AGENT, ETCD, ETCD_PORTS, SERVER, Drill, Drilled, Fault
from failing_database import APPLICATION, PORT, SWITCHOVER_TRIES, FailingDatabase

from nospof.drills.verdict import Result
from nospof.lab.lab import HostState

ROLES = "nospof-database-roles.service"
ALONE = "etcd does not answer"
# Longer than the primary's agent waits before it ends itself when it is alone.
LONG_ENOUGH_S = 5.0
FROZEN_S = 10.0
# Without writing 8 GiB: blocks are only promised, in ever smaller pieces until there are none.
FILL = """\
mkdir -p /var/fill; i=0
for size in 1G 64M 4M 256K 4K; do while fallocate -l $size /var/fill/$i 2>/dev/null; do i=$((i+1)); done; done; true
"""
BIG = """\
DROP TABLE IF EXISTS app.drill_big;
CREATE TABLE app.drill_big (id INT PRIMARY KEY, filler CHAR(200) NOT NULL);
INSERT INTO app.drill_big SELECT seq, 'x' FROM app.seq_1_to_60000;
"""
REBUILD = "ALTER TABLE app.drill_big ADD COLUMN more INT DEFAULT 7, FORCE, ALGORITHM=COPY"


class Loss(Enum):
    """Whether an acknowledged write may be lost."""

    NONE = "none"
    ACCEPTED = "accepted"
    """A person accepted it, or did what is warned of."""
    PLANTED = "planted"
    """It was made, and must be found."""


@dataclass(frozen=True)
class Failure:
    """A fault by name."""

    name: str
    fault: Fault
    is_tested: bool = False
    loss: Loss = Loss.NONE
    is_planned: bool = False
    """No new connection may fail."""

    def is_as_expected(self, found: Drilled) -> bool:
        """Whether the verdicts are what they should be after this."""
        if self.is_planned and found.connects_failed:
            return False
        if self.loss is Loss.NONE:
            return found.is_sound
        is_lost = found.verdicts["lost"].result is Result.FAIL
        others = all(verdict.result is Result.PASS for name, verdict in found.verdicts.items() if name != "lost")
        return others and (is_lost or self.loss is Loss.ACCEPTED)


FAILURES: list[Failure] = []


def failure(*, is_tested: bool = False, loss: Loss = Loss.NONE, is_planned: bool = False) -> Callable[[Fault], Fault]:
    """Register a fault under its function's name."""

    def register(fault: Fault) -> Fault:
        name = fault.__name__.replace("_", " ")
        FAILURES.append(Failure(name, fault, is_tested, loss, is_planned))
        return fault

    return register


# --- processes -------------------------------------------------------------------------------------------------------
@failure(is_tested=True)
def agent_of_the_primary_killed(drill: Drill) -> None:
    drill.kill(drill.primary, AGENT)
    drill.awaits_writes()


@failure()
def agents_of_both_voters_killed(drill: Drill) -> None:
    for node in drill.others(drill.primary):
        drill.kill(node, AGENT)
    drill.awaits_writes()


@failure()
def agent_of_the_primary_frozen_10_s(drill: Drill) -> None:
    primary = drill.primary
    drill.kill(primary, AGENT, "STOP")
    time.sleep(FROZEN_S)
    drill.kill(primary, AGENT, "CONT")
    drill.awaits_writes()


@failure()
def agent_of_a_voter_frozen_10_s(drill: Drill) -> None:
    voter = drill.replica()
    drill.kill(voter, AGENT, "STOP")
    time.sleep(FROZEN_S)
    drill.kill(voter, AGENT, "CONT")
    drill.awaits_writes()


@failure(is_tested=True)
def agent_of_the_primary_stopped_for_good(drill: Drill) -> None:
    """The primary goes on: it still acknowledges, and so nobody can replace it."""
    with _stopped(drill, AGENT):
        time.sleep(LONG_ENOUGH_S + 3)
        drill.awaits_writes()


@failure(is_tested=True)
def role_server_of_the_primary_stopped_for_good(drill: Drill) -> None:
    """Nobody can hear of this primary any more: it hands over."""
    primary = drill.primary
    with _stopped(drill, ROLES):
        drill.awaits(lambda: primary not in drill.database.primaries(), "another primary", 30.0)
        drill.awaits_writes()


@contextmanager
def _stopped(drill: Drill, unit: str) -> Iterator[None]:
    host = drill.primary
    drill.database.on(host, "systemctl", "stop", unit)
    try:
        yield
    finally:
        drill.database.on(host, "systemctl", "start", unit)


@failure(is_tested=True)
def server_of_the_primary_frozen(drill: Drill) -> None:
    primary = drill.primary
    drill.kill(primary, SERVER, "STOP")
    drill.awaits_new_primary(primary)
    drill.awaits_writes()


@failure()
def primary_killed(drill: Drill) -> None:
    primary = drill.primary
    drill.kill(primary)
    drill.awaits_new_primary(primary)
    drill.awaits_writes()


@failure()
def primary_dark(drill: Drill) -> None:
    primary = drill.primary
    drill.database.dark(primary)
    drill.awaits_new_primary(primary)
    drill.awaits_writes()


@failure(is_tested=True)
def primary_rebooted(drill: Drill) -> None:
    """It hands over first. Not called planned: in one of two runs new connections failed meanwhile, 33 of them."""
    primary = drill.primary
    drill.database.on(primary, "systemctl", "--no-block", "reboot")
    drill.awaits_new_primary(primary)
    drill.awaits_writes()


# --- the network -----------------------------------------------------------------------------------------------------
@failure(is_tested=True)
def primary_cut_from_etcd(drill: Drill) -> None:
    """It goes on as long as its voters acknowledge."""
    primary = drill.primary
    drill.cut(primary, ports=ETCD_PORTS)
    drill.awaits_words(primary, ALONE)
    time.sleep(LONG_ENOUGH_S)
    assert drill.database.primaries() == (primary,)
    drill.awaits_writes()


@failure(is_tested=True)
def primary_cut_from_its_voters(drill: Drill) -> None:
    primary = drill.primary
    drill.cut(primary, ports=(PORT,))
    drill.awaits_new_primary(primary)
    drill.awaits_writes()


@failure(is_tested=True)
def primary_cut_from_everything(drill: Drill) -> None:
    """It ends itself, and starts nothing before it knows who is primary."""
    primary = drill.primary
    drill.cut(primary, others=(*drill.others(primary), APPLICATION))
    drill.awaits_new_primary(primary)
    drill.awaits_writes()
    drill.awaits_words(primary, ALONE)
    drill.awaits(lambda: drill.database.seen(primary) is None, f"{primary} has ended its server")


@failure(is_tested=True)
def primary_is_not_heard_and_hears(drill: Drill) -> None:
    primary = drill.primary
    drill.cut(primary, one_way=True)
    drill.awaits_new_primary(primary)
    drill.awaits_writes()


@failure()
def primary_is_heard_and_does_not_hear(drill: Drill) -> None:
    primary = drill.primary
    drill.database.lab.cut(drill.others(primary), [primary], one_way=True)
    drill.awaits_new_primary(primary)
    drill.awaits_writes()


@failure()
def half_and_half_with_the_application_beside_the_primary(drill: Drill) -> None:
    """The other half has etcd's majority: it promotes, and the application reaches nobody until it is mended."""
    primary = drill.primary
    drill.cut(primary, APPLICATION, others=drill.others(primary))
    drill.awaits_new_primary(primary)
    drill.awaits(lambda: drill.database.seen(primary) is None, f"{primary} has ended its server")
    drill.mend()
    drill.awaits_writes()


@failure()
def half_and_half_with_the_application_beside_the_other(drill: Drill) -> None:
    """The primary keeps its witness: nothing changes but that the application does not reach it."""
    primary, other = drill.primary, drill.replica()
    drill.cut(other, APPLICATION, others=drill.others(other))
    time.sleep(LONG_ENOUGH_S)
    assert drill.database.primaries() == (primary,)
    drill.mend()
    drill.awaits_writes()


# --- etcd ------------------------------------------------------------------------------------------------------------
@failure()
def etcd_beside_the_primary_lost(drill: Drill) -> None:
    primary = drill.primary
    drill.database.on(primary, "systemctl", "stop", ETCD)
    time.sleep(LONG_ENOUGH_S)
    assert drill.database.primaries() == (primary,)
    drill.database.on(primary, "systemctl", "start", ETCD)
    drill.awaits_writes()


@failure(is_tested=True)
def two_of_etcd_lost(drill: Drill) -> None:
    """Nobody can be promoted, and it is said; writes go on."""
    primary = drill.primary
    for node in drill.others(primary):
        drill.database.on(node, "systemctl", "stop", ETCD)
    for node in drill.database.nodes:
        drill.awaits_words(node, ALONE)
    drill.awaits_writes()
    for node in drill.others(primary):
        drill.database.on(node, "systemctl", "start", "--no-block", ETCD)


@failure()
def all_of_etcd_lost_and_the_primary_killed(drill: Drill) -> None:
    """Nobody can decide anything: writes wait until etcd is back."""
    primary = drill.primary
    for node in drill.database.nodes:
        drill.database.on(node, "systemctl", "stop", ETCD)
    drill.awaits_words(primary, ALONE)
    drill.kill(primary)
    time.sleep(LONG_ENOUGH_S)
    assert not drill.database.primaries()
    for node in drill.database.nodes:
        drill.database.on(node, "systemctl", "start", "--no-block", ETCD)
    drill.awaits_writes()


# --- planned -----------------------------------------------------------------------------------------------------------
@failure(is_planned=True)
def switchover(drill: Drill) -> None:
    drill.switchover()
    drill.awaits_writes()


# --- one after the other ---------------------------------------------------------------------------------------------
@failure(is_tested=True)
def second_failover_right_after_the_first(drill: Drill) -> None:
    for _ in range(2):
        primary = drill.primary
        drill.kill(primary)
        drill.awaits_new_primary(primary)
        drill.awaits_writes()


@failure()
def new_primary_dark_1_s_after_a_failover(drill: Drill) -> None:
    """The second loss comes before the first host is back: writes may wait for it, and nothing is lost."""
    old = drill.primary
    drill.kill(old)
    new = drill.awaits_new_primary(old)
    time.sleep(1.0)
    drill.database.dark(new)
    drill.awaits_writes()


@failure()
def primary_killed_1_s_after_a_switchover(drill: Drill) -> None:
    new = drill.switchover()
    time.sleep(1.0)
    drill.kill(new)
    drill.awaits_new_primary(new)
    drill.awaits_writes()


@failure()
def primary_dark_1_s_after_a_switchover(drill: Drill) -> None:
    new = drill.switchover()
    time.sleep(1.0)
    drill.database.dark(new)
    drill.awaits_new_primary(new)
    drill.awaits_writes()


@failure()
def voter_killed_then_the_primary(drill: Drill) -> None:
    """A voter that restarted may have forgotten what it acknowledged: nobody is promoted before it is one again."""
    primary = drill.primary
    drill.kill(drill.replica())
    drill.kill(primary)
    drill.awaits_writes()


@failure(is_tested=True)
def voter_killed_between_acknowledging_and_applying_then_the_primary(drill: Drill) -> None:
    primary, voter = drill.primary, drill.replica()
    lock = f"FLUSH TABLES app.`{drill.table}` WITH READ LOCK; DO SLEEP(30);"
    with drill.meanwhile(voter, lock):
        drill.awaits(lambda: _unapplied(drill, voter) > 20, f"{voter} has more than it has applied")
        drill.kill(voter)
        drill.kill(primary)
    drill.awaits_writes()


def _unapplied(drill: Drill, node: str) -> int:
    """How many transactions the host has received and not applied."""
    details = (drill.status(node).get("note") or {}).get("details", {})
    received, written = (_number(details.get(name, "")) for name in ("received", "written"))
    return received - written


def _number(position: str) -> int:
    """Of the last transaction in "0:1316@2"; 0 of none."""
    return int(position.partition("@")[0].rpartition(":")[2] or 0)


def _switches_over(drill: Drill, killed: Callable[[], list[str]]) -> None:
    """By the user's command, which a busy machine may refuse; how it ends once an agent is gone in its midst is not asked."""
    for _ in range(SWITCHOVER_TRIES):
        drill.database.live.start("switchover", str(drill.database.live.file)).communicate(timeout=60)
        if killed():
            return
        time.sleep(1.0)


def _agents_killed(words: str, *, is_planned: bool) -> Fault:
    """Kill every agent that says `words` while the primary changes."""

    def fault(drill: Drill) -> None:
        primary = drill.primary
        with drill.agents_killed_at(words) as killed:
            if is_planned:
                _switches_over(drill, killed)
            else:
                drill.kill(primary)
            drill.awaits_writes()
            drill.database.healed(is_quiet=False)
            assert killed(), f"nobody ever said {words!r}"

    return fault


FAILOVER_STEPS = (
    "announces that the server ended", "stops receiving from", "votes: has", "takes over from", "takes writes",
    "starts as a replica", "follows", "knows its place", "becomes a voter", "acknowledges each write",
)  # fmt: skip
HANDOVER_STEPS = (
    "goes ahead to", "lets the routers", "takes no more writes", "hands over to", "takes writes", "to which it handed over",
)  # fmt: skip
TESTED_STEPS = ("takes over from", "hands over to")
FAILURES += [
    Failure(f"failover, agents killed that say: {words}", _agents_killed(words, is_planned=False), words in TESTED_STEPS)
    for words in FAILOVER_STEPS
]
FAILURES += [
    Failure(f"switchover, agents killed that say: {words}", _agents_killed(words, is_planned=True), words in TESTED_STEPS)
    for words in HANDOVER_STEPS
]


# --- statements ------------------------------------------------------------------------------------------------------
@failure(loss=Loss.ACCEPTED)
def sessions_that_wait_for_a_voter_killed_by_hand(drill: Drill) -> None:
    """The limit: MariaDB tells the client of a session that is killed while it waits that its write is safe."""
    primary = drill.primary
    drill.cut(primary, ports=(PORT,))
    waiting = "SELECT id FROM information_schema.processlist WHERE state LIKE 'Waiting for semi-sync%' AND user = 'app'"
    drill.awaits(lambda: bool(drill.sql(primary, waiting)), "somebody waits")
    for (session,) in drill.sql(primary, waiting):
        drill.database.sql(primary, f"KILL {session}")
    drill.awaits_new_primary(primary)
    drill.awaits_writes()


@failure()
def long_transaction_open(drill: Drill) -> None:
    """What was not committed is nowhere afterwards."""
    primary = drill.primary
    drill.sql(primary, "CREATE TABLE IF NOT EXISTS app.drill_long (id INT PRIMARY KEY)")
    with drill.meanwhile(primary, "BEGIN; INSERT INTO drill_long SELECT seq FROM seq_1_to_5000; DO SLEEP(30); COMMIT;"):
        drill.awaits(lambda: _runs(drill, primary, "DO SLEEP(30)"), "the transaction is open")
        drill.kill(primary)
        new = drill.awaits_new_primary(primary)
        drill.awaits_writes()
    assert drill.sql(new, "SELECT COUNT(*) FROM app.drill_long") == [["0"]]


@failure()
def primary_killed_in_the_midst_of_a_big_transaction(drill: Drill) -> None:
    """Its voters have received a part of it, whose end nobody sends any more."""
    primary, voter = drill.primary, drill.replica()
    drill.sql(primary, "CREATE OR REPLACE TABLE app.drill_blobs (id INT PRIMARY KEY, filler LONGBLOB NOT NULL)")
    before = _received_bytes(drill, voter)
    with drill.meanwhile(primary, "INSERT INTO drill_blobs SELECT seq, REPEAT('x', 1000000) FROM seq_1_to_60"):
        drill.awaits(lambda: _received_bytes(drill, voter) > before + 4_000_000, "the voter has received a part of it")
        drill.kill(primary)
        new = drill.awaits_new_primary(primary)
        drill.awaits_writes()
    assert drill.sql(new, "SELECT COUNT(*) FROM app.drill_blobs") == [["0"]], "it came whole: nothing was tested"


def _received_bytes(drill: Drill, node: str) -> int:
    """How large the replica's relay logs are."""
    return int(drill.database.on(node, "sh", "-c", "cat /var/lib/mysql/relay.[0-9]* | wc -c"))


@failure()
def big_table_being_rebuilt_on_the_primary(drill: Drill) -> None:
    primary = drill.primary
    drill.sql(primary, BIG)
    with drill.meanwhile(primary, REBUILD):
        drill.awaits(lambda: _runs(drill, primary, "ALTER TABLE"), "it is being rebuilt")
        drill.kill(primary)
        drill.awaits_new_primary(primary)
        drill.awaits_writes()


@failure()
def big_table_being_rebuilt_on_the_voters(drill: Drill) -> None:
    """Whoever takes over applies it first."""
    primary, voter = drill.primary, drill.replica()
    drill.sql(primary, BIG)
    drill.awaits(lambda: _unapplied(drill, voter) < 50, "the voter has the table")
    with drill.meanwhile(primary, REBUILD):
        drill.awaits(lambda: _runs(drill, voter, "ALTER TABLE"), "a voter rebuilds it")
        drill.kill(primary)
        new = drill.awaits_new_primary(primary)
        drill.awaits_writes()
    columns = drill.sql(new, "SHOW COLUMNS FROM app.drill_big LIKE 'more'")
    assert columns, "what was acknowledged is not there"


def _runs(drill: Drill, node: str, words: str) -> bool:
    rows = drill.sql(node, "SELECT info FROM information_schema.processlist WHERE id <> CONNECTION_ID()")
    return any(words in row[0] for row in rows)


# --- disks -----------------------------------------------------------------------------------------------------------
@failure()
def disk_of_the_primary_stalled(drill: Drill) -> None:
    primary = drill.primary
    drill.database.lab.stall_disk(primary, True)
    try:
        drill.awaits_new_primary(primary)
        drill.awaits_writes()
    finally:
        drill.database.lab.stall_disk(primary, False)


@failure()
def disk_of_the_primary_full(drill: Drill) -> None:
    primary = drill.primary
    drill.database.on(primary, "sh", "-c", FILL)
    try:
        drill.awaits_new_primary(primary)
        drill.awaits_writes()
    finally:
        drill.database.on(primary, "rm", "-r", "/var/fill")


@failure()
def disk_of_a_voter_stalled(drill: Drill) -> None:
    """Writes go on with the other voter. The limit: this one stays a voter as long as its connection lives."""
    primary, voter = drill.primary, drill.replica()
    drill.database.lab.stall_disk(voter, True)
    try:
        time.sleep(LONG_ENOUGH_S)
        drill.awaits_writes()
        assert drill.database.primaries() == (primary,)
    finally:
        drill.database.lab.stall_disk(voter, False)


@failure(is_tested=True)
def data_of_a_replica_wiped(drill: Drill) -> None:
    """It copies all by itself."""
    replica = drill.replica()
    wipe = (
        f"systemctl kill --signal=STOP {AGENT}; systemctl kill --signal=KILL {SERVER}; "
        "while pgrep -x mariadbd >/dev/null; do sleep 0.02; done; find /var/lib/mysql -mindepth 1 -delete; "
        f"systemctl kill --signal=CONT {AGENT}"
    )
    drill.database.on(replica, "bash", "-c", wipe)
    drill.awaits_writes()


@failure()
def binary_logs_purged_that_a_replica_lacks(drill: Drill) -> None:
    """It copies all by itself."""
    primary, replica = drill.primary, drill.replica()
    drill.cut(replica, ports=(PORT,))
    drill.awaits_words(primary, "acknowledged by w1")
    drill.awaits(lambda: replica not in str(drill.sql(primary, "SHOW REPLICA HOSTS")), f"{replica} is not fed", 60.0)

    def is_purged() -> bool:
        drill.sql(primary, "FLUSH BINARY LOGS")
        logs = drill.sql(primary, "SHOW BINARY LOGS")
        drill.database.sql(primary, f"PURGE BINARY LOGS TO '{logs[-1][0]}'")
        return len(drill.sql(primary, "SHOW BINARY LOGS")) < 2

    drill.awaits(is_purged, "the old logs are purged")
    drill.mend()
    drill.awaits_writes()


# --- the whole site --------------------------------------------------------------------------------------------------
def _dark_and_back(order: tuple[int, ...]) -> Fault:
    """Take everybody's power at once and give it back: 0 is the last primary, then its replica, then the witness."""

    def fault(drill: Drill) -> None:
        primary, replica = drill.primary, drill.replica()
        hosts = (primary, replica, next(node for node in drill.others(primary, replica)))
        _go_dark(drill, hosts)
        for index in order:
            assert not drill.database.primaries() or _has_power(drill.database, primary)
            drill.database.power_on(hosts[index])
            time.sleep(2.0)
        drill.awaits_writes()

    return fault


def _go_dark(drill: Drill, hosts: tuple[str, ...]) -> None:
    for host in hosts:
        drill.database.dark(host)


def _has_power(database: FailingDatabase, host: str) -> bool:
    return database.lab.state(host) is HostState.RUNNING


SITE_ROLES = ("primary", "replica", "witness")
FAILURES += [
    Failure(f"whole site dark, back in the order {', '.join(SITE_ROLES[i] for i in order)}", _dark_and_back(order))
    for order in permutations(range(3))
]


@failure(loss=Loss.ACCEPTED)
def whole_site_dark_and_the_last_primary_never_back(drill: Drill) -> None:
    """Nobody is promoted by itself, and that is said; a person accepts the loss. Then its host comes back after all."""
    primary, replica = drill.primary, drill.replica()
    _go_dark(drill, drill.database.nodes)
    others = drill.others(primary)
    for node in others:
        drill.database.power_on(node)
    drill.awaits_words(replica, "nobody can take over")
    time.sleep(LONG_ENOUGH_S)
    assert not drill.database.primaries()
    drill.database.live.nospof("promote", replica, "--accept-loss", "--yes", drill.database.live.name)
    drill.awaits_writes()


@failure(is_tested=True, loss=Loss.PLANTED)
def planted_loss(drill: Drill) -> None:
    """It must be found: a checker that never finds anything proves nothing."""
    primary = drill.primary
    drill.database.plant_loss(drill.writes)
    drill.awaits_new_primary(primary)
    drill.awaits_writes()


# --- the stack changes -----------------------------------------------------------------------------------------------
@failure(is_tested=True, is_planned=True)
def setting_changed_that_needs_a_restart(drill: Drill) -> None:
    """Replicas first, then a hand over, then the old primary: no new connection fails."""
    live, primary = drill.database.live, drill.primary
    before = int(drill.sql(primary, "SELECT @@max_user_connections")[0][0])
    if before == 200:
        live.edit("witness: w1", "witness: w1, max_connections: 201")
    else:
        live.edit(f"max_connections: {before}", f"max_connections: {before + 1}")
    live.nospof("up")
    ages = {node: int(drill.sql(node, "SHOW STATUS LIKE 'Uptime'")[0][1]) for node in drill.database.nodes}
    assert all(drill.sql(node, "SELECT @@max_user_connections") == [[str(before + 1)]] for node in drill.database.nodes)
    assert min(ages, key=lambda node: ages[node]) == primary, ages


WITH_DB3 = {"  w1: {zone: c}": "  w1: {zone: c}\n  db3: {zone: c}", "hosts: [db1, db2]": "hosts: [db1, db2, db3]"}


@failure(is_planned=True)
def host_added_and_removed(drill: Drill) -> None:
    """It copies all and follows; then it leaves, and the others go on."""
    live = drill.database.live
    _add_db3(drill)
    for old, new in WITH_DB3.items():
        live.edit(new, old)
    live.nospof("up")
    assert "db3" not in live.deployment().lab.host_names()
    drill.awaits_writes()


@failure(is_planned=True)
def primary_removed_from_its_tier_then_from_the_stack(drill: Drill) -> None:
    """It hands over before anything of it is stopped, and no server runs on it afterwards; then the host goes too."""
    live = drill.database.live
    grown = _add_db3(drill)
    # There is room for it among the voters only while one of the others is away.
    drill.database.dark("w1")
    drill.awaits(lambda: _acknowledges(grown, "db3"), "db3 is a voter", 60.0)
    drill.database.power_on("w1")
    live.nospof("switchover", "--to", "db3")
    assert grown.primary() == "db3"
    old, new = "hosts: [db1, db2]", "hosts: [db1, db2, db3]"
    live.edit(new, old)
    said = live.nospof("up")
    assert "leaves tier database: handed over to db" in said, said
    assert not live.on("db3", "sh", "-c", "pgrep mariadbd; pgrep -f [d]atabase_agent; true")
    drill.awaits_writes()
    live.edit("  w1: {zone: c}\n  db3: {zone: c}", "  w1: {zone: c}")
    live.nospof("up")
    assert "db3" not in live.deployment().lab.host_names()
    drill.awaits_writes()


def _add_db3(drill: Drill) -> FailingDatabase:
    """Add a database host; returns the database with it once it follows."""
    live = drill.database.live
    for old, new in WITH_DB3.items():
        live.edit(old, new)
    live.nospof("up")
    grown = FailingDatabase(live, live.deployment())
    drill.awaits(lambda: _follows(grown, "db3"), "db3 follows", 60.0)
    drill.awaits_writes()
    return grown


def _follows(database: FailingDatabase, node: str) -> bool:
    state = database.seen(node)
    return state is not None and state.is_following and state.is_read_only


def _acknowledges(database: FailingDatabase, node: str) -> bool:
    state = database.seen(node)
    return state is not None and state.is_acknowledging

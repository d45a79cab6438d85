"""A database under writes while its primary is broken: how to break it, how it heals, what is left of what was acknowledged.

The smallest stack with the real route: two databases, their witness, and one host with an application, whose environment and
router the writing clients use. What the stack says of itself serves to find the primary; what it holds, and whether all copies
are redundant again, is read from each server over its own socket.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from live_site import LiveSite

from nospof.apply.transport import Finished
from nospof.deployment import Deployment
from nospof.drills.checkers import Copies, Copy
from nospof.drills.checkers.copies_equal import copies_equal
from nospof.drills.checkers.lost_writes import lost_writes
from nospof.drills.checkers.phantoms import phantoms
from nospof.drills.checkers.two_primaries import two_primaries
from nospof.drills.verdict import Verdict
from nospof.drills.workloads.sql_write import History, Load, Running, running
from nospof.lab.lab import HostState, Lab
from nospof.lab.machine import wait_until

TIER, PORT = "database", 3306
APPLICATION = "web1"
HEALED_WITHIN_S, PRIMARY_WITHIN_S = 180.0, 30.0
SQL_S = 10.0
SWITCHOVER_TRIES = 5
# So many that most were acknowledged after the waiting was off; a slow machine has this time for them.
PLANTED_WRITES, PLANTED_WITHIN_S = 40, 5.0
DRILL_TABLE = "drill\\_%"


@dataclass(frozen=True)
class Product:
    """The database product: its component, its client, its server's program, what it says of itself."""

    component: str
    client: str
    program: str
    about_itself: str
    waits_no_more: str


MARIADB = Product(
    "mariadb",
    "mariadb",
    "mariadbd",
    """\
SELECT 'read_only', @@read_only;
SELECT 'gtid', @@gtid_binlog_pos;
SELECT 'waits', @@rpl_semi_sync_master_enabled;
SHOW STATUS WHERE Variable_name IN ('Rpl_semi_sync_master_clients', 'Rpl_semi_sync_slave_status', 'Slave_running');
""",
    "SET GLOBAL rpl_semi_sync_master_enabled = OFF;",
)
MYSQL = Product(
    "mysql",
    "mysql",
    "mysqld",
    """\
SELECT 'read_only', @@super_read_only;
SELECT 'gtid', @@gtid_executed;
SELECT 'waits', @@rpl_semi_sync_source_enabled;
SELECT 'Rpl_semi_sync_master_clients', variable_value FROM performance_schema.global_status
 WHERE variable_name = 'Rpl_semi_sync_source_clients';
SELECT 'Rpl_semi_sync_slave_status', variable_value FROM performance_schema.global_status
 WHERE variable_name = 'Rpl_semi_sync_replica_status';
SELECT 'Slave_running', IF(COUNT(*) > 0, 'ON', 'OFF') FROM performance_schema.replication_connection_status AS receives
 JOIN performance_schema.replication_applier_status AS applies USING (channel_name)
 WHERE receives.service_state = 'ON' AND applies.service_state = 'ON';
""",
    "SET GLOBAL rpl_semi_sync_source_enabled = OFF;",
)
PRODUCTS = {product.component: product for product in (MARIADB, MYSQL)}

STACK = """\
name: NAME
domain: drill.example.com
hosts:
  web1: {zone: a}
  db1: {zone: a}
  db2: {zone: b}
  w1: {zone: c}
tiers:
  app:      {component: gunicorn, hosts: [web1], source: ./idle, module: "idle:app", workers: 1, to: database}
  database: {component: PRODUCT, hosts: [db1, db2], witness: w1}
"""
IDLE = '''\
"""An application that does nothing: it is there for its environment and its route to the database."""


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"idle"]
'''


Found = TypeVar("Found")


@dataclass(frozen=True)
class Node:
    """A database server as it sees itself."""

    is_read_only: bool
    gtid: str
    voters: int
    """How many acknowledging replicas it counts; -1 when it does not wait for any."""
    is_following: bool
    is_acknowledging: bool


@dataclass(frozen=True)
class Told:
    """What the stack says of its primaries. `term` None: it counts none, as a stack in which nobody is promoted."""

    term: int | None = None
    failovers: tuple[Mapping[str, Any], ...] = ()
    """The latest changes, oldest first: {term, from, to, cause, ms: {phase: ms}, ...}."""

    def changes_since(self, before: Told) -> int:
        """How many terms began since then: so many changes of the primary may be seen. 1 where terms are not counted."""
        return 1 if self.term is None or before.term is None else self.term - before.term

    def failovers_since(self, before: Told) -> tuple[Mapping[str, Any], ...]:
        return tuple(one for one in self.failovers if int(one["term"]) > (before.term or 0))


@dataclass(frozen=True)
class Audit:
    """What the checkers say of one history, and the checksums of all tables when all is well."""

    lost: Verdict
    phantom: Verdict
    dual: Verdict
    equal: Verdict
    checksums: Mapping[str, int | str]

    @property
    def verdicts(self) -> dict[str, Verdict]:
        return {"lost": self.lost, "phantom": self.phantom, "dual": self.dual, "equal": self.equal}


@dataclass(frozen=True)
class FailingDatabase:
    """The stack, deployed in a lab of its own, and what can be done to it."""

    live: LiveSite
    deployment: Deployment
    product: Product = MARIADB

    @classmethod
    @contextlib.contextmanager
    def brought_up(cls, folder: Path, product: Product = MARIADB) -> Iterator[FailingDatabase]:
        """Bring the stack up in `folder`, yield it when all of it is well, and take everything down, come what may."""
        live = LiveSite(folder, f"dbfail-{secrets.token_hex(3)}")
        live.file.write_text(STACK.replace("NAME", live.name).replace("PRODUCT", product.component))
        (folder / "idle").mkdir()
        (folder / "idle" / "idle.py").write_text(IDLE)
        (folder / "idle" / "requirements.txt").write_text("")
        try:
            live.nospof("up")
            database = cls(live, live.deployment(), product)
            database.healed()
            yield database
        finally:
            live.down()

    @property
    def lab(self) -> Lab:
        return self.deployment.lab

    @property
    def nodes(self) -> tuple[str, ...]:
        """All hosts with a copy, the witness too."""
        return tuple(sorted(i.id.host for i in self.deployment.topology.instances if i.id.tier == TIER))

    # --- looking -----------------------------------------------------------------------------------------------------
    def primaries(self) -> tuple[str, ...]:
        """The hosts that say to routers that they are primary."""
        return tuple(node for node, is_primary in self._on_each(self._says_it_is_primary).items() if is_primary)

    def primary(self, limit_s: float = PRIMARY_WITHIN_S) -> str:
        """The one primary, as soon as there is one alone; none or two to the end of `limit_s` are an error."""
        found: list[tuple[str, ...]] = [()]

        def is_one() -> bool:
            found[0] = self.primaries()
            return len(found[0]) == 1

        assert wait_until(is_one, limit_s, step_s=0.1), f"primaries: {', '.join(found[0]) or 'none'}, for {limit_s:g} s"
        return found[0][0]

    @property
    def is_dark(self) -> bool:
        """Whether a host is off or frozen."""
        return any(self.lab.state(node) is not HostState.RUNNING for node in self.nodes)

    def told(self) -> Told:
        """What `nospof status --json` tells of the tier; a stack that tells of no terms has none."""
        process = self.live.start("status", "--json", str(self.live.file))
        out, _ = process.communicate(timeout=30)
        with contextlib.suppress(json.JSONDecodeError):
            for database in json.loads(out).get("databases", []):
                # No term: no agent answered in time, as on a machine that is overloaded.
                if database["tier"] == TIER and database["term"]:
                    failovers = sorted(database["failovers"], key=lambda one: int(one["term"]))
                    return Told(int(database["term"]), tuple(failovers))
        return Told()

    def sql(self, node: str, statements: str) -> list[list[str]] | None:
        """Run statements as root over the server's own socket; None when the host or the server does not answer."""
        argv = ["timeout", f"{SQL_S:g}", self.product.client, "--batch", "--skip-column-names"]
        ended = self.lab.run(node, argv, statements.encode(), timeout_s=SQL_S + 5)
        if not isinstance(ended, Finished) or ended.exit_code != 0:
            return None
        return [line.split("\t") for line in ended.stdout.decode().splitlines()]

    def seen(self, node: str) -> Node | None:
        """Ask a server about itself; None when it does not answer."""
        rows = self.sql(node, self.product.about_itself)
        if rows is None:
            return None
        told = {row[0]: row[1] if len(row) > 1 else "" for row in rows}
        voters = int(told["Rpl_semi_sync_master_clients"]) if told["waits"] == "1" else -1
        is_following, is_acknowledging = told["Slave_running"] == "ON", told["Rpl_semi_sync_slave_status"] == "ON"
        return Node(told["read_only"] != "0", told["gtid"], voters, is_following, is_acknowledging)

    def complaints(self, *, is_quiet: bool = True) -> list[str]:
        """What full redundancy lacks. `is_quiet`: nobody writes, so all positions must be equal."""
        seen = self._on_each(self.seen)
        found = [f"{node} does not answer" for node, state in seen.items() if state is None]
        known = {node: state for node, state in seen.items() if state is not None}
        writable = [node for node, state in known.items() if not state.is_read_only]
        if (told := list(self.primaries())) != writable or len(writable) != 1:
            found.append(f"primary is {told or 'nobody'} for routers, writable is {writable or 'nobody'}")
        for node, state in known.items():
            found += _complaints_of(node, state, len(self.nodes) - 1)
        if is_quiet and len({state.gtid for state in known.values()}) > 1:
            found.append(f"not the same position: { {node: state.gtid for node, state in known.items()} }")
        return found

    def copies(self, table: str) -> Copies:
        """Read what each node holds, on the node itself."""
        return self._on_each(partial(self._copy, table))

    def _copy(self, table: str, node: str) -> Copy | None:
        tables = self.sql(node, f"SHOW TABLES FROM app LIKE '{DRILL_TABLE}'")
        if tables is None:
            return None
        names = sorted(row[0] for row in tables)
        # A table that is not there is empty: its creation was lost with all that was in it.
        tokens = self.sql(node, f"SELECT token FROM app.`{table}`") if table in names else []
        sums = self.sql(node, f"CHECKSUM TABLE {', '.join(f'app.`{name}`' for name in names)}") if names else []
        if tokens is None or sums is None:
            return None
        return Copy(tuple(row[0] for row in tokens), {name.partition(".")[2]: int(number) for name, number in sums})

    def audit(
        self, history: History, table: str, as_before: Mapping[str, int | str] | None = None, most_changes: int = 1
    ) -> Audit:
        """Judge `history` by what all nodes hold now.

        `as_before`: checksums of earlier tables, which must not have changed; `most_changes`: of the primary, that happened.
        """
        copies = self.copies(table)
        equal = copies_equal(copies, as_before)
        checksums = next((copy.checksums for copy in copies.values() if copy), {})
        return Audit(
            lost_writes(history, copies),
            phantoms(history, copies),
            two_primaries(history, most_changes),
            equal,
            checksums if equal.is_pass else {},
        )

    def testimony(self, host: str) -> str:
        """What the host can tell of what happened: its last log lines, and its replication if its server answers."""
        ended = self.lab.run(host, ["journalctl", "--lines=400", "--no-pager", "--output=short-precise"], timeout_s=20)
        journal = ended.stdout.decode(errors="replace") if isinstance(ended, Finished) else str(ended)
        replication = self.sql(host, "SHOW REPLICA STATUS\\G") if host in self.nodes else None
        lines = [" ".join(row) for row in replication] if replication else ["no replication, or no answer"]
        return "\n".join([str(self.seen(host)) if host in self.nodes else "", *lines, journal])

    # --- what is done to it ------------------------------------------------------------------------------------------
    def on(self, host: str, *argv: str) -> str:
        """Run a command on a host, which must work; returns its output."""
        ended = self.lab.run(host, argv)
        assert isinstance(ended, Finished), f"{host}: {ended}"
        assert ended.exit_code == 0, f"{host}: {argv}: {ended}"
        return ended.stdout.decode()

    def kill_primary(self) -> float:
        """Kill the primary's server with -9; returns a moment before that."""
        host = self.primary()
        pid = self.on(host, "pgrep", "--exact", self.product.program).strip()
        before = time.monotonic()
        self.on(host, "kill", "-KILL", pid)
        return before

    def dark(self, host: str) -> float:
        """Take the host's power away; returns when it fell silent."""
        return self.lab.power_off(host)

    def power_on(self, host: str) -> None:
        self.lab.power_on(host)

    def freeze(self, host: str) -> float:
        """Stop all of the host where it is; returns a moment before that. `power_on` thaws it."""
        before = time.monotonic()
        self.lab.freeze(host)
        return before

    def switchover(self, to: str = "") -> float:
        """Hand the primary over, by the command a user types, again when it is refused; returns a moment before the last try.

        A refusal changes nothing and has a reason, as that a transaction is open for a second: the disk may be slow just then.
        """
        words = ("switchover", str(self.live.file), *(("--to", to) if to else ()))
        for _ in range(SWITCHOVER_TRIES):
            before = time.monotonic()
            process = self.live.start(*words)
            out, err = process.communicate(timeout=60)
            if process.returncode == 0:
                return before
            time.sleep(1.0)
        raise AssertionError(f"not switched over in {SWITCHOVER_TRIES} tries: {out}\n{err}")

    def plant_loss(self, writes: Running) -> float:
        """Have the primary acknowledge `writes` that no replica and no disk has, and take its power: they must be found lost.

        Replication is cut in the network; semi-synchronous waiting is switched off again and again, since the stack switches
        it on; the logs are not synced. Returns when the host fell silent. Raises AssertionError if too few were acknowledged.
        """
        host = self.primary()
        off = self.product.waits_no_more
        again = f"{off} DO SLEEP(0.01);" * round(PLANTED_WITHIN_S / 0.01)
        with self.replication_cut(host):
            self.sql(host, f"SET GLOBAL sync_binlog = 0, innodb_flush_log_at_trx_commit = 0; {off}")
            # The host falls silent in the midst of it, and it ends without an answer.
            planting = threading.Thread(target=self.sql, args=(host, again))
            planting.start()
            wanted = writes.progress().good + PLANTED_WRITES
            is_planted = wait_until(lambda: writes.progress().good >= wanted, PLANTED_WITHIN_S, step_s=0.02)
            cut = self.dark(host)
            planting.join()
        assert is_planted, f"no {PLANTED_WRITES} writes were acknowledged by {host} alone: nothing was planted"
        return cut

    @contextlib.contextmanager
    def replication_cut(self, host: str) -> Iterator[None]:
        """Drop, between the host and the other nodes, what goes from or to its database port."""
        table = f"planted_{secrets.token_hex(3)}"
        address = self._address(host)
        others = ", ".join(self._address(node) for node in self.nodes if node != host)
        rules = (
            f"table bridge {table} {{ chain cut {{ type filter hook forward priority 0;\n"
            f"ip saddr {address} ip daddr {{ {others} }} tcp sport {PORT} drop\n"
            f"ip daddr {address} ip saddr {{ {others} }} tcp dport {PORT} drop\n}}\n}}\n"
        )
        self._switch("nft", "-f", "-", stdin=rules)
        try:
            yield
        finally:
            self._switch("nft", "delete", "table", "bridge", table)

    def _switch(self, *argv: str, stdin: str = "") -> None:
        subprocess.run(self.lab.switch_argv(argv), input=stdin, text=True, check=True, capture_output=True)

    def _address(self, host: str) -> str:
        return self.deployment.topology.host(host).address

    # --- its writers -------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def under(self, load: Load) -> Iterator[Running]:
        """Run `load` on the application's host."""
        with running(load, lambda argv, stdin, limit_s: self.lab.run(APPLICATION, argv, stdin, limit_s)) as run:
            yield run

    # --- its health --------------------------------------------------------------------------------------------------
    def healed(self, *, is_quiet: bool = True, limit_s: float = HEALED_WITHIN_S) -> float:
        """Give power to all hosts and wait for full redundancy; returns the seconds it took.

        One primary, all others replicas that acknowledge, and, when `is_quiet`, all at one position. Raises AssertionError
        with what it lacks after `limit_s`.
        """
        begin = time.monotonic()
        for host in self.deployment.topology.hosts:
            if self.lab.state(host.name) is not HostState.RUNNING:
                self.lab.power_on(host.name, wait=False)
        if not wait_until(lambda: not self.complaints(is_quiet=is_quiet), limit_s, step_s=0.2):
            raise AssertionError(f"not healed after {limit_s:g} s: {self.complaints(is_quiet=is_quiet)}")
        return time.monotonic() - begin

    def _says_it_is_primary(self, node: str) -> bool:
        url = f"https://{node}:8008/primary"
        argv = ["curl", "-fsS", "--max-time", "2", "--cacert", "/etc/nospof/tls/ca.pem", url]
        ended = self.lab.run(node, argv, timeout_s=5)
        return isinstance(ended, Finished) and ended.exit_code == 0

    def _on_each(self, ask: Callable[[str], Found]) -> dict[str, Found]:
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            return dict(zip(self.nodes, pool.map(ask, self.nodes), strict=True))


def _complaints_of(node: str, state: Node, replicas: int) -> list[str]:
    if not state.is_read_only:
        return [] if state.voters == replicas else [f"{node} counts {state.voters} voters, not {replicas}"]
    found = [] if state.is_following else [f"{node} follows nobody"]
    return found if state.is_acknowledging else [*found, f"{node} does not acknowledge"]

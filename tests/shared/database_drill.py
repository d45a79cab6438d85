"""One fault of the database under writing clients: what they saw, what the agents said, and what the checkers make of it."""

from __future__ import annotations

import json
import secrets
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from failing_database import FailingDatabase

from nospof.apply.transport import Finished
from nospof.drills.verdict import Result, Verdict
from nospof.drills.workloads.http_get import Outcome
from nospof.drills.workloads.sql_write import Kind, Load, Running
from nospof.lab.machine import wait_until

AGENT, SERVER, ETCD = "nospof-database-agent.service", "mariadb.service", "etcd.service"
SOCKET = "/run/nospof/database/agent.sock"
ETCD_PORTS = (2379, 2380)
STEADY_S, SETTLE_S, LONGEST_S = 0.7, 0.3, 300.0
CONNECT_EVERY_MS = 20.0
# Longer than anything that a host does by itself, a boot and a copy of a small database among them.
HEALED_WITHIN_S, WRITES_WITHIN_S, ANSWERS_WITHIN_S = 60.0, 30.0, 3.0
SWITCHED_WITHIN_S = 10.0
ASK = """\
import socket, sys
agent = socket.socket(socket.AF_UNIX)
agent.settimeout(15)
agent.connect(sys.argv[1])
agent.sendall(sys.argv[2].encode() + b"\\n")
print(agent.makefile().readline())
"""

Fault = Callable[["Drill"], object]


@dataclass(frozen=True)
class Drilled:
    """What one fault did. Numbers of clients' answers count from the fault on."""

    name: str
    before: str
    after: str
    gap_s: float
    """The longest time without an acknowledged write, from the fault until all was redundant."""
    acknowledged: int
    failed: int
    unknown: int
    connects_failed: int
    connect_slowest_s: float
    redundant_s: float
    """From the end of what was done to it until everybody was back."""
    terms: int
    """How many terms began: so many changes of the primary may be seen."""
    verdicts: Mapping[str, Verdict]
    reasons: Mapping[str, int]

    @property
    def is_sound(self) -> bool:
        """Nothing acknowledged is lost, nothing is there that nobody wrote, one primary at a time, all copies equal."""
        return all(verdict.result is Result.PASS for verdict in self.verdicts.values())

    def __str__(self) -> str:
        said = ", ".join(f"{check} {verdict.result}" for check, verdict in self.verdicts.items())
        wrong = "".join(f"\n    {verdict}" for verdict in self.verdicts.values() if verdict.result is not Result.PASS)
        return (
            f"{self.name}: {self.before} → {self.after}, gap {self.gap_s:.2f} s, {self.acknowledged} acknowledged, "
            f"{self.failed} failed, {self.unknown} unknown, {self.connects_failed} connections failed "
            f"(slowest {self.connect_slowest_s:.2f} s), redundant after {self.redundant_s:.1f} s, {self.terms} terms; "
            f"{said}; {dict(self.reasons)}{wrong}"
        )


@dataclass
class Drill:
    """A fault that is being tried: the database, its writers, and the verbs that faults are made of."""

    database: FailingDatabase
    name: str
    writes: Running
    table: str

    # --- who -----------------------------------------------------------------------------------------------------------
    @property
    def primary(self) -> str:
        return self.database.primary()

    def others(self, *nodes: str) -> tuple[str, ...]:
        """The other hosts with a copy."""
        return tuple(node for node in self.database.nodes if node not in nodes)

    def replica(self) -> str:
        """The database host that is neither primary nor witness."""
        return next(node for node in self.others(self.primary) if node.startswith("db"))

    # --- looking ---------------------------------------------------------------------------------------------------------
    def status(self, host: str) -> dict[str, Any]:
        return ask(self.database, host, do="status")

    def says(self, host: str) -> str:
        return str(self.status(host).get("says", ""))

    def awaits(self, is_so: Callable[[], bool], what: str, limit_s: float = WRITES_WITHIN_S) -> None:
        assert wait_until(is_so, limit_s, step_s=0.02), f"not within {limit_s:g} s: {what}"

    def awaits_words(self, host: str, words: str, limit_s: float = WRITES_WITHIN_S) -> None:
        """Wait until the agent on `host` says so."""
        said: list[str] = []

        def is_said() -> bool:
            said[:] = [*said, self.says(host)][-1:]
            return words in said[0]

        assert wait_until(is_said, limit_s, step_s=0.02), f"{host} says {said}, not {words!r}"

    def awaits_writes(self, limit_s: float = WRITES_WITHIN_S) -> None:
        """Wait until a write was acknowledged that came well after this moment."""
        moment = time.monotonic() + 0.05
        assert self.writes.is_good_after(moment, limit_s), f"no write within {limit_s:g} s"

    def awaits_new_primary(self, old: str, limit_s: float = WRITES_WITHIN_S) -> str:
        """Wait until another host than `old` says that it is primary, and return it."""
        found: list[str] = []

        def is_another() -> bool:
            found[:] = [node for node in self.database.primaries() if node != old]
            return bool(found)

        self.awaits(is_another, f"another primary than {old}", limit_s)
        return found[0]

    # --- doing -----------------------------------------------------------------------------------------------------------
    def kill(self, host: str, unit: str = SERVER, signal: str = "KILL") -> None:
        self.database.on(host, "systemctl", "kill", f"--signal={signal}", unit)

    def cut(self, *hosts: str, ports: tuple[int, ...] = (), one_way: bool = False, others: tuple[str, ...] = ()) -> None:
        """Cut hosts off from the other hosts with a copy, or from `others`; mended at the end at the latest."""
        self.database.lab.cut(hosts, others or self.others(*hosts), ports=ports, one_way=one_way)

    def mend(self) -> None:
        self.database.lab.mend()

    def sql(self, host: str, statements: str) -> list[list[str]]:
        rows = self.database.sql(host, statements)
        assert rows is not None, f"{host}: no answer to {statements}"
        return rows

    def switchover(self) -> str:
        """Hand over to whoever is best; returns the new primary. Where it is refused, as with a long write, again."""
        answers: list[dict[str, Any]] = []

        def is_done() -> bool:
            answers.append(ask(self.database, self.primary, do="switchover", to=""))
            return bool(answers[-1].get("ok"))

        assert wait_until(is_done, SWITCHED_WITHIN_S, step_s=0.2), answers[-1]
        return str(answers[-1]["to"])

    @contextmanager
    def meanwhile(self, host: str, statements: str) -> Iterator[None]:
        """Run statements on the host's server in the background; whatever becomes of them."""
        argv = ["timeout", "60", "mariadb", "--force", "app"]
        thread = threading.Thread(target=self.database.lab.run, args=(host, argv, statements.encode(), 70.0))
        thread.start()
        try:
            yield
        finally:
            thread.join()

    @contextmanager
    def agents_killed_at(self, words: str) -> Iterator[Callable[[], list[str]]]:
        """Kill each agent, once, as soon as it says `words`; yields what tells which were."""
        # A line first, so that it is known to follow; and no kill once the mark is gone.
        mark = f"/run/watched-{secrets.token_hex(3)}"
        kill = f"if [ -e {mark} ]; then systemctl kill --signal=KILL {AGENT}; echo killed >{mark}; fi"
        each = f"while read -r line; do case $line in *{shlex.quote(words)}*) {kill}; break;; esac; done"
        follow = f"timeout 60 journalctl --follow --lines=1 --output=cat --unit={AGENT}"
        watch = ["bash", "-c", f"{follow} | {{ read -r line; touch {mark}; {each}; }}"]
        for host in self.database.nodes:
            threading.Thread(target=self.database.lab.run, args=(host, watch, b"", 90.0), daemon=True).start()
        for host in self.database.nodes:
            self.awaits(partial(self._has, host, mark), f"the agent's words are followed on {host}")
        try:
            yield lambda: [host for host in self.database.nodes if "killed" in self.database.on(host, "cat", mark)]
        finally:
            for host in self.database.nodes:
                self.database.on(host, "rm", mark)

    def _has(self, host: str, path: str) -> bool:
        ended = self.database.lab.run(host, ["test", "-e", path])
        return isinstance(ended, Finished) and ended.exit_code == 0


def ask(database: FailingDatabase, host: str, **request: object) -> dict[str, Any]:
    """Put a request to the agent on `host`; empty when it does not answer."""
    limit_s = ANSWERS_WITHIN_S if request.get("do") == "status" else 20.0
    argv = ["timeout", f"{limit_s:g}", "python3", "-c", ASK, SOCKET, json.dumps(request)]
    ended = database.lab.run(host, argv, timeout_s=limit_s + 2)
    if isinstance(ended, Finished) and ended.exit_code == 0:
        with suppress(ValueError):
            return dict(json.loads(ended.stdout))
    return {}


def drilled(database: FailingDatabase, name: str, fault: Fault, table: str) -> Drilled:
    """Write while `fault` does its worst, wait until all is redundant again without hands, and judge.

    Hosts without power are given it, cuts are mended; nothing else is done to help. Raises AssertionError if it does not heal.
    """
    before, terms = database.primary(), _term(database)
    with ExitStack() as stack:
        writes = stack.enter_context(database.under(Load(Kind.WRITE, table, seconds=LONGEST_S)))
        connects = stack.enter_context(database.under(Load(Kind.CONNECT, every_ms=CONNECT_EVERY_MS, seconds=LONGEST_S)))
        time.sleep(STEADY_S)
        drill, begun = Drill(database, name, writes, table), time.monotonic()
        try:
            fault(drill)
        finally:
            database.lab.mend()
        ended = time.monotonic()
        database.healed(is_quiet=False, limit_s=HEALED_WITHIN_S)
        redundant = time.monotonic()
        drill.awaits_writes()
        time.sleep(SETTLE_S)
        history, connections = writes.finish(), connects.finish()
    database.healed(limit_s=HEALED_WITHIN_S)
    audit = database.audit(history, table, most_changes=_term(database) - terms)
    since, connections = history.between(begun - 0.1), connections.between(begun)
    return Drilled(
        name,
        before,
        database.primary(),
        history.longest_gap(begun, redundant).length_s,
        len(history.acknowledged),
        since.count(Outcome.FAILED),
        since.count(Outcome.UNKNOWN),
        len(connections.bad),
        max((write.ended - write.invoked for write in connections.writes), default=0.0),
        redundant - ended,
        _term(database) - terms,
        audit.verdicts,
        dict(since.reasons().most_common(4)),
    )


def _term(database: FailingDatabase) -> int:
    """The term, as the best informed host knows it."""
    clusters = [ask(database, node, do="status").get("cluster") or {} for node in database.nodes]
    return max(int(cluster.get("term", 0)) for cluster in clusters)

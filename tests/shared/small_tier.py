"""A database tier in this process: real agents with their loops and sockets; servers are numbers, and etcd is a value.

A server's process is a real one (`sleep`), so that it can be killed and its end be seen.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from nospof.onhost.agent import ask, control
from nospof.onhost.agent.engine import EngineError, positions
from nospof.onhost.agent.fence import Fence
from nospof.onhost.agent.hooks import Hooks, Notify, Site
from nospof.onhost.agent.model import Cluster, Member, Position, Report, Role, Rules, Server, Source, Vote
from nospof.onhost.agent.run import Agent, Places
from nospof.onhost.agent.store import NO_CLUSTER, View

LIMIT_S = 30.0


class Etcd:
    """What all agents share. `is_silent`: it answers nobody, and nothing is written."""

    def __init__(self) -> None:
        self.view = View(NO_CLUSTER)
        self.wakes: list[Callable[[], None]] = []
        self.is_silent = False
        self._answered_at_s = time.monotonic()
        self._lock = threading.Lock()

    def see(self) -> View:
        if not self.is_silent:
            self._answered_at_s = time.monotonic()
        return replace(self.view, answered_at_s=self._answered_at_s)

    def change(self, cluster: Cluster) -> bool:
        with self._lock:
            known = self.view.cluster
            if self.is_silent or known is None or known.revision != cluster.revision:
                return False
            self.view = replace(self.view, cluster=replace(cluster, revision=known.revision + 1))
        self._wake()
        return True

    def put(self, changed: Callable[[View], View]) -> None:
        with self._lock:
            self.view = changed(self.view)
        self._wake()

    def _wake(self) -> None:
        for wake in self.wakes:
            wake()


@dataclass(frozen=True)
class EtcdOf:
    """The store of one agent."""

    etcd: Etcd

    @property
    def view(self) -> View:
        return self.etcd.see()

    def change(self, cluster: Cluster) -> bool:
        return self.etcd.change(cluster)

    def vote(self, revision: int, vote: Vote) -> None:
        self.etcd.put(lambda view: replace(view, all_votes={**view.all_votes, vote.node: (revision, vote)}))

    def report(self, report: Report) -> None:
        self.etcd.put(lambda view: replace(view, reports={**view.reports, report.node: report}))

    def record(self, term: int, text: str, part: str = "") -> None:
        self.etcd.put(lambda view: replace(view, history={**view.history, f"{term:08}{part}": text}))


@dataclass
class Database:
    """One server: its history of writes is a number. `objection`, `may_freeze`, `may_start` are what a test decides."""

    node: str
    tier: dict[str, Database]
    process: subprocess.Popen[bytes] | None = None
    written: int = 1
    source: str = ""
    is_receiving: bool = False
    is_read_only: bool = True
    waits_for_voters: bool = False
    acknowledges: bool = False
    objection: Callable[[], str] = lambda: ""
    may_freeze: bool = True
    may_start: bool = True
    asked: int = 0
    _heard: int = 0

    # --- looking -----------------------------------------------------------------------------------------------------
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def look(self) -> Server:
        here = self._at()
        feeds = {one.node: one._at() for one in self.tier.values() if one._feeder() is self}
        told, source = None, self.source
        if source:
            told = Source(source, is_receiving=bool(self._feeder()), is_asking=self.is_receiving, is_applying=True, lag_s=0.0)
        return Server(
            is_running=True,
            answers=True,
            is_read_only=self.is_read_only,
            waits_for_voters=self.waits_for_voters,
            acknowledges=self.acknowledges,
            source=told,
            written=here,
            received=here,
            applied=here,
            feeds=feeds,
        )

    def heard(self) -> object:
        self._heard += bool(self._feeder())
        return self._heard

    def has_data(self) -> bool:
        return True

    def _feeder(self) -> Database | None:
        """Who sends to it now. Its source is read once: the agent's other threads change it meanwhile."""
        feeder = self.tier.get(self.source)
        is_fed = feeder is not None and self.is_receiving and self.pid() is not None and feeder.pid() is not None
        return feeder if is_fed else None

    def _at(self) -> Position:
        if feeder := self._feeder():
            self.written = max(self.written, feeder.written)
        return positions({"0": self.written}, "1")

    # --- doing -------------------------------------------------------------------------------------------------------
    def start(self, role: Role) -> None:
        if not self.may_start:
            raise EngineError("it does not start")
        self.process = subprocess.Popen(["sleep", "600"])
        self.source, self.is_read_only, self.waits_for_voters, self.acknowledges = "", True, False, False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop_receiving(self) -> None:
        self.is_receiving = False

    def resume_receiving(self) -> None:
        self.is_receiving = True

    def follow(self, node: str, *, acknowledges: bool, may_forget: bool, goes_ahead: bool = False) -> None:
        self.source, self.is_receiving, self.acknowledges = node, True, acknowledges
        self.is_read_only, self.waits_for_voters = True, False

    def questions(self) -> tuple[int, int]:
        return self.asked, 0

    def acknowledge(self, *, on: bool) -> None:
        self.acknowledges = on

    def be_primary(self, *, waits_for_voters: bool, takes_writes: bool) -> None:
        self.source, self.acknowledges = "", False
        self.waits_for_voters, self.is_read_only = waits_for_voters, not takes_writes

    def freeze(self, within_s: float) -> bool:
        self.is_read_only = self.may_freeze or self.is_read_only
        return self.may_freeze

    def may_hand_over(self) -> str:
        return self.objection()

    def barrier(self) -> Position:
        return self._at()

    def end_feeds(self, nodes: frozenset[str]) -> None:
        pass

    def beat(self) -> None:
        self.written += 1

    def ask_replicas(self) -> None:
        pass

    def ask_replica(self, node: str) -> None:
        pass

    def release(self, received: Position) -> int:
        return 0

    def save_beyond(self, keeps: Position, into: Path) -> int:
        return 0

    def copy_from(self, node: str, progress: Callable[[str], None]) -> None:
        raise EngineError("nothing is copied here")

    def first_data(self) -> None:
        pass


@dataclass
class SmallTier:
    """Hosts that are all agents. Nobody is suspected unless a test says so: this machine may be busy."""

    folder: Path
    etcd: Etcd = field(default_factory=Etcd)
    agents: dict[str, Agent] = field(default_factory=dict)
    databases: dict[str, Database] = field(default_factory=dict)
    threads: dict[str, threading.Thread] = field(default_factory=dict)

    def begin(self, hosts: str, **changes: object) -> None:
        """Start the agents of `hosts`, "db1 db2 w1": a name with w is a witness, one with x a spare."""
        members = tuple(Member(host, host.startswith("w"), host.startswith("x")) for host in hosts.split())
        plain = Rules(members, members[0].node, suspect_s=60, agree_s=30, handover_s=20, restart_s=0.5)
        for member in members:
            self._begin(member.node, replace(plain, **changes))  # type: ignore[arg-type]

    def _begin(self, node: str, rules: Rules) -> None:
        place = self.folder / node
        place.mkdir()
        database = self.databases[node] = Database(node, self.databases)
        database.start(Role.SLAVE)
        fence = Fence({}, 3306, place / "blocked")
        places = Places("database", node, 10.0, place, place)
        agent = self.agents[node] = Agent(
            database, EtcdOf(self.etcd), fence, rules, places, Hooks(Notify(), Site("shop", "database", node))
        )
        self.etcd.wakes.append(agent.wake.set)
        control.serve(agent, self.socket(node), agent.stop)
        self.threads[node] = threading.Thread(target=agent.run, daemon=True)
        self.threads[node].start()

    def socket(self, node: str) -> Path:
        return self.folder / node / "agent.sock"

    def ask(self, node: str, do: str, **more: object) -> dict[str, object]:
        return ask.ask(self.socket(node), {"do": do, **more}, LIMIT_S)

    @property
    def cluster(self) -> Cluster:
        cluster = self.etcd.view.cluster
        assert cluster is not None
        return cluster

    def end_agent(self, node: str) -> None:
        """Return when it does nothing any more."""
        self.agents[node].stop.set()
        self.agents[node].wake.set()
        self.threads[node].join(LIMIT_S)

    def end(self) -> None:
        for node in self.agents:
            self.end_agent(node)
        for database in self.databases.values():
            database.kill()


@contextmanager
def small_tier(folder: Path) -> Iterator[SmallTier]:
    """A tier that ends with the `with`. `nft` must be a stand-in on PATH."""
    tier = SmallTier(folder)
    try:
        yield tier
    finally:
        tier.end()


def wait_until(condition: Callable[[], object], what: str) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.01)

"""etcd, as far as the agents can tell: a linearizable store behind a quorum, slow and lossy answers, late watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from tests.simulation.loop import Loop
from tests.simulation.network import Network

from nospof.onhost.agent.model import BEGINNING, Cause, Cluster, Promotion, Report, Sync, Vote

NO_CLUSTER = Cluster(0, 0, "", Sync.DEGRADED, last=Promotion("", BEGINNING, Cause.FIRST))


@dataclass(frozen=True)
class Snapshot:
    """All keys of the tier, at one revision of the store."""

    store_revision: int
    cluster: Cluster = NO_CLUSTER
    votes: dict[str, tuple[int, Vote]] = field(default_factory=dict)
    """Host → the last vote it wrote, and for which revision of the cluster."""
    reports: dict[str, Report] = field(default_factory=dict)


Answer = Callable[[object], None]
"""Called once: with what the operation gave, or None when the outcome is unknown."""


class Etcd:
    """The members, their leader, and the keys."""

    def __init__(self, loop: Loop, network: Network, members: tuple[str, ...]) -> None:
        self._loop = loop
        self._network = network
        self._random: Random = loop.random("etcd")
        self.members = members
        self.down: dict[str, int] = {}
        self.cut_off: dict[str, int] = {}
        """Hosts whose client is refused, though all else works."""
        self.loss = 0.002
        self.delays = 0.01
        self._leader: str | None = members[0]
        self._is_electing = False
        self._snapshot = Snapshot(0)
        self._cast: dict[int, dict[str, Vote]] = {}
        """For the invariants: a vote stays cast when the late request of an earlier one replaces it."""
        self.watchers: dict[str, Callable[[Snapshot], None]] = {}
        self.missed: set[str] = set()
        """Hosts whose watch was cut off: they read everything again."""
        self.swapped: Callable[[Cluster, Cluster, dict[str, Vote]], None] = lambda old, new, votes: None

    # --- what clients do -----------------------------------------------------------------------------------------------
    @property
    def now(self) -> Snapshot:
        """The truth, for the invariants."""
        return self._snapshot

    def read(self, node: str, answer: Answer) -> None:
        self._call(node, lambda: self._snapshot, answer)

    def swap(self, node: str, cluster: Cluster, answer: Answer) -> None:
        """Replace the cluster, if it is still at the revision that `cluster` bears. Answers what it is then, or None."""
        self._call(node, lambda: self._swap(cluster), answer)

    def vote(self, node: str, revision: int, vote: Vote, answer: Answer) -> None:
        self._call(node, lambda: self._put_vote(revision, vote), answer)

    def report(self, node: str, report: Report, answer: Answer) -> None:
        self._call(node, lambda: self._put_report(report), answer)

    def _call(self, node: str, operation: Callable[[], object], answer: Answer) -> None:
        """Send, apply, answer; each of these can fail, and a request may be applied long after its client gave up."""
        waiting = [answer]

        def say(result: object) -> None:
            if waiting:
                waiting.pop()(result)

        def arrive() -> None:
            if not self.serves(node):
                return
            result = operation()
            if self._random.random() >= self.loss and self.serves(node):
                self._loop.after(self._latency_s(), say, result)

        rare = self._random.random() < self.delays
        self._loop.after(self._latency_s() + (2.5 * self._random.random() if rare else 0.0), arrive)
        self._loop.after(0.3 + 0.6 * self._random.random(), say, None)

    def _latency_s(self) -> float:
        return 0.0005 + 0.002 * self._random.random()

    # --- keys ----------------------------------------------------------------------------------------------------------
    def _swap(self, cluster: Cluster) -> Cluster:
        old = self._snapshot
        if not self.is_at(cluster.revision):
            return old.cluster
        new = replace(cluster, revision=old.store_revision + 1)
        self._put(cluster=new)
        self.swapped(old.cluster, new, self._cast.get(old.cluster.revision, {}))
        return new

    def is_at(self, revision: int) -> bool:
        """The comparison of compare-and-swap."""
        return revision == self._snapshot.cluster.revision

    def _put_vote(self, revision: int, vote: Vote) -> bool:
        self._cast.setdefault(revision, {})[vote.node] = vote
        self._put(votes={**self._snapshot.votes, vote.node: (revision, vote)})
        return True

    def _put_report(self, report: Report) -> bool:
        self._put(reports={**self._snapshot.reports, report.node: report})
        return True

    def _put(self, **changes: object) -> None:
        changed = replace(self._snapshot, **changes)  # type: ignore[arg-type]
        self._snapshot = replace(changed, store_revision=self._snapshot.store_revision + 1)
        self._tell()

    def _tell(self) -> None:
        for node in self.watchers:
            rare = self._random.random() < self.delays
            delay_s = self._latency_s() + (1.5 * self._random.random() if rare else 0.0)
            self._loop.after(delay_s, self._watched, node, self._snapshot)

    def _watched(self, node: str, snapshot: Snapshot) -> None:
        if self.serves(node):
            self.watchers[node](snapshot)
        else:
            self.missed.add(node)

    # --- members -------------------------------------------------------------------------------------------------------
    def serves(self, node: str) -> bool:
        """Whether the node reaches the quorum, through any member."""
        leader, talks = self._leader, self._network.talks
        if leader is None or node in self._network.off or self.cut_off.get(node):
            return False
        return any(
            not self.down.get(member) and talks(node, member) and (member == leader or talks(member, leader))
            for member in self.members
        )

    def stop(self, member: str) -> None:
        self.down[member] = self.down.get(member, 0) + 1
        self.look_at_members()

    def go_on(self, member: str) -> None:
        self.down[member] -= 1
        self.look_at_members()

    def look_at_members(self) -> None:
        """Keep the leader as long as it can lead; another one takes a while."""
        if self._leader is not None and not self._can_lead(self._leader):
            self._leader = None
        if self._leader is None and not self._is_electing:
            self._is_electing = True
            self._loop.after(0.5 + self._random.random(), self._elect)

    def _elect(self) -> None:
        self._is_electing = False
        able = [member for member in self.members if self._can_lead(member)]
        if able:
            self._leader = self._random.choice(able)

    def _can_lead(self, member: str) -> bool:
        def works(other: str) -> bool:
            return not self.down.get(other) and other not in self._network.off

        peers = [other for other in self.members if works(other) and self._network.talks(member, other)]
        return works(member) and 2 * len(peers) > len(self.members)

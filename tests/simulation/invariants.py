"""What must hold after every event. Each check names its invariant, and raises Violation with what was seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.simulation.etcd import Etcd
from tests.simulation.server import DatabaseServer, Watcher, Write

from nospof.onhost.agent.model import Cause, Cluster, Election, Mode, Rules, Sync, Vote


class Violation(Exception):
    """An invariant does not hold."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant


class Watchman(Watcher):
    """Sees the truth, which no agent does."""

    def __init__(self, etcd: Etcd, rules: Rules, clock: Callable[[], float], note: Callable[[str, str], None]) -> None:
        self.servers: dict[str, DatabaseServer] = {}
        self.acknowledged: list[Write] = []
        self.primaries: dict[int, str] = {}
        self._failed: set[int] = set()
        self._may_go_alone = False
        self._promoted_s = float("-inf")
        self._clock = clock
        self._etcd = etcd
        self._rules = rules
        self._note = note
        etcd.swapped = self.swapped

    def note(self, node: str, text: str) -> None:
        self._note(node, text)

    # --- writes --------------------------------------------------------------------------------------------------------
    def released(self, server: DatabaseServer, write: Write, waited: bool) -> None:
        """A writer was told ok."""
        c = self._etcd.now.cluster
        write.is_acknowledged = True
        self.acknowledged.append(write)
        if not waited and c.primary == server.node:
            self._may_go_unconfirmed(server, write, c)
        if c.primary != server.node and not self._has(c.primary, write):
            raise Violation(
                "lost", f"{server.node} acknowledged {write}, which {c.primary}, primary of term {c.term}, does not have"
            )

    def _may_go_unconfirmed(self, server: DatabaseServer, write: Write, c: Cluster) -> None:
        """Only while the primary may go alone, or if a voter has it: nobody is promoted without that one."""
        if not self._may_go_alone and not any(self._has(node, write) for node in c.voters):
            raise Violation(
                "unprotected", f"{server.node} acknowledged {write}, which no voter has, while sync is {c.sync.value}"
            )

    def _has(self, node: str, write: Write) -> bool:
        """Applied, or received and to be applied."""
        server = self.servers[node]
        return _is_in(server.log, write) or write in server.relay

    def failed(self, token: int) -> None:
        """A writer was told that its write failed."""
        self._failed.add(token)

    def skipped(self, server: DatabaseServer, write: Write) -> None:
        """A server silently skips what bears its own number."""
        raise Violation("skipped", f"{server.node} gets its own write {write} back, which it does not have any more")

    def took_writes(self, server: DatabaseServer) -> None:
        """From now on what is here is the history."""
        if self._etcd.now.cluster.primary == server.node:
            self._nothing_is_lost(server, "takes writes")

    def _nothing_is_lost(self, server: DatabaseServer, what: str) -> None:
        for write in self.acknowledged:
            if not self._has(server.node, write):
                raise Violation("lost", f"{server.node} {what} without the acknowledged write {write}")

    # --- who acknowledges ----------------------------------------------------------------------------------------------
    def semi_sync_changed(self) -> None:
        """Whoever can release a writer is a published voter, while promotions are possible (I3)."""
        c = self._etcd.now.cluster
        if c.sync is not Sync.OK:
            return
        for server in self.servers.values():
            process = server.process
            if process is None or not process.waits or (process.is_read_only and not process.commits):
                continue
            for node, feed in process.feeds.items():
                is_open = feed.replica.process is not None and feed.replica.process.feed is feed
                if not feed.acknowledges or not is_open or server.refuses(node):
                    continue
                if server.node != c.primary:
                    raise Violation("I3", f"{node} still acknowledges to {server.node}, but {c.primary} is primary")
                # That of the connection: a voter renounces its incarnation just before it ends the connection, and forgets.
                if c.voters.get(node) != feed.incarnation:
                    raise Violation(
                        "I3", f"{node} ({feed.incarnation}) acknowledges and is no published voter: {dict(c.voters)}"
                    )

    # --- the cluster's state -------------------------------------------------------------------------------------------
    def swapped(self, old: Cluster, new: Cluster, votes: dict[str, Vote]) -> None:
        self._note("etcd", _told(old, new))
        self._keep_whether_alone(new)
        if new.term < old.term or (new.primary != old.primary and new.term == old.term):
            raise Violation("term", f"term {old.term} of {old.primary} was followed by term {new.term} of {new.primary}")
        if self.primaries.setdefault(new.term, new.primary) != new.primary:
            raise Violation("term", f"term {new.term} has two primaries: {self.primaries[new.term]} and {new.primary}")
        if new.primary != old.primary and old.primary:
            self._promoted(old, new, votes)
        if new.election is not None and old.election is None:
            self._may_elect(new, new.election)
        self.semi_sync_changed()

    def _keep_whether_alone(self, new: Cluster) -> None:
        if new.sync is Sync.DEGRADED:
            self._may_go_alone = self._rules.mode is Mode.AVAILABLE or new.is_new
        elif new.sync is Sync.OK:
            self._may_go_alone = False

    def _may_elect(self, c: Cluster, election: Election) -> None:
        """Who was promoted this moment cannot have been silent for long."""
        since_s = self._clock() - self._promoted_s
        if election.cause is Cause.SILENT and since_s < 0.9 * self._rules.suspect_s:
            raise Violation("hasty", f"{election.by} calls {c.primary} silent {since_s:.3f} s after its promotion")

    def _promoted(self, old: Cluster, new: Cluster, votes: Mapping[str, Vote]) -> None:
        if new.last.cause is Cause.HANDOVER:
            self._handed_over(old, new)
        else:
            self._voters_agreed(old, new, votes)
        self._promoted_s = self._clock()
        self._nothing_is_lost(self.servers[new.primary], "was promoted")

    def _handed_over(self, old: Cluster, new: Cluster) -> None:
        """By a primary that takes no writes and has none on their way."""
        if old.handover is None or old.handover.to != new.primary:
            raise Violation("promotion", f"{new.primary} took over without a handover")
        process = self.servers[old.primary].process
        if process is not None and (not process.is_read_only or process.commits):
            raise Violation("promotion", f"{new.primary} took over while {old.primary} takes writes")

    def _voters_agreed(self, old: Cluster, new: Cluster, votes: Mapping[str, Vote]) -> None:
        if old.election is None or old.sync is not Sync.OK or new.primary not in old.voters:
            raise Violation(
                "promotion", f"{new.primary} was promoted by no election of a synchronous cluster, of which it is a voter"
            )
        for node, incarnation in old.voters.items():
            vote, voter = votes.get(node), self.servers[node]
            if vote is None or vote.incarnation != incarnation or vote.refusal:
                raise Violation(
                    "promotion", f"{new.primary} was promoted without the vote of {node} for revision {old.revision}"
                )
            feed = voter.process.feed if voter.process is not None else None
            if feed is not None and feed.source.node == old.primary and voter.incarnation == incarnation:
                raise Violation("I2", f"{new.primary} was promoted while {node} receives from {old.primary}")

    def routed(self, host: str, old_term: int, term: int) -> None:
        if term < old_term:
            raise Violation("router", f"{host} went back from term {old_term} to {term}")

    # --- the end -------------------------------------------------------------------------------------------------------
    def is_well(self) -> str:
        """Say what is still missing some time after everything was healed; "" = nothing."""
        c = self._etcd.now.cluster
        if c.sync is not Sync.OK or len(c.voters) < min(self._rules.most_voters, len(self.servers) - 1):
            return f"sync is {c.sync.value} with the voters {sorted(c.voters)}"
        primary = self.servers[c.primary].process
        if primary is None or primary.is_read_only or not primary.waits:
            return f"{c.primary} does not take writes, or does not wait for voters"
        for node, server in self.servers.items():
            if node != c.primary and (server.process is None or server.process.feed is None or server.source != c.primary):
                return f"{node} does not follow {c.primary}"
        writable = [n for n, s in self.servers.items() if s.process is not None and not s.process.is_read_only]
        return f"{writable} take writes" if writable != [c.primary] else ""

    def ended(self) -> None:
        """All copies are one history, with every acknowledged write and none that was refused."""
        c = self._etcd.now.cluster
        primary = self.servers[c.primary]
        self._nothing_is_lost(primary, "ended")
        for node, server in self.servers.items():
            for number, write in enumerate(server.log):
                if number < len(primary.log) and primary.log[number] is not write:
                    raise Violation("diverged", f"{node} has {write} where {c.primary} has {primary.log[number]}")
                if write.token in self._failed:
                    raise Violation("phantom", f"{node} has {write}, of which the client was told that it failed")


def _is_in(log: list[Write], write: Write) -> bool:
    return len(log) >= write.number and log[write.number - 1] is write


def _told(old: Cluster, new: Cluster) -> str:
    voters = " ".join(f"{node}={incarnation}" for node, incarnation in sorted(new.voters.items())) or "none"
    text = f"revision {old.revision} → {new.revision}: term {new.term} of {new.primary}, sync {new.sync.value}, voters {voters}"
    text += f", election by {new.election.by} ({new.election.why})" if new.election else ""
    text += f", handover to {new.handover.to}" if new.handover else ""
    return text + (", primary down" if new.primary_down else "")

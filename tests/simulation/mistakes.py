"""Planted mistakes, each a small change of one part. A simulation that does not find them proves nothing.

Most let the real `decide` see what is not so, which is what a forgotten rule or a wrong engine comes to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from tests.simulation.agent import Note
from tests.simulation.clients import Router
from tests.simulation.etcd import Etcd
from tests.simulation.server import DatabaseServer

from nospof.onhost.agent import decide as deciding
from nospof.onhost.agent import remember as remembering
from nospof.onhost.agent.decide import State, state_of
from nospof.onhost.agent.model import BEGINNING, Change, Decision, Follow, Memory, Observation, Role, StartServer, Vote


class Mistake:
    """None: everything as it is. A planted one overrides a part."""

    name = "none"
    etcd: type[Etcd] = Etcd
    server: type[DatabaseServer] = DatabaseServer
    router: type[Router] = Router

    def votes_for(self, revision: int, votes: Mapping[str, tuple[int, Vote]]) -> dict[str, Vote]:
        return {node: vote for node, (of, vote) in votes.items() if of == revision}

    def decide(self, o: Observation) -> Decision:
        return deciding.decide(o)

    def remember(self, memory: Memory, o: Observation) -> Memory:
        return remembering.remember(memory, o)


def _is(state: State, o: Observation) -> bool:
    return state_of(o) is state


# --- of elections ---------------------------------------------------------------------------------------------------------
class Undrained(DatabaseServer):
    def require_drained(self) -> None:
        self._forget()


class NoDrain(Mistake):
    """The winner is promoted before it applied what it received."""

    name = "no-drain"
    server = Undrained

    def decide(self, o: Observation) -> Decision:
        if _is(State.ELECTION, o):
            o = replace(o, server=replace(o.server, applied=o.server.received))
        return super().decide(o)


class NoRevocation(Mistake):
    """A voter votes while it still receives."""

    name = "no-revocation"

    def decide(self, o: Observation) -> Decision:
        if _is(State.ELECTION, o) and o.server.source is not None:
            o = replace(o, server=replace(o.server, source=replace(o.server.source, is_asking=False)))
        return super().decide(o)


class AnyVote(Mistake):
    """A vote of an older revision counts."""

    name = "any-vote"

    def votes_for(self, revision: int, votes: Mapping[str, tuple[int, Vote]]) -> dict[str, Vote]:
        return {node: vote for node, (_, vote) in votes.items()}


class Forgetful(DatabaseServer):
    @property
    def incarnation(self) -> str:
        return self.node


class KeptIncarnation(Mistake):
    """A voter keeps its vote though its server restarted."""

    name = "kept-incarnation"
    server = Forgetful


class NoBeginning(Mistake):
    """A voter may be promoted that has not yet got what the present primary began with."""

    name = "no-beginning"

    def decide(self, o: Observation) -> Decision:
        if o.cluster is not None and _is(State.ELECTION, o):
            o = replace(o, cluster=replace(o.cluster, last=replace(o.cluster.last, position=BEGINNING)))
        return super().decide(o)


class OldSilence(Mistake):
    """A new primary is called silent because its predecessor was."""

    name = "old-silence"

    def decide(self, o: Observation) -> Decision:
        return super().decide(replace(o, memory=replace(o.memory, primary_since_s=float("-inf"))))


class NoSpending(Mistake):
    """A server that ended while it voted starts as SLAVE, though its own promotion may be under way."""

    name = "no-spending"

    def decide(self, o: Observation) -> Decision:
        if o.cluster is not None and _is(State.STOPPED, o):
            o = replace(o, cluster=replace(o.cluster, election=None, handover=None))
        return super().decide(o)


class NoComparison(Etcd):
    def is_at(self, revision: int) -> bool:
        return True


class NoCompare(Mistake):
    """The cluster's state is replaced without comparing its revision: degrading and a promotion both succeed."""

    name = "no-compare"
    etcd = NoComparison


# --- of waiting writes ----------------------------------------------------------------------------------------------------
class Impatient(DatabaseServer):
    def freeze(self, answer: Callable[[object], None]) -> None:
        self.release_waiting()
        super().freeze(answer)


class KillsWaiting(Mistake):
    """Sessions that wait for a voter are killed so that a handover is not held up."""

    name = "kills-waiting"
    server = Impatient


class Polite(DatabaseServer):
    def kill(self) -> None:
        if self.process is not None and self.process.hung is None:
            self.release_waiting()
        super().kill()


class StopsGracefully(Mistake):
    """A primary that may have been replaced is stopped, not killed."""

    name = "stops-gracefully"
    server = Polite


class NoBarrier(Mistake):
    """Sync is called ok before the barrier."""

    name = "no-barrier"

    def decide(self, o: Observation) -> Decision:
        if o.memory.barrier is None:
            o = replace(o, memory=replace(o.memory, barrier=BEGINNING))
        return super().decide(o)


class AlwaysSlave(Mistake):
    """Every server starts as SLAVE, the one that claimed the next term too."""

    name = "always-slave"

    def decide(self, o: Observation) -> Decision:
        decision = super().decide(o)
        starts = [action for action in decision.actions if isinstance(action, StartServer)]
        return replace(decision, actions=(replace(starts[0], role=Role.SLAVE),)) if starts else decision


# --- of handovers ---------------------------------------------------------------------------------------------------------
class NoFreeze(Mistake):
    """A primary hands over while it takes writes."""

    name = "no-freeze"

    def decide(self, o: Observation) -> Decision:
        if _is(State.HANDING_OVER, o):
            o = replace(o, server=replace(o.server, is_read_only=True))
        return super().decide(o)


class Trusting(DatabaseServer):
    def ask_replica(self, node: str, answer: Callable[[object], None]) -> None:
        if node in self._running().feeds:
            self._running().feeds[node].told = len(self.log)
        answer(True)


class Unasked(Mistake):
    """A primary hands over without knowing that the target has everything."""

    name = "unasked"
    server = Trusting


class UnawareTarget(Mistake):
    """A primary hands over to a host that may not know of it, and start a server that ended as SLAVE meanwhile."""

    name = "unaware-target"

    def decide(self, o: Observation) -> Decision:
        if o.cluster is not None and _is(State.HANDING_OVER, o):
            reports = {node: replace(report, revision=o.cluster.revision) for node, report in o.reports.items()}
            o = replace(o, reports=reports)
        return super().decide(o)


class Hasty(DatabaseServer):
    def is_drained(self) -> bool:
        self._forget()
        return True


class AheadUndrained(Mistake):
    """A voter goes ahead to the next primary before it applied what it received."""

    name = "ahead-undrained"
    server = Hasty


class AheadUnpublished(Mistake):
    """Who goes ahead is no voter of the next primary, and acknowledges."""

    name = "ahead-unpublished"

    def decide(self, o: Observation) -> Decision:
        decision = super().decide(o)
        if not _is(State.HANDING_OVER, o) or decision.rule != "hands_over":
            return decision
        (change,) = decision.actions
        assert isinstance(change, Change)
        voters = {o.me: change.cluster.voters[o.me]}
        return replace(decision, actions=(Change(replace(change.cluster, voters=voters)),))


class KeepsAcknowledging(Mistake):
    """A host that was made primary and never took its place goes on acknowledging to the former primary."""

    name = "keeps-acknowledging"

    def decide(self, o: Observation) -> Decision:
        decision = super().decide(o)
        if o.cluster is None or decision.rule != "hands_over":
            return decision
        (change,) = decision.actions
        assert isinstance(change, Change)
        return replace(decision, actions=(Change(replace(change.cluster, removed=o.cluster.removed)),))


# --- of who acknowledges --------------------------------------------------------------------------------------------------
class UnpublishedVoter(Mistake):
    """A replica acknowledges before it is published, and does not say so."""

    name = "unpublished-voter"

    def decide(self, o: Observation) -> Decision:
        if not _is(State.REPLICA, o):
            return super().decide(o)
        decision = super().decide(replace(o, server=replace(o.server, acknowledges=False)))
        acts = tuple(replace(act, acknowledges=True) if isinstance(act, Follow) else act for act in decision.actions)
        return replace(decision, actions=acts)


class Open(DatabaseServer):
    def refuses(self, node: str) -> bool:
        return False


class NoBlock(Mistake):
    """A voter that is removed is not refused on the network."""

    name = "no-block"
    server = Open


class ForgetsRemoved(Mistake):
    """Former voters that never heard of it are let in again."""

    name = "forgets-removed"

    def decide(self, o: Observation) -> Decision:
        return super().decide(o if o.cluster is None else replace(o, cluster=replace(o.cluster, removed={})))


# --- of routers -----------------------------------------------------------------------------------------------------------
class Gullible(Router):
    def accepts(self, note: Note) -> bool:
        return True


class OldPush(Mistake):
    """A router goes back to the primary of an older term."""

    name = "old-push"
    router = Gullible


MISTAKES: dict[str, type[Mistake]] = {
    mistake.name: mistake
    for mistake in (
        Mistake,
        NoDrain,
        NoRevocation,
        AnyVote,
        KeptIncarnation,
        NoBeginning,
        OldSilence,
        NoSpending,
        NoCompare,
        KillsWaiting,
        StopsGracefully,
        NoBarrier,
        AlwaysSlave,
        NoFreeze,
        Unasked,
        UnawareTarget,
        AheadUndrained,
        AheadUnpublished,
        KeepsAcknowledging,
        UnpublishedVoter,
        NoBlock,
        ForgetsRemoved,
        OldPush,
    )
}

"""What the agent does next: a table of states and their rules, which is executed, checked for gaps, drawn and documented.

Pure: the same observation gives the same decision, on a host and in the simulation. Nothing is kept between two decisions but
`Memory`, which may be lost: every step follows from what is seen, so that whoever comes next can finish it.

Why no acknowledged write is lost: docs/decisions/0009-failover.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar

from nospof.onhost.agent.model import (
    BEGINNING,
    Acknowledge,
    Action,
    AskReplica,
    BePrimary,
    Block,
    CastVote,
    Cause,
    Change,
    Cluster,
    CopyFrom,
    Decision,
    Election,
    Follow,
    Freeze,
    Handover,
    KillServer,
    Mode,
    Observation,
    Position,
    Promotion,
    Release,
    Report,
    ResumeReceiving,
    Role,
    Rules,
    StartServer,
    StopReceiving,
    Sync,
    TakeBarrier,
    Vote,
    WriteReport,
)

# What is known of the cluster is acted upon for so long after etcd last answered.
FRESH_S = 2.0
# A look that came so late says nothing about the silence of others.
LATE_S = 0.2
# Routers hear of a handover within some 10 ms, and let new connections wait from then on.
ROUTERS_S = 0.03
# The other voter goes ahead to the next primary in a tenth of a second or two; without it the handover works, and takes longer.
AHEAD_S = 0.5
# What takes some milliseconds is looked for again so soon.
SOON_S = 0.005
# Transactions that a replica may be behind when it is made a voter.
NEAR = 1000
# A voter that never was fed since its primary began has so much longer to come.
FIRST_FEED_S = 4.0
# Clients that a voter could release have waited for so long.
STALLED_S = 0.5
# What tells this host's role starts again within a second; after so long it will not.
UNTOLD_S = 5.0
# With all its votes in, an election waits so much longer for what was received to be applied.
DRAIN_S = 8.0
# Who could not be copied from for so long may have lost its data too.
DONOR_S = 20.0
NO_NODES: frozenset[str] = frozenset()
V = TypeVar("V")


class State(Enum):
    """Where this host stands; follows from the observation alone."""

    def __init__(self, word: str, meaning: str) -> None:
        self.word, self.meaning = word, meaning

    BLIND = "blind", "etcd was never read"
    UNBORN = "unborn", "etcd knows no cluster"
    CRASHED = "crashed", "this host is the primary, and its server does not run"
    PRIMARY = "primary", "this host is the primary"
    HANDING_OVER = "handing over", "this host is the primary, and passes that on"
    DEPOSED = "deposed", "another host is the primary, and the server here still acts as one"
    STOPPED = "stopped", "another host is the primary, and the server here does not run"
    ELECTION = "election", "this host is a published voter, and is asked what it has"
    VOTER = "voter", "this host is a published voter: its acknowledgement counts"
    REPLICA = "replica", "this host follows, and its acknowledgement does not count"


@dataclass(frozen=True)
class Step:
    """What a rule does; `says` goes to the log and to `status`."""

    says: str
    actions: tuple[Action, ...] = ()
    again_s: float | None = None
    """Look again after so long, where what is waited for comes sooner than the next look; None: at the next look."""


Rule = Callable[[Observation], Step | None]
"""A rule says what to do, or None when it does not apply; its docstring is its documentation."""


def decide(o: Observation) -> Decision:
    """Apply the first rule of this host's state that has something to say."""
    state = state_of(o)
    for rule in TABLE[state]:
        step = rule(o)
        if step is not None:
            return Decision(state.word, rule.__name__, step.says, step.actions, step.again_s)
    raise AssertionError(f"no rule for state {state.word}")  # the last rule of each state always applies


def state_of(o: Observation) -> State:
    """Say where this host stands."""
    if o.cluster is None:
        return State.BLIND
    if not o.cluster.primary:
        return State.UNBORN
    if o.cluster.primary == o.me:
        if not o.server.is_running:
            return State.CRASHED
        return State.HANDING_OVER if o.cluster.handover else State.PRIMARY
    if not o.server.is_running:
        return State.STOPPED
    if o.server.acts_as_primary:
        return State.DEPOSED
    if o.cluster.voters.get(o.me) != o.server.incarnation:
        return State.REPLICA
    return State.ELECTION if o.cluster.election else State.VOTER


# --- blind, unborn -------------------------------------------------------------------------------------------------------
def waits_for_etcd(o: Observation) -> Step | None:
    """Without etcd's quorum nothing is started, and nothing that runs is changed."""
    return (
        None
        if _knows(o) and o.cluster is not None
        else Step("etcd does not answer with its quorum: nothing is started or changed")
    )


def refuses_to_begin_again(o: Observation) -> Step | None:
    """This host knew a cluster and etcd has none: its memory is lost, and only a person can say who has the last data."""
    if o.knew_cluster:
        return Step("etcd has lost its memory of this tier: `nospof promote HOST --accept-loss` says who has the last data")
    return None


def begins(o: Observation) -> Step | None:
    """The host that was chosen once begins as the first primary."""
    if o.me != o.rules.first_primary:
        return None
    last = Promotion("", o.server.written, Cause.FIRST, "a new cluster begins")
    return _change(o, "begins a new cluster", term=1, primary=o.me, sync=Sync.DEGRADED, is_new=True, last=last)


def waits_for_the_first(o: Observation) -> Step:
    """Everybody else waits for it."""
    return Step(f"waits for {o.rules.first_primary} to begin")


# --- crashed -------------------------------------------------------------------------------------------------------------
def starts_in_place(o: Observation) -> Step | None:
    """The term was claimed for this very stop of the server, so nobody else was promoted: it starts, keeping everything."""
    if _cluster(o).claimed_by != _claim(o) or _cluster(o).election:
        return None
    return Step("starts again in place, keeping everything", (StartServer(Role.MASTER),))


def announces_its_crash(o: Observation) -> Step | None:
    """The voters need not find out by themselves that nothing comes any more."""
    c = _cluster(o)
    if c.primary_down or c.election or _is_paused(o) or not _can_elect(o):
        return None
    why = f"the server on {o.me} ended"
    return _change(
        o, "announces that the server ended", primary_down=True, handover=None, election=Election(o.me, Cause.CRASHED, why)
    )


def waits_to_be_replaced(o: Observation) -> Step | None:
    """A voter takes over sooner than this server could start, as long as one can."""
    waited_s = o.now_s - (o.memory.down_since_s or o.now_s)
    if not _cluster(o).primary_down or not _can_elect(o) or _is_paused(o) or waited_s >= o.rules.restart_s:
        return None
    return Step("waits to be replaced")


def claims_next_term(o: Observation) -> Step:
    """Nobody took over or could: the present primary goes on, in a term of its own, which ends any election."""
    c = _cluster(o)
    changed = replace(c, term=c.term + 1, primary_down=False, election=None, handover=None, claimed_by=_claim(o))
    return Step("nobody took over: claims the next term", (Change(changed),))


# --- primary -------------------------------------------------------------------------------------------------------------
def ends_what_hangs(o: Observation) -> Step | None:
    """A server that hangs is as good as dead, if somebody can take over. On a stalled disk it cannot even die."""
    c, since_s = _cluster(o), o.memory.hangs_since_s
    if since_s is None or o.now_s - since_s < o.rules.alone_s or not _knows(o) or not _can_elect(o) or _is_paused(o):
        return None
    says = f"the server hangs since {o.now_s - since_s:.1f} s"
    if c.primary_down:
        return Step(f"{says}: ends it", (KillServer(),))
    election = Election(o.me, Cause.CRASHED, f"the server on {o.me} hangs")
    return _change(o, f"{says}: announces it", primary_down=True, handover=None, election=election)


def ends_itself_when_alone(o: Observation) -> Step | None:
    """Cut off from etcd and from all voters, it has probably been replaced; its clients shall not go on waiting."""
    since_s = o.memory.unconfirmed_since_s
    is_alone = since_s is not None and o.now_s - since_s >= o.rules.alone_s and o.etcd_silent_s >= o.rules.alone_s
    if not is_alone or _cluster(o).sync is not Sync.OK:
        return None
    return Step("cut off from etcd and from every voter: ends the server", (KillServer(),))


def holds_still(o: Observation) -> Step | None:
    """While etcd is silent the primary goes on as it is: nobody can be promoted without etcd either."""
    return None if _knows(o) else Step("etcd does not answer; goes on as it is, nobody can be promoted meanwhile")


def leaves_the_election_alone(o: Observation) -> Step | None:
    """Voters ask each other whether it is dead: nothing may change under them, but not for ever."""
    c = _cluster(o)
    if c.election is None:
        return None
    if _is_at_revision_for_s(o) < 2 * o.rules.election_s + DRAIN_S:
        return Step(f"lives, while {c.election.by} holds an election: {c.election.why}")
    return _change(o, "closes an election that came to nothing", election=None, primary_down=False)


def shuts_out_former_voters(o: Observation) -> Step | None:
    """A former voter that has not heard of its removal would go on confirming writes, and no election would ask it."""
    missing = frozenset(_unaware(o)) - o.blocked
    if not missing:
        return None
    return Step(f"{_listed(missing)} has not said yet that it acknowledges nothing: blocks it", (Block(o.blocked | missing),))


def takes_its_place(o: Observation) -> Step | None:
    """The server waits for voters unless there are none, and takes writes only as the mode allows."""
    s, waits, writes = o.server, _waits_for_voters(o), _may_take_writes(o)
    is_in_place = s.source is None and not s.acknowledges and s.waits_for_voters is waits and s.is_read_only is not writes
    if is_in_place or not s.answers:
        return None
    return Step("takes writes" if writes else "is primary, and read-only until a voter is back", (BePrimary(waits, writes),))


def removes_a_lost_voter(o: Observation) -> Step | None:
    """A voter that is gone would be missing at an election: block it, wait until the others have all, publish without it."""
    return _removes(o, lost, f"{_listed(lost)} is silent") if (lost := _lost_voters(o)) else None


def makes_room(o: Observation) -> Step | None:
    """A spare or a witness acknowledges only for want of a better host: when one is there again, its place is given back."""
    return _removes(o, outdone, f"{_listed(outdone)} makes room for a better voter") if (outdone := _outdone(o)) else None


def degrades(o: Observation) -> Step | None:
    """Mode available, and the last voter is gone: first everybody must know that nobody may be promoted now."""
    c = _cluster(o)
    if o.rules.mode is not Mode.AVAILABLE or c.sync is not Sync.OK or not c.voters or _lost_voters(o) != set(c.voters):
        return None
    says = f"{_listed(c.voters)} is gone: goes on alone"
    return _change(o, says, sync=Sync.DEGRADED, voters={}, removed=_removed(c, set(c.voters)))


def readmits_its_last_voter(o: Observation) -> Step | None:
    """Mode lossless: a voter that forgot what it had confirmed counts again once it has everything that was written."""
    c = _cluster(o)
    if c.sync is not Sync.OK or not c.voters or _lost_voters(o) != set(c.voters):
        return None
    for node, report in sorted(o.reports.items()):
        is_back = node in c.voters and _is_fit(o, report) and report.incarnation != c.voters[node]
        if is_back and report.received.covers(o.server.written):
            return _change(
                o, f"{node} is back and has everything: a voter again", voters={**c.voters, node: report.incarnation}
            )
    return None


def releases_who_waits(o: Observation) -> Step | None:
    """A voter that came back with everything is asked for none of it again, so clients would wait for ever."""
    c = _cluster(o)
    if c.sync is not Sync.OK or o.write_hangs_s < STALLED_S:
        return None
    for node in sorted(set(c.voters) - _lost_voters(o)):
        confirmed = o.server.feeds.get(node, BEGINNING)
        if confirmed.covers(o.server.written):
            return Step(f"{node} has everything that is waited for", (Release(confirmed),))
    return None


def goes_back_from_joining(o: Observation) -> Step | None:
    """The voter that was joining is gone again."""
    c, lost = _cluster(o), _lost_voters(o)
    if c.sync is not Sync.JOINING or not lost:
        return None
    return _change(o, f"{_listed(lost)} did not stay", sync=Sync.DEGRADED, voters={}, removed=_removed(c, set(c.voters)))


def completes_joining(o: Observation) -> Step | None:
    """The first voter counts once it has all that was committed before it acknowledged."""
    c = _cluster(o)
    if c.sync is not Sync.JOINING:
        return None
    if not o.server.waits_for_voters:
        return Step(f"waits for {_listed(c.voters)} to acknowledge")
    if o.memory.barrier is None:
        return Step("waits until every commit that began without a voter has ended", (TakeBarrier(),))
    for node in c.voters:
        confirmed = (o.reports[node].received, o.server.feeds.get(node, BEGINNING)) if node in o.reports else ()
        if not _acknowledges(o, node) or not any(position.covers(o.memory.barrier) for position in confirmed):
            return Step(f"waits for {node} to have everything")
    return _change(o, f"{_listed(c.voters)} has everything and acknowledges each write", sync=Sync.OK, is_new=False)


def admits_a_voter(o: Observation) -> Step | None:
    """A replica that is near becomes a voter: published first, and only then does it acknowledge."""
    c = _cluster(o)
    if c.sync is Sync.JOINING or len(c.voters) >= o.rules.most_voters:
        return None
    for report in sorted(_could_join(o), key=lambda report: (o.rules.seat(report.node), report.node)):
        voters = {**c.voters, report.node: report.incarnation}
        sync = Sync.OK if c.sync is Sync.OK and c.voters else Sync.JOINING
        removed = _without(c.removed, report.node)
        return _change(o, f"{report.node} becomes a voter", voters=voters, sync=sync, removed=removed)
    return None


def welcomes_back(o: Observation) -> Step | None:
    """A former primary follows again, and what it writes from now on is the primary's; a former voter acknowledges nothing."""
    c = _cluster(o)
    back = {node for node in c.deposed if node in o.reports and _is_fit(o, o.reports[node])}
    aware = set(c.removed) - _unaware(o)
    # Of this host itself it is no news: it has its place already.
    if not back and not aware - {o.me}:
        return None
    deposed = {node: position for node, position in c.deposed.items() if node not in back}
    removed = {node: revision for node, revision in c.removed.items() if node not in aware}
    return _change(o, f"{_listed(back | aware - {o.me})} knows its place again", deposed=deposed, removed=removed)


def hands_back(o: Observation) -> Step | None:
    """A witness is primary only for as long as nobody else can be, a spare for as long as no normal host can."""
    c = _cluster(o)
    better = [node for node in _near_voters(o) if o.rules.order(node) < o.rules.order(o.me)]
    is_settled = _is_at_revision_for_s(o) >= o.rules.retry_s
    if not better or not is_settled or c.sync is not Sync.OK or _is_paused(o):
        return None
    word = "witness" if o.rules.is_witness(o.me) else "spare"
    return _change(o, f"a {word} hands over to {better[0]}", handover=Handover(better[0], f"{o.run}/{c.revision}"))


def passes_on_what_nobody_tells(o: Observation) -> Step | None:
    """Routers cannot hear of this primary any more, so no client is led to it; of another they would hear."""
    c = _cluster(o)
    near = [node for node in _near_voters(o) if not o.rules.is_witness(node)]
    # Not at once again: on the other host it may be no better.
    is_settled = _is_at_revision_for_s(o) >= 2 * UNTOLD_S
    if o.untold_s < UNTOLD_S or not near or not is_settled or c.sync is not Sync.OK or _is_paused(o):
        return None
    says = f"nothing tells routers its role since {o.untold_s:.0f} s: hands over to {near[0]}"
    return _change(o, says, handover=Handover(near[0], f"{o.run}/{c.revision}"))


def lets_in_again(o: Observation) -> Step | None:
    """Who was blocked may come back once it says that it acknowledges nothing."""
    keeps = frozenset(node for node in o.blocked if _must_stay_blocked(o, node))
    if keeps == o.blocked:
        return None
    return Step(f"lets {_listed(o.blocked - keeps)} replicate again", (Block(keeps),))


def is_primary(o: Observation) -> Step:
    """All is as it should be."""
    c = _cluster(o)
    lost = _lost_voters(o)
    if o.memory.hangs_since_s is not None:
        return Step("stalled: a row is not written, or the server does not answer")
    if c.sync is Sync.OK and lost and lost == set(c.voters):
        return Step(f"stalled: no voter ({_listed(lost)} is silent), writes wait")
    if c.sync is Sync.OK:
        return Step(f"primary, acknowledged by {_listed(c.voters)}")
    return Step("primary, alone" if _may_take_writes(o) else "primary, read-only: waits for a voter")


# --- handing over --------------------------------------------------------------------------------------------------------
def gives_the_handover_up(o: Observation) -> Step | None:
    """Too late, or the target cannot: everything goes on as before."""
    handover = _handover(o)
    is_late = o.now_s - o.memory.handover_since_s >= o.rules.handover_s
    if not is_late and handover.to in _cluster(o).voters and handover.to not in _lost_voters(o) and _cluster(o).sync is Sync.OK:
        return None
    why = "took too long" if is_late else f"{handover.to} is no voter that could take over"
    return _change(o, f"the handover to {handover.to} is given up: {why}", handover=None)


def waits_for_the_target_to_know(o: Observation) -> Step | None:
    """Who knows of it ends it before starting a server that ended: as SLAVE that may cut off what this host counts on."""
    c, to = _cluster(o), _handover(o).to
    report = o.reports.get(to)
    if report is not None and report.revision == c.revision and report.incarnation == c.voters[to]:
        return None
    return Step(f"waits until {to} knows that it is to take over")


def lets_the_voter_go_ahead(o: Observation) -> Step | None:
    """While writes go on, the other voter follows the next primary already."""
    if o.server.is_read_only or o.memory.prepared_since_s is not None:
        return None
    left_s = AHEAD_S - (o.now_s - o.memory.handover_since_s)
    return Step(f"lets {_listed(behind_in_handover(o))} go ahead to {_handover(o).to}", again_s=max(left_s, SOON_S))


def lets_routers_prepare(o: Observation) -> Step | None:
    """They hold new connections back, as late as possible, since these all come at once afterwards."""
    left_s = ROUTERS_S - (o.now_s - (o.memory.prepared_since_s or 0.0))
    if o.server.is_read_only or left_s <= 0:
        return None
    return Step("lets the routers hold new connections back", again_s=left_s)


def freezes(o: Observation) -> Step | None:
    """What is written then is all there will be of this primary."""
    return None if o.server.is_read_only else Step("takes no more writes", (Freeze(_handover(o).to),))


def hands_over(o: Observation) -> Step | None:
    """The target has applied all there is, so this host makes it the primary: nobody else could know."""
    c, s, to = _cluster(o), o.server, _handover(o).to
    if not s.answers or s.source is not None or not s.feeds.get(to, BEGINNING).covers(s.written):
        return None
    others = {node: incarnation for node, incarnation in c.voters.items() if node != to}
    last = Promotion(o.me, s.written, Cause.HANDOVER, f"handed over by {o.me}")
    promoted = _promoted(c, to, {**others, o.me: s.incarnation}, last, o.rules)
    # It goes on acknowledging to this host until it has taken its place: it must say so, should this host be primary again.
    promoted = replace(promoted, removed=_removed(replace(c, removed=promoted.removed), {to}))
    return Step(f"hands over to {to}, which has everything", (Change(promoted),))


def asks_the_target(o: Observation) -> Step:
    """It applies what was written last."""
    to = _handover(o).to
    return Step(f"waits for {to} to apply what was written last", (AskReplica(to),) if o.server.answers else ())


# --- deposed -------------------------------------------------------------------------------------------------------------
def steps_down(o: Observation) -> Step | None:
    """After a handover nobody waits and nothing is beyond: it follows the new primary without a restart."""
    c, s = _cluster(o), o.server
    is_clean = c.last.cause is Cause.HANDOVER and c.last.origin == o.me and c.last.position == s.written
    if not is_clean or not s.is_read_only or s.source is not None or not s.answers:
        return None
    is_voter = c.voters.get(o.me) == s.incarnation
    return Step(f"follows {c.primary}, to which it handed over", (Follow(c.primary, is_voter, may_forget=False),))


def ends_the_deposed(o: Observation) -> Step:
    """Somebody else is primary: only SIGKILL releases no waiting write."""
    return Step(f"{_cluster(o).primary} is primary: ends this server", (KillServer(),))


# --- stopped -------------------------------------------------------------------------------------------------------------
def copies_everything(o: Observation) -> Step | None:
    """Without data there is nothing to start."""
    return None if o.server.has_data else Step("has no data: copies all", (CopyFrom(_donor(o)),))


def spends_its_promotion(o: Observation) -> Step | None:
    """Its own promotion may be under way, its answer lost: make sure that it never happens, or see that it did."""
    c = _cluster(o)
    if o.me in c.voters and c.election is not None:
        return _change(o, "its server ended while it voted: closes the election", election=None)
    if c.handover is not None and c.handover.to == o.me:
        return _change(o, "its server ended while it was to take over: ends the handover", handover=None)
    return None


def starts_as_replica(o: Observation) -> Step:
    """What nobody acknowledged is cut off, after it was saved as SQL."""
    c = _cluster(o)
    return Step("starts as a replica", (StartServer(Role.SLAVE, c.deposed.get(o.me)),))


# --- election ------------------------------------------------------------------------------------------------------------
def refuses_while_it_hears(o: Observation) -> Step | None:
    """The primary is heard here, so it lives and can acknowledge writes."""
    if not _hears(o):
        return None
    if _election(o).by == o.me:
        return _change(o, f"hears {_cluster(o).primary} again: closes its election", election=None)
    return _votes(o, f"still hears {_cluster(o).primary}")


def heeds_a_refusal(o: Observation) -> Step | None:
    """One voter hears the primary: no election now."""
    refusals = [vote for vote in o.votes.values() if vote.refusal]
    if not refusals:
        return None
    if _election(o).by == o.me or _is_at_revision_for_s(o) >= o.rules.election_s:
        first = min(refusals, key=lambda vote: vote.node)
        return _change(o, f"{first.node} {first.refusal}: closes the election", election=None)
    return Step(f"waits for {_election(o).by} to close its election")


def stops_receiving(o: Observation) -> Step | None:
    """Before it votes: what it has then is all that it will ever have of this primary."""
    source = o.server.source
    is_fetching = _wins(o) and source is not None and source.node != _cluster(o).primary
    if source is None or not source.is_asking or is_fetching:
        return None
    return Step(f"stops receiving from {source.node}", (StopReceiving(),))


def casts_its_vote(o: Observation) -> Step | None:
    """It says what it has received, for exactly this state of the cluster."""
    vote = o.votes.get(o.me)
    if vote is not None and vote.incarnation == o.server.incarnation and not vote.refusal:
        return None
    return _votes(o, "")


def closes_in_vain(o: Observation) -> Step | None:
    """A vote is missing or the winner does not come: the voters go on as before, and try again."""
    c = _cluster(o)
    limit_s = o.rules.election_s + (DRAIN_S if choose(c, o.votes, o.rules) else 0.0)
    patience_s = 0.0 if _election(o).by == o.me else o.rules.election_s
    if _is_at_revision_for_s(o) < limit_s + patience_s:
        return None
    missing = [node for node in sorted(c.voters) if node not in o.votes]
    why = "the winner did not take over in time"
    if missing:
        why = f"no safe candidate: waits for {_listed(missing)}"
    elif choose(c, o.votes, o.rules) is None:
        why = f"no safe candidate: nobody has all that {c.primary} began with"
    return _change(o, why, election=None)


def stops_at_two_histories(o: Observation) -> Step | None:
    """Two voters have different transactions of the same number: nobody may decide that but a person."""
    if not _has_all_votes(_cluster(o), o.votes) or not _contradict(o.votes):
        return None
    return Step("two voters have different histories: nobody is promoted; compare their data, then promote HOST --accept-loss")


def fetches_what_it_lacks(o: Observation) -> Step | None:
    """The winner takes from another voter what only that one received."""
    if not _wins(o) or not _is_ahead(o):
        return None
    node, source = _ahead(o), o.server.source
    if source is not None and source.node == node and source.is_asking:
        return Step(f"fetches from {node} what is missing", again_s=SOON_S)
    if not o.server.is_drained:
        return Step(_drains(o), again_s=SOON_S)
    return Step(f"fetches from {node} what is missing", (Follow(node, acknowledges=False, may_forget=False),))


def takes_over(o: Observation) -> Step | None:
    """With all that any voter received, and all of it applied, the winner becomes primary if nothing has changed meanwhile."""
    if not _wins(o):
        return None
    if not o.server.is_drained:
        return Step(_drains(o), again_s=SOON_S)
    c, election = _cluster(o), _election(o)
    others = {node: vote.incarnation for node, vote in sorted(o.votes.items()) if node != o.me}
    last = Promotion(c.primary, o.server.applied, election.cause, election.why)
    promoted = _promoted(c, o.me, others, last, o.rules)
    return Step(f"takes over from {c.primary}: {election.why}", (Change(promoted),))


def waits_for_the_election(o: Observation) -> Step:
    """Another voter has not answered, or is the winner."""
    missing = [node for node in sorted(_cluster(o).voters) if node not in o.votes]
    if missing:
        return Step(f"waits for the vote of {_listed(missing)}")
    winner = choose(_cluster(o), o.votes, o.rules)
    return Step(f"waits for {winner} to take over" if winner else f"nobody has all that {_cluster(o).primary} began with")


# --- voter ---------------------------------------------------------------------------------------------------------------
def opens_an_election(o: Observation) -> Step | None:
    """Nothing came from the primary for so long that it is to be replaced, or it said itself that its server is gone."""
    c = _cluster(o)
    silent_s = _silent_s(o)
    is_silent = silent_s >= o.rules.suspect_s and o.late_s < LATE_S
    closed_s = o.memory.closed_election_s
    may_try = closed_s is None or o.now_s - closed_s >= o.rules.retry_s
    if not (c.primary_down or is_silent) or not may_try or not _can_elect(o) or _is_paused(o) or not _is_usable(o):
        return None
    cause = Cause.CRASHED if c.primary_down else Cause.SILENT
    why = f"the server on {c.primary} ended" if c.primary_down else f"nothing heard of {c.primary} for {silent_s:.1f} s"
    return _change(o, f"{why}: opens an election", election=Election(o.me, cause, why), handover=None)


def goes_ahead(o: Observation) -> Step | None:
    """The next primary's first write shall find a voter that follows already; until then the target alone acknowledges."""
    c, source = _cluster(o), o.server.source
    if c.handover is None or c.handover.to == o.me or source is None or source.node != c.primary:
        return None
    if not source.is_receiving or not source.is_applying:
        return None
    ahead = Follow(c.handover.to, acknowledges=True, may_forget=False, goes_ahead=True)
    return Step(f"goes ahead to {c.handover.to}", (ahead,))


def lets_everybody_in(o: Observation) -> Step | None:
    """Only a primary blocks others."""
    return Step("blocks nobody any more", (Block(NO_NODES),)) if o.blocked else None


def gives_up_its_data(o: Observation) -> Step | None:
    """The primary no longer has what is missing here, or the histories differ: only a copy helps."""
    source = o.server.source
    if source is None or not source.needs_copy or source.node != _cluster(o).primary:
        return None
    return Step(f"cannot follow {source.node} ({source.error}): copies all", (CopyFrom(_donor(o)),))


def gives_up_its_vote(o: Observation) -> Step | None:
    """A voter that applies nothing any more could never take over: it starts anew, as a replica that may be admitted again."""
    c, source = _cluster(o), o.server.source
    if source is None or source.node != c.primary or source.is_applying or not source.is_asking or not o.server.answers:
        return None
    says = f"applies nothing any more{f' after: {source.error}' if source.error else ''}: gives up its vote, and starts anew"
    return Step(says, (Follow(c.primary, acknowledges=False, may_forget=True),))


def follows_as_voter(o: Observation) -> Step | None:
    """It takes changes from the primary, after all that it received before is applied."""
    c, source = _cluster(o), o.server.source
    is_right = source is not None and (source.node == c.primary or _is_ahead_of_handover(o))
    if source is not None and is_right and source.is_ours and not source.was_refused and source.is_applying:
        return None
    if not o.server.is_drained:
        return Step(_drains(o), again_s=SOON_S)
    return Step(f"follows {c.primary}, as a voter", (Follow(c.primary, acknowledges=True, may_forget=False),))


def acknowledges(o: Observation) -> Step | None:
    """A published voter confirms each write."""
    return None if o.server.acknowledges else Step("acknowledges each write", (Acknowledge(on=True),))


def receives_again(o: Observation) -> Step | None:
    """No election is open any more, and nobody was promoted at the revision of its vote."""
    source = o.server.source
    if source is None or source.is_asking:
        return None
    return Step(f"receives from {source.node} again", (ResumeReceiving(),))


def reports(o: Observation) -> Step | None:
    """The primary must know what it can count on."""
    report = report_of(o)
    return None if _says_the_same(o, report) else Step(report.says, (WriteReport(report),))


def is_voter(o: Observation) -> Step:
    """All is as it should be."""
    c = _cluster(o)
    if c.primary_down or _silent_s(o) >= o.rules.suspect_s:
        return Step(f"{c.primary} is gone, and nobody can take over: {_why_no_election(o)}")
    return Step(f"voter of {c.primary}")


# --- replica -------------------------------------------------------------------------------------------------------------
def acknowledges_nothing(o: Observation) -> Step | None:
    """Who is not published must not release a write."""
    return Step("acknowledges nothing any more", (Acknowledge(on=False),)) if o.server.acknowledges else None


def discards_what_nobody_has(o: Observation) -> Step | None:
    """A former primary has writes that its successor never had: they are saved as SQL, and the data are copied anew."""
    c, s = _cluster(o), o.server
    ends = c.deposed.get(o.me)
    has_beyond = ends is not None and (not ends.covers(s.written) or ends.contradicts(s.written))
    if not has_beyond or s.source is not None or s.is_copy:
        return None
    return Step(f"has writes that {c.primary} never had: saves them, copies all", (CopyFrom(_donor(o)),))


def follows(o: Observation) -> Step | None:
    """It takes changes from the primary; what it received and did not apply the primary has too."""
    c, source = _cluster(o), o.server.source
    is_right = source is not None and source.node == c.primary and source.is_ours and not source.was_refused
    if is_right and source is not None and source.is_asking and source.is_applying:
        return None
    again = f" again after: {source.error}" if is_right and source is not None and source.error else ""
    return Step(f"follows {c.primary}{again}", (Follow(c.primary, acknowledges=False, may_forget=True),))


def is_replica(o: Observation) -> Step:
    """All is as it should be, or the primary is gone for longer than anybody here can help."""
    c = _cluster(o)
    if not c.primary_down and _silent_s(o) < o.rules.suspect_s:
        return Step(f"replica of {c.primary}")
    if o.me in c.voters and c.sync is Sync.OK:
        return Step(f"{c.primary} is gone, and nobody can take over: {_why_no_election(o)}")
    return Step(f"replica of {c.primary}, which it does not hear")


TABLE: Mapping[State, tuple[Rule, ...]] = {
    State.BLIND: (waits_for_etcd,),
    State.UNBORN: (waits_for_etcd, refuses_to_begin_again, begins, waits_for_the_first),
    State.CRASHED: (waits_for_etcd, starts_in_place, announces_its_crash, waits_to_be_replaced, claims_next_term),
    State.PRIMARY: (
        ends_what_hangs,
        ends_itself_when_alone,
        holds_still,
        leaves_the_election_alone,
        shuts_out_former_voters,
        takes_its_place,
        releases_who_waits,
        removes_a_lost_voter,
        makes_room,
        degrades,
        readmits_its_last_voter,
        goes_back_from_joining,
        completes_joining,
        welcomes_back,
        admits_a_voter,
        lets_in_again,
        hands_back,
        passes_on_what_nobody_tells,
        reports,
        is_primary,
    ),
    State.HANDING_OVER: (
        ends_itself_when_alone,
        holds_still,
        leaves_the_election_alone,
        gives_the_handover_up,
        waits_for_the_target_to_know,
        lets_the_voter_go_ahead,
        lets_routers_prepare,
        freezes,
        hands_over,
        asks_the_target,
    ),
    State.DEPOSED: (steps_down, ends_the_deposed),
    State.STOPPED: (waits_for_etcd, spends_its_promotion, copies_everything, starts_as_replica),
    State.ELECTION: (
        waits_for_etcd,
        refuses_while_it_hears,
        heeds_a_refusal,
        stops_receiving,
        casts_its_vote,
        stops_at_two_histories,
        fetches_what_it_lacks,
        takes_over,
        closes_in_vain,
        waits_for_the_election,
    ),
    State.VOTER: (
        waits_for_etcd,
        opens_an_election,
        goes_ahead,
        lets_everybody_in,
        gives_up_its_data,
        gives_up_its_vote,
        follows_as_voter,
        acknowledges,
        receives_again,
        reports,
        is_voter,
    ),
    State.REPLICA: (
        waits_for_etcd,
        lets_everybody_in,
        acknowledges_nothing,
        discards_what_nobody_has,
        gives_up_its_data,
        follows,
        reports,
        is_replica,
    ),
}


MOVES: Mapping[State, tuple[State, ...]] = {
    State.UNBORN: (State.CRASHED, State.STOPPED),
    State.CRASHED: (State.PRIMARY, State.STOPPED),
    State.PRIMARY: (State.CRASHED, State.HANDING_OVER, State.DEPOSED),
    State.HANDING_OVER: (State.PRIMARY, State.DEPOSED, State.CRASHED),
    State.DEPOSED: (State.STOPPED, State.VOTER),
    State.STOPPED: (State.REPLICA, State.CRASHED),
    State.REPLICA: (State.VOTER, State.STOPPED),
    State.VOTER: (State.ELECTION, State.PRIMARY, State.REPLICA, State.STOPPED),
    State.ELECTION: (State.PRIMARY, State.VOTER, State.REPLICA, State.STOPPED),
}
"""Where a host goes from each state; whoever was BLIND may be anywhere. The simulation sees no others, but that several may
happen between two looks. Follows from the rules, and is here to be drawn and checked."""


# --- what several rules ask ------------------------------------------------------------------------------------------------
def choose(cluster: Cluster, votes: Mapping[str, Vote], rules: Rules) -> str | None:
    """Say who is to be promoted: the same on every host. None while a vote of a published voter is missing or refused.

    Nor while nobody has all that the present primary began with, which no voter confirmed under it. Not a spare while a normal
    host can, nor a witness while anybody else can; among these who received most, then who has least to apply, then by name.
    """
    if not _has_all_votes(cluster, votes):
        return None
    most = max((vote.received for vote in votes.values()), key=_total)
    if not most.covers(cluster.last.position):
        return None
    candidates = sorted(votes.values(), key=lambda vote: (
        rules.order(vote.node), vote.received.distance(most), vote.applied.distance(vote.received), vote.node
    ))  # fmt: skip
    return candidates[0].node


def promoted_alone(o: Observation, last: Promotion) -> Cluster:
    """The cluster with this host as its primary and no voter, as if it were new: who comes back counts from then on."""
    return replace(_promoted(_cluster(o), o.me, {}, last, o.rules), is_new=True)


def why_not_near(o: Observation, node: str) -> str:
    """Say why `node` could not take over at once; "" it can."""
    behind = o.server.feeds[node].distance(o.server.written) if node in o.server.feeds else None
    if behind is None:
        return f"{node} is not connected"
    return f"{node} is {behind} transactions behind" if behind > NEAR else ""


def behind_in_handover(o: Observation) -> set[str]:
    """The voters beside the target that do not follow it yet."""
    c, to = _cluster(o), _handover(o).to
    return {node for node in c.voters if node != to and (node not in o.reports or o.reports[node].goes_ahead_to != to)}


def report_of(o: Observation) -> Report:
    """Say what the primary must know of this host."""
    c, s = _cluster(o), o.server
    source = s.source
    is_following = source is not None and source.node == c.primary and source.is_receiving and source.is_applying
    is_fit = is_following and not s.acknowledges and s.applied.distance(s.received) <= NEAR
    ahead = source.node if source is not None and source.is_receiving and _is_ahead_of_handover(o) else ""
    says = "is primary" if c.primary == o.me else "could be a voter" if is_fit else "says how far it is"
    return Report(o.me, s.incarnation, c.revision, s.acknowledges, is_fit, s.received, says, ahead)


def _says_the_same(o: Observation, report: Report) -> bool:
    """Whether the last report still holds. Where nobody waits for it, how far a replica is need not be told at each write."""
    c, last = _cluster(o), o.reports.get(o.me)
    if last is None or not o.server.answers:
        return last is not None or not o.server.answers
    if c.primary == o.me or (c.sync is Sync.OK and c.voters.get(o.me) == report.incarnation):
        report = replace(report, received=last.received)
    is_full = c.sync is Sync.OK and len(c.voters) >= o.rules.most_voters and o.me not in c.voters
    is_full = is_full and o.rules.seat(o.me) >= max(map(o.rules.seat, c.voters))
    return replace(report, received=last.received) == last if is_full else report == last


def _cluster(o: Observation) -> Cluster:
    assert o.cluster is not None  # noqa: S101 - every state but BLIND has one
    return o.cluster


def _election(o: Observation) -> Election:
    election = _cluster(o).election
    assert election is not None  # noqa: S101 - so says the state
    return election


def _handover(o: Observation) -> Handover:
    handover = _cluster(o).handover
    assert handover is not None  # noqa: S101 - so says the state
    return handover


def _change(o: Observation, says: str, **changes: object) -> Step:
    return Step(says, (Change(replace(_cluster(o), **changes)),))  # type: ignore[arg-type]


def _promoted(c: Cluster, to: str, others: Mapping[str, str], last: Promotion, rules: Rules) -> Cluster:
    """The cluster with `to` as its primary, and `others` as its voters."""
    voters = dict(sorted(others.items())[: rules.most_voters])
    gone = set(c.voters) - set(voters) - {to}
    return replace(
        c,
        term=c.term + 1,
        primary=to,
        sync=Sync.OK if voters else Sync.DEGRADED,
        voters=voters,
        is_new=False,
        primary_down=False,
        election=None,
        handover=None,
        last=last,
        claimed_by="",
        removed=_removed(replace(c, removed=_without(c.removed, to)), gone),
        deposed={**_without(c.deposed, to), **({c.primary: last.position} if c.primary else {})},
    )


def _knows(o: Observation) -> bool:
    return o.etcd_silent_s < FRESH_S


def _is_paused(o: Observation) -> bool:
    return _cluster(o).paused_until > o.epoch_s


def _claim(o: Observation) -> str:
    """Names one stop of the server, seen by one run of the agent."""
    return f"{o.run}/{o.memory.down_since_s}"


def _can_elect(o: Observation) -> bool:
    """Whether every voter is still the one that was published, as far as is known."""
    c = _cluster(o)
    if c.sync is not Sync.OK or not c.voters:
        return False
    return all(node not in o.reports or o.reports[node].incarnation == known for node, known in c.voters.items())


def _why_no_election(o: Observation) -> str:
    c = _cluster(o)
    if _is_paused(o):
        return f"paused by {c.paused_by}"
    if c.sync is not Sync.OK:
        return f"no copy is known to have every acknowledged write ({c.sync.value})"
    gone = [node for node, known in c.voters.items() if node in o.reports and o.reports[node].incarnation != known]
    if gone:
        return f"{_listed(gone)} restarted and may have forgotten what it acknowledged"
    return "a new election is opened soon"


def _is_ahead_of_handover(o: Observation) -> bool:
    """Whether this host follows another one that is about to become primary."""
    handover, source = _cluster(o).handover, o.server.source
    return handover is not None and source is not None and source.node == handover.to


def _is_at_revision_for_s(o: Observation) -> float:
    return o.now_s - o.memory.revision_since_s


def _waits_for_voters(o: Observation) -> bool:
    """While one is joining, only once it acknowledges: for what it was sent before, the server would wait for ever."""
    c = _cluster(o)
    return c.sync is Sync.OK or (c.sync is Sync.JOINING and all(_acknowledges(o, node) for node in c.voters))


def _acknowledges(o: Observation, node: str) -> bool:
    report = o.reports.get(node)
    return report is not None and report.acknowledges and report.incarnation == _cluster(o).voters.get(node)


def _may_take_writes(o: Observation) -> bool:
    return _cluster(o).sync is Sync.OK or o.rules.mode is Mode.AVAILABLE or _cluster(o).is_new


def _lost_voters(o: Observation) -> set[str]:
    """Published voters that are not fed, or are no longer what they were when they were published."""
    lost = set()
    for node, known in _cluster(o).voters.items():
        since_s = o.memory.feed_lost_s.get(node)
        is_another = node in o.reports and o.reports[node].incarnation != known
        if is_another or (since_s is not None and o.now_s - since_s >= o.rules.suspect_s):
            lost.add(node)
    return lost


def _removes(o: Observation, leaving: set[str], why: str) -> Step | None:
    """The steps by which voters stop being ones while another goes on; `why` they do."""
    c = _cluster(o)
    others = {node: incarnation for node, incarnation in c.voters.items() if node not in leaving}
    if not others or c.sync is not Sync.OK:
        return None
    if not leaving <= o.blocked:
        return Step(f"{why}: blocks it", (Block(o.blocked | leaving),))
    moments = [o.memory.blocked_at.get(node) for node in sorted(leaving)]
    for moment in moments:
        if moment is None or not all(o.server.feeds.get(node, BEGINNING).covers(moment) for node in others):
            return Step(f"{_listed(leaving)} is blocked; waits until {_listed(others)} has all that it may have confirmed")
    return _change(o, f"{_listed(leaving)} is no voter any more", voters=others, removed=_removed(c, leaving))


def _outdone(o: Observation) -> set[str]:
    """The voter whose place a better host waits for, near enough to take it; not while another voter is being lost."""
    c, seat = _cluster(o), o.rules.seat
    waiting = [seat(report.node) for report in _could_join(o)]
    if c.sync is not Sync.OK or len(c.voters) < max(2, o.rules.most_voters) or not waiting:
        return set()
    worst = max(c.voters, key=lambda node: (seat(node), node))
    return {worst} if min(waiting) < seat(worst) and not _lost_voters(o) - {worst} else set()


def _could_join(o: Observation) -> list[Report]:
    """Of those that are no voters, who could be one at once."""
    c = _cluster(o)
    fit = [report for report in o.reports.values() if report.node not in c.voters and _is_fit(o, report)]
    return [report for report in fit if report.received.distance(o.server.written) <= NEAR and report.node not in o.blocked]


def _near_voters(o: Observation) -> list[str]:
    """The voters that could take over at once, the best first."""
    near = [node for node in _cluster(o).voters if not why_not_near(o, node)]
    return sorted(near, key=lambda node: (o.rules.order(node), node))


def _is_fit(o: Observation, report: Report) -> bool:
    """Whether the report was made under the present state of the cluster, and says that this host could be a voter."""
    return report.revision == _cluster(o).revision and report.is_fit_to_vote and not report.acknowledges


def _removed(c: Cluster, nodes: set[str]) -> dict[str, int]:
    return {**c.removed, **dict.fromkeys(sorted(nodes), c.revision)}


def _unaware(o: Observation) -> set[str]:
    """Former voters that have not said, knowing of their removal, that they acknowledge nothing."""
    c = _cluster(o)
    aware = {
        node
        for node, revision in c.removed.items()
        if node in o.reports and o.reports[node].revision > revision and not o.reports[node].acknowledges
    }
    return {node for node in c.removed if node not in aware and node not in c.voters and node != o.me}


def _must_stay_blocked(o: Observation, node: str) -> bool:
    """While it is being removed, and until it knows. With all voters lost nobody can be removed, and each is let in."""
    c, lost = _cluster(o), _lost_voters(o) or _outdone(o)
    is_leaving = node in lost and c.sync is Sync.OK and lost != set(c.voters)
    return is_leaving or node in _unaware(o)


def _donor(o: Observation) -> str:
    """Who is copied from: a voter, so that the primary has no more to do; else the primary, which cannot be without data."""
    c = _cluster(o)
    if o.memory.down_since_s is not None and o.now_s - o.memory.down_since_s >= DONOR_S:
        return c.primary
    return min((node for node in c.voters if node != o.me), default=c.primary, key=lambda node: (-o.rules.order(node), node))


def _hears(o: Observation) -> bool:
    source = o.server.source
    is_connected = source is not None and source.node == _cluster(o).primary and source.is_receiving
    return is_connected and o.silent_s < o.rules.agree_s and not _cluster(o).primary_down


def _silent_s(o: Observation) -> float:
    """For how long nothing came from the present primary; what its predecessor did not say is not its fault."""
    return min(o.silent_s, o.now_s - o.memory.primary_since_s)


def _is_usable(o: Observation) -> bool:
    return o.server.answers and o.server.source is not None


def _votes(o: Observation, refusal: str) -> Step | None:
    vote = Vote(o.me, o.server.incarnation, o.server.received, o.server.applied, refusal)
    if not o.server.answers or o.votes.get(o.me) == vote:
        return None
    says = f"refuses its vote: {refusal}" if refusal else f"votes: has {o.server.received}"
    return Step(says, (CastVote(_cluster(o).revision, vote),))


def _has_all_votes(cluster: Cluster, votes: Mapping[str, Vote]) -> bool:
    return bool(cluster.voters) and all(
        node in votes and votes[node].incarnation == known and not votes[node].refusal for node, known in cluster.voters.items()
    )


def _contradict(votes: Mapping[str, Vote]) -> bool:
    received = [vote.received for vote in votes.values()]
    return any(one.contradicts(other) for one in received for other in received)


def _wins(o: Observation) -> bool:
    return o.server.answers and choose(_cluster(o), o.votes, o.rules) == o.me


def _ahead(o: Observation) -> str:
    """The voter that received most."""
    return max(sorted(o.votes), key=lambda node: _total(o.votes[node].received))


def _is_ahead(o: Observation) -> bool:
    """Whether another voter received what is missing here, and this host is to be promoted."""
    return _wins(o) and not all(o.server.received.covers(vote.received) for vote in o.votes.values())


def _drains(o: Observation) -> str:
    return f"applies what it received: {o.server.applied.distance(o.server.received)} transactions are left"


def _total(position: Position) -> int:
    return sum(number for _, number in position.numbers)


def _without(entries: Mapping[str, V], node: str) -> dict[str, V]:
    return {name: entry for name, entry in entries.items() if name != node}


def _listed(nodes: Mapping[str, str] | frozenset[str] | set[str] | list[str]) -> str:
    return " and ".join(sorted(nodes)) or "nobody"

"""The values that the agent decides on: positions, the cluster's state, what was seen here, and what there is to be done.

Everything is frozen and compares by value, so that the same decision can be made again, here and in the simulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

# Of one look: never heard, never happened.
NEVER = float("inf")


# --- positions -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Position:
    """How far a history of writes goes: the highest number of each source, and who wrote the last one.

    MariaDB: one source, the replication domain, and `writer` is the server id of the last transaction. MySQL: one source for
    each server's UUID, and no writer. A position without sources is the beginning.
    """

    numbers: tuple[tuple[str, int], ...] = ()
    """Sorted (source, highest number) pairs."""
    writer: str = ""

    def covers(self, other: Position) -> bool:
        """Whether everything up to `other` is in this history, if the two are one history."""
        mine = dict(self.numbers)
        return all(mine.get(source, 0) >= number for source, number in other.numbers)

    def contradicts(self, other: Position) -> bool:
        """Whether both end at the same number, written by different servers: two histories, not one."""
        return self.numbers == other.numbers and self.writer != other.writer and bool(self.writer and other.writer)

    def distance(self, other: Position) -> int:
        """How many transactions of `other` are missing here; 0 when it is covered."""
        mine = dict(self.numbers)
        return sum(max(0, number - mine.get(source, 0)) for source, number in other.numbers)

    def __str__(self) -> str:
        return ",".join(f"{source}:{number}" for source, number in self.numbers) + (f"@{self.writer}" if self.writer else "")


BEGINNING = Position()


# --- what all agree on: one key in etcd ----------------------------------------------------------------------------------
class Sync(Enum):
    """Whether the published voters hold every acknowledged write."""

    OK = "ok"
    """Yes: no write is acknowledged without one of them. Only now may one of them be promoted by itself."""
    JOINING = "joining"
    """The first voter is on its way back: it acknowledges, but may not have all that came before."""
    DEGRADED = "degraded"
    """There is none: the primary goes on alone (mode available, or a new cluster), or stays read-only (lossless)."""


class Cause(Enum):
    """Why the primary changed, or was asked to."""

    FIRST = "first"
    CRASHED = "crashed"
    SILENT = "silent"
    HANDOVER = "handover"
    RESTARTED = "restarted"
    ACCEPTED_LOSS = "accepted-loss"


@dataclass(frozen=True)
class Election:
    """Open: the voters are asked to stop receiving and to say what they have. `by` opened it."""

    by: str
    cause: Cause
    why: str


@dataclass(frozen=True)
class Handover:
    """The primary is to pass its role to `to`, once it takes no more writes and `to` has all of them."""

    to: str
    id: str


@dataclass(frozen=True)
class Promotion:
    """The last change of the primary, from `origin`.

    `position`: all that the new one had. Whoever is promoted next must have that much: what its voters confirm lies beyond it.
    """

    origin: str
    position: Position
    cause: Cause
    why: str = ""


@dataclass(frozen=True)
class Cluster:
    """The state of the tier: one key, changed by compare-and-swap on its `revision` only.

    `voters`: host → incarnation in which it counts. `primary_down`: its own agent saw the server end. `is_new`: no voter was
    ever published, so that nobody was promised a second copy yet. `paused_until`: seconds since the epoch; 0 = not paused.
    """

    revision: int
    term: int
    primary: str
    sync: Sync
    voters: Mapping[str, str] = field(default_factory=dict)
    is_new: bool = False
    primary_down: bool = False
    election: Election | None = None
    handover: Handover | None = None
    last: Promotion = Promotion("", BEGINNING, Cause.FIRST)
    claimed_by: str = ""
    """Which stop of the primary's server was ended by claiming a term: only then does it start as MASTER."""
    deposed: Mapping[str, Position] = field(default_factory=dict)
    """Former primary that is not back yet → where its history ended; what it has beyond is no history."""
    removed: Mapping[str, int] = field(default_factory=dict)
    """Former voter → revision after which it was removed; refused until it says, knowing that, that it acknowledges nothing."""
    paused_until: float = 0.0
    paused_by: str = ""


@dataclass(frozen=True)
class Vote:
    """What one voter had, after it stopped receiving, at one exact revision of the cluster. `refusal` "": it agrees."""

    node: str
    incarnation: str
    received: Position
    applied: Position
    refusal: str = ""


@dataclass(frozen=True)
class Report:
    """What a host says of itself, for the primary to admit it or to let it in again; written when it changes."""

    node: str
    incarnation: str
    revision: int
    """The cluster's revision it knew."""
    acknowledges: bool
    is_fit_to_vote: bool
    """It follows the primary of `revision` and is caught up."""
    received: Position = BEGINNING
    says: str = ""
    goes_ahead_to: str = ""
    """Whom it follows already, though that host is only about to become primary."""


# --- what is seen here ---------------------------------------------------------------------------------------------------
class Role(Enum):
    """How the server was started: keeping everything in its log, or cutting off what nobody acknowledged."""

    MASTER = "MASTER"
    SLAVE = "SLAVE"


@dataclass(frozen=True)
class Source:
    """Whom the server replicates from."""

    node: str
    """Host of the tier; "?" for an address that is none of them."""
    is_receiving: bool
    """The receiving thread is connected."""
    is_asking: bool
    """The receiving thread runs, connected or trying to."""
    is_applying: bool
    is_ours: bool = True
    """Its settings (user, encryption, GTID) are those it should have."""
    needs_copy: bool = False
    """The source no longer has what is missing here, or histories differ: only a copy helps."""
    was_refused: bool = False
    """Its password is not the present one."""
    error: str = ""
    lag_s: float | None = None


@dataclass(frozen=True)
class Server:
    """One look at the local server. Where `is_running` is false, only `has_data` and `written` count.

    `written`: all that is in its own log; `received`: all that it has from its source, applied or not; `applied`: of these,
    what is done. `feeds`: host → position which that replica has confirmed, for those that are fed now.
    """

    is_running: bool = False
    answers: bool = False
    """It answered the last look in time."""
    has_data: bool = True
    """False: a data directory must be made or copied first."""
    is_copy: bool = False
    """Its data came whole from another host since it last was primary."""
    incarnation: str = ""
    """Changes whenever something that was received may have been forgotten."""
    is_read_only: bool = True
    waits_for_voters: bool = False
    """Semi-synchronous replication is on at the primary's side."""
    waiting: int = 0
    """Clients whose write is in the log and waits for a voter."""
    acknowledges: bool = False
    """Semi-synchronous replication is on at the replica's side."""
    source: Source | None = None
    written: Position = BEGINNING
    received: Position = BEGINNING
    applied: Position = BEGINNING
    feeds: Mapping[str, Position] = field(default_factory=dict)

    @property
    def is_drained(self) -> bool:
        """Whether all that was received is applied."""
        return self.applied.covers(self.received)

    @property
    def acts_as_primary(self) -> bool:
        """Whether it does anything that only a primary does."""
        return self.is_running and (not self.is_read_only or self.waits_for_voters)


class Mode(Enum):
    """Whether a primary whose last voter is gone may go on alone."""

    LOSSLESS = "lossless"
    AVAILABLE = "available"


@dataclass(frozen=True)
class Member:
    """A host of the tier. `is_witness`: never primary while anybody else can be; `is_spare`: only when no normal host can."""

    node: str
    is_witness: bool = False
    is_spare: bool = False


@dataclass(frozen=True)
class Rules:
    """What the stack file decides; the same on all hosts."""

    members: tuple[Member, ...]
    first_primary: str = ""
    """Who begins, where there was no cluster yet."""
    mode: Mode = Mode.LOSSLESS
    suspect_s: float = 1.0
    """Nothing heard of the primary for so long: it is to be replaced."""
    agree_s: float = 0.6
    """Nothing heard for so long: another's election is agreed to."""
    alone_s: float = 3.0
    """No etcd and no acknowledgement for so long: the primary ends itself. Also how long a write may hang."""
    restart_s: float = 5.0
    """How long a crashed primary waits to be replaced before it starts again in place."""
    election_s: float = 2.0
    """An election without all its votes is closed after so long."""
    retry_s: float = 2.0
    """And is opened again by the same host after so long."""
    handover_s: float = 1.5
    most_voters: int = 2
    """MariaDB waits for one acknowledgement, so that a promotion must hear every voter."""

    def is_witness(self, node: str) -> bool:
        return any(member.node == node and member.is_witness for member in self.members)

    def is_spare(self, node: str) -> bool:
        return any(member.node == node and member.is_spare for member in self.members)

    def order(self, node: str) -> int:
        """Who is primary: a normal host (0) before a spare (1), which serves anyway, before a witness (2)."""
        return 2 if self.is_witness(node) else 1 if self.is_spare(node) else 0

    def seat(self, node: str) -> int:
        """Who acknowledges: a normal host (0) before a witness (1), which is there for it, before a spare (2)."""
        return 2 if self.is_spare(node) else 1 if self.is_witness(node) else 0


@dataclass(frozen=True)
class Memory:
    """What must be remembered between two looks; kept by `remember`, lost when the agent restarts, without harm.

    Times are in seconds of the monotonic clock, None = not so.
    """

    revision: int = -1
    revision_since_s: float = 0.0
    term: int = -1
    primary_since_s: float = 0.0
    """Since when the primary of `term` is known here."""
    handover: str = ""
    handover_since_s: float = 0.0
    prepared_since_s: float | None = None
    """Primary: everybody is prepared for the handover since; only now do routers hold new connections back."""
    down_since_s: float | None = None
    hangs_since_s: float | None = None
    """The server runs and does not answer, or does not write though its voters have everything."""
    unconfirmed_since_s: float | None = None
    """Primary: nothing was confirmed by a voter since, though something is to be confirmed."""
    confirmed: Mapping[str, Position] = field(default_factory=dict)
    """Voter → what it had confirmed at the last look."""
    blocked_at: Mapping[str, Position] = field(default_factory=dict)
    """Blocked host that is fed no more → what had been written then."""
    fed_term: int = -1
    fed: frozenset[str] = frozenset()
    """Voters that were fed at any time in `fed_term`."""
    feed_lost_s: Mapping[str, float] = field(default_factory=dict)
    """Voter that is not fed → since when."""
    barrier: Position | None = None
    """While joining: every commit that began without voters is within this. Set by whoever carries out TakeBarrier."""
    own_election: bool = False
    """An election that this host opened is open."""
    closed_election_s: float | None = None
    """When an election that this host opened was closed without a promotion."""


@dataclass(frozen=True)
class Observation:
    """All that a decision rests on. `now_s`: monotonic clock. `etcd_silent_s`: since etcd last answered with its quorum."""

    me: str
    rules: Rules
    now_s: float
    cluster: Cluster | None
    """None: never read. Where etcd has none, a cluster of revision 0 without a primary."""
    etcd_silent_s: float
    server: Server
    memory: Memory
    votes: Mapping[str, Vote] = field(default_factory=dict)
    """For exactly `cluster.revision`."""
    reports: Mapping[str, Report] = field(default_factory=dict)
    silent_s: float = NEVER
    """Since anything came from the primary over replication."""
    late_s: float = 0.0
    """How much later than it should this look came: what was not heard meanwhile may be our own fault."""
    write_hangs_s: float = 0.0
    """For how long the row that is written twice a second has been waited for."""
    untold_s: float = 0.0
    """For how long nothing has listened where routers ask for this host's role; without it no client is led here."""
    blocked: frozenset[str] = frozenset()
    """Hosts whose replication from here is refused now."""
    run: str = ""
    """Differs for each start of the agent."""
    knew_cluster: bool = False
    """This host's disk says that there was a cluster."""
    epoch_s: float = 0.0
    """Wall clock, for pauses only."""


# --- what there is to be done --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Action:
    """One step; its outcome is seen at the next look."""


@dataclass(frozen=True)
class Change(Action):
    """Replace the cluster's state, if it is still at the revision this was derived from."""

    cluster: Cluster


@dataclass(frozen=True)
class CastVote(Action):
    """Write a vote for `revision`."""

    revision: int
    vote: Vote


@dataclass(frozen=True)
class WriteReport(Action):
    report: Report


@dataclass(frozen=True)
class StartServer(Action):
    """Start the server, read-only. What it has beyond `keeps` is saved as SQL first; None: it has nothing of its own."""

    role: Role
    keeps: Position | None = None


@dataclass(frozen=True)
class KillServer(Action):
    """SIGKILL: the only way that releases no waiting write."""


@dataclass(frozen=True)
class StopReceiving(Action):
    """Refuse the primary's host, then stop the receiving thread only: what was received goes on being applied."""


@dataclass(frozen=True)
class ResumeReceiving(Action):
    """Start the receiving thread again, with the applying one never stopped."""


@dataclass(frozen=True)
class Follow(Action):
    """Take changes from `node`. `acknowledges`: as a voter. Unless it `may_forget`, all that was received must be applied.

    `goes_ahead`: `node` is no primary yet, and may still lack what is here: that is waited for.
    """

    node: str
    acknowledges: bool
    may_forget: bool
    goes_ahead: bool = False


@dataclass(frozen=True)
class Acknowledge(Action):
    """Switch acknowledging on or off, with a new connection to the primary."""

    on: bool


@dataclass(frozen=True)
class BePrimary(Action):
    """Follow nobody, acknowledge nothing, wait for voters or not, take writes or not."""

    waits_for_voters: bool
    takes_writes: bool


@dataclass(frozen=True)
class Freeze(Action):
    """Take no more writes, within 300 ms or not at all; then do as `AskReplica` does."""

    target: str


@dataclass(frozen=True)
class AskReplica(Action):
    """Learn how far `node` is, as soon as it has applied all that is written here, for `feeds` of the next look."""

    node: str


@dataclass(frozen=True)
class TakeBarrier(Action):
    """Wait until every commit that began has ended, and remember the position."""


@dataclass(frozen=True)
class Release(Action):
    """Let those clients go that wait for writes within `received`, which a published voter has."""

    received: Position


@dataclass(frozen=True)
class Block(Action):
    """Refuse replication to exactly these hosts, and end their feeds."""

    nodes: frozenset[str]


@dataclass(frozen=True)
class CopyFrom(Action):
    """Replace all data by a copy of `node`'s; what is here beyond is saved as SQL first."""

    node: str


@dataclass(frozen=True)
class Decision:
    """What to do next, in order, and the rule that says so. No actions: nothing is to be done."""

    state: str
    rule: str
    says: str
    actions: tuple[Action, ...] = ()
    again_s: float | None = None
    """Look again after so long; None: at the next look, or when something happens."""

"""A MariaDB server: its binary log, semi-synchronous waiting, both replication threads, and its crashes.

What it is faithful to (numbers: traps of the reference): one acknowledgement of any acknowledging replica releases a writer
(A3); switching the waiting off releases all (A2); whether a commit waits is settled when it begins; read_only waits for whoever
waits (A5); a restart forgets what was received and not applied (C17); engine commits of the last moment are not on disk, so
that a start as SLAVE cuts even acknowledged writes from the log (B12, B13, I5); only the last transaction is compared when a
replica connects (D20).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.simulation.loop import Call, Loop
from tests.simulation.network import Network

from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.model import BEGINNING, Position, Role, Server, Source

HEARTBEAT_S = 0.2
NET_TIMEOUT_S = 2.0
CONNECT_RETRY_S = 1.0
ASK_S = 0.5
DARK_S = 0.6
# A statement without an answer is given up after so long.
STATEMENT_S = 3.0
FREEZE_S = 0.3
# Another server is waited for, or waits itself, for so long until it has applied what is asked for.
CATCHES_UP_S = 0.3
# Engine commits that a crash takes back at most: the log of the engine is synced by the next transaction only.
UNSYNCED_COMMITS = 3
# The share of commits whose sync takes up to half a second.
SLOW_SYNCS = 0.002

Reply = Callable[[str], None]


@dataclass(eq=False, slots=True)
class Write:
    """One transaction; two are the same only if they are the same object."""

    number: int
    writer: str
    token: int
    is_acknowledged: bool = False

    def __str__(self) -> str:
        return f"{self.number}@{self.writer}"


@dataclass(eq=False, slots=True)
class Feed:
    """One connection of a replica; each end forgets it by itself."""

    source: DatabaseServer
    replica: DatabaseServer
    acknowledges: bool
    incarnation: str
    """Of the replica, when it connected."""
    told: int = 0
    """What the replica said to have applied, asked over a connection of its own."""
    heard_s: float = 0.0
    arrived: deque[tuple[list[Write], bool]] = field(default_factory=deque)
    dark_since_s: float | None = None
    """Since when the source's packets are not answered by the replica's host."""


@dataclass(eq=False, slots=True)
class Commit:
    """A write on its way: whether it waits for a voter was settled when it began."""

    token: int
    waits: bool
    reply: Reply
    write: Write | None = None


@dataclass(eq=False)
class Process:
    """What is gone when the server process is."""

    is_ready: bool = False
    is_read_only: bool = True
    waits: bool = False
    acknowledges: bool = False
    asks: bool = False
    """The receiving thread runs."""
    applies: bool = False
    """The applying thread runs."""
    is_freezing: bool = False
    error: str = ""
    needs_copy: bool = False
    feeds: dict[str, Feed] = field(default_factory=dict)
    feed: Feed | None = None
    commits: list[Commit] = field(default_factory=list)
    """Begun and not ended, in the order of the log for those that are in it."""
    statements: list[Callable[[object], None]] = field(default_factory=list)
    hung: list[tuple[Call, tuple[object, ...]]] | None = None
    """While it is stopped by a signal: what is to be done when it goes on."""
    is_applying_one: bool = False
    is_retrying: bool = False


class Watcher:
    """What the invariants and the history want to know; does nothing by itself."""

    def released(self, server: DatabaseServer, write: Write, waited: bool) -> None: ...
    def semi_sync_changed(self) -> None: ...
    def took_writes(self, server: DatabaseServer) -> None: ...
    def failed(self, token: int) -> None: ...
    def skipped(self, server: DatabaseServer, write: Write) -> None: ...
    def note(self, node: str, text: str) -> None: ...


class DatabaseServer:
    """One host's server: its disk, and its process while there is one."""

    def __init__(self, node: str, loop: Loop, network: Network, watcher: Watcher) -> None:
        self.node = node
        self.peers: dict[str, DatabaseServer] = {}
        self.process: Process | None = None
        self.ended: Callable[[], None] = lambda: None
        """The agent's pidfd."""
        # --- on disk ---------------------------------------------------------------------------------------------------
        self.log: list[Write] = []
        self.committed = 0
        self.relay: list[Write] = []
        self.slave_position = 0
        self.source: str | None = None
        self.has_data = True
        self.is_copy = False
        self.boots = 0
        self.forgot = 0
        # --- of the host -----------------------------------------------------------------------------------------------
        self.blocked: frozenset[str] = frozenset()
        self.stalled: list[tuple[Call, tuple[object, ...]]] | None = None
        self.is_applying_slowly = 0
        self._loop = loop
        self._network = network
        self._watcher = watcher
        self._random: Random = loop.random(f"server/{node}")

    # --- time in a process: nothing happens in one that is gone, that hangs, or whose disk stalls ----------------------
    def _later(self, delay_s: float, call: Call, *args: object) -> None:
        self._loop.after(delay_s, self._enter, self.process, call, *args)

    def _enter(self, process: Process | None, call: Call, *args: object) -> None:
        if process is None or process is not self.process:
            return
        if process.hung is not None:
            process.hung.append((call, args))
        else:
            call(*args)

    def _on_disk(self, call: Call, *args: object) -> None:
        """Do it now, or when the disk works again."""
        if self.stalled is not None:
            self.stalled.append((self._enter, (self.process, self._on_disk, call, *args)))
        else:
            call(*args)

    # --- writes --------------------------------------------------------------------------------------------------------
    def write(self, token: int, reply: Reply) -> None:
        """A client's write: replies "ok" or "fail", or never."""
        process = self.process
        if process is None or not process.is_ready:
            self._watcher.failed(token)
            reply("fail")
        elif process.hung is not None:
            process.hung.append((self.write, (token, reply)))
        elif process.is_freezing:
            self._later(FREEZE_S, self.write, token, reply)
        elif process.is_read_only:
            self._watcher.failed(token)
            reply("fail")
        else:
            commit = Commit(token, process.waits, reply)
            process.commits.append(commit)
            rare = self._random.random() < SLOW_SYNCS
            sync_s = 0.0005 + 0.002 * self._random.random() + (0.5 * self._random.random() if rare else 0.0)
            self._later(sync_s, self._on_disk, self._binlogged, commit)

    def _binlogged(self, commit: Commit) -> None:
        """It is in the synced log, and on its way to all replicas; a voter's answer or nothing at all ends it."""
        process = self._running()
        commit.write = write = Write(len(self.log) + 1, self.server_id, commit.token)
        self._append([write])
        if not commit.waits:
            self._later(0.0003 + 0.001 * self._random.random(), self._end, commit, False)
        elif not process.waits:
            self._end(commit, False)

    def _append(self, writes: list[Write]) -> None:
        process = self._running()
        self.log += writes
        for feed in list(process.feeds.values()):
            self._feed(feed, writes)

    def _end(self, commit: Commit, is_confirmed: bool) -> None:
        """Commit in the engine, and say ok."""
        process = self._running()
        if commit not in process.commits:
            return
        process.commits.remove(commit)
        assert commit.write is not None
        self.committed = max(self.committed, commit.write.number)
        self._watcher.released(self, commit.write, is_confirmed)
        commit.reply("ok")

    def release_waiting(self) -> None:
        """What switching the waiting off does, and a KILL: everybody goes on without an acknowledgement."""
        for commit in [c for c in self._running().commits if c.waits and c.write is not None]:
            self._end(commit, False)

    # --- feeding replicas ----------------------------------------------------------------------------------------------
    def _feed(self, feed: Feed, writes: list[Write]) -> None:
        wants_answer = feed.acknowledges and self._running().waits
        self._network.send(self.node, feed.replica.node, feed.replica.receive, feed, list(writes), wants_answer)

    def _beat(self, feed: Feed) -> None:
        process = self.process
        if process is None or process.feeds.get(feed.replica.node) is not feed:
            return
        self._network.send(self.node, feed.replica.node, feed.replica.receive, feed, [], False)
        if self._network.talks(self.node, feed.replica.node):
            feed.dark_since_s = None
        elif feed.dark_since_s is None:
            feed.dark_since_s = self._loop.now_s
        self._later(HEARTBEAT_S, self._beat, feed)

    def _is_dark(self, feed: Feed) -> bool:
        """Whether the kernel has repeated itself to that host too often."""
        return feed.dark_since_s is not None and self._loop.now_s - feed.dark_since_s >= DARK_S

    def _ask_replica(self, feed: Feed) -> None:
        """Ask it twice a second what it has applied, for as long as it is fed; end a feed that leads into the dark."""
        if self._running().feeds.get(feed.replica.node) is not feed:
            return
        if self._is_dark(feed):
            self.end_feeds(frozenset({feed.replica.node}))
            return
        self._later(ASK_S, self._ask_replica, feed)
        self._network.send(self.node, feed.replica.node, feed.replica.tell, feed)

    def ask_replica(self, node: str, answer: Callable[[object], None]) -> None:
        """Ask one that is fed from here, which answers once it has applied all that is written here, or later."""
        feed = self._running().feeds.get(node)
        if feed is None:
            answer(EngineError(f"{node} is not fed from here"))
            return
        written, until_s = len(self.log), self._loop.now_s + CATCHES_UP_S

        def told(number: int) -> None:
            self.was_told(feed, number)
            answer(True)

        def wait() -> None:
            replica = feed.replica
            if replica.process is None or not replica.process.is_ready or replica.process.hung is not None:
                return
            if replica.slave_position < written and self._loop.now_s < until_s:
                self._loop.after(0.002, wait)
            else:
                self._network.send(node, self.node, told, replica.slave_position)

        self._network.send(self.node, node, wait)
        self._loop.after(2 * CATCHES_UP_S, answer, EngineError(f"{node} does not answer"))

    def tell(self, feed: Feed) -> None:
        """Answer the question of the source."""
        if self.process is not None and self.process.is_ready and self.process.hung is None:
            self._network.send(self.node, feed.source.node, feed.source.was_told, feed, self.slave_position)

    def was_told(self, feed: Feed, number: int) -> None:
        feed.told = number

    def confirm(self, feed: Feed, number: int) -> None:
        """An acknowledgement arrives: everything up to it is released."""
        process = self.process
        if process is None or process.feeds.get(feed.replica.node) is not feed or self.refuses(feed.replica.node):
            return
        if process.hung is not None:
            process.hung.append((self.confirm, (feed, number)))
            return
        for commit in list(process.commits):
            if process.waits and commit.waits and commit.write is not None and commit.write.number <= number:
                self._end(commit, True)

    def lose_feed(self, feed: Feed) -> None:
        """The replica closed it."""
        process = self.process
        if process is not None and process.feeds.get(feed.replica.node) is feed:
            del process.feeds[feed.replica.node]
            self._watcher.semi_sync_changed()

    def accept(self, replica: DatabaseServer, answer: Callable[[Feed | str], None]) -> None:
        """A replica connects and says where it is; what it needs follows at once."""
        process = self.process
        if process is None or not process.is_ready or self.refuses(replica.node) or replica.process is None:
            answer("cannot connect")
            return
        if process.hung is not None:
            return
        number, writer = replica.received_number, replica.received_writer
        if number > len(self.log) or (number and self.log[number - 1].writer != writer):
            answer("needs copy")
            return
        feed = Feed(self, replica, replica.process.acknowledges, replica.incarnation)
        process.feeds[replica.node] = feed
        answer(feed)
        self._watcher.note(
            self.node, f"feeds {replica.node} from {number}{', which acknowledges' if feed.acknowledges else ''}"
        )
        self._watcher.semi_sync_changed()
        if self.log[number:]:
            self._feed(feed, self.log[number:])
        self._beat(feed)
        self._later(0.1 * self._random.random(), self._ask_replica, feed)

    # --- receiving -----------------------------------------------------------------------------------------------------
    @property
    def received_number(self) -> int:
        return self.slave_position + len(self.relay)

    @property
    def received_writer(self) -> str:
        if self.relay:
            return self.relay[-1].writer
        return self.log[self.slave_position - 1].writer if self.slave_position else ""

    def receive(self, feed: Feed, writes: list[Write], wants_answer: bool) -> None:
        """What the source sent arrives."""
        process = self.process
        if process is not None and process.feed is feed:
            feed.arrived.append((writes, wants_answer))
            self._enter(process, self._take, feed)

    def _take(self, feed: Feed) -> None:
        feed.heard_s = self._loop.now_s
        self._on_disk(self._received, feed)

    def _received(self, feed: Feed) -> None:
        """Take what arrived next: in order, however long the process or the disk stood still."""
        process = self._running()
        writes, wants_answer = feed.arrived.popleft()
        if process.feed is not feed or not writes:
            return
        for write in writes:
            if write.writer == self.server_id:
                self._watcher.skipped(self, write)
        assert writes[0].number == self.received_number + 1, "a gap in what is received"
        self.relay += writes
        if wants_answer:
            self._network.send(self.node, feed.source.node, feed.source.confirm, feed, writes[-1].number)
        self._apply_later()

    def _apply_later(self) -> None:
        process = self._running()
        if self.relay and process.applies and not process.is_applying_one and not self.is_applying_slowly:
            process.is_applying_one = True
            self._later(0.001 + 0.004 * self._random.random(), self._on_disk, self._apply)

    def _apply(self) -> None:
        process = self._running()
        process.is_applying_one = False
        if not self.relay or not process.applies or self.is_applying_slowly:
            return
        some = self.relay[:20]
        if some[0].number != len(self.log) + 1:
            process.applies, process.error, process.needs_copy = False, "out of order: gtid_strict_mode", True
            return
        del self.relay[: len(some)]
        self.slave_position = some[-1].number
        self._append(some)
        self.committed = len(self.log)
        self._apply_later()

    def stop_applying(self) -> None:
        if self.process is not None and self.process.applies:
            self.process.applies = False
            self.process.error = "lock wait timeout"

    def apply_again(self) -> None:
        """The long transaction is over."""
        self.is_applying_slowly -= 1
        if self.process is not None:
            self._enter(self.process, self._apply_later)

    def _connect(self, process: Process) -> None:
        """The receiving thread's loop, while there is no connection."""
        if not process.asks or process.feed is not None or self.source is None:
            return
        source = self.peers[self.source]
        if not process.is_retrying:
            process.is_retrying = True
            self._later(CONNECT_RETRY_S, self._connect_again, process)

        def answered(feed: Feed | str) -> None:
            if isinstance(feed, Feed):
                process.feed, process.error, process.needs_copy = feed, "", False
                feed.heard_s = self._loop.now_s
                self._later(NET_TIMEOUT_S, self._check_net, feed)
            else:
                process.error, process.needs_copy = feed, feed == "needs copy"

        def arrived() -> None:
            # The connection is made in one moment: no packet of an earlier one can come between.
            is_wanted = self.process is process and process.hung is None and process.asks and process.feed is None
            if is_wanted and self.source == source.node and self._network.talks(self.node, source.node):
                source.accept(self, answered)

        self._network.send(self.node, source.node, arrived)

    def _connect_again(self, process: Process) -> None:
        process.is_retrying = False
        self._connect(process)

    def _check_net(self, feed: Feed) -> None:
        process = self._running()
        if process.feed is not feed:
            return
        left_s = feed.heard_s + NET_TIMEOUT_S - self._loop.now_s
        if left_s > 0:
            self._later(left_s + 0.01, self._check_net, feed)
        else:
            self._close_feed()
            self._connect(process)

    def _close_feed(self) -> None:
        """End the connection here; the source hears of it when it can."""
        process = self._running()
        if process.feed is not None:
            feed, process.feed = process.feed, None
            self._network.send(self.node, feed.source.node, feed.source.lose_feed, feed)

    def source_is_gone(self, feed: Feed) -> None:
        """The source's end was closed, or its process died."""
        process = self.process
        if process is not None and process.feed is feed:
            process.feed = None
            self._later(0.01, self._connect, process)

    # --- looking -------------------------------------------------------------------------------------------------------
    @property
    def incarnation(self) -> str:
        """The agent changes it for every process, and before anything that may forget what was received."""
        return f"{self.node}.{self.boots}.{self.forgot}"

    @property
    def server_id(self) -> str:
        """A number it never had: it would skip its own writes when they come back."""
        return f"{self.node}#{self.boots}"

    def position(self, number: int) -> Position:
        return Position((("0", number),), self.log[number - 1].writer) if number else BEGINNING

    def look(self) -> Server:
        """See what the agent sees. Raises EngineError where a real server would not answer."""
        written = self.position(len(self.log))
        process = self.process
        if process is None:
            return Server(has_data=self.has_data, is_copy=self.is_copy, written=written)
        if not process.is_ready or process.hung is not None:
            raise EngineError("no answer")
        received = self.received_number
        applied = self.position(self.slave_position) if self.source is not None else written
        return Server(
            is_running=True,
            answers=True,
            is_copy=self.is_copy,
            incarnation=self.incarnation,
            is_read_only=process.is_read_only,
            waits_for_voters=process.waits,
            waiting=sum(commit.waits and commit.write is not None for commit in process.commits),
            acknowledges=process.acknowledges,
            source=self._seen_source(process),
            written=written,
            received=Position((("0", received),), self.received_writer) if received and self.source is not None else applied,
            applied=applied,
            feeds=self._seen_feeds(process) if self.source is None else {},
        )

    def _seen_feeds(self, process: Process) -> dict[str, Position]:
        return {node: self.position(feed.told) for node, feed in process.feeds.items() if not self._is_dark(feed)}

    def _seen_source(self, process: Process) -> Source | None:
        if self.source is None:
            return None
        return Source(
            self.source,
            is_receiving=process.feed is not None,
            is_asking=process.asks,
            is_applying=process.applies,
            needs_copy=process.needs_copy,
            error=process.error,
        )

    # --- statements of the agent ---------------------------------------------------------------------------------------
    def ask(self, statement: Callable[[], object], answer: Callable[[object], None], for_s: float = STATEMENT_S) -> None:
        """Carry out a statement; answers its result or an EngineError. One without an answer may still be carried out later."""
        process = self.process
        if process is None or not process.is_ready:
            self._loop.after(0.001, answer, EngineError("not running"))
            return
        waiting = [answer]

        def say(result: object) -> None:
            if waiting:
                waiting.pop()(result)

        def run() -> None:
            try:
                result = statement()
            except EngineError as error:
                result = error
            self._loop.after(0.0005, say, result)

        process.statements = [*process.statements[-3:], say]
        self._later(0.0005 + 0.002 * self._random.random(), run)
        self._loop.after(for_s, say, EngineError("no answer in time"))

    def stop_receiving(self) -> None:
        self._running().asks = False
        self._close_feed()

    def resume_receiving(self) -> None:
        process = self._running()
        if self.source is None or not process.applies:
            raise EngineError("nothing is applied, so what was received would be forgotten")
        process.asks = True
        self._connect(process)

    def follow(self, node: str, *, acknowledges: bool, may_forget: bool) -> None:
        process = self._running()
        if process.commits:
            raise EngineError("read_only waits for a writer")
        self._close_feed()
        process.asks = False
        if self.relay and not may_forget:
            raise EngineError("what was received is not applied yet")
        self._forget()
        process.is_read_only = True
        process.waits = False
        process.acknowledges = acknowledges
        process.error, process.needs_copy = "", False
        self.source, self.slave_position = node, len(self.log)
        process.asks = process.applies = True
        self._connect(process)

    def go_ahead(self, node: str, answer: Callable[[object], None]) -> None:
        """Receive no more, and follow `node` as a voter once that has all that is here, and all of it is applied here."""
        self._running().asks = False
        self._close_feed()
        self._go_ahead(node, self._loop.now_s + 2 * CATCHES_UP_S, answer)

    def _go_ahead(self, node: str, until_s: float, answer: Callable[[object], None]) -> None:
        is_there = self._network.talks(self.node, node) and len(self.peers[node].log) >= len(self.log)
        if is_there and self.is_drained():
            self.follow(node, acknowledges=True, may_forget=False)
            answer(True)
        elif self._loop.now_s >= until_s:
            answer(EngineError(f"{node} is behind"))
        else:
            self._later(0.01, self._go_ahead, node, until_s, answer)

    def is_drained(self) -> bool:
        return not self.relay

    def acknowledge(self, *, on: bool) -> None:
        process = self._running()
        process.acknowledges = on
        if process.asks:
            self._close_feed()
            process.asks = process.applies
            self._connect(process)

    def be_primary(self, *, waits_for_voters: bool, takes_writes: bool) -> None:
        process = self._running()
        if not takes_writes and process.commits:
            raise EngineError("read_only waits for a writer")
        self.require_drained()
        process.asks = process.applies = process.acknowledges = False
        self._close_feed()
        self._forget()
        self.source = None
        was_waiting, process.waits = process.waits, waits_for_voters
        if was_waiting and not waits_for_voters:
            self.release_waiting()
        process.is_read_only = not takes_writes
        if takes_writes:
            self._watcher.took_writes(self)
        self._watcher.semi_sync_changed()

    def require_drained(self) -> None:
        if self.relay:
            raise EngineError("what was received is not applied yet")

    def release(self, received: Position) -> None:
        """Let those go whose writes are all within what the published voter says to have."""
        if received.covers(self.position(len(self.log))):
            self.release_waiting()

    def freeze(self, answer: Callable[[object], None]) -> None:
        """Answer True once no write is left, or False, with everything as before, when that takes too long."""
        self._running().is_freezing = True
        self._freeze(self._loop.now_s + FREEZE_S, answer)

    def _freeze(self, until_s: float, answer: Callable[[object], None]) -> None:
        process = self._running()
        is_late = self._loop.now_s >= until_s
        if process.commits and not is_late:
            self._later(0.01, self._freeze, until_s, answer)
            return
        process.is_freezing = False
        if not process.commits:
            process.is_read_only = True
        self._loop.after(0.0005, answer, process.is_read_only)

    def barrier(self, answer: Callable[[object], None]) -> None:
        """Answer the position once every commit that had begun has ended, or an EngineError."""
        self._barrier(list(self._running().commits), self._loop.now_s + 2.0, answer)

    def _barrier(self, begun: list[Commit], until_s: float, answer: Callable[[object], None]) -> None:
        left = [commit for commit in begun if commit in self._running().commits]
        if not left:
            answer(self.position(len(self.log)))
        elif self._loop.now_s >= until_s:
            answer(EngineError("commits do not end"))
        else:
            self._later(0.01, self._barrier, left, until_s, answer)

    def block(self, nodes: frozenset[str]) -> None:
        """Of the host, not of the process: no packet passes any more; the feeds end when the server can be asked."""
        self.blocked = nodes
        self._watcher.semi_sync_changed()

    def refuses(self, node: str) -> bool:
        """Whether no packet of that host's replication passes."""
        return node in self.blocked

    def end_feeds(self, nodes: frozenset[str]) -> None:
        process = self._running()
        for node in sorted(nodes & process.feeds.keys()):
            feed = process.feeds.pop(node)
            if not self.refuses(node):
                self._network.send(self.node, node, feed.replica.source_is_gone, feed)
        self._watcher.semi_sync_changed()

    def _forget(self) -> None:
        """Starting with both threads stopped throws away what was received."""
        self.relay = []

    # --- beginning and ending ------------------------------------------------------------------------------------------
    def start(self, role: Role, answer: Callable[[object], None]) -> None:
        if not self.has_data or self.process is not None:
            self._loop.after(0.01, answer, EngineError("cannot start"))
            return
        self.boots += 1
        self.process = Process(statements=[answer])
        self._later(0.2 + 1.5 * self._random.random(), self._on_disk, self._started, role, answer)

    def _started(self, role: Role, answer: Callable[[object], None]) -> None:
        process = self._running()
        self.relay = []
        if role is Role.SLAVE:
            del self.log[self.committed :]
        self.committed = len(self.log)
        if self.source is not None:
            self.slave_position = len(self.log)
        self.slave_position = min(self.slave_position, len(self.log))
        process.is_ready = True
        process.statements = []
        self._watcher.note(self.node, f"server started as {role.value} with {len(self.log)} transactions")
        answer(None)

    def crash(self, *, is_power_loss: bool = False) -> None:
        """The process is gone. While the host lives, its peers are told."""
        process, self.process = self.process, None
        if process is None:
            return
        self.committed -= self._random.randint(0, min(UNSYNCED_COMMITS, self.committed))
        self._watcher.note(self.node, f"server gone, with {len(self.log)} transactions and {len(self.relay)} to apply")
        if not is_power_loss:
            for feed in process.feeds.values():
                self._network.send(self.node, feed.replica.node, feed.replica.source_is_gone, feed)
            if process.feed is not None:
                self._network.send(self.node, process.feed.source.node, process.feed.source.lose_feed, process.feed)
        for say in process.statements:
            self._loop.after(0.001, say, EngineError("the server is gone"))
        self._watcher.semi_sync_changed()
        self._loop.after(0.001, self.ended)

    def lose_disk(self) -> None:
        """Everything on the disk of the database is gone."""
        self.boots += 1
        self.crash()
        self.log, self.relay, self.committed, self.slave_position = [], [], 0, 0
        self.source, self.has_data = None, False

    def kill(self) -> None:
        """What the agent does: nobody who waits is released."""
        self.crash()

    def lose_power(self) -> None:
        """As a crash, but nobody is told. A copy that was under way is torn. Whom it blocks is kept on disk."""
        self.boots += 1
        self.crash(is_power_loss=True)

    def hang(self) -> None:
        """Stopped by a signal."""
        if self.process is not None and self.process.hung is None:
            self.process.hung = []

    def go_on(self) -> None:
        process = self.process
        if process is not None and process.hung is not None:
            todo, process.hung = process.hung, None
            for call, args in todo:
                self._enter(process, call, *args)

    def stall(self) -> None:
        """The disk neither writes nor syncs."""
        if self.stalled is None:
            self.stalled = []

    def unstall(self) -> None:
        todo, self.stalled = self.stalled or [], None
        for call, args in todo:
            call(*args)

    def copy(self, node: str, answer: Callable[[object], None]) -> None:
        """Throw everything away, and take the data of another server some seconds later."""
        self.kill()
        self.has_data = False
        self._loop.after(1.0 + 5.0 * self._random.random(), self._copied, node, self.boots, answer)

    def _copied(self, node: str, boots: int, answer: Callable[[object], None]) -> None:
        donor = self.peers[node]
        works = donor.process is not None and donor.process.is_ready and donor.process.hung is None
        if not works or boots != self.boots or not self._network.talks(self.node, node):
            answer(EngineError("the copy was cut off"))
            return
        self.log = donor.log[: donor.committed]
        self.committed = self.slave_position = len(self.log)
        self.relay, self.source, self.has_data, self.is_copy = [], None, True, True
        self.boots += 1
        answer(None)

    def _running(self) -> Process:
        assert self.process is not None
        return self.process

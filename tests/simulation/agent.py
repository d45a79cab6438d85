"""The agent's loop (run.py) around the real `decide` and `remember`: it can be late, stopped or killed between any two steps.

As the real one: a look begins after the actions of the last decision ended; of etcd the newest state of the cluster is known,
while votes and reports may be older; actions are done in order, the first that fails ends them, and its rule waits before it
acts again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from tests.simulation.etcd import Etcd, Snapshot
from tests.simulation.loop import Call, Loop
from tests.simulation.server import DatabaseServer

from nospof.onhost.agent import model
from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.model import Cluster, Decision, Memory, Observation, Position, Report, Rules, Server, Vote

LOOK_S = 0.2
ASK_S = 1.0
NOTE_S = 1.0
# The role server keeps the last roles for so long when only the agent died.
AGENT_GONE_S = 5.0
ROW_S = 0.5
ROW_LIMIT_S = 1.0


@dataclass(frozen=True)
class Note:
    """What routers are told."""

    term: int
    takes_writes: bool
    written_s: float


class Brain(Protocol):
    """What decides; the real functions, or one of them with a planted mistake."""

    def votes_for(self, revision: int, votes: Mapping[str, tuple[int, Vote]]) -> dict[str, Vote]: ...
    def decide(self, o: Observation) -> Decision: ...
    def remember(self, memory: Memory, o: Observation) -> Memory: ...


class Agent:
    """One host's agent. `run` counts its starts; whatever belongs to an earlier run is dropped."""

    def __init__(
        self,
        server: DatabaseServer,
        etcd: Etcd,
        loop: Loop,
        rules: Rules,
        brain: Brain,
        decided: Callable[[str, Decision], None],
    ) -> None:
        self.node = server.node
        self.server = server
        self.note: Note | None = None
        self.run = 0
        self.is_alive = False
        self._frozen: list[tuple[int, Call, tuple[object, ...]]] | None = None
        self._slow_s = 0.0
        self._etcd = etcd
        self._loop = loop
        self._rules = rules
        self._brain = brain
        self._decided = decided
        self._random: Random = loop.random(f"agent/{self.node}")
        self._rate = 1.0 + self._random.uniform(-0.01, 0.01)
        self._clock_began_s = self._random.uniform(0, 1000)
        self._knew_cluster = False
        self._begin()
        etcd.watchers[self.node] = self._watched
        server.ended = self._server_ended

    def _begin(self) -> None:
        """What a new run knows."""
        self._memory = Memory()
        self._cluster: Cluster | None = None
        self._votes: dict[str, tuple[int, Vote]] = {}
        self._reports: dict[str, Report] = {}
        self._store_revision = -1
        self._etcd_s = float("-inf")
        self._heard_s = self.now_s
        self._heard: float | None = None
        self._last_look = Server()
        self._last_loop_s = self.now_s
        self._row: int | None = None
        self._row_s = 0.0
        self._is_busy = False
        self._is_woken = False
        self._tick = 0
        self._failed_rule = ""
        self._pause_s = 0.0
        self._not_before_s = 0.0

    @property
    def now_s(self) -> float:
        """This host's monotonic clock, which drifts."""
        return self._clock_began_s + self._loop.now_s * self._rate

    # --- its own life --------------------------------------------------------------------------------------------------
    def start(self) -> None:
        if not self.is_alive:
            self.run += 1
            self.is_alive = True
            self._begin()
            self._step(self._ask_etcd)
            self._step(self._look)

    def crash(self) -> None:
        self.run += 1
        self.is_alive = False
        self._frozen = None

    def freeze(self) -> None:
        if self._frozen is None and self.is_alive:
            self._frozen = []

    def thaw(self) -> None:
        todo, self._frozen = self._frozen or [], None
        for run, call, args in todo:
            self._enter(run, call, *args)

    def slow_down(self, by_s: float) -> None:
        self._slow_s = by_s

    def _step(self, call: Call, *args: object, delay_s: float = 0.0) -> None:
        """Go on after a while, unless this run ends; a frozen one goes on when it thaws."""
        delay_s += 0.0005 + (0.0005 + self._slow_s) * self._random.random()
        self._loop.after(delay_s, self._enter, self.run, call, *args)

    def _enter(self, run: int, call: Call, *args: object) -> None:
        if run != self.run or not self.is_alive:
            return
        if self._frozen is not None:
            self._frozen.append((run, call, args))
        else:
            call(*args)

    def _back(self, call: Call) -> Callable[[object], None]:
        """A way back into this run, for an answer from outside."""
        run = self.run
        return lambda result: self._enter(run, call, result)

    # --- etcd ----------------------------------------------------------------------------------------------------------
    def _ask_etcd(self) -> None:
        """Read the cluster's state each second, whatever the watch says; and everything when the watch was cut off."""
        asked_s = self.now_s
        is_all = self._store_revision < 0 or self.node in self._etcd.missed

        def answered(snapshot: object) -> None:
            if isinstance(snapshot, Snapshot):
                self._etcd_s = asked_s
                self._saw_cluster(snapshot.cluster)
                if is_all:
                    self._etcd.missed.discard(self.node)
                    self._saw_all(snapshot)
            self._step(self._ask_etcd, delay_s=ASK_S if self._store_revision >= 0 else 0.1)

        self._etcd.read(self.node, self._back(answered))

    def _watched(self, snapshot: Snapshot) -> None:
        if self._store_revision >= 0:
            self._enter(self.run, self._saw_all, snapshot)

    def _saw_all(self, snapshot: Snapshot) -> None:
        """Votes and reports come over the watch only, in order."""
        if snapshot.store_revision > self._store_revision:
            self._store_revision = snapshot.store_revision
            self._votes, self._reports = snapshot.votes, snapshot.reports
            self._saw_cluster(snapshot.cluster)
            self._wake()

    def _saw_cluster(self, cluster: Cluster) -> None:
        if self._cluster is None or cluster.revision > self._cluster.revision:
            self._cluster = cluster
            self._knew_cluster = self._knew_cluster or bool(cluster.primary)
            self._wake()

    def _server_ended(self) -> None:
        self._enter(self.run, self._wake)

    def _wake(self) -> None:
        """Look at once, or as soon as the present decision is carried out."""
        if self._is_busy:
            self._is_woken = True
        else:
            self._next(0.0)

    def _next(self, delay_s: float) -> None:
        self._tick += 1
        self._step(self._ticked, self._tick, delay_s=delay_s)

    def _ticked(self, tick: int) -> None:
        if tick == self._tick and not self._is_busy:
            self._look()

    # --- look, decide, act ---------------------------------------------------------------------------------------------
    def _look(self) -> None:
        """See the server first: what is known of etcd is then as new as that, or newer."""
        self._is_busy, self._is_woken = True, False
        self._step(self._look_at_server, self.now_s)

    def _look_at_server(self, begun_s: float) -> None:
        try:
            self._looked(self.server.look(), begun_s)
        except EngineError:
            self._step(self._got_no_answer, begun_s, delay_s=1.0)

    def _got_no_answer(self, begun_s: float) -> None:
        try:
            self._looked(self.server.look(), begun_s)
        except EngineError:
            self._step(self._decide, self._silent())

    def _silent(self) -> Server:
        """What is known of a server that does not answer: of this process, not of one before it."""
        server, known = self.server, self._last_look
        if server.process is None:
            return Server(written=known.written, has_data=server.has_data)
        if known.incarnation.rpartition(".")[0] != server.incarnation.rpartition(".")[0]:
            known = Server(written=known.written)
        return replace(known, is_running=True, answers=False, incarnation=server.incarnation, is_copy=server.is_copy)

    def _looked(self, server: Server, begun_s: float) -> None:
        if not server.is_running:
            server = replace(server, written=self._last_look.written)
        self._last_look = server
        process = self.server.process
        heard = process.feed.heard_s if process is not None and process.feed is not None else self._heard
        if heard != self._heard:
            self._heard, self._heard_s = heard, begun_s
        self._step(self._decide, server)

    def _decide(self, server: Server) -> None:
        observation = self._observe(server)
        self._memory = self._brain.remember(self._memory, observation)
        observation = replace(observation, memory=self._memory)
        decision = self._brain.decide(observation)
        self._decided(self.node, decision)
        self._tell(observation)
        self._write_row(observation)
        is_held_back = decision.rule == self._failed_rule and self.now_s < self._not_before_s
        if decision.actions and not is_held_back:
            self._act(decision.rule, list(decision.actions))
        else:
            self._rest(decision.again_s or LOOK_S)

    def _observe(self, server: Server) -> Observation:
        late_s, self._last_loop_s = max(0.0, self.now_s - self._last_loop_s - 3 * LOOK_S), self.now_s
        revision = -1 if self._cluster is None else self._cluster.revision
        return Observation(
            me=self.node,
            rules=self._rules,
            now_s=self.now_s,
            cluster=self._cluster,
            etcd_silent_s=self.now_s - self._etcd_s,
            server=server,
            memory=self._memory,
            votes=self._brain.votes_for(revision, self._votes),
            reports=self._reports,
            silent_s=self.now_s - self._heard_s,
            late_s=late_s,
            write_hangs_s=0.0 if self._row is None else self.now_s - self._row_s,
            blocked=self.server.blocked,
            run=f"{self.node}/{self.run}",
            knew_cluster=self._knew_cluster,
            epoch_s=self._loop.now_s,
        )

    def _tell(self, o: Observation) -> None:
        """What the role server says until the next look."""
        c = o.cluster
        takes = c is not None and c.primary == self.node and o.server.is_running and not o.server.is_read_only
        self.note = Note(c.term if c else 0, takes, self._loop.now_s)

    def shown_note(self) -> Note | None:
        """What the role server answers now."""
        if self.note is None:
            return None
        keeps_s = NOTE_S if self.is_alive or self.server.process is None else AGENT_GONE_S
        return self.note if self._loop.now_s - self.note.written_s <= keeps_s else None

    def _write_row(self, o: Observation) -> None:
        """Twice a second a row is written on a primary; one that hangs is given up after a second, and another tried."""
        if not o.server.is_running or self.now_s - self._row_s >= ROW_LIMIT_S:
            self._row = None  # its connection ended with the server, or was given up
        if o.cluster is None or o.cluster.primary != self.node or o.server.is_read_only or self.now_s - self._row_s < ROW_S:
            return
        if self._row is None or self.now_s - self._row_s >= ROW_LIMIT_S:
            self._row = token = -int(self._loop.now_s * 1e6) - 1
            self._row_s = self.now_s
            self.server.write(token, lambda result: self._enter(self.run, self._wrote_row, token))

    def _wrote_row(self, token: int) -> None:
        if token == self._row:
            self._row = None

    def _act(self, rule: str, actions: list[model.Action]) -> None:
        self._step(self._do, rule, actions[0], actions[1:])

    def _rest(self, for_s: float) -> None:
        self._is_busy = False
        self._next(0.0 if self._is_woken else for_s / self._rate)

    def _do(self, rule: str, action: model.Action, rest: list[model.Action]) -> None:
        answers = [True]

        def ended(result: object) -> None:
            """One that failed ends the list; the next look sees what happened, and the rule acts again later."""
            if not answers:
                return
            answers.clear()
            if isinstance(result, EngineError):
                self._pause_s = min(5.0, 2 * self._pause_s or 0.2) if self._failed_rule == rule else 0.2
                self._failed_rule, self._not_before_s = rule, self.now_s + self._pause_s
                self._rest(LOOK_S)
            elif rest:
                self._act(rule, rest)
            else:
                self._failed_rule = "" if self._failed_rule == rule else self._failed_rule
                self._rest(0.0)

        self._carry_out(action, self._back(ended))

    def _carry_out(self, action: model.Action, done: Callable[[object], None]) -> None:
        server = self.server

        def did(result: object) -> None:
            done(result if isinstance(result, EngineError) else True)

        match action:
            case model.Change(cluster):
                self._etcd.swap(self.node, cluster, self._swapped(done))
            case model.CastVote(revision, vote):
                self._etcd.vote(self.node, revision, vote, done)
            case model.WriteReport(report):
                self._etcd.report(self.node, report, done)
            case model.StartServer(role, _):
                server.start(role, did)
            case model.KillServer():
                server.kill()
                self._loop.after(0.02, done, True)
            case model.StopReceiving():
                server.ask(server.stop_receiving, did)
            case model.ResumeReceiving():
                server.ask(server.resume_receiving, did)
            case model.Follow(node, goes_ahead=True):
                self._long(lambda answer: server.go_ahead(node, answer), self._followed(did))
            case model.Follow(node, acknowledges, may_forget):
                server.forgot += may_forget
                server.ask(lambda: server.follow(node, acknowledges=acknowledges, may_forget=may_forget), self._followed(did))
            case model.Acknowledge(on):
                server.ask(lambda: server.acknowledge(on=on), did)
            case model.BePrimary(waits, takes):
                server.is_copy = False
                server.ask(lambda: server.be_primary(waits_for_voters=waits, takes_writes=takes), did)
            case model.Freeze(target):
                self._long(server.freeze, self._froze(target, did))
            case model.AskReplica(node):
                self._long(lambda answer: server.ask_replica(node, answer), did)
            case model.TakeBarrier():
                self._long(server.barrier, self._took_barrier(done))
            case model.Block(nodes):
                server.block(nodes)
                server.ask(lambda: server.end_feeds(nodes), did)
            case model.Release(received):
                server.ask(lambda: server.release(received), did)
            case model.CopyFrom(node):
                server.copy(node, did)
            case _:
                raise AssertionError(f"the world cannot do {action}")

    def _long(self, statement: Callable[[Callable[[object], None]], None], done: Callable[[object], None]) -> None:
        """A statement that answers some time after it began."""

        def began(result: object) -> None:
            if isinstance(result, EngineError):
                done(result)

        self.server.ask(lambda: statement(done), began)
        self._loop.after(4.0, done, EngineError("no answer in time"))

    def _swapped(self, done: Callable[[object], None]) -> Callable[[object], None]:
        def swapped(result: object) -> None:
            if isinstance(result, Cluster):
                self._saw_cluster(result)
            done(result)

        return self._back(swapped)

    def _froze(self, target: str, done: Callable[[object], None]) -> Callable[[object], None]:
        """With no more writes the target is asked at once, in the same step."""
        server = self.server

        def froze(result: object) -> None:
            if result is True:
                self._long(lambda answer: server.ask_replica(target, answer), done)
            else:
                done(result if isinstance(result, EngineError) else EngineError("writes go on"))

        return self._back(froze)

    def _took_barrier(self, done: Callable[[object], None]) -> Callable[[object], None]:
        def took(result: object) -> None:
            if isinstance(result, Position):
                self._memory = replace(self._memory, barrier=result)
            done(result)

        return took

    def _followed(self, done: Callable[[object], None]) -> Callable[[object], None]:
        def followed(result: object) -> None:
            if not isinstance(result, EngineError):
                self._heard_s = self.now_s
            done(result)

        return self._back(followed)

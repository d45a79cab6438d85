"""The agent's loop on a host: look, remember, decide, act, and write a note for the role server.

Threads: one looks at the server, one waits for its end, one writes a row twice a second while this host is primary, one counts
its queries, one sees whether the role server listens, two listen to etcd (store.py), one hears people (control.py). Only the
loop acts. A step that fails is tried again, ever more slowly; if it happened after all is seen at the next look, never assumed.
"""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from nospof.onhost.agent import model as m
from nospof.onhost.agent.decide import decide
from nospof.onhost.agent.engine import Engine, EngineError
from nospof.onhost.agent.fence import Fence
from nospof.onhost.agent.hooks import Hooks
from nospof.onhost.agent.query_rate import QueryRate
from nospof.onhost.agent.remember import remember
from nospof.onhost.agent.store import Store, View
from nospof.onhost.threads import run_beside
from nospof.onhost.watchdog import tell_systemd

LOOK_EVERY_S, BEAT_EVERY_S, ROLES_EVERY_S = 0.2, 0.5, 1.0
# A look that is not back by then is one the server did not answer.
LOOK_LIMIT_S = 1.0
FREEZE_S = 0.3
PAUSES_S = (0.2, 5.0)
NOTE_VALID_S, NOTE_EVERY_S = 1.0, 0.3
# Rule that decides → what is done then, for the history.
MARKS = {"takes_over": "voted", "freezes": "prepared", "hands_over": "applied"}
# The part of the history that the former primary writes of a handover: what took how long until the other was promoted.
BEFORE = "-before"
# A loop that makes no round for so long is stuck.
STUCK_S = 10.0

log = logging.getLogger("nospof")


@dataclass(frozen=True)
class Places:
    """Where this agent's files are."""

    tier: str
    me: str
    read_lag_limit_s: float
    run: Path
    """/run/nospof/TIER: note, incarnation; gone after a reboot."""
    keep: Path
    """/var/lib/nospof/TIER: what must outlive a reboot."""
    roles_at: tuple[str, int] | None = None
    """Where the role server of this host listens; None: it is not looked for."""


@dataclass
class Looks:
    """The last look at the server, made by a thread of its own so that one that hangs holds nobody up."""

    engine: Engine
    clock: Callable[[], float]
    latest: m.Server = field(default_factory=m.Server)
    asked_at_s: float = 0.0
    finished_at_s: float = 0.0
    heard_at_s: float = 0.0
    _heard: object = None
    _seen_pid: int | None = None
    _wanted: threading.Event = field(default_factory=threading.Event)
    _done: threading.Condition = field(default_factory=threading.Condition)

    def keep_looking(self, stop: threading.Event) -> None:
        self.heard_at_s = self.clock()
        while not stop.is_set():
            self._wanted.wait(LOOK_LIMIT_S)
            self._wanted.clear()
            begun_s = self.clock()
            server = self._look(begun_s)
            with self._done:
                self.latest, self.asked_at_s, self.finished_at_s = server, begun_s, self.clock()
                self._done.notify_all()

    def _look(self, now_s: float) -> m.Server:
        if (pid := self.engine.pid()) is None:
            return m.Server(is_running=False, written=self.latest.written, has_data=self.engine.has_data())
        try:
            server = self.engine.look()
            heard = self.engine.heard() if server.source is not None else None
            if heard is not None and heard != self._heard:
                self._heard, self.heard_at_s = heard, now_s
            self._seen_pid = pid
            return server
        except EngineError as error:
            log.debug("no answer to a look: %s", error)
            return self._silent()

    def _silent(self) -> m.Server:
        """What is known of a server that does not answer: of this process, not of one before it."""
        pid = self.engine.pid()
        known = self.latest if pid == self._seen_pid else m.Server(written=self.latest.written)
        return replace(known, is_running=pid is not None, answers=False)

    def fresh(self) -> m.Server:
        """A look begun after this call, or the last one, without an answer, when none came in time."""
        begun_s = self.clock()
        self._wanted.set()
        with self._done:
            self._done.wait_for(lambda: self.asked_at_s >= begun_s, LOOK_LIMIT_S)
            if self.asked_at_s >= begun_s:
                return self.latest
            return self._silent()


@dataclass
class Retry:
    """When a rule whose step failed may act again."""

    rule: str = ""
    not_before_s: float = 0.0
    pause_s: float = 0.0


class Agent:
    """One database host's agent. `run` blocks until `stop`."""

    def __init__(self, engine: Engine, store: Store, fence: Fence, rules: m.Rules, places: Places, hooks: Hooks) -> None:
        self.engine, self.store, self.fence, self.rules, self.places = engine, store, fence, rules, places
        self.hooks = hooks
        self.clock = time.monotonic
        self.stop, self.wake = threading.Event(), threading.Event()
        self.looks = Looks(engine, self.clock)
        self.rate = QueryRate(engine, self.clock)
        self.memory, self.run_id = m.Memory(), os.urandom(6).hex()
        self.observation: m.Observation | None = None
        self.decision = m.Decision("blind", "", "starts")
        self.marks: dict[str, float] = {}
        self._marked_after: m.Promotion | None = None
        self._retry = Retry()
        self._beat_begun_s: float | None = None
        self._told_last_s = self.clock()
        self._version, self._told_at_s = 0, 0.0
        self._told: dict[str, object] = {}
        self._last_loop_s = self.clock()
        self._seen_cluster: m.Cluster | None = None
        self._is_acting = False

    def end(self) -> None:
        """Have `run` return; the server goes on."""
        self.stop.set()
        self.wake.set()

    # --- the loop ----------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Look, decide and act until `stop`."""
        for work in (
            self._say_that_it_lives,
            self._look_for_ever,
            self._wait_for_the_end,
            self._beat,
            self._ask_replicas,
            self._ask_roles,
            self._count_queries,
        ):
            run_beside(work)
        while not self.stop.is_set():
            self.wake.clear()
            if not self.step():
                self.wake.wait(self.decision.again_s or LOOK_EVERY_S)

    def step(self) -> bool:
        """One round; returns whether something was done, so that the next should follow at once."""
        observation = self.observe()
        decision = decide(observation)
        if (decision.rule, decision.says) != (self.decision.rule, self.decision.says):
            log.info("%s: %s", decision.state, decision.says)
        if (observation.cluster, decision.rule) != (self._seen_cluster, self.decision.rule):
            self.hooks.see(self._seen_cluster, observation.cluster, self.rules, decision.rule)
        self.decision, self._seen_cluster = decision, observation.cluster
        self._mark(observation)
        self.tell(observation)
        may_act = bool(decision.actions) and self._may_act(decision.rule, self.clock())
        if may_act:
            self._is_acting = True
            self._act(decision)
            self._is_acting = False
        return may_act

    def observe(self) -> m.Observation:
        """See everything anew, and remember since when it is so."""
        server = self._with_incarnation(self.looks.fresh())
        view, now_s = self.store.view, self.clock()
        late_s, self._last_loop_s = max(0.0, now_s - self._last_loop_s - 3 * LOOK_EVERY_S), now_s
        seen = m.Observation(
            me=self.places.me,
            rules=self.rules,
            now_s=now_s,
            cluster=view.cluster,
            etcd_silent_s=now_s - view.answered_at_s,
            server=server,
            memory=self.memory,
            votes=view.votes,
            reports=view.reports,
            silent_s=now_s - self.looks.heard_at_s,
            late_s=late_s,
            write_hangs_s=0.0 if self._beat_begun_s is None else now_s - self._beat_begun_s,
            untold_s=0.0 if self.places.roles_at is None else now_s - self._told_last_s,
            blocked=self.fence.blocked,
            run=self.run_id,
            knew_cluster=self._knew_cluster(view),
            epoch_s=time.time(),
        )
        self.memory = remember(self.memory, seen)
        self.observation = replace(seen, memory=self.memory)
        return self.observation

    def _may_act(self, rule: str, now_s: float) -> bool:
        return self._retry.rule != rule or now_s >= self._retry.not_before_s

    def _act(self, decision: m.Decision) -> None:
        try:
            for action in decision.actions:
                self.carry_out(action)
        except (EngineError, OSError) as error:
            pause_s = self._retry.pause_s if self._retry.rule == decision.rule else 0.0
            pause_s = min(PAUSES_S[1], 2 * pause_s or PAUSES_S[0])
            self._retry = Retry(decision.rule, self.clock() + pause_s, pause_s)
            log.warning("%s: could not: %s", decision.state, error)
            self.wake.wait(LOOK_EVERY_S)
        else:
            if self._retry.rule == decision.rule:
                self._retry = Retry()

    # --- acting ------------------------------------------------------------------------------------------------------
    def carry_out(self, action: m.Action) -> None:
        """Do one thing. Raises EngineError or OSError when it did not work."""
        match action:
            case m.Change(cluster):
                self._change(cluster)
            case m.CastVote(revision, vote):
                self.store.vote(revision, vote)
            case m.WriteReport(report):
                self.store.report(report)
            case m.StartServer(role, keeps):
                self._start(role, keeps)
            case m.KillServer():
                self.engine.kill()
            case m.StopReceiving():
                self.engine.stop_receiving()
            case m.ResumeReceiving():
                self.engine.resume_receiving()
            case m.Follow(node, acknowledges, may_forget, goes_ahead):
                if may_forget:
                    self._forget_incarnation()
                self.engine.follow(node, acknowledges=acknowledges, may_forget=may_forget, goes_ahead=goes_ahead)
                self.looks.heard_at_s = self.clock()
            case m.Acknowledge(on):
                self.engine.acknowledge(on=on)
            case m.BePrimary(waits_for_voters, takes_writes):
                (self.places.keep / "copied").unlink(missing_ok=True)
                self.engine.be_primary(waits_for_voters=waits_for_voters, takes_writes=takes_writes)
            case m.Freeze(target):
                if not self.engine.freeze(FREEZE_S):
                    raise EngineError(f"writes could not be stopped within {FREEZE_S} s")
                self.marks.setdefault("froze", self.clock())
                self.engine.ask_replica(target)
            case m.AskReplica(node):
                self.engine.ask_replica(node)
            case m.TakeBarrier():
                self.memory = replace(self.memory, barrier=self.engine.barrier())
            case m.Block(nodes):
                self.fence.block(nodes)
                self.engine.end_feeds(nodes)
            case m.Release(received):
                log.warning("%d clients waited for what a voter has: released", self.engine.release(received))
            case m.CopyFrom(node):
                self._copy_from(node)
            case _:
                raise AssertionError(f"nobody carries out {action}")

    def _change(self, cluster: m.Cluster) -> None:
        before = self.store.view.cluster
        if not self.store.change(cluster):
            log.info("the cluster's state had changed meanwhile, or etcd did not answer")
            return
        is_promotion = before is not None and cluster.primary != before.primary
        if is_promotion:
            self.marks["promoted"] = self.clock()

    def _start(self, role: m.Role, keeps: m.Position | None) -> None:
        if keeps is not None:
            self._save_beyond(keeps)
        self.fence.restore()
        self.engine.start(role)

    def _copy_from(self, node: str) -> None:
        self.engine.kill()
        keeps = self.observation.cluster.deposed.get(self.places.me) if self.observation and self.observation.cluster else None
        if keeps is not None:
            self._save_beyond(keeps)
        self._forget_incarnation()
        self.engine.copy_from(node, self._tell_progress)
        _write(self.places.keep / "copied", f"{node}\n")

    def _save_beyond(self, keeps: m.Position) -> None:
        saved = self.engine.save_beyond(keeps, self.places.keep / "beyond")
        if saved:
            log.warning("%d transactions that the new primary never had are saved in %s/beyond", saved, self.places.keep)

    # --- threads beside the loop -------------------------------------------------------------------------------------
    def _say_that_it_lives(self) -> None:
        """As long as the loop goes round, or is in the midst of a step: a start or a copy may take minutes."""
        while not self.stop.is_set():
            if self._is_acting or self.clock() - self._last_loop_s < STUCK_S:
                tell_systemd("WATCHDOG=1")
            self.stop.wait(LOOK_LIMIT_S)

    def _look_for_ever(self) -> None:
        self.looks.keep_looking(self.stop)

    def _wait_for_the_end(self) -> None:
        """Wake the loop in the very moment the server's process ends."""
        while not self.stop.is_set():
            pid = self.engine.pid()
            if pid is None:
                self.stop.wait(0.05)
                continue
            try:
                handle = os.pidfd_open(pid)
            except OSError:
                continue
            with os.fdopen(handle, "rb", buffering=0, closefd=True):
                while not self.stop.is_set() and not select.select([handle], [], [], 1.0)[0]:
                    pass
            self.wake.set()
            self.stop.wait(0.05)

    def _beat(self) -> None:
        """Write a row twice a second as long as this server takes writes: a test that writing works, and a sign of life.

        Not in a handover: it would be written though nobody else may write any more.
        """
        while not self.stop.wait(BEAT_EVERY_S):
            o = self.observation
            if o is None or o.cluster is None or o.cluster.primary != o.me or o.cluster.handover or o.server.is_read_only:
                continue
            self._beat_begun_s = self.clock()
            with suppress(EngineError):
                self.engine.beat()
            self._beat_begun_s = None

    def _ask_replicas(self) -> None:
        """Ask those who are fed how far they are, beside the row that may wait for them; more often while it matters."""
        every_s = BEAT_EVERY_S
        while not self.stop.wait(every_s):
            o = self.observation
            if o is None or o.cluster is None or o.cluster.primary != o.me or not o.server.is_running:
                continue
            is_whole = o.cluster.sync is m.Sync.OK and not o.blocked and not o.memory.feed_lost_s
            is_calm = is_whole and o.write_hangs_s < BEAT_EVERY_S
            every_s = 2 * BEAT_EVERY_S if is_calm else BEAT_EVERY_S / 2
            with suppress(EngineError):
                self.engine.ask_replicas()

    def _ask_roles(self) -> None:
        """See again and again whether anything listens where routers ask for the role of this host."""
        while self.places.roles_at is not None and not self.stop.wait(ROLES_EVERY_S):
            with suppress(OSError), socket.create_connection(self.places.roles_at, timeout=ROLES_EVERY_S):
                self._told_last_s = self.clock()

    def _count_queries(self) -> None:
        self.rate.keep_counting(self.stop)

    # --- what is remembered on the host ------------------------------------------------------------------------------
    def _with_incarnation(self, server: m.Server) -> m.Server:
        """Give the server the name under which it counts: new for each process, and when it may have forgotten something."""
        pid = self.engine.pid() if server.is_running else None
        if pid is None:
            return replace(server, incarnation="")
        process = f"{pid}-{_start_of(pid)}"
        path = self.places.run / "incarnation"
        known = path.read_text() if path.exists() else ""
        if not known.startswith(f"{process}/"):
            known = f"{process}/{os.urandom(4).hex()}"
            _write(path, known)
        return replace(server, incarnation=known, is_copy=(self.places.keep / "copied").exists())

    def _forget_incarnation(self) -> None:
        (self.places.run / "incarnation").unlink(missing_ok=True)

    def _knew_cluster(self, view: View) -> bool:
        """Whether there ever was a cluster: kept on the disk, since etcd may lose its memory."""
        path = self.places.keep / "cluster-seen"
        if view.cluster is not None and view.cluster.primary and not path.exists():
            _write(path, f"{view.cluster.term}\n")
        return path.exists()

    # --- telling -----------------------------------------------------------------------------------------------------
    def tell(self, o: m.Observation) -> None:
        """Write the note for the role server when it says something new, and often enough that it stays valid."""
        self._write_note(note_of(o, self.decision, self.places, self.engine.pid()))

    def _tell_progress(self, text: str) -> None:
        if self.observation is not None:
            decision = replace(self.decision, says=text)
            log.info("%s", text)
            self._write_note(note_of(self.observation, decision, self.places, None))

    def _write_note(self, told: dict[str, object]) -> None:
        now_s = self.clock()
        is_new = told != self._told
        if not is_new and now_s - self._told_at_s < NOTE_EVERY_S:
            return
        if is_new:
            self._version = max(self._version + 1, time.time_ns() // 1_000_000)
        self._told, self._told_at_s = told, now_s
        note = {**told, "version": self._version, "written_at": now_s, "valid_for_s": NOTE_VALID_S}
        _write(self.places.run / "note.json", json.dumps(note))

    # --- the history of changes --------------------------------------------------------------------------------------
    def _mark(self, o: m.Observation) -> None:
        """Note when what happened, and write a finished change of the primary into the history.

        Of a handover the former primary writes what it saw until the other one was promoted, and that one the rest.
        """
        c = o.cluster
        if c is None:
            return
        if c.election or c.handover or c.primary_down:
            if not self.marks:
                self._marked_after = c.last
            self.marks.setdefault("began", self.clock())
            if mark := MARKS.get(self.decision.rule):
                self.marks.setdefault(mark, self.clock())
            if c.election and o.votes.keys() >= c.voters.keys():
                self.marks.setdefault("voted", self.clock())
            return
        if c.last == self._marked_after:
            self.marks = {}  # nothing came of it
        is_handed_over = c.last.cause is m.Cause.HANDOVER
        if c.primary == o.me and is_handed_over and self.marks and "promoted" not in self.marks:
            self.marks = {"promoted": self.clock()}
        if c.primary == o.me and "promoted" in self.marks and not o.server.is_read_only and o.server.source is None:
            self._record(c, {**self.marks, "writable": self.clock()})
        elif c.last.origin == o.me and is_handed_over and "promoted" in self.marks:
            self.store.record(c.term, json.dumps(_phases(self.marks)), BEFORE)
            self.marks = {}
        if "promoted" not in self.marks or c.primary != o.me:
            self.marks = {}

    def _record(self, c: m.Cluster, marks: dict[str, float]) -> None:
        self.marks = {}
        phases = _phases(marks)
        told = {
            "term": c.term,
            "from": c.last.origin,
            "to": c.primary,
            "cause": c.last.cause.value,
            "why": c.last.why,
            "at": time.time(),
            "ms": phases,
            "loss": "possible" if c.last.cause is m.Cause.ACCEPTED_LOSS else "none",
        }
        log.warning("primary since %s ms: %s", sum(phases.values()), c.last.why)
        self.store.record(c.term, json.dumps(told))


def note_of(o: m.Observation, decision: m.Decision, places: Places, pid: int | None) -> dict[str, object]:
    """What the role server may tell of this host. Pure."""
    c, s = o.cluster, o.server
    # One late look on a busy host is no dead server.
    hangs_since_s = o.memory.hangs_since_s
    is_there = s.is_running and (s.answers or (hangs_since_s is not None and o.now_s - hangs_since_s < LOOK_LIMIT_S))
    is_primary = c is not None and c.primary == o.me and is_there and s.source is None
    takes_writes = is_primary and not s.is_read_only
    source = s.source
    leaders = {c.primary, c.handover.to if c.handover else c.primary} if c is not None else set()
    is_following = source is not None and source.node in leaders and is_there and s.is_read_only
    is_running = is_following and source is not None and source.is_applying and source.is_asking
    lag_s = None if source is None else max(source.lag_s or 0.0, o.silent_s if o.silent_s > 1 else 0.0)
    is_near = is_running and lag_s is not None and lag_s <= places.read_lag_limit_s
    is_fed = is_running and source is not None and source.is_receiving
    is_prepared = c is not None and c.primary == o.me and c.handover is not None and o.memory.prepared_since_s is not None
    is_moving = c is not None and (is_prepared or c.election is not None or c.primary_down)
    may_be_primary = is_primary and (takes_writes or (c is not None and c.sync is not m.Sync.OK))
    return {
        "host": o.me,
        "tier": places.tier,
        "term": c.term if c else 0,
        "revision": c.revision if c else 0,
        "role": "primary" if is_primary else "replica" if is_following else "none",
        "takes_writes": takes_writes,
        "fit_for_reads": is_near and _may_serve_reads(o),
        "is_moving": is_moving,
        "is_healthy": bool(may_be_primary or is_fed),
        "says": decision.says,
        "details": {
            "pid": pid,
            "state": decision.state,
            "rule": decision.rule,
            "sync": c.sync.value if c else "unknown",
            "mode": o.rules.mode.value,
            "voters": sorted(c.voters) if c else [],
            "is_voter": c is not None and c.voters.get(o.me) == s.incarnation and bool(s.incarnation),
            "is_witness": o.rules.is_witness(o.me),
            "is_spare": o.rules.is_spare(o.me),
            "lag_s": None if lag_s is None else round(lag_s, 1),
            "written": str(s.written),
            "received": str(s.received),
            "error": source.error if source else "",
            "etcd_answers": o.etcd_silent_s < 2,
        },
    }


def _may_serve_reads(o: m.Observation) -> bool:
    """A witness never; a spare only while the primary, which reads fall back to, is not heard."""
    is_last_resort = o.rules.is_spare(o.me) and o.silent_s < o.rules.suspect_s
    return not o.rules.is_witness(o.me) and not is_last_resort


def _start_of(pid: int) -> str:
    """When the process started, in the kernel's ticks since boot; with the pid it names one process."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return "gone"


def _phases(marks: dict[str, float]) -> dict[str, int]:
    """Milliseconds from each mark to the next one, by the name of that."""
    ordered = sorted(marks.items(), key=lambda mark: mark[1])
    return {name: round((at - before) * 1000) for (_, before), (name, at) in pairwise(ordered)}


def _write(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)

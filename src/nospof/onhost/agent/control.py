"""The agent hears people: a unix socket that only root may use; one JSON line in, one JSON line out, then it is closed.

Requests that change something are carried out one after the other; `status` is answered at once, whatever else is going on.
Nothing here decides what is safe: a request becomes a change of the cluster's state (requests.py), and the rules do the rest.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nospof.onhost.agent import documents, requests
from nospof.onhost.agent.ask import Outcome, failed, read_note
from nospof.onhost.agent.ask import ask as ask
from nospof.onhost.agent.decide import FRESH_S
from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.model import Cluster, Observation, Sync
from nospof.onhost.agent.requests import NobodyFit, Refusal
from nospof.onhost.agent.run import BEFORE, Agent, note_of
from nospof.onhost.etcd import EtcdError, Status
from nospof.onhost.threads import run_beside

Json = dict[str, Any]
Changing = Callable[[Json], Json]

MOST_AT_ONCE, LINE_BYTES, LINE_S = 16, 4096, 2.0
TURN_S = 6.0
TRIES, SEEN_WITHIN_S, POLL_S = 3, 0.5, 0.005
HANDOVER_S, HISTORY_S, PROMOTED_S = 5.0, 2.0, 10.0
KNOWS_WITHIN_S, LEAVES_S = 5.0, 0.5
# A restart: until somebody is fit to take over, until this host follows it, until the server is well. `up` waits two minutes.
FIT_WITHIN_S, FOLLOWS_WITHIN_S, HEALTHY_WITHIN_S = 15.0, 15.0, 60.0
ETCD_EVERY_S = 2.0
SHOWN_HISTORY = 20


class Unclear(Exception):
    """Whether the request was carried out is not known; the text says why."""


def serve(agent: Agent, path: Path, stop: threading.Event, etcd: Callable[[], Status] | None = None) -> None:
    """Begin to hear people at `path`, in a thread of its own, until `stop`. `etcd` says who leads and who is a member of it."""
    control = Control(agent, etcd)
    logging.getLogger("nospof").addHandler(control.said)
    listener = _listen(path)
    run_beside(_accept, listener, control, stop)
    if etcd is not None:
        run_beside(control.watch_etcd, stop)


# --- the socket ----------------------------------------------------------------------------------------------------------
def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)  # before it listens, so that nobody else was ever let in
    listener.listen(MOST_AT_ONCE)
    listener.settimeout(0.5)
    return listener


def _accept(listener: socket.socket, control: Control, stop: threading.Event) -> None:
    places = threading.Semaphore(MOST_AT_ONCE)
    with listener:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError as error:
                logging.getLogger("nospof").warning("the control socket: %s", error)
                stop.wait(0.5)
                continue
            if places.acquire(blocking=False):
                threading.Thread(target=_serve_one, args=(connection, control, places), daemon=True).start()
            else:
                connection.close()


def _serve_one(connection: socket.socket, control: Control, places: threading.Semaphore) -> None:
    try:
        with connection, suppress(OSError):
            connection.settimeout(LINE_S)
            answer = control.answer(_line(connection))
            connection.settimeout(LINE_S)
            connection.sendall(json.dumps(answer).encode() + b"\n")
    finally:
        places.release()


def _line(connection: socket.socket) -> bytes:
    end_s = time.monotonic() + LINE_S
    received = b""
    while not received.endswith(b"\n") and len(received) <= LINE_BYTES and time.monotonic() < end_s:
        more = connection.recv(LINE_BYTES)
        if not more:
            break
        received += more
    return received


# --- what is asked -------------------------------------------------------------------------------------------------------
class Control:
    """Answers requests. Safe to call from several threads at once."""

    def __init__(self, agent: Agent, etcd: Callable[[], Status] | None = None) -> None:
        self.agent, self.said = agent, Said()
        self._etcd = etcd
        self._etcd_now: Json = {"leader": "", "members": []}
        self._turn, self._doing = threading.Lock(), ""
        self._changing: dict[str, Changing] = {
            "switchover": self._switchover,
            "promote": self._promote,
            "pause": self._pause,
            "resume": self._resume,
            "restart": self._restart,
            "leave": self._leave,
        }

    def answer(self, line: bytes) -> Json:
        """Carry out the request in `line`; never raises."""
        try:
            request = json.loads(line) if len(line) <= LINE_BYTES else None
        except ValueError:
            request = None
        if not isinstance(request, dict):
            return failed(Outcome.REFUSED, "the request is not one line of JSON")
        verb = str(request.get("do"))
        if verb == "status":
            return self._status()
        if verb not in self._changing:
            return failed(Outcome.REFUSED, f"unknown request; known are status, {', '.join(self._changing)}")
        return self._in_turn(verb, request)

    def _in_turn(self, verb: str, request: Json) -> Json:
        if not self._turn.acquire(timeout=TURN_S):
            return failed(Outcome.REFUSED, f"another request is being carried out: {self._doing}")
        try:
            self._doing = verb
            return self._changing[verb](request)
        except Refusal as refusal:
            return failed(Outcome.REFUSED, str(refusal))
        except (Unclear, EngineError, OSError) as error:
            return failed(Outcome.UNKNOWN, str(error))
        finally:
            self._turn.release()

    # --- status ------------------------------------------------------------------------------------------------------
    def _status(self) -> Json:
        """Everything this agent knows; asks nobody, so that it is answered at once."""
        agent, view = self.agent, self.agent.store.view
        decision, now_s = agent.decision, agent.clock()
        never = view.answered_at_s == float("-inf")
        return {
            "ok": True,
            "me": agent.places.me,
            "state": decision.state,
            "rule": decision.rule,
            "says": decision.says,
            "mode": agent.rules.mode.value,
            "most_voters": agent.rules.most_voters,
            "members": {
                member.node: {"is_witness": member.is_witness, "is_spare": member.is_spare} for member in agent.rules.members
            },
            "cluster": None if view.cluster is None else _told(view.cluster),
            "reports": {node: json.loads(documents.write_report(report)) for node, report in sorted(view.reports.items())},
            "history": self._history(),
            "etcd": {**self._etcd_now, "silent_s": None if never else round(now_s - view.answered_at_s, 1)},
            "note": read_note(agent.places.run / "note.json", now_s),
            "qps": agent.rate.qps,
            "log": self.said.last(10),
        }

    def _history(self) -> list[Json]:
        """Changes of the primary, the newest first; what cannot be read is left out."""
        found = []
        history = self.agent.store.view.history
        for term in sorted((name for name in history if not name.endswith(BEFORE)), reverse=True)[:SHOWN_HISTORY]:
            with suppress(ValueError):
                entry = json.loads(history[term])
                before = json.loads(history.get(term + BEFORE, "{}"))
                found.append({**entry, "ms": {**before, **entry["ms"]}})
        return found

    def watch_etcd(self, stop: threading.Event) -> None:
        """Ask again and again who leads etcd, until `stop`."""
        while not stop.is_set():
            try:
                now = self._etcd() if self._etcd else None
                if now is not None:
                    self._etcd_now = {"leader": now.leader, "members": [member.name for member in now.members]}
            except EtcdError as error:
                self._etcd_now = {"leader": "", "members": self._etcd_now["members"], "why": str(error)}
            stop.wait(ETCD_EVERY_S)

    # --- changing ----------------------------------------------------------------------------------------------------
    def _switchover(self, request: Json) -> Json:
        """Pass the role of primary on; tells how long each phase took, as the former and the new primary have recorded it."""
        answer = self._hand_over(_text(request, "to"))
        if not answer["ok"]:
            return answer
        term = answer["term"]
        self._wait(lambda: self._record(term) and f"{term:08}{BEFORE}" in self.agent.store.view.history, HISTORY_S)
        recorded = self._record(term) or {}
        return {**answer, "phases": recorded.get("ms", {})}

    def _hand_over(self, to: str) -> Json:
        """Pass the role of primary on, and wait until that is done or undone. Raises Refusal, Unclear."""
        asked_s, mark = self.agent.clock(), self.said.mark()
        objection, name = self._objection(), f"{self.agent.places.me}-{os.urandom(4).hex()}"
        begun = self._change(lambda o: requests.hand_over(o, to, name, objection))
        end = self._wait(lambda: outcome(begun, self.agent.store.view.cluster), HANDOVER_S)
        ms = round((self.agent.clock() - asked_s) * 1000)
        target = begun.handover.to if begun.handover else ""
        if not end:
            raise Unclear(f"the handover to {target} was neither done nor undone within {HANDOVER_S:g} s")
        if end != "done":
            why = self.said.since(mark, "handing over") or "the handover was ended"
            return {**failed(Outcome.UNDONE, f"{end}{why}"), "to": target, "ms": ms}
        return {"ok": True, "from": begun.primary, "to": target, "term": begun.term + 1, "ms": ms}

    def _record(self, term: int) -> Json | None:
        return next((entry for entry in self._history() if entry.get("term") == term), None)

    def _promote(self, request: Json) -> Json:
        by, asked_s = _text(request, "by") or "somebody", self.agent.clock()
        changed = self._change(lambda o: requests.accept_loss(o, by))
        # The agent's own marks, so that its record of this change has its times.
        self.agent.marks.update({"began": asked_s, "promoted": self.agent.clock()})
        takes_writes = self._wait(lambda: bool(self._note().get("takes_writes")), PROMOTED_S)
        ms = round((self.agent.clock() - asked_s) * 1000)
        told = {"from": changed.last.origin, "to": changed.primary, "takes_writes": bool(takes_writes), "ms": ms}
        return {"ok": True, **told, "says": self.agent.decision.says}

    def _pause(self, request: Json) -> Json:
        for_s = request.get("for_s")
        if isinstance(for_s, bool) or not isinstance(for_s, (int, float)):
            raise Refusal("for how many seconds is not said")
        until_s, by = time.time() + for_s, _text(request, "by") or "somebody"
        self._change(lambda o: requests.pause(o, until_s, by))
        return {"ok": True, "until": until_s}

    def _resume(self, _request: Json) -> Json:
        self._change(requests.resume)
        return {"ok": True}

    def _leave(self, _request: Json) -> Json:
        """The host goes down: a primary passes its role on first. systemd waits for 6 s."""
        self._await_first_look(LEAVES_S)
        return self._hand_over("") if self._is_primary() else {"ok": True}

    # --- restarting the server ---------------------------------------------------------------------------------------
    def _restart(self, _request: Json) -> Json:
        """Restart the server, as a replica wherever that is possible; returns when it is healthy again."""
        began_s = self.agent.clock()
        self._await_first_look(KNOWS_WITHIN_S)
        handed_to = self._pass_on() if self._is_primary() else ""
        if handed_to and not self._wait(self._follows, FOLLOWS_WITHIN_S):
            raise Unclear(f"handed over to {handed_to}, and does not follow it yet; the server was not restarted")
        paused = self._stay_primary() if self._is_primary() else None
        try:
            self._end_and_await()
        finally:
            if paused is not None:
                self._unless_changed(paused)
        return {"ok": True, "handed_to": handed_to, "ms": round((self.agent.clock() - began_s) * 1000)}

    def _pass_on(self) -> str:
        """Hand over to whoever is fit, and return who that was; "" when nobody is."""
        end_s, last = self.agent.clock() + FIT_WITHIN_S, Refusal("")
        while self.agent.clock() < end_s:
            try:
                answer = self._hand_over("")
                if answer["ok"]:
                    return str(answer["to"])
                last = Refusal(f"the handover failed: {answer['why']}")
            except NobodyFit as refusal:
                if not self._others():
                    return ""
                last = refusal
            except Refusal as refusal:
                last = refusal
            if not self._is_primary():
                return str(getattr(self.agent.store.view.cluster, "primary", ""))
            self.agent.stop.wait(0.2)
        if isinstance(last, NobodyFit):
            return ""
        raise last

    def _others(self) -> list[str]:
        """Who could be primary, if they were well."""
        rules, me = self.agent.rules, self.agent.places.me
        return [member.node for member in rules.members if member.node != me and not member.is_witness]

    def _stay_primary(self) -> Cluster | None:
        """Have nobody take over while this server restarts in place. None: somebody paused already, or nobody could."""
        o = self._now()
        if o.cluster is None or o.cluster.sync is not Sync.OK or o.cluster.paused_until > time.time():
            return None
        until_s = time.time() + 2 * HEALTHY_WITHIN_S
        return self._change(lambda now: requests.pause(now, until_s, f"the restart of the server on {now.me}"))

    def _unless_changed(self, paused: Cluster) -> None:
        """End the restart's own pause, and nobody else's; it ends by itself where that does not work."""
        now = self.agent.store.view.cluster
        if now is not None and (now.paused_until, now.paused_by) == (paused.paused_until, paused.paused_by):
            with suppress(Refusal, Unclear):
                self._change(requests.resume)

    def _end_and_await(self) -> None:
        before = self.agent.engine.pid()
        self.agent.engine.kill()
        killed_s = self.agent.clock()
        self.agent.wake.set()
        if not self._wait(lambda: self._is_healthy_again(before, killed_s), HEALTHY_WITHIN_S):
            raise Unclear(f"the server was ended and is not healthy again: {self.agent.decision.says}")

    def _is_healthy_again(self, before: int | None, killed_s: float) -> bool:
        o, pid = self.agent.observation, self.agent.engine.pid()
        return o is not None and o.now_s > killed_s and pid not in (None, before) and bool(self._note().get("is_healthy"))

    def _follows(self) -> bool:
        o = self.agent.observation
        return o is not None and not self._is_primary() and bool(self._note().get("is_healthy"))

    # --- what all of them need ---------------------------------------------------------------------------------------
    def _await_first_look(self, limit_s: float) -> None:
        """Without knowing the cluster a primary would be taken for a replica. Raises Refusal."""
        agent = self.agent
        if not self._wait(lambda: agent.observation is not None and agent.store.view.cluster is not None, limit_s):
            raise Refusal("the agent does not know the cluster yet: etcd does not answer with its quorum")

    def _is_primary(self) -> bool:
        cluster = self.agent.store.view.cluster
        return cluster is not None and cluster.primary == self.agent.places.me

    def _note(self) -> dict[str, object]:
        """What the role server tells of the last look."""
        agent = self.agent
        o = agent.observation
        return {} if o is None else note_of(o, agent.decision, agent.places, agent.engine.pid())

    def _objection(self) -> str:
        try:
            return self.agent.engine.may_hand_over()
        except EngineError as error:
            return f"the server does not answer: {error}"

    def _now(self) -> Observation:
        """The last look, with the cluster's newest state. Raises Refusal."""
        agent = self.agent
        o, view = agent.observation, agent.store.view
        if o is None:
            raise Refusal("the agent has just been started; ask again in a moment")
        silent_s = agent.clock() - view.answered_at_s
        if silent_s >= FRESH_S:
            raise Refusal("etcd does not answer with its quorum: nothing can be changed")
        return replace(o, cluster=view.cluster, etcd_silent_s=silent_s, epoch_s=time.time())

    def _change(self, make: Callable[[Observation], Cluster]) -> Cluster:
        """Replace the cluster's state by what `make` makes of it; returns what was written. Raises Refusal, Unclear."""
        for _ in range(TRIES):
            wanted = make(self._now())
            is_done = self.agent.store.change(wanted)
            self.agent.wake.set()
            if is_done or self._is_seen(wanted):
                return wanted
        raise Unclear("the cluster's state changed under the request, or etcd does not answer: look at the status")

    def _is_seen(self, wanted: Cluster) -> bool:
        """Whether a change without an answer was made after all. False: another was. Raises Unclear when nothing is seen."""
        if not self._wait(lambda: self._revision() > wanted.revision, SEEN_WITHIN_S):
            raise Unclear("etcd gave no answer: whether it was written is not known; look at the status")
        now = self.agent.store.view.cluster
        return now is not None and replace(now, revision=wanted.revision) == wanted

    def _revision(self) -> int:
        cluster = self.agent.store.view.cluster
        return -1 if cluster is None else cluster.revision

    def _wait(self, condition: Callable[[], Any], limit_s: float) -> Any:
        """What `condition` says as soon as that is something; None when nothing came within `limit_s`."""
        end_s = self.agent.clock() + limit_s
        while self.agent.clock() < end_s and not self.agent.stop.is_set():
            found = condition()
            if found:
                return found
            time.sleep(POLL_S)
        return None


def outcome(begun: Cluster, now: Cluster | None) -> str:
    """How the handover of `begun` ended: "done", "" not yet, or the beginning of a sentence that says how else. Pure."""
    if now is None or begun.handover is None or now.revision <= begun.revision:
        return ""
    if now.primary == begun.handover.to:
        return "done"
    if now.primary != begun.primary:
        return f"{now.primary} is primary now: "
    is_open = now.handover is not None and now.handover.id == begun.handover.id
    return "" if is_open else "undone, all is as before: "


class Said(logging.Handler):
    """The last lines of the agent's log, so that people hear why something was given up."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[Line] = deque(maxlen=100)
        self._count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line; the agent's own have the state of its decision first."""
        state = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
        self._count += 1
        self._lines.append(Line(self._count, state, record.getMessage(), record.levelno > logging.INFO))

    def mark(self) -> int:
        """Now, for `since`."""
        return self._count

    def since(self, mark: int, state: str) -> str:
        """What did not work in `state` since `mark`, and what was said there last."""
        lines = [line for line in self._lines.copy() if line.number > mark and line.state == state]
        told = [line.text.removeprefix(f"{state}: ") for line in lines if line.is_warning or line is lines[-1]]
        return "; ".join(dict.fromkeys(told))

    def last(self, count: int) -> list[str]:
        return [line.text for line in self._lines.copy()][-count:]


@dataclass(frozen=True)
class Line:
    """One line of the log. `state`: that of the agent's decision, or whatever came first."""

    number: int
    state: str
    text: str
    is_warning: bool


def _told(cluster: Cluster) -> Json:
    told: Json = json.loads(documents.write_cluster(cluster))
    return {**told, "revision": cluster.revision}


def _text(request: Json, name: str) -> str:
    """A short text of the request, without anything that could break a line."""
    return "".join(letter for letter in str(request.get(name) or "") if letter.isprintable())[:100]

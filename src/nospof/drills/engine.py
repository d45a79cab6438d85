"""One drill: load → inject → verify → hold → heal → verify → back to full strength → judge.

A fault that was not seen to be in force makes the drill invalid, never a pass. Whatever ends it, an error, Ctrl-C, kill -9,
what was broken is healed: here, by the guard beside it, by the hosts' own timers, or by the next run (nospof.drills.undo).
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nospof.analysis.structure import Structure
from nospof.apply import agents
from nospof.drills import faults as _all_faults  # noqa: F401 - makes them known
from nospof.drills import wellness
from nospof.drills.checker import Checker
from nospof.drills.checkers import all as _all_checkers  # noqa: F401 - makes them known
from nospof.drills.copies import copies
from nospof.drills.fault import Fault, Ground
from nospof.drills.judging import goals_seen, served
from nospof.drills.leading import have_lead
from nospof.drills.prediction import Forecast, forecasts
from nospof.drills.record import Record, Visits
from nospof.drills.result import Check, DrillResult, Moment, Taken
from nospof.drills.undo import Unhealed, arm, heal
from nospof.drills.verdict import Verdict, unknown
from nospof.drills.visitors import Load, Rates, load, shown
from nospof.drills.workloads import sql_write
from nospof.errors import NospofError, NotHealed

STEADY_S, SETTLE_S = 3.0, 1.0
# A machine that has to wake up for the visitors first gets so long for it.
WARM_S = 15.0
# Whether a goal is met is judged from ten seconds after the fault on: so long, and long enough to see it.
HOLD_S = 13.0
INJECTED_WITHIN_S = 5.0
LOOKS_EVERY_S = 0.05
WELL_BEFORE_S, WELL_AFTER_S = 60.0, 120.0
# All that a drill may take beside its faults, before others heal it.
SPARE_S = 60.0


@dataclass(frozen=True)
class Injection:
    """A fault, so many seconds after the first."""

    fault: Fault
    at_s: float = 0.0

    def plain(self) -> dict[str, Any]:
        """As JSON: the fault's own, and when."""
        return {**self.fault.plain(), "at_s": self.at_s}


@dataclass(frozen=True)
class Drill:
    """What is to be done. `hold_s`: from the last fault on; below ten seconds nobody can say whether a goal is down."""

    name: str
    injections: tuple[Injection, ...]
    hold_s: float = HOLD_S
    primary: tuple[tuple[str, str], ...] = ()
    """Tier and host: who is made primary there before it begins."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(injection.fault for injection in self.injections)


@dataclass
class Stage:
    """What a drill needs: the stack, what is foretold of it, where files go, who is told."""

    ground: Ground
    made: Structure
    folder: Path
    say: Callable[[str], None]
    rates: Rates = field(default_factory=Rates)
    show: Callable[[str], None] = lambda _: None
    """Is told twice a second what visitors see."""


def run(stage: Stage, drill: Drill, number: int = 1) -> DrillResult:
    """Run one drill and judge it. Raises NospofError where it could not begin: the stack is not well, a fault cannot be made.

    What happens after the first fault is in the result, with what could not be healed. Must be called under a guard. Where a
    busy machine answered visitors badly before anything was broken, it begins once more: without them it comes to rest.
    """
    _refuse_unavailable(stage.ground, drill.faults)
    foretold = forecasts(stage.ground.topology, stage.made, drill.faults, drill.primary)
    first = _Run(stage, drill, number, foretold)
    result = first.run()
    if not first.is_untried:
        return result
    stage.say(f"{result.invalid}; nothing was broken, so that it begins once more")
    return _Run(stage, drill, number, foretold).run().model_copy(update={"tries": 2})


def attempt(stage: Stage, drill: Drill, number: int) -> DrillResult:
    """The same for one of many drills: one that could not begin is an invalid result, and says why."""
    try:
        return run(stage, drill, number)
    except NospofError as error:
        faults = tuple(one.plain() for one in drill.injections)
        return DrillResult(number=number, name=drill.name, faults=faults, begun_at=time.time(), invalid=str(error))


def _refuse_unavailable(ground: Ground, faults: Sequence[Fault]) -> None:
    for fault in faults:
        if why := fault.unavailable(ground):
            raise Unavailable(f"{fault} is not available here", why=why)


class Unavailable(NospofError):
    """This machine, or this stack, cannot have the fault: nothing was touched."""

    exit_code = 3


class _NotInForce(Exception):
    """The fault was not seen to be in force."""


@dataclass
class _Run:
    stage: Stage
    drill: Drill
    number: int
    foretold: tuple[Forecast, ...]
    begun_at: float = 0.0
    times: dict[str, float] = field(default_factory=dict)
    moments: list[tuple[float, str, str]] = field(default_factory=list)
    armed: list[Unhealed] = field(default_factory=list)
    invalid: str = ""
    is_untried: bool = False
    not_healed: str = ""
    lacking: str = ""
    terms: dict[str, int] = field(default_factory=dict)

    @property
    def ground(self) -> Ground:
        return self.stage.ground

    # --- the course of it ------------------------------------------------------------------------------------------------
    def run(self) -> DrillResult:
        self._require_well()
        self._have_primaries()
        before = {name: checker().look(self.ground) for name, checker in Checker.kinds.items()}
        self.terms = self._terms()
        self.begun_at = time.time()
        tokens = f"drill-{secrets.token_hex(4)}-"
        with load(self.ground, self._folder(), tokens, self._longest_s(), self.stage.rates, self._spared()) as running:
            with shown(running, self.stage.show):
                time.sleep(STEADY_S)
                self._await_answers(running)
                self._break_and_heal(running)
            seen, writes, cached = self._finished(running)
        if not self.not_healed:
            wellness.wait_until_well(self.ground, WELL_BEFORE_S)
        now = time.monotonic()
        record = Record(
            seen,
            self.times.get("injected", now),
            self.times.get("held", now),
            self.times.get("healed", now),
            self.times.get("healing", now),
            self.times.get("redundant"),
            self.lacking or "not waited for",
            writes,
            running.writes is not None,
            sum(self._terms().values()) - sum(self.terms.values()),
            copies(self.ground, running.token_pattern),
            cached,
            running.cached is not None,
            self._excused(),
            {name: (before[name], checker().look(self.ground)) for name, checker in Checker.kinds.items()},
        )
        return self._result(record)

    def _excused(self) -> tuple[tuple[str, str], ...]:
        topology = self.ground.topology
        return tuple((host, say) for fault in self.drill.faults for say in fault.makes_say for host in fault.hosts(topology))

    def _finished(self, running: Load) -> tuple[tuple[Visits, ...], sql_write.History | None, sql_write.History | None]:
        try:
            return running.finish()
        except ValueError as error:
            self.invalid = self.invalid or f"what visitors saw is not known: {error}"
            return (), None, None

    def _await_answers(self, running: Load) -> None:
        """A busy machine may answer its first visitors badly: what is broken meanwhile says nothing."""
        end = time.monotonic() + WARM_S
        while (bad := wellness.unanswered(wellness.latest(running.visitors), {})) and time.monotonic() < end:
            self._note("", "note", f"visitors are not yet answered well: {'; '.join(bad[:3])}")
            time.sleep(STEADY_S)

    def _break_and_heal(self, running: Load) -> None:
        """From here on whatever happens ends in healing."""
        steady = wellness.latest(running.visitors)
        before = wellness.answering(steady)
        if bad := wellness.unanswered(steady, before):
            self.invalid = f"the site did not answer well before the fault: {'; '.join(bad[:3])}"
            self.is_untried = True
            return
        with self._healing():
            try:
                self._inject_all()
            except (_NotInForce, NospofError) as error:
                self.invalid = str(error)
        if self.not_healed:
            return
        running.calm()
        visited = running.visitors
        left = wellness.wait_until_well(
            self.ground, WELL_AFTER_S, lambda: wellness.unanswered(wellness.latest(visited), before)
        )
        self.lacking = "; ".join(left[:5])
        if not left:
            self._note("redundant", "heal", "all is as it was before")
        time.sleep(SETTLE_S)

    def _inject_all(self) -> None:
        begin = time.monotonic()
        for injection in sorted(self.drill.injections, key=lambda injection: injection.at_s):
            time.sleep(max(0.0, begin + injection.at_s - time.monotonic()))
            self._inject(injection.fault)
        self.times["held"] = time.monotonic()
        time.sleep(self.drill.hold_s)
        for fault in self.drill.faults:
            if fault.lasts and not (found := fault.injected(self.ground)).is_so:
                raise _NotInForce(f"{fault} was not in force until the end: {found.says}")

    def _inject(self, fault: Fault) -> None:
        self.armed.append(arm(self.ground, fault, self._longest_s()))
        self.stage.say(f"injecting {fault}")
        self.times.setdefault("injected", time.monotonic())
        fault.inject(self.ground)
        end = time.monotonic() + INJECTED_WITHIN_S
        while not (found := fault.injected(self.ground)).is_so:
            if time.monotonic() > end:
                raise _NotInForce(f"{fault} was not seen to be in force: {found.says}")
            time.sleep(LOOKS_EVERY_S)
        self._note("", "fault", f"{fault}: {found.says}")

    @contextmanager
    def _healing(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.times["healing"] = time.monotonic()
            try:
                for record in reversed(self.armed):
                    heal(self.ground, record, self.stage.say)
                    self._note("healed", "heal", f"{record.fault['fault']} {record.fault['target']} is healed")
            except NotHealed as error:
                self.not_healed = str(error)

    def _note(self, name: str, kind: str, what: str) -> None:
        now = time.monotonic()
        if name:
            self.times[name] = now
        self.moments.append((now, kind, what))
        if kind == "fault" or name == "redundant":
            self.stage.say(what)

    # --- before ------------------------------------------------------------------------------------------------------------
    def _require_well(self) -> None:
        left = wellness.wait_until_well(self.ground, WELL_BEFORE_S)
        if left:
            raise NotWell(
                "the stack is not well, so that nothing could be said about the fault",
                why="; ".join(left[:5]),
                fix="nospof status, then mend what it shows",
            )

    def _have_primaries(self) -> None:
        """Hand over where the drill wants another primary. Raises Failed where nobody takes over."""
        deployment = self.ground.deployment
        led = agents.tiers(self.ground.topology)
        moved = [(tier, host) for tier, host in self.drill.primary if tier in led and deployment.database(tier).primary != host]
        for tier, host in moved:
            self.stage.say(f"{host} is made primary of {tier}")
            deployment.switchover(tier, host)
        if moved:
            self._require_well()
        for tier, host in self.drill.primary:
            if tier not in led:
                have_lead(self.ground, tier, host, self.stage.say, self._require_well)

    def _spared(self) -> frozenset[str]:
        topology = self.ground.topology
        broken = {host for fault in self.drill.faults for host in fault.hosts(topology)}
        return frozenset(host.name for host in topology.hosts if host.name not in broken)

    def _longest_s(self) -> float:
        last = max((injection.at_s for injection in self.drill.injections), default=0.0)
        back = max((fault.comes_back_s for fault in self.drill.faults), default=0.0)
        return STEADY_S + last + self.drill.hold_s + 2 * back + WELL_AFTER_S + SPARE_S

    def _folder(self) -> Path:
        folder = self.stage.folder / f"{self.number:03}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _terms(self) -> dict[str, int]:
        return {database.tier: database.term for database in self.ground.recent_status().databases}

    # --- after -------------------------------------------------------------------------------------------------------------
    def _result(self, record: Record) -> DrillResult:
        first = min((visits.history.requests[0].intended for visits in record.visits if visits.history.requests), default=0.0)
        taken, changed = self._taken(first)
        moments = [Moment(at_s=at - first, kind=kind, what=what) for at, kind, what in self.moments] + changed

        def since(name: str) -> float | None:
            return self.times[name] - first if name in self.times else None

        return DrillResult(
            number=self.number,
            name=self.drill.name,
            faults=tuple(one.plain() for one in self.drill.injections),
            says=tuple(fault.about for fault in self.drill.faults),
            begun_at=self.begun_at,
            fault_s=since("injected"),
            held_s=since("held"),
            healing_s=since("healing"),
            healed_s=since("healed"),
            redundant_s=since("redundant"),
            ended_s=time.monotonic() - first,
            invalid=self.invalid,
            not_healed=self.not_healed,
            acknowledged=len(record.all_writes.acknowledged),
            goals=goals_seen(record, self.foretold) if not self.invalid else (),
            checks=tuple(_checks(record)),
            moments=tuple(sorted(moments, key=lambda moment: moment.at_s)),
            served=served(record, first),
            taken=taken,
            most_late_s=max((visits.history.most_late_s for visits in record.visits), default=0.0),
            evidence={path.name: _sha256(path) for path in sorted(self._folder().glob("*.jsonl"))},
        )

    def _taken(self, first: float) -> tuple[tuple[Taken, ...], list[Moment]]:
        """The changes of the primary since the drill began."""
        taken, moments = [], []
        offset = time.time() - time.monotonic() + first
        for database in self.ground.recent_status().databases:
            for change in database.failovers:
                if change.term > self.terms.get(database.tier, 0):
                    names: dict[str, Any] = {"tier": database.tier, "origin": change.origin, "to": change.to}
                    taken.append(Taken(**names, cause=change.cause, why=change.why, ms=dict(change.ms)))
                    what = f"{change.to} is primary of {database.tier} instead of {change.origin}"
                    moments.append(Moment(at_s=change.at - offset, kind="role", what=what))
        return tuple(taken), moments


class NotWell(NospofError):
    """The stack lacks something before anything was broken."""

    exit_code = 3


def _checks(record: Record) -> Iterator[Check]:
    for name, checker in sorted(Checker.kinds.items()):
        verdict = _judged(checker(), record)
        if verdict is not None:
            yield Check(
                name=name,
                about=checker.about,
                result=verdict.result.value,
                reason=verdict.reason,
                count=verdict.count,
                examples=verdict.examples,
            )


def _judged(checker: Checker, record: Record) -> Verdict | None:
    try:
        return checker.judge(record)
    except Exception as error:  # a checker that crashed has judged nothing
        return unknown(f"the checker itself failed: {type(error).__name__}: {error}")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

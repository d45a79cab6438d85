"""The proof: which drills settle a stack's combinations of losses, running them one after the other, and what they settle.

What is foretold is written down, with its hash, before the first drill. A run that was stopped goes on where it was: what is
done is found in its folder. Anything that was not healed ends the run at once.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import nospof
from nospof.analysis.availability import Assumptions, availability, between
from nospof.analysis.interval import clopper_pearson
from nospof.analysis.structure import Part, Structure, structure
from nospof.analysis.takeovers import Takeovers, Tried
from nospof.apply.state import State as Kept
from nospof.component import Component
from nospof.drills import engine, judging
from nospof.drills.combinations import Lost, boundary, extent, orders, roles, settle
from nospof.drills.engine import Drill, Injection, Stage
from nospof.drills.fault import Fault, Ground
from nospof.drills.prediction import Forecast, State, digest, forecasts
from nospof.drills.result import (
    Agreement,
    Combination,
    Conclusion,
    DrillResult,
    GoalAvailability,
    GoalSeen,
    Measured,
    Proof,
)
from nospof.drills.undo import folder
from nospof.drills.visitors import Rates
from nospof.errors import Uncertain
from nospof.topology import Topology

# Between the losses of a pair, so that what follows from the first is under way or done.
APART_S = 3.0
ASSUMPTIONS = (
    "One loss more never helps: what takes the site down does so with more losses too, and what does not, does not with fewer.",
    "The order of losses does not matter but where a database's primary is concerned; there each order was tried.",
)


@dataclass(frozen=True)
class Planned:
    """One drill of a proof, and the combination it is for."""

    lost: Lost
    drill: Drill
    foretold: tuple[Forecast, ...]


@dataclass(frozen=True)
class Plan:
    """All drills of a proof, what they are to settle, and what is foretold."""

    topology: Topology
    made: Structure
    extent: tuple[Lost, ...]
    says: str
    drills: tuple[Planned, ...]

    @property
    def foretold_sha256(self) -> str:
        return digest((planned.drill.name, planned.foretold) for planned in self.drills)


def plan(topology: Topology, order: int = 2, *, has_all_hosts: bool = False) -> Plan:
    """Choose the drills. Pure."""
    # Nobody asks during a drill whether an alert would arrive.
    made = structure(topology).of_visitors()
    found = extent(topology, made, order, has_all_hosts=has_all_hosts)
    says = "each zone, host and process alone" + ("; each pair of hosts and zones" if order > 1 else "")
    says += "; every set of hosts" if has_all_hosts else ""
    drills = tuple(
        Planned(lost, drill, forecasts(topology, made, drill.faults, drill.primary))
        for lost in boundary(found)
        for drill in _drills(topology, lost)
    )
    return Plan(topology, made, found, says, drills)


def _drills(topology: Topology, lost: Lost) -> Iterator[Drill]:
    for parts in orders(topology, lost):
        for primary in roles(topology, lost):
            injections = tuple(Injection(_loss(part), number * APART_S) for number, part in enumerate(parts))
            said = ", then ".join(str(injection.fault) for injection in injections)
            role = "".join(f" ({tier} led by {host})" for tier, host in primary)
            yield Drill(said + role, injections, primary=primary)


def _loss(part: Part) -> Fault:
    """The fault that takes `part` away for good."""
    kinds = {"zone": "zone", "host": "host", "process": "instance"}
    found = next(kind for kind in Fault.kinds.values() if kind.is_loss and kind.breaks.value == kinds[part.kind])
    return found(target=part.name)


# --- running ---------------------------------------------------------------------------------------------------------------
@dataclass
class Course:
    """One run of a proof and its folder. `say` hears what happens; `show` what visitors see; `done` each result."""

    ground: Ground
    plan: Plan
    folder: Path
    say: Callable[[str], None]
    show: Callable[[str], None]
    done: Callable[[DrillResult, int], None]
    rates: Rates

    def run(self, budget_s: float | None = None) -> Proof:
        """Run what is not done yet, for at most `budget_s` seconds, and return what all of it settles."""
        self._foretell()
        end = time.monotonic() + budget_s if budget_s is not None else None
        for number, planned in enumerate(self.plan.drills, 1):
            done = self._result(number)
            # What said nothing is tried again when a run goes on.
            if done is None or (done.invalid and not done.has_failed):
                if end is not None and time.monotonic() > end:
                    break
                done = self._tried(planned, number)
                self._write(f"{number:03}.json", done.model_dump_json(indent=1))
                self.done(done, len(self.plan.drills))
            if done.conclusion is Conclusion.NOT_HEALED:
                break
        return self.proof()

    def proof(self) -> Proof:
        """What the drills so far settle. What they show of others taking over is kept for `check` and `explain`."""
        results = {number: done for number in range(1, len(self.plan.drills) + 1) if (done := self._result(number))}
        told = json.loads((self.folder / "foretold.json").read_text())
        shown = takeovers(self.plan, results, self.folder.name)
        if shown.drills:
            state = self.ground.deployment.state
            before = state.takeovers()
            state.write_takeovers(before.followed_by(shown) if before else shown)
        return assemble(self.plan, results, About.of(self.ground, told["at"]))

    def _tried(self, planned: Planned, number: int) -> DrillResult:
        """The result; one that may be the machine's fault is tried once more."""
        stage = Stage(self.ground, self.plan.made, self.folder, self.say, self.rates, self.show)
        first = engine.attempt(stage, planned.drill, number)
        if not _is_doubtful(first):
            return first
        second = engine.attempt(stage, planned.drill, number)
        goals = tuple(_after(first, goal) for goal in second.goals)
        return second.model_copy(update={"tries": first.tries + second.tries, "goals": goals})

    def _foretell(self) -> None:
        path = self.folder / "foretold.json"
        if path.exists():
            return
        told = [[planned.drill.name, [asdict(forecast) for forecast in planned.foretold]] for planned in self.plan.drills]
        content = {"at": time.time(), "sha256": self.plan.foretold_sha256, "foretold": told}
        self._write(path.name, json.dumps(content, indent=1))

    def _write(self, name: str, text: str) -> None:
        state = self.ground.deployment.state
        state.write(str((self.folder / name).relative_to(state.folder)), text + "\n")

    def _result(self, number: int) -> DrillResult | None:
        path = self.folder / f"{number:03}.json"
        return DrillResult.model_validate_json(path.read_text()) if path.exists() else None


def proof_folder(kept: Kept, chosen: Plan, *, fresh: bool) -> Path:
    """Where the run of this very plan is kept; `fresh`: a new one, whatever was done before."""
    stem = folder(kept) / "proofs" / f"{chosen.topology.sha256[:12]}-{chosen.foretold_sha256[:8]}"
    found = sorted(stem.parent.glob(f"{stem.name}-*"))
    if found and not fresh:
        return found[-1]
    made = stem.with_name(f"{stem.name}-{len(found) + 1:03}")
    made.mkdir(parents=True)
    return made


def _is_doubtful(result: DrillResult) -> bool:
    """Whether it says nothing, or something that the machine may have brought about; no machine loses what was acknowledged."""
    is_off = any(judging.is_doubtful(goal, result.most_late_s) for goal in result.goals)
    return not result.not_healed and not result.has_failed and (bool(result.invalid) or is_off)


def _after(first: DrillResult, goal: GoalSeen) -> GoalSeen:
    """What the second try saw, with what the first one saw where that was not as foretold."""
    before = first.goal(goal.goal)
    if before is None or before.agreement is Agreement.AGREES:
        return goal
    gap = "" if before.outage_s is None else f", longest gap {before.outage_s:.2f} s"
    said = f"at the first try it was {before.seen}: {before.bad} of {before.asked} bad{gap}"
    return goal.model_copy(update={"note": "; ".join(filter(None, (said, before.note, goal.note)))})


# --- what it settles -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class About:
    """What a proof says of where it was made."""

    stack: str
    domain: str
    packages: Mapping[str, str]
    machine: str
    foretold_at: float

    @classmethod
    def of(cls, ground: Ground, foretold_at: float) -> About:
        memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        machine = f"{os.cpu_count()} CPUs, {memory_gib:.0f} GiB, Linux {platform.release()}"
        topology = ground.topology
        return cls(topology.stack, topology.domain, _packages(ground), machine, foretold_at)


def _packages(ground: Ground) -> dict[str, str]:
    """The versions of what runs on the hosts."""
    found: dict[str, str] = {}
    for instance in ground.topology.instances:
        names = [name for name in Component.kinds[instance.component].packages if name not in found]
        if names:
            script = f"dpkg-query --show --showformat '${{Package}} ${{Version}}\\n' {' '.join(names)} 2>/dev/null || true"
            try:
                found |= dict(line.split(" ", 1) for line in ground.sh(instance.id.host, script).splitlines())
            except Uncertain:
                continue
    return dict(sorted(found.items()))


def assemble(chosen: Plan, results: Mapping[int, DrillResult], about: About) -> Proof:
    """The certificate: all drills, and what they settle of each combination. `results`: by number, from 1. Pure."""
    drills = tuple(results[number] for number in sorted(results))
    shown = takeovers(chosen, results)
    measured = _measured(drills)
    return Proof(
        stack=about.stack,
        domain=about.domain,
        stack_sha256=chosen.topology.sha256,
        nospof=nospof.__version__,
        packages=dict(about.packages),
        machine=about.machine,
        began_at=min((drill.begun_at for drill in drills), default=about.foretold_at),
        ended_at=max((drill.begun_at + drill.ended_s for drill in drills), default=about.foretold_at),
        extent=chosen.says,
        assumptions=ASSUMPTIONS,
        foretold_sha256=chosen.foretold_sha256,
        foretold_at=about.foretold_at,
        drills=drills,
        combinations=tuple(_combinations(chosen, results)),
        measured=measured,
        availability=tuple(_availabilities(chosen, shown)),
        acknowledged=sum(drill.acknowledged for drill in drills),
        lost=sum(drill.lost for drill in drills),
    )


def _combinations(chosen: Plan, results: Mapping[int, DrillResult]) -> Iterator[Combination]:
    numbers: dict[Lost, list[int]] = {}
    for number, planned in enumerate(chosen.drills, 1):
        numbers.setdefault(planned.lost, []).append(number)
    goals = [goal.value for goal in chosen.made.goals]
    seen = {goal: _seen(numbers, results, goal) for goal in goals}
    for lost in chosen.extent:
        settled = {goal: settle(lost, goal, seen[goal]) for goal in goals}
        is_drilled = all(by == (lost,) for _, by, _ in settled.values())
        is_open = any(state is State.UNKNOWN for state, _, _ in settled.values())
        by = sorted({number for _, others, _ in settled.values() for other in others for number in numbers.get(other, ())})
        contradicts = any(contradiction for _, _, contradiction in settled.values())
        yield Combination(
            parts=tuple(map(str, lost.parts)),
            predicted={goal: lost.state(goal).value for goal in goals},
            seen={goal: state.value for goal, (state, _, _) in settled.items()},
            settled="unproven" if is_open else "drilled" if is_drilled else "implied",
            by=tuple(by),
            why=_why(is_open=is_open, contradicts=contradicts, has_drills=lost in numbers),
        )


def _why(*, is_open: bool, contradicts: bool, has_drills: bool) -> str:
    if contradicts:
        return "drills contradict each other here: with more losses it was up, with fewer down"
    if not is_open:
        return ""
    return "its drill was not run, or said nothing" if has_drills else "the drills that would settle it were not run"


def _seen(numbers: Mapping[Lost, Sequence[int]], results: Mapping[int, DrillResult], goal: str) -> dict[Lost, State]:
    """What was seen of each combination that has drills: down if any was; up only if each of them was run and was up."""
    found = {}
    for lost, those in numbers.items():
        states = [_state_in(results.get(number), goal) for number in those]
        if State.DOWN in states:
            found[lost] = State.DOWN
        elif states and set(states) == {State.UP}:
            found[lost] = State.UP
    return found


def _state_in(result: DrillResult | None, goal: str) -> State:
    seen = result.goal(goal) if result and not result.invalid and not result.not_healed else None
    return State(seen.seen) if seen else State.UNKNOWN


def takeovers(chosen: Plan, results: Mapping[int, DrillResult], run: str = "") -> Takeovers:
    """What `results` show of others taking over where that was foretold: all that the availability needs of them. Pure.

    `run`: the name of this proof's run.
    """
    told = [(chosen.drills[number - 1], results[number]) for number in sorted(results)]
    shown = [(planned, result) for planned, result in told if _shows_a_takeover(result)]
    return Takeovers(
        topology=chosen.topology.sha256,
        drills=tuple(
            Tried(
                parts=tuple(map(str, planned.lost.parts)),
                is_up=_is_up(result),
                outage_s={goal.goal: goal.outage_s + goal.outage_error_s for goal in result.goals if goal.outage_s is not None},
                at=result.begun_at + result.ended_s,
                run=run,
            )
            for planned, result in shown
        ),
    )


def _shows_a_takeover(drill: DrillResult) -> bool:
    is_valid = not drill.invalid and not drill.not_healed and bool(drill.goals)
    return is_valid and all(goal.predicted == State.UP and goal.seen != State.UNKNOWN for goal in drill.goals)


def _is_up(drill: DrillResult) -> bool:
    return all(goal.seen == State.UP for goal in drill.goals)


def _measured(drills: Sequence[DrillResult]) -> Measured | None:
    """How often others took over where they should, and how long visitors of any goal waited for it."""
    tried = [drill for drill in drills if _shows_a_takeover(drill)]
    if not tried:
        return None
    successes = sum(map(_is_up, tried))
    took = sorted(max(goal.outage_s or 0.0 for goal in drill.goals) for drill in tried)
    low, high = clopper_pearson(successes, len(tried))
    return Measured(
        tries=len(tried),
        successes=successes,
        coverage_low=low,
        coverage_high=high,
        took_p50_s=took[(len(took) - 1) // 2],
        took_max_s=took[-1],
    )


def _availabilities(chosen: Plan, shown: Takeovers) -> Iterator[GoalAvailability]:
    for goal in chosen.made.goals:
        assumed = availability(chosen.topology, chosen.made, goal, Assumptions())
        best, worst = between(chosen.topology, chosen.made, goal, Assumptions(), shown)
        yield GoalAvailability(goal=goal.value, assumed_min=assumed.minutes, low_min=best.minutes, high_min=worst.minutes)

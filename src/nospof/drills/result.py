"""What became of one drill: a value that is written as JSON, and all that reports and certificates are made of.

Times are in seconds; those named `at_s` or `..._s` of a moment count from the first request of the drill's visitors.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

VERSION = 1
LOST_WRITES = "lost writes"
"""The checker that says whether an acknowledged write is missing."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Agreement(StrEnum):
    """What was foretold against what was seen."""

    AGREES = "agrees"
    OPTIMISTIC = "optimistic"
    """Foretold up, and it was down: a dependency that the topology does not have."""
    PESSIMISTIC = "pessimistic"
    """Foretold down, and it was up."""
    TIMING_OFF = "timing off"
    """Up as foretold, and away for longer than foretold."""
    UNKNOWN = "unknown"


class Conclusion(StrEnum):
    """What a drill comes to, the worst first."""

    NOT_HEALED = "not healed"
    FAILED = "failed"
    """A promise was broken: a write lost, something that did not come back."""
    WRONG = "prediction wrong"
    INVALID = "invalid"
    """The fault was not in force, or the stack was not well before: it says nothing."""
    UNKNOWN = "unknown"
    PASSED = "passed"


class Bin(_Value):
    """What became of the requests of one goal that began in a fifth of a second."""

    at_s: float
    good: int
    bad: int
    slowest_s: float
    """Of the good answers; 0 where there was none."""


class GoalSeen(_Value):
    """One goal: what was foretold, what was seen."""

    goal: str
    predicted: str
    """up, down or unknown."""
    predicted_outage_s: float | None
    why: tuple[str, ...]
    """The chain of reason of a goal that was foretold to fail."""
    seen: str
    outage_s: float | None
    """The longest time without a good answer from the fault to the healing; None where nobody asked."""
    outage_error_s: float
    """The outage is known to within so much: the time between two requests."""
    asked: int
    bad: int
    reasons: dict[str, int]
    p50_s: float | None
    p99_s: float | None
    """Of the good answers while the fault was in force."""
    before_p50_s: float | None = None
    """Of the good answers right before anything was broken."""
    agreement: Agreement
    bins: tuple[Bin, ...]
    note: str = ""


class Check(_Value):
    """What one checker says: pass, fail or unknown."""

    name: str
    about: str
    result: str
    reason: str
    count: int = 0
    examples: tuple[str, ...] = ()


class Moment(_Value):
    """Something that happened. `kind`: fault, heal, role, note."""

    at_s: float
    kind: str
    what: str


class Served(_Value):
    """A server of a tier answered visitors between these two moments, without any other of its tier for long."""

    tier: str
    server: str
    from_s: float
    to_s: float


class Taken(_Value):
    """The database's primary changed, as its agents say."""

    tier: str
    origin: str
    to: str
    cause: str
    why: str
    ms: dict[str, int]


class DrillResult(_Value):
    """One drill."""

    version: int = VERSION
    number: int
    name: str
    faults: tuple[dict[str, Any], ...]
    """As fault_of reads them, with `at_s`: so long after the first."""
    says: tuple[str, ...] = ()
    """What each fault does, in a sentence."""
    tries: int = 1
    begun_at: float
    """Seconds since the epoch."""
    fault_s: float | None = None
    """When the first fault was begun."""
    held_s: float | None = None
    """When the last was seen to be in force."""
    healing_s: float | None = None
    healed_s: float | None = None
    redundant_s: float | None = None
    ended_s: float = 0.0
    invalid: str = ""
    """Why it says nothing; "" where it does."""
    not_healed: str = ""
    acknowledged: int = 0
    """Writes of visitors, and of clients beside an application."""
    goals: tuple[GoalSeen, ...] = ()
    checks: tuple[Check, ...] = ()
    moments: tuple[Moment, ...] = ()
    served: tuple[Served, ...] = ()
    taken: tuple[Taken, ...] = ()
    most_late_s: float = 0.0
    """So long the visitors' own process was late at most: a machine that stands still makes outages look longer."""
    evidence: dict[str, str] = {}
    """File beside this one → its sha256."""

    @property
    def conclusion(self) -> Conclusion:
        results = {check.result for check in self.checks}
        agreements = {goal.agreement for goal in self.goals}
        if self.not_healed:
            return Conclusion.NOT_HEALED
        if self.invalid:
            return Conclusion.INVALID
        if self.has_failed:
            return Conclusion.FAILED
        if agreements & {Agreement.OPTIMISTIC, Agreement.PESSIMISTIC}:
            return Conclusion.WRONG
        return Conclusion.UNKNOWN if "unknown" in results or Agreement.UNKNOWN in agreements else Conclusion.PASSED

    @property
    def has_failed(self) -> bool:
        """Whether a checker found what must never be, whatever else is said of the drill."""
        return any(check.result == "fail" for check in self.checks)

    @property
    def lost(self) -> int:
        """Acknowledged writes that are missing."""
        return sum(check.count for check in self.checks if check.name == LOST_WRITES)

    def goal(self, name: str) -> GoalSeen | None:
        return next((goal for goal in self.goals if goal.goal == name), None)


class Combination(_Value):
    """Parts that are lost at once, and what settles whether each goal outlives that."""

    parts: tuple[str, ...]
    """As the analysis names them: "host lb1", "zone a", "process web/web1"; sorted."""
    predicted: dict[str, str]
    """By goal: up, down."""
    seen: dict[str, str]
    """By goal: up or down where drills settled it, else unknown or not named."""
    settled: str
    """drilled; implied, by a drill with more or fewer losses; unproven."""
    by: tuple[int, ...] = ()
    """Numbers of the drills that settle it."""
    why: str = ""
    """Of one that is unproven or wrong."""

    @property
    def is_wrong(self) -> bool:
        return any(self.seen.get(goal, "unknown") not in (state, "unknown") for goal, state in self.predicted.items())


class Measured(_Value):
    """A number of the availability that drills gave: `successes` of `tries` takeovers, and how long they took."""

    tries: int
    successes: int
    coverage_low: float
    coverage_high: float
    """Clopper-Pearson, 95 %."""
    took_p50_s: float | None
    took_max_s: float | None


class GoalAvailability(_Value):
    """One goal in minutes a year: as the stack file's assumptions give it, and at both ends of what was measured."""

    goal: str
    assumed_min: float
    low_min: float
    high_min: float


class Proof(_Value):
    """A whole run of drills: what was foretold, what was seen, and what that settles. It is the certificate."""

    version: int = VERSION
    stack: str
    domain: str
    stack_sha256: str
    """Of the topology: what everything is derived from."""
    nospof: str
    packages: dict[str, str]
    """Package → version, as installed on the hosts."""
    machine: str
    began_at: float
    ended_at: float
    """Seconds since the epoch; the end of the last drill so far."""
    extent: str
    """What was to be settled, in a sentence."""
    assumptions: tuple[str, ...]
    """What must be so for the drills to say what they say of combinations nobody tried."""
    foretold_sha256: str
    """Over all that was foretold, written down before the first drill."""
    foretold_at: float
    drills: tuple[DrillResult, ...]
    combinations: tuple[Combination, ...]
    measured: Measured | None = None
    availability: tuple[GoalAvailability, ...] = ()
    acknowledged: int = 0
    """Writes, of all drills."""
    lost: int = 0
    diagram_svg: str = ""

    @property
    def wrong(self) -> tuple[Combination, ...]:
        return tuple(one for one in self.combinations if one.is_wrong)

    @property
    def unproven(self) -> tuple[Combination, ...]:
        return tuple(one for one in self.combinations if one.settled == "unproven")


EXIT_CODES = {
    Conclusion.PASSED: 0,
    Conclusion.FAILED: 1,
    Conclusion.UNKNOWN: 3,
    Conclusion.INVALID: 3,
    Conclusion.NOT_HEALED: 4,
    Conclusion.WRONG: 5,
}


def exit_code(conclusions: Collection[Conclusion]) -> int:
    """That of the worst; of none it is not known what they came to."""
    return next((EXIT_CODES[one] for one in Conclusion if one in conclusions), EXIT_CODES[Conclusion.UNKNOWN])

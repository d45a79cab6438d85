"""What drills showed of others taking over: how often they did, and how long it took. Values and queries only.

`nospof prove` writes them, each run beside the earlier ones of the same topology; the availability uses them in place of what
is assumed. Both are intervals:

* The coverage, of so many losses others take over: Clopper and Pearson's, 95 %, over all drills of losses that were foretold to
  be outlived. A part whose own drills did not all go well is judged by these alone: a defect of one part is no chance that all
  share.
* How long it takes: the shortest and the longest that was seen of drills in which the part was lost, alone or with others. Of n
  drills these enclose the median with a probability of 1 - 2^(1-n); with fewer than six, which is less than 95 %, the upper end
  is no less than what was told of the component before.

Source: H. A. David, H. N. Nagaraja, Order Statistics, section 7.1 (intervals for quantiles that suppose no distribution).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from nospof.analysis.interval import clopper_pearson
from nospof.analysis.measured import SENSIBLE_AGE_S

# 1 - 2^(1-6) is the first that is over 95 %.
ENOUGH_DRILLS = 6


@dataclass(frozen=True)
class Span:
    """Between two ends, the lower one first."""

    low: float
    high: float


@dataclass(frozen=True)
class Tried:
    """One drill of losses that were foretold to be outlived.

    `parts`: what was lost, as the analysis names it. `is_up`: every goal was seen to hold. `outage_s`: goal → the longest time
    without a good answer, in seconds; a goal that nobody asked for is not in it. `at`: when it ended, in seconds since the
    epoch. `run`: the proof it is of.
    """

    parts: tuple[str, ...]
    is_up: bool
    outage_s: Mapping[str, float] = field(default_factory=dict)
    at: float = 0.0
    run: str = ""


@dataclass(frozen=True)
class Takeovers:
    """All of a proof's drills that say something of others taking over."""

    topology: str
    """The fingerprint of the topology that was drilled."""
    drills: tuple[Tried, ...]

    @property
    def tries(self) -> int:
        return len(self.drills)

    @property
    def successes(self) -> int:
        return sum(drill.is_up for drill in self.drills)

    @property
    def at(self) -> float:
        """When the last of them ended, in seconds since the epoch; 0 where there is none."""
        return max((drill.at for drill in self.drills), default=0.0)

    @property
    def day(self) -> str:
        """The day of the last drill, in UTC: 2026-11-21."""
        return datetime.fromtimestamp(self.at, UTC).date().isoformat()

    def followed_by(self, newer: Takeovers) -> Takeovers:
        """These and `newer`, which replaces what was known of its runs; without what is of another stack or too old by then."""
        if self.topology != newer.topology:
            return newer
        runs = {drill.run for drill in newer.drills}
        kept = [drill for drill in self.drills if drill.run not in runs and newer.at - drill.at <= SENSIBLE_AGE_S]
        return Takeovers(newer.topology, (*kept, *newer.drills))

    def coverage(self, part: str | None = None) -> Span:
        """Of so many losses of `part` others take over, 0 to 1; None: of any part."""
        mine = [drill for drill in self.drills if part in drill.parts]
        chosen = self.drills if all(drill.is_up for drill in mine) else mine
        return Span(*clopper_pearson(sum(drill.is_up for drill in chosen), len(chosen)))

    def took_s(self, part: str, goal: str, told_s: float) -> Span | None:
        """How long `goal` did not hold after `part` was lost. `told_s`: what was told before. None: no drill shows it."""
        seen = [drill.outage_s[goal] for drill in self.drills if part in drill.parts and drill.is_up and goal in drill.outage_s]
        if not seen:
            return None
        return Span(min(seen), max(seen) if len(seen) >= ENOUGH_DRILLS else max(*seen, told_s))

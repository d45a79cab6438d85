"""All that was seen of one drill, for those who judge it. Values only; times are seconds of CLOCK_MONOTONIC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nospof.analysis.structure import Goal
from nospof.drills.checkers import Copies
from nospof.drills.workloads import sql_write
from nospof.drills.workloads.http_get import History, Outcome, Request


@dataclass(frozen=True)
class Visits:
    """What visitors of one site saw who wanted one thing."""

    goal: Goal
    site: str
    history: History


@dataclass(frozen=True)
class Record:
    """`injected`: when the first fault was begun; `held_from`: when the last was seen to be in force."""

    visits: tuple[Visits, ...]
    injected: float
    held_from: float
    healed: float
    """When the last fault was seen to be healed."""
    healing: float
    """When healing began."""
    redundant: float | None
    """When all was as before; None: it never was."""
    lacking: str = ""
    """What was not as before when patience ended."""
    writes: sql_write.History | None = None
    """Of clients beside an application; None where there were none, or they were lost."""
    had_writer: bool = True
    """Whether an application's host was left out of the fault; else nobody could have written past the visitors."""
    changes: int = 0
    """How often the primary changed, as those say who change it."""
    copies: Mapping[str, Copies] = field(default_factory=dict)
    """By tier, what each of its instances holds of what was written in this drill; read after healing."""
    cached: sql_write.History | None = None
    """Of the client that wrote into a cache; None where there was none, or it was lost."""
    had_cache_writer: bool = True
    """As `had_writer`, for a cache."""
    excused: tuple[tuple[str, str], ...] = ()
    """Host and a regular expression: what is said there only because a fault has it said."""
    collected: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """By checker, what it looked up before the fault and after healing."""

    def of(self, goal: Goal) -> tuple[Visits, ...]:
        return tuple(visits for visits in self.visits if visits.goal is goal)

    @property
    def all_writes(self) -> sql_write.History:
        """The writes of visitors and of the clients beside the application."""
        trials = [_as_write(request) for visits in self.of(Goal.WRITE) for request in visits.history.requests]
        return sql_write.History.of([*trials, *(self.writes.writes if self.writes else ())])


def _as_write(request: Request) -> sql_write.Write:
    # An answer that is not good may come from anybody on the way: only what was never sent is certainly not written.
    is_open = request.outcome is Outcome.FAILED and request.sent is not None
    outcome = Outcome.UNKNOWN if is_open else request.outcome
    return sql_write.Write(0, request.token, request.intended, request.ended, outcome, None, request.why)

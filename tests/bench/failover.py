# ruff: noqa: T201 - what is printed is the result
"""How long visitors wait when a part fails, beside the budgets of DESIGN section 9: `script/bench [ROUNDS]`.

Each fault is injected ROUNDS times under 100 GET/s, in turn with the others, in a lab that is made for it and removed. Nothing
is asserted: figures depend on what else the machine does. Columns: median and largest value over the rounds, and the largest
divided by the budget. Rounds in which the load itself was late by 50 ms or more are counted, since the machine stalled.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import failing_site as faults
from failing_site import FailingSite, Figures

STALLED_S = 0.05


@dataclass(frozen=True)
class Measure:
    """A figure of a fault; `budget` None where DESIGN has none."""

    name: str
    of: Callable[[Figures], float]
    budget: float | None = None
    unit: str = " s"


def gap(budget: float | None = None) -> Measure:
    return Measure("between good answers", lambda figures: figures.gap.length_s, budget)


def p99(budget: float | None = None) -> Measure:
    return Measure("p99 of those begun after", lambda figures: figures.after.latency_s(0.99), budget)


BAD_AFTER = Measure("begun after and bad", lambda figures: len(figures.after.bad), 0, "")
BAD_ANY = Measure("bad at all", lambda figures: len(figures.after.bad) + len(figures.in_flight.bad), 0, "")
COUNTED = Measure("begun after and bad", lambda figures: len(figures.after.bad), None, "")
IN_FLIGHT = Measure("in flight, the last ended after", lambda figures: figures.in_flight_s, 1.0)

EVENTS: tuple[tuple[Callable[[FailingSite], Figures], tuple[Measure, ...]], ...] = (
    (faults.holder_dark, (gap(0.5), BAD_AFTER)),
    (faults.haproxy_killed, (gap(0.15), COUNTED)),
    (faults.haproxy_frozen, (gap(), COUNTED)),
    (faults.keepalived_killed, (gap(), COUNTED)),
    (faults.web_dark, (BAD_AFTER, p99(0.25), IN_FLIGHT)),
    (faults.nginx_killed, (BAD_ANY, p99())),
    (faults.gunicorn_killed, (BAD_ANY, p99())),
    (faults.worker_killed, (BAD_ANY, p99())),
    (faults.haproxy_reloaded, (BAD_ANY, p99())),
    (faults.nginx_reloaded, (BAD_ANY, p99())),
    (faults.app_reloaded, (BAD_ANY, p99())),
    (faults.app_restarted, (BAD_ANY, p99())),
)


def main(rounds: int) -> None:
    measured: list[list[Figures]] = [[] for _ in EVENTS]
    with tempfile.TemporaryDirectory(prefix="nospof-bench-") as folder, FailingSite.brought_up(Path(folder)) as site:
        for number in range(rounds):
            for (fault, _), found in zip(EVENTS, measured, strict=True):
                found.append(fault(site))
                print(f"round {number + 1}: {found[-1]} · healed {site.heal():.1f} s later", file=sys.stderr, flush=True)
    print(f"\n{'':<32}{'':<33}{'median':>9}{'largest':>9}{'budget':>9}{'ratio':>7}")
    for (_, measures), found in zip(EVENTS, measured, strict=True):
        for line in table(measures, found):
            print(line)


def table(measures: tuple[Measure, ...], found: list[Figures]) -> Iterator[str]:
    stalls = sum(figures.after.most_late_s >= STALLED_S for figures in found)
    what = found[0].what
    for measure in measures:
        values = [measure.of(figures) for figures in found]
        budget, ratio = "", ""
        if measure.budget is not None:
            budget = written(measure.budget, measure.unit)
            ratio = f"{max(values) / measure.budget:.2f}" if measure.budget else "good" if max(values) == 0 else "BAD"
        middle, most = written(median(values), measure.unit), written(max(values), measure.unit)
        yield f"{what:<32}{measure.name:<33}{middle:>9}{most:>9}{budget:>9}{ratio:>7}"
        what = f"  ({stalls} of {len(found)} rounds stalled)" if stalls else ""
        stalls = 0


def written(value: float, unit: str) -> str:
    return f"{value:.2f}{unit}" if unit else f"{value:g}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 3)

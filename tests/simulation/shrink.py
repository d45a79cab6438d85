"""Makes the shortest history of a violation: as few faults as cause it, each as short as may be."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.faults import Fault
from tests.simulation.mistakes import Mistake
from tests.simulation.world import Result, run

MOST_RUNS = 400


def shrink(found: Result, mistake: Mistake) -> Result:
    """Leave faults out, then shorten them, while the same invariant is violated; answers the run with its whole history."""
    trials = _Trials(found, mistake)
    faults = [fault for fault in found.faults if fault.at_s <= found.ended_s]
    if not trials.fails(faults):
        faults = found.faults
    faults = _shortened(_fewer(faults, trials), trials)
    return run(found.seed, mistake, faults, tells=True)


class _Trials:
    """Runs schedules, up to a limit; after it nothing counts as failing, so that shrinking ends."""

    def __init__(self, found: Result, mistake: Mistake) -> None:
        self._found = found
        self._mistake = mistake
        self._left = MOST_RUNS

    def fails(self, faults: list[Fault]) -> bool:
        self._left -= 1
        return self._left >= 0 and run(self._found.seed, self._mistake, faults).invariant == self._found.invariant


def _fewer(faults: list[Fault], trials: _Trials) -> list[Fault]:
    """Delta debugging: leave out halves, then quarters, then single faults, until none can be left out."""
    size = max(1, len(faults) // 2)
    while True:
        for start in range(0, len(faults), size):
            fewer = faults[:start] + faults[start + size :]
            if trials.fails(fewer):
                faults, size = fewer, max(1, min(size, len(fewer) // 2))
                break
        else:
            if size == 1:
                return faults
            size //= 2


def _shortened(faults: list[Fault], trials: _Trials) -> list[Fault]:
    for index, fault in enumerate(faults):
        for for_s in (0.05, round(fault.for_s / 4, 3), round(fault.for_s / 2, 3)):
            shorter = [*faults[:index], replace(fault, for_s=for_s), *faults[index + 1 :]]
            if for_s < fault.for_s and trials.fails(shorter):
                faults = shorter
                break
    return faults

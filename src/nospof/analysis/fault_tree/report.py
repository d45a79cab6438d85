"""Everything `nospof analyse` says of a fault tree, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from nospof.analysis.fault_tree.budget import Budget
from nospof.analysis.fault_tree.cut_sets import Sets
from nospof.analysis.fault_tree.formula import Formula, Formulas
from nospof.analysis.fault_tree.importance import Importance, importances
from nospof.analysis.fault_tree.structure import StructureFunction


@dataclass(frozen=True)
class Listed:
    """One set of events, by name in the order of the alphabet, and its probability where all of its events have one."""

    events: tuple[str, ...]
    probability: float | None


@dataclass(frozen=True)
class SetsReport:
    """A family of sets: how many, how many of each order, and the smallest."""

    number: int
    orders: Mapping[int, int]
    smallest: tuple[Listed, ...]


@dataclass(frozen=True)
class Report:
    """What is known of a tree. Without cut sets (not monotone) and without probabilities the fields are None."""

    events: tuple[str, ...]
    is_monotone: bool
    cut_sets: SetsReport | None
    """The minimal cut sets; None where the tree is not monotone."""
    least_failures: SetsReport | None
    """Only where the tree is not monotone: see StructureFunction.least_failures."""
    path_sets: SetsReport | None
    """The minimal path sets, where they were asked for and there are any."""
    without_probability: tuple[str, ...]
    """Events whose probability is not known; when there is one, the following is None."""
    probability: float | None
    rare_event_sum: float | None
    upper_bound: float | None
    importances: tuple[Importance, ...] | None
    diagram_nodes: int


def report(
    formulas: Formulas,
    top: Formula,
    probabilities: Mapping[str, float],
    budget: Budget,
    *,
    most: int,
    with_path_sets: bool = False,
) -> Report:
    """Analyse `top`; of each family at most `most` sets are listed. Raises TooExpensive."""
    function = StructureFunction.of(formulas, top, budget)
    least = function.least_failures()
    shown = _sets_report(least, probabilities, most)
    paths = _sets_report(function.path_sets(), probabilities, most) if with_path_sets and function.is_monotone else None
    missing = tuple(sorted(event for event in function.events if event not in probabilities))
    cut_sets = least if function.is_monotone else None
    return Report(
        events=function.events,
        is_monotone=function.is_monotone,
        cut_sets=shown if function.is_monotone else None,
        least_failures=None if function.is_monotone else shown,
        path_sets=paths,
        without_probability=missing,
        probability=None if missing else function.probability(probabilities),
        rare_event_sum=None if missing else least.rare_event_sum(probabilities),
        upper_bound=None if missing else least.upper_bound(probabilities),
        importances=None if missing else importances(function, cut_sets, probabilities),
        diagram_nodes=function.size,
    )


def _sets_report(sets: Sets, probabilities: Mapping[str, float], most: int) -> SetsReport:
    smallest = sorted(
        (_listed(one, probabilities) for one in sets.smallest(most)), key=lambda one: (len(one.events), one.events)
    )
    return SetsReport(sets.number, sets.orders, tuple(smallest))


def _listed(events: tuple[str, ...], probabilities: Mapping[str, float]) -> Listed:
    known = [probabilities[event] for event in events if event in probabilities]
    return Listed(tuple(sorted(events)), prod(known) if len(known) == len(events) else None)

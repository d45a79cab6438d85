"""How much each event matters to the top event, by the usual measures; P is the top event's probability, p the event's.

Source: M. Rausand, A. Høyland, System Reliability Theory, 2nd ed., 2004, chapter 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nospof.analysis.fault_tree.cut_sets import Sets
from nospof.analysis.fault_tree.structure import StructureFunction


@dataclass(frozen=True)
class Importance:
    """The measures of one event. All but Fussell-Vesely are exact; None where P is 0, or as said."""

    event: str
    probability: float
    birnbaum: float
    """P if the event happens, minus P if it does not: how fast P grows with p. Negative for an event that prevents."""
    criticality: float | None
    """birnbaum · p / P: the part of P that goes away when the event no longer can happen."""
    fussell_vesely: float | None
    """The part of the cut sets that the event is in, each weighed with its probability. None in a tree without cut sets."""
    raw: float | None
    """Risk achievement worth: P if the event happens, divided by P."""
    rrw: float | None
    """Risk reduction worth: P divided by P if the event does not happen. None where that is 0: it is infinite."""


def importances(
    function: StructureFunction, cut_sets: Sets | None, probabilities: Mapping[str, float]
) -> tuple[Importance, ...]:
    """The measures of every event of `function`, the most critical first, equals by name. `cut_sets` None: it has none."""
    top = function.probability(probabilities)
    birnbaum = function.birnbaum(probabilities)
    shares = cut_sets.shares(probabilities) if cut_sets is not None and top else None
    indispensable = function.indispensable()
    found = [
        _importance(
            event,
            top,
            p=probabilities[event],
            birnbaum=birnbaum[event],
            share=None if shares is None else shares.get(event, 0.0),
            is_indispensable=event in indispensable,
        )
        for event in function.events
    ]
    return tuple(sorted(found, key=_rank))


def _rank(one: Importance) -> tuple[float, float, str]:
    """The most critical first. Rounded, since equals may differ in their last digit."""
    return -float(f"{one.criticality or 0.0:.9e}"), -float(f"{one.birnbaum:.9e}"), one.event


def _importance(
    event: str, top: float, *, p: float, birnbaum: float, share: float | None, is_indispensable: bool
) -> Importance:
    if not top:
        return Importance(event, p, birnbaum, None, None, None, None)
    # The difference of two nearly equal numbers may come out below 0.
    if_absent = 0.0 if is_indispensable else max(0.0, top - p * birnbaum)
    return Importance(
        event,
        p,
        birnbaum,
        criticality=p * birnbaum / top,
        fussell_vesely=share,
        raw=(top + (1.0 - p) * birnbaum) / top,
        rrw=top / if_absent if if_absent else None,
    )

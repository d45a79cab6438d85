"""A model in the Open-PSA Model Exchange Format, as far as fault trees go: formulas of its gates, probabilities of its events.

Source: https://open-psa.github.io/mef/ (version 2.0d)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nospof.analysis.fault_tree.formula import Formula, Formulas
from nospof.analysis.open_psa.declarations import Declaration, Declarations, declared
from nospof.analysis.open_psa.document import WrongDocument, parsed
from nospof.analysis.open_psa.expressions import Evaluated, evaluated
from nospof.analysis.open_psa.gates import Gates, shown_name
from nospof.errors import WrongInput

# A year, as is usual where a model leaves it open.
MISSION_TIME_H = 8760.0
# So many candidates are named in an error.
MOST_NAMED = 20


@dataclass(frozen=True)
class Model:
    """One top gate of a file. Names are plain where they are public, dotted paths where they are private."""

    top: str
    formulas: Formulas
    formula: Formula
    gates: int
    """How many gates the file defines."""
    probabilities: Mapping[str, float]
    reasons: Mapping[str, str]
    """Why an event has no probability."""
    notes: tuple[str, ...]
    """What a reader should know: what was chosen, assumed or left out."""


def read(text: bytes, file: str, *, top: str = "", mission_time_h: float = MISSION_TIME_H) -> Model:
    """The model in `text`, with the gate `top` or, unless it is named, the one that no other gate uses.

    Where there are several such gates, that of the first fault tree is taken if it has only one, and a note says so. Raises
    WrongDocument, with file and line, for what is wrong in the file; WrongInput where `top` is no gate or must be named.
    """
    declarations = declared(parsed(text, file))
    gates = Gates(declarations)
    values = evaluated(declarations, mission_time_h)
    chosen, notes = _top(declarations, gates, file, top)
    if values.uses_mission_time:
        notes.append(f"the mission time is {mission_time_h:g} hours")
    if declarations.ignored - {"label", "attributes"}:
        notes.append(f"left out: {', '.join(sorted(declarations.ignored - {'label', 'attributes'}))}")
    return Model(
        top=shown_name(chosen),
        formulas=gates.formulas,
        formula=gates.by_gate[chosen],
        gates=len(gates.by_gate),
        probabilities={shown_name(event): value for event, value in values.probabilities.items()},
        reasons=_reasons(gates, values),
        notes=tuple(notes),
    )


def _reasons(gates: Gates, values: Evaluated) -> dict[str, str]:
    declared_ones = {shown_name(event): why for event, why in values.reasons.items()}
    return {**dict.fromkeys(gates.undeclared, "it is not defined"), **declared_ones}


def _top(declarations: Declarations, gates: Gates, file: str, top: str) -> tuple[Declaration, list[str]]:
    if not gates.by_gate:
        raise WrongDocument(f"{file}:1: no gate is defined, so there is nothing to analyse", fix="define a top gate")
    if top:
        found = declarations.events.found(top, ())
        if found not in gates.by_gate:
            raise WrongInput(f"{file} has no gate {top}", fix=f"name one of: {_named(list(gates.by_gate))}")
        return found, []
    candidates = [gate for gate in gates.by_gate if gate not in gates.used]
    first = [gate for gate in candidates if gate.place[:1] == tuple(declarations.trees[:1])]
    if len(candidates) > 1 and len(first) != 1:
        raise WrongInput(
            f"{file} has {len(candidates)} gates that no other gate uses, so each may be the top",
            fix=f"name one with --top: {_named(candidates)}",
        )
    chosen = candidates[0] if len(candidates) == 1 else first[0]
    others = [gate for gate in candidates if gate is not chosen]
    note = f"top gate: {shown_name(chosen)}, of the first fault tree; others, for --top: {_named(others)}"
    return chosen, [note] if others else []


def _named(gates: list[Declaration]) -> str:
    names = [shown_name(gate) for gate in gates]
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")

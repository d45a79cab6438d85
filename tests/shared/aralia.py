"""The Aralia fault trees, where they are beside the project, and a second way to count cut sets."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from nospof.analysis.fault_tree.budget import Budget
from nospof.analysis.fault_tree.families import EMPTY, NONE, Families
from nospof.analysis.fault_tree.formula import Formula, Kind, nodes
from nospof.analysis.open_psa.model import Model, read

BESIDE = Path(__file__).parents[3] / "shared/benchmarks/aralia"
FOLDER = Path(os.environ.get("NOSPOF_ARALIA", BESIDE))


@dataclass(frozen=True)
class Answer:
    """What was published of a tree; None where nothing was."""

    minimal_cut_sets: int | None
    probability: float | None


def answers() -> Mapping[str, Answer]:
    """The published answers by the tree's name; empty where the folder is absent."""
    if not (FOLDER / "answers.json").exists():
        return {}
    trees = json.loads((FOLDER / "answers.json").read_text())["trees"]
    return {name: Answer(one["minimal_cut_sets"], one["probability"]) for name, one in sorted(trees.items())}


def tree(name: str) -> Model:
    path = FOLDER / f"{name}.xml"
    return read(path.read_bytes(), str(path))


def cut_sets_bottom_up(top: Formula, budget: Budget) -> tuple[Families, int, tuple[Formula, ...]]:
    """The minimal cut sets of a formula without not and xor, gate by gate from the events up, in the order of the file.

    Shares with nospof's own way neither modules, nor orders, nor decision diagrams of functions, nor minsol.
    """
    families = Families(budget)
    leaves = tuple(formula for formula in nodes(top) if formula.kind is Kind.EVENT)
    made = {leaf: families.node(place, NONE, EMPTY) for place, leaf in enumerate(leaves)}
    for formula in nodes(top):
        if formula in made:
            continue
        args = sorted((made[arg] for arg in formula.args), key=lambda node: -families.variable[node])
        match formula.kind:
            case Kind.AND:
                made[formula] = reduce(families.crossed, args)
            case Kind.OR:
                made[formula] = reduce(families.united, args)
            case Kind.ATLEAST:
                made[formula] = families.at_least(formula.value, args)
            case _:
                made[formula] = EMPTY if formula.value else NONE
    return families, made[top], leaves


def number_of_sets(families: Families, family: int) -> int:
    counts = {NONE: 0, EMPTY: 1}
    for node in families.below(family):
        counts[node] = counts[families.low[node]] + counts[families.high[node]]
    return counts[family]

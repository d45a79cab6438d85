"""The Aralia fault trees, where they are beside the project."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nospof.analysis.fault_tree.families import EMPTY, NONE, Families
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


def number_of_sets(families: Families, family: int) -> int:
    counts = {NONE: 0, EMPTY: 1}
    for node in families.below(family):
        counts[node] = counts[families.low[node]] + counts[families.high[node]]
    return counts[family]

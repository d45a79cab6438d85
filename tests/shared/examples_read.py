"""The topologies of the examples, as they are before anything is brought up."""

from __future__ import annotations

from pathlib import Path

from nospof.component import Component
from nospof.resolve import Allotment, resolve
from nospof.stack.load import load
from nospof.topology import Topology

EXAMPLES = Path(__file__).parents[2] / "examples"


def topology_of(example: str) -> Topology:
    kinds = {name: kind.settings_type for name, kind in Component.kinds.items()}
    return resolve(load(EXAMPLES / example / "stack.yaml", kinds), Allotment()).topology

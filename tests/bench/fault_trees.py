# ruff: noqa: T201 - what is printed is the result
"""How long the analysis of each Aralia fault tree takes, as a table for docs/benchmarks.md. Nothing is asserted.

`PYTHONPATH=tests/shared .venv/bin/python tests/bench/fault_trees.py [TREE...]`. One process; reading the file, all cut sets
counted, exact probability, bounds and the importance of every event are in the time, which is CPU time of this process.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence

from aralia import FOLDER, answers, tree

from nospof.analysis.fault_tree.budget import Budget
from nospof.analysis.fault_tree.report import report

HEAD = ("tree", "gates", "events", "minimal cut sets", "probability", "BDD nodes", "seconds")


def main(names: Sequence[str]) -> int:
    chosen = [name for name in answers() if not names or name in names]
    if not chosen:
        print(f"no fault trees in {FOLDER}", file=sys.stderr)
        return 2
    print(row(HEAD), row(["---"] * len(HEAD)), sep="\n")
    spent = 0.0
    for name in chosen:
        start = time.process_time()
        model = tree(name)
        found = report(model.formulas, model.formula, model.probabilities, Budget(), most=10)
        took_s = time.process_time() - start
        spent += took_s
        number = f"{found.cut_sets.number:,}".replace(",", " ") if found.cut_sets else "– (not coherent)"
        cells = (name, model.gates, len(found.events), number, f"{found.probability:.5e}", found.diagram_nodes, f"{took_s:.2f}")
        print(row(cells), flush=True)
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nAll together {spent:.1f} s of CPU; at most {memory_mib:.0f} MiB of memory.")
    return 0


def row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

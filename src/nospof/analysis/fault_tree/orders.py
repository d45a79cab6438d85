"""In which order a diagram asks its events: a function may need a hundred nodes under one and millions under another.

No order is best for all trees, so several are offered. All walk the formula from the top and take events as they are met; they
differ in which argument of a gate is visited first. Figures: docs/decisions/0012-fault-trees.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from nospof.analysis.fault_tree.formula import Formula, Kind, nodes

LEAVES = (Kind.EVENT, Kind.MODULE)
Key = Callable[[Formula], float]


def orders(top: Formula) -> Iterator[tuple[Formula, ...]]:
    """Orders of the leaves of `top`, those that do best on most trees first; equal ones once."""
    seen: set[tuple[Formula, ...]] = set()
    for key in _keys(top):
        order = tuple(_walked(top, key))
        if order not in seen:
            seen.add(order)
            yield order


def _keys(top: Formula) -> Iterator[Key]:
    ordered = list(nodes(top))
    users = Counter(arg for formula in ordered for arg in formula.args)
    # What is used most decides most: asked early, it splits the function into parts that have less in common.
    yield lambda formula: -users[formula]
    yield _weights(ordered)
    yield lambda formula: 0
    leaves = _leaves(ordered)
    yield lambda formula: -leaves[formula]
    yield lambda formula: leaves[formula]


def _weights(ordered: list[Formula]) -> Key:
    """The top has weight 1, and each gate shares its own among its arguments; the heaviest is visited first."""
    shares: dict[Formula, float] = {ordered[-1]: 1.0}
    for formula in reversed(ordered):
        for arg in formula.args:
            shares[arg] = shares.get(arg, 0.0) + shares[formula] / len(formula.args)
    return lambda formula: -shares[formula]


def _leaves(ordered: list[Formula]) -> dict[Formula, int]:
    """How many leaves there are below each formula, those below several of its arguments counted for each."""
    leaves: dict[Formula, int] = {}
    for formula in ordered:
        leaves[formula] = sum(leaves[arg] for arg in formula.args) or 1
    return leaves


def _walked(top: Formula, key: Key) -> Iterator[Formula]:
    seen: set[Formula] = set()
    todo = [top]
    while todo:
        formula = todo.pop()
        if formula in seen:
            continue
        seen.add(formula)
        if formula.kind in LEAVES:
            yield formula
        todo.extend(sorted(formula.args, key=key)[::-1])

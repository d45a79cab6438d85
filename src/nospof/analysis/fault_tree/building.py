"""From a formula to its decision diagram, under the first order of its leaves that the budget allows.

Small budgets come first, for all orders, then larger ones: a bad order costs little before a good one is tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

from nospof.analysis.fault_tree.budget import Budget, TooExpensive
from nospof.analysis.fault_tree.diagram import FALSE, TRUE, Diagram
from nospof.analysis.fault_tree.formula import Formula, Kind, nodes
from nospof.analysis.fault_tree.orders import orders

FIRST_NODES, GROWTH = 1 << 17, 16


@dataclass(frozen=True)
class Function:
    """The function `root` of `diagram`; variable i is the leaf `leaves[i]`, an event or a module."""

    diagram: Diagram
    root: int
    leaves: tuple[Formula, ...]


def function_of(formula: Formula, budget: Budget) -> Function:
    """The diagram of `formula`, alone in its table. Raises TooExpensive when no order keeps within `budget`."""
    candidates = tuple(orders(formula))
    for limit in _limits(budget.nodes):
        for order in candidates:
            try:
                found = built(formula, order, budget.at_most(limit))
            except TooExpensive:
                budget.check(0)  # too late for another order?
                continue
            diagram, root = found.diagram.only(found.root, budget)
            return Function(diagram, root, order)
    raise budget.exceeded()


def built(formula: Formula, order: tuple[Formula, ...], budget: Budget) -> Function:
    """The diagram of `formula` under `order`, which has each of its leaves. Raises TooExpensive."""
    diagram = Diagram(budget)
    made = {leaf: diagram.node(place, FALSE, TRUE) for place, leaf in enumerate(order)}
    for part in nodes(formula):
        if part not in made:
            made[part] = _joined(diagram, part, [made[arg] for arg in part.args])
    return Function(diagram, made[formula], order)


def _joined(diagram: Diagram, part: Formula, args: list[int]) -> int:
    # From the bottom of the order upwards: then each step adds to what is there and changes little of it.
    args = sorted(args, key=lambda node: (-diagram.variable[node], node))
    match part.kind:
        case Kind.AND:
            return reduce(diagram.both, args)
        case Kind.OR:
            return reduce(diagram.either, args)
        case Kind.XOR:
            return reduce(diagram.odd, args)
        case Kind.ATLEAST:
            return diagram.at_least(part.value, args)
        case Kind.NOT:
            return diagram.negated(args[0])
    return TRUE if part.value else FALSE


def _limits(most: int) -> Iterator[int]:
    limit = FIRST_NODES
    while limit < most:
        yield limit
        limit *= GROWTH
    yield most

"""The minimal cut sets of a formula gate by gate from the events up: the second way with which nospof's own is compared.

It shares with that neither modules, nor orders, nor decision diagrams of functions, nor minsol.
Source: A. Rauzy, New algorithms for fault trees analysis, 1993, https://doi.org/10.1016/0951-8320(93)90060-C.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from nospof.analysis.fault_tree.budget import Budget
from nospof.analysis.fault_tree.diagram import MASK, SHIFT
from nospof.analysis.fault_tree.families import EMPTY, NONE, Families
from nospof.analysis.fault_tree.formula import Formula, Kind, nodes


def cut_sets_bottom_up(top: Formula, budget: Budget) -> tuple[Families, int, tuple[Formula, ...]]:
    """The minimal cut sets of a formula without not and xor; the events are in the order of the file."""
    families = Gates(budget)
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


class Gates(Families):
    """Families of cut sets that are joined as gates join them."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self._united: dict[int, int] = {}
        self._crossed: dict[int, int] = {}

    def at_least(self, least: int, families: Sequence[int]) -> int:
        """The cut sets of *at least `least` of* what has the cut sets `families`."""
        rows = [EMPTY] + [NONE] * least
        for family in families:
            for needed in range(least, 0, -1):
                rows[needed] = self.united(rows[needed], self.crossed(family, rows[needed - 1]))
        return rows[least]

    def united(self, one: int, other: int) -> int:
        """The smallest of the sets of both: the cut sets of an *or*."""
        variable, low, high, results = self.variable, self.low, self.high, self._united
        first = _pair(one, other)
        todo = [first]
        while todo:
            key = todo[-1]
            if key in results:
                todo.pop()
                continue
            a, b = key >> SHIFT, key & MASK
            if b <= EMPTY or a == b:
                results[key] = EMPTY if b == EMPTY else a
                todo.pop()
                continue
            at = min(variable[a], variable[b])
            a_low, a_high = (low[a], high[a]) if variable[a] == at else (a, NONE)
            b_low, b_high = (low[b], high[b]) if variable[b] == at else (b, NONE)
            key_low, key_high = _pair(a_low, b_low), _pair(a_high, b_high)
            missing = [needed for needed in (key_low, key_high) if needed not in results]
            if missing:
                todo += missing
                continue
            todo.pop()
            results[key] = self._kept(at, results[key_low], self.without(results[key_high], results[key_low]))
        return results[first]

    def crossed(self, one: int, other: int) -> int:
        """The smallest of all unions of a set of `one` and a set of `other`: the cut sets of an *and*."""
        variable, low, high, results = self.variable, self.low, self.high, self._crossed
        first = _pair(one, other)
        todo = [first]
        while todo:
            key = todo[-1]
            if key in results:
                todo.pop()
                continue
            a, b = key >> SHIFT, key & MASK
            if b <= EMPTY or a == b:
                results[key] = NONE if b == NONE else a
                todo.pop()
                continue
            at = min(variable[a], variable[b])
            a_low, a_high = (low[a], high[a]) if variable[a] == at else (a, NONE)
            b_low, b_high = (low[b], high[b]) if variable[b] == at else (b, NONE)
            # (low and at·high) × (low and at·high), what holds another removed at the end.
            needed = (_pair(a_low, b_low), _pair(a_high, b_high), _pair(a_high, b_low), _pair(a_low, b_high))
            missing = [pair for pair in needed if pair not in results]
            if missing:
                todo += missing
                continue
            todo.pop()
            without_at, *with_at = (results[pair] for pair in needed)
            family = self.united(self.united(with_at[0], with_at[1]), with_at[2])
            results[key] = self._kept(at, without_at, self.without(family, without_at))
        return results[first]


def _pair(one: int, other: int) -> int:
    return one << SHIFT | other if one > other else other << SHIFT | one

"""Families of sets as zero-suppressed decision diagrams: billions of cut sets in some thousand nodes.

A node is a number: 0 is the family without a set, 1 the family of the empty set alone, any other names a variable; `low` is the
sets without it, `high` the sets with it, which is then left out of them. Families here are *minimal*: no set of a family holds
another one of it; every operation keeps that so. Children have smaller numbers than parents, and nothing recurses.

Sources: S. Minato, Zero-suppressed BDDs, 1993, https://doi.org/10.1145/157485.164890 ·
A. Rauzy, New algorithms for fault trees analysis, 1993, https://doi.org/10.1016/0951-8320(93)90060-C (minsol, without)
"""

from __future__ import annotations

from nospof.analysis.fault_tree.budget import Budget
from nospof.analysis.fault_tree.diagram import MASK, SHIFT, STEPS, Diagram, Graph

NONE, EMPTY = 0, 1


class Families(Graph):
    """Minimal families over variables that are numbered from 0."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self._without: dict[int, int] = {}
        self._steps = 0

    def node(self, variable: int, low: int, high: int) -> int:
        """The sets of `low`, and those of `high` with `variable` added; both name later variables only."""
        return low if high == NONE else self._shared(variable, low, high)

    def least_true(self, diagram: Diagram, function: int) -> int:
        """The smallest sets of variables that make `function` true when exactly they are true: none holds another.

        Of a monotone function these are the minimal cut sets.
        """
        results = {NONE: NONE, EMPTY: EMPTY}
        for node in diagram.below(function):
            low, high = results[diagram.low[node]], results[diagram.high[node]]
            results[node] = self.node(diagram.variable[node], low, self.without(high, low))
        return results[function]

    def without(self, family: int, others: int) -> int:
        """The sets of `family` that hold no set of `others`."""
        variable, low, high, results = self.variable, self.low, self.high, self._without
        first = family << SHIFT | others
        todo = [first]
        while todo:
            key = todo[-1]
            if key in results:
                todo.pop()
                continue
            f, g = key >> SHIFT, key & MASK
            if f in (NONE, g) or g <= EMPTY:
                results[key] = f if g == NONE else NONE
                todo.pop()
                continue
            at_f, at_g = variable[f], variable[g]
            if f == EMPTY or at_g < at_f:
                # No set of f has the variable of g's top, so only sets of g without it can be in one.
                smaller = f << SHIFT | low[g]
                if smaller in results:
                    results[key] = results[smaller]
                    todo.pop()
                else:
                    todo.append(smaller)
                continue
            key_low = low[f] << SHIFT | (low[g] if at_f == at_g else g)
            key_high = high[f] << SHIFT | (low[g] if at_f == at_g else g)
            result_low, result_high = results.get(key_low), results.get(key_high)
            if result_low is None:
                todo.append(key_low)
            if result_high is None:
                todo.append(key_high)
            if result_low is None or result_high is None:
                continue
            if at_f == at_g:
                key_high = result_high << SHIFT | high[g]
                result_high = results.get(key_high)
                if result_high is None:
                    todo.append(key_high)
                    continue
            todo.pop()
            results[key] = self._kept(at_f, result_low, result_high)
        return results[first]

    def only(self, family: int) -> tuple[Families, int]:
        """A table with `family` alone, without what its making left behind, and its node there."""
        fresh = Families(self.budget)
        moved = {NONE: NONE, EMPTY: EMPTY}
        for node in self.below(family):
            moved[node] = fresh.node(self.variable[node], moved[self.low[node]], moved[self.high[node]])
        return fresh, moved[family]

    def _kept(self, variable: int, low: int, high: int) -> int:
        self._steps += 1
        if not self._steps % STEPS:
            self.budget.check(len(self) + len(self._without))
        return self.node(variable, low, high)

"""Reduced ordered binary decision diagrams: a Boolean function as a graph in which equal functions are the same node.

A node is a number: 0 is false, 1 is true, any other asks for one variable and goes on at `low` when it is false, at `high` when
it is true. Variables are numbered by their place in the order, from the top. A child has a smaller number than its parent, so a
loop over rising numbers is a walk from the leaves up. Nothing recurses: what is not known yet waits on a list.

Source: R. E. Bryant, Graph-based algorithms for Boolean function manipulation, 1986, https://doi.org/10.1109/TC.1986.1676819
"""

from __future__ import annotations

from collections.abc import Sequence

from nospof.analysis.fault_tree.budget import Budget

FALSE, TRUE = 0, 1
# Two or three numbers make one key: twice as fast as a tuple of them, and half the memory.
SHIFT = 32
MASK = (1 << SHIFT) - 1
# The variable of the two leaves: below all others.
BELOW = MASK
# The budget is looked at once in so many steps.
STEPS = 1 << 12


class Graph:
    """Nodes that are shared: what decision diagrams of functions and of sets have in common."""

    def __init__(self, budget: Budget) -> None:
        self.variable: list[int] = [BELOW, BELOW]
        self.low: list[int] = [FALSE, TRUE]
        self.high: list[int] = [FALSE, TRUE]
        self.budget = budget
        self._unique: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.variable)

    def below(self, top: int) -> list[int]:
        """Every node that `top` consists of but the two leaves, children before parents."""
        seen = {FALSE, TRUE}
        todo = [top]
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo += (self.low[node], self.high[node])
        return sorted(seen - {FALSE, TRUE})

    def _shared(self, variable: int, low: int, high: int) -> int:
        key = (variable << SHIFT | low) << SHIFT | high
        found = self._unique.get(key)
        if found is None:
            found = self._unique[key] = len(self.variable)
            self.variable.append(variable)
            self.low.append(low)
            self.high.append(high)
        return found


class Diagram(Graph):
    """Functions over variables that are numbered from 0."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self._results: tuple[dict[int, int], ...] = ({}, {}, {})

    def node(self, variable: int, low: int, high: int) -> int:
        """The function that is `high` where `variable` is true, else `low`; both ask later variables only."""
        return low if low == high else self._shared(variable, low, high)

    def both(self, one: int, other: int) -> int:
        """`one` and `other`."""
        return self._combined(FALSE, one, other)

    def either(self, one: int, other: int) -> int:
        """`one` or `other`."""
        return self._combined(TRUE, one, other)

    def odd(self, one: int, other: int) -> int:
        """`one` or `other`, but not both."""
        return self.either(self.both(one, self.negated(other)), self.both(self.negated(one), other))

    def at_least(self, least: int, functions: Sequence[int]) -> int:
        """True where `least` or more of `functions` are. Row by row as in a table: at least j of those seen so far."""
        rows = [TRUE] + [FALSE] * least
        for function in functions:
            for needed in range(least, 0, -1):
                rows[needed] = self.either(rows[needed], self.both(function, rows[needed - 1]))
        return rows[least]

    def negated(self, function: int) -> int:
        """True where `function` is false."""
        self.budget.check(len(self))
        results = {FALSE: TRUE, TRUE: FALSE}
        for node in self.below(function):
            results[node] = self.node(self.variable[node], results[self.low[node]], results[self.high[node]])
        return results[function]

    def dual(self, function: int) -> int:
        """The function of what works instead of what fails: true where `function` is false with every variable turned round.

        Its minimal cut sets are the minimal path sets of `function`.
        """
        results = {FALSE: TRUE, TRUE: FALSE}
        for node in self.below(function):
            results[node] = self.node(self.variable[node], results[self.high[node]], results[self.low[node]])
        return results[function]

    def only(self, function: int, budget: Budget) -> tuple[Diagram, int]:
        """A diagram of `function` alone, without what its making left behind, and the function's node there."""
        fresh = Diagram(budget)
        moved = {FALSE: FALSE, TRUE: TRUE}
        for node in self.below(function):
            moved[node] = fresh.node(self.variable[node], moved[self.low[node]], moved[self.high[node]])
        return fresh, moved[function]

    def is_monotone(self, function: int) -> bool:
        """Whether no variable that becomes true ever makes `function` false."""
        return all(self.both(self.low[node], self.high[node]) == self.low[node] for node in self.below(function))

    def _combined(self, ruling: int, one: int, other: int) -> int:
        """The conjunction (`ruling` is FALSE) or the disjunction (TRUE) of two functions."""
        variable, low, high, unique = self.variable, self.low, self.high, self._unique
        results = self._results[ruling]
        first = one << SHIFT | other if one > other else other << SHIFT | one
        todo = [first]
        steps = 0
        self.budget.check(len(variable) + len(results))
        while todo:
            key = todo[-1]
            if key in results:
                todo.pop()
                continue
            a, b = key >> SHIFT, key & MASK
            # The larger number stands first, so a leaf is always b.
            if b == ruling or b <= TRUE or a == b:
                results[key] = ruling if b == ruling else a
                todo.pop()
                continue
            at, at_b = variable[a], variable[b]
            if at == at_b:
                a_low, a_high, b_low, b_high = low[a], high[a], low[b], high[b]
            elif at < at_b:
                a_low, a_high, b_low, b_high = low[a], high[a], b, b
            else:
                at, a_low, a_high, b_low, b_high = at_b, a, a, low[b], high[b]
            key_low = a_low << SHIFT | b_low if a_low > b_low else b_low << SHIFT | a_low
            key_high = a_high << SHIFT | b_high if a_high > b_high else b_high << SHIFT | a_high
            result_low, result_high = results.get(key_low), results.get(key_high)
            if result_low is None:
                todo.append(key_low)
            if result_high is None:
                todo.append(key_high)
            if result_low is None or result_high is None:
                continue
            todo.pop()
            steps += 1
            if not steps % STEPS:
                self.budget.check(len(variable) + len(results))
            if result_low == result_high:
                results[key] = result_low
                continue
            # As in _shared, whose call would take half of the time here.
            shared = (at << SHIFT | result_low) << SHIFT | result_high
            found = unique.get(shared)
            if found is None:
                found = unique[shared] = len(variable)
                variable.append(at)
                low.append(result_low)
                high.append(result_high)
            results[key] = found
        return results[first]

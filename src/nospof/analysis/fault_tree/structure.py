"""The structure function of a fault tree, ready for questions: is it monotone, what are its cut sets, how probable is it.

```python
formulas = Formulas()
a, b, c = (formulas.event(name) for name in "abc")
function = StructureFunction.of(formulas, formulas.at_least(2, [a, b, c]), Budget())
function.cut_sets().number                         # 3
function.probability({"a": 0.1, "b": 0.2, "c": 0.3})
```

Probabilities are exact, as far as floating-point numbers are, and need no cut sets. Everything is put together from modules
(nospof.analysis.fault_tree.modules), each with a diagram of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nospof.analysis.fault_tree.budget import Budget
from nospof.analysis.fault_tree.building import Function, function_of
from nospof.analysis.fault_tree.cut_sets import Part, Sets
from nospof.analysis.fault_tree.diagram import FALSE, TRUE
from nospof.analysis.fault_tree.families import Families
from nospof.analysis.fault_tree.formula import Formula, Formulas, Kind, events, nodes
from nospof.analysis.fault_tree.modules import cut
from nospof.errors import WrongInput

TURNING = (Kind.NOT, Kind.XOR)


class NotMonotone(WrongInput):
    """Asked for what only a function has that no event ever makes false."""


@dataclass(frozen=True)
class StructureFunction:
    """A function of events: true is "the top event happens". `modules` are those of nospof.analysis.fault_tree.modules.cut."""

    events: tuple[str, ...]
    """Every event of the formula, in the order in which they stand there; the function may not depend on some of them."""
    modules: tuple[Function, ...]
    is_monotone: bool
    """Whether no event that happens ever prevents the top event; such a tree is called coherent. Decided exactly."""
    budget: Budget

    @classmethod
    def of(cls, formulas: Formulas, top: Formula, budget: Budget) -> StructureFunction:
        """The function of `top`, a formula of `formulas`. Raises TooExpensive when its diagrams exceed `budget`."""
        parts: list[Formula] = []
        built: list[Function] = []
        never: set[Formula] = set()
        for part in cut(formulas, top):
            parts.append(_without(formulas, part, never))
            built.append(function_of(parts[-1], budget))
            if built[-1].root == FALSE:
                never.add(formulas.module(len(built) - 1))
        modules = tuple(built)
        used = _used(modules)
        turning = [
            place for place, part in enumerate(parts) if place in used and any(one.kind in TURNING for one in nodes(part))
        ]
        is_monotone = all(modules[place].diagram.is_monotone(modules[place].root) for place in turning)
        return cls(events(top), modules, is_monotone, budget)

    @property
    def size(self) -> int:
        """The nodes of all diagrams together, without leaves."""
        return sum(len(module.diagram.below(module.root)) for module in self.modules)

    def cut_sets(self) -> Sets:
        """The minimal cut sets: events that together bring the top event, of which none can be spared.

        Raises NotMonotone where the function is not monotone, since it then takes prime implicants, with events that must *not*
        happen, to describe it; and TooExpensive.
        """
        self._require_monotone("minimal cut sets")
        return self.least_failures()

    def path_sets(self) -> Sets:
        """The minimal path sets: events whose absence together prevents the top event, of which none can be spared.

        All other events may then happen: the complement of a minimal path set is a largest set of failures that is tolerated.
        Raises as `cut_sets` does.
        """
        self._require_monotone("minimal path sets")
        return self._sets(is_dual=True)

    def least_failures(self) -> Sets:
        """The smallest sets of events that bring the top event *when no other event happens*.

        Of a monotone function these are the minimal cut sets. Of another they say less: a further event may prevent the top
        event again. The sum of their probabilities is an upper bound of its probability even so. Raises TooExpensive.
        """
        return self._sets(is_dual=False)

    def tolerated(self, path_set: tuple[str, ...]) -> tuple[str, ...]:
        """The events that may all happen while those of `path_set` do not."""
        absent = set(path_set)
        return tuple(event for event in self.events if event not in absent)

    def probability(self, probabilities: Mapping[str, float]) -> float:
        """The exact probability of the top event; events are independent, `probabilities` has that of each, from 0 to 1."""
        return self._values(probabilities)[-1][self.modules[-1].root]

    def birnbaum(self, probabilities: Mapping[str, float]) -> dict[str, float]:
        """For each event: the probability of the top event if it happens, minus that if it does not; negative if it prevents.

        All of them in one walk from the top, each node with the probability that a path comes to it.
        """
        values = self._values(probabilities)
        found = dict.fromkeys(self.events, 0.0)
        weights = [0.0] * len(self.modules)
        weights[-1] = 1.0
        for place in reversed(range(len(self.modules))):
            module, known = self.modules[place], values[place]
            diagram = module.diagram
            leaf_values = self._leaf_values(module, probabilities, values)
            slopes = [0.0] * len(module.leaves)
            reached = {module.root: weights[place]}
            for node in reversed(diagram.below(module.root)):
                variable, low, high, weight = diagram.variable[node], diagram.low[node], diagram.high[node], reached[node]
                p = leaf_values[variable]
                slopes[variable] += weight * (known[high] - known[low])
                reached[high] = reached.get(high, 0.0) + weight * p
                reached[low] = reached.get(low, 0.0) + weight * (1.0 - p)
            for leaf, slope in zip(module.leaves, slopes, strict=True):
                if leaf.kind is Kind.MODULE:
                    weights[leaf.value] = slope
                else:
                    found[leaf.name] = slope
        return found

    def indispensable(self) -> frozenset[str]:
        """The events without which the top event never happens, those in every cut set; all of them where it never happens."""
        bits = {event: 1 << place for place, event in enumerate(self.events)}
        everything = (1 << len(self.events)) - 1
        found: list[int] = []
        for module in self.modules:
            diagram, needed = module.diagram, {FALSE: everything, TRUE: 0}
            of_leaf = [found[leaf.value] if leaf.kind is Kind.MODULE else bits[leaf.name] for leaf in module.leaves]
            for node in diagram.below(module.root):
                needed[node] = needed[diagram.low[node]] & (needed[diagram.high[node]] | of_leaf[diagram.variable[node]])
            found.append(needed[module.root])
        return frozenset(event for event, bit in bits.items() if found[-1] & bit)

    def _values(self, probabilities: Mapping[str, float]) -> list[dict[int, float]]:
        """For each module the probability of each of its nodes."""
        found: list[dict[int, float]] = []
        for module in self.modules:
            diagram, values = module.diagram, {FALSE: 0.0, TRUE: 1.0}
            leaf_values = self._leaf_values(module, probabilities, found)
            for node in diagram.below(module.root):
                p = leaf_values[diagram.variable[node]]
                values[node] = (1.0 - p) * values[diagram.low[node]] + p * values[diagram.high[node]]
            found.append(values)
        return found

    def _leaf_values(self, module: Function, probabilities: Mapping[str, float], values: list[dict[int, float]]) -> list[float]:
        return [
            values[leaf.value][self.modules[leaf.value].root] if leaf.kind is Kind.MODULE else probabilities[leaf.name]
            for leaf in module.leaves
        ]

    def _sets(self, *, is_dual: bool) -> Sets:
        parts = []
        for module in self.modules:
            families = Families(self.budget)
            root = module.diagram.dual(module.root) if is_dual else module.root
            family = families.least_true(module.diagram, root)
            parts.append(Part(*families.only(family), module.leaves))
        return Sets(tuple(parts))

    def _require_monotone(self, what: str) -> None:
        if not self.is_monotone:
            raise NotMonotone(
                f"this tree has no {what}",
                why="through not, xor or the like an event can prevent the top event, so no set of events is sure to bring it",
                fix="its probability is exact all the same; ask for the smallest sets that bring it while nothing else happens",
            )


def _without(formulas: Formulas, part: Formula, never: set[Formula]) -> Formula:
    """`part` without the modules that are never true: one that stayed a variable would seem to matter where it does not."""
    changed: dict[Formula, Formula] = {}
    for formula in nodes(part) if never else ():
        args = [changed[arg] for arg in formula.args]
        changed[formula] = formulas.false if formula in never else formulas.rebuilt(formula, args)
    return changed.get(part, part)


def _used(modules: tuple[Function, ...]) -> set[int]:
    """The places of the modules on which the last one depends."""
    used = {len(modules) - 1}
    for place in reversed(range(len(modules))):
        if place in used:
            diagram, root, leaves = modules[place].diagram, modules[place].root, modules[place].leaves
            asked = {diagram.variable[node] for node in diagram.below(root)}
            used |= {leaves[variable].value for variable in asked if leaves[variable].kind is Kind.MODULE}
    return used

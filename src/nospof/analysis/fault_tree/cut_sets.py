"""Minimal sets of events, far too many to be listed: their number, how many of each size, the smallest of them, bounds.

A set of the whole is one of the last module in which every module that it names is replaced by a set of that module. So numbers
multiply and add, and nothing is listed that nobody asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import expm1, isfinite

from nospof.analysis.fault_tree.families import EMPTY, NONE, Families
from nospof.analysis.fault_tree.formula import Formula, Kind

# How many sets there are of each size: at [2] those of two events.
Counts = tuple[int, ...]
# What is still to be listed: so many events from this node of that part, and then the rest. None: nothing more.
Goals = tuple[int, int, int, "Goals"] | None
Chosen = tuple[str, "Chosen"] | None
# The series of `upper_bound` ends when a term no longer changes the sum, or after so many; then the rest is bounded.
MOST_TERMS = 100


@dataclass(frozen=True)
class Part:
    """The family `root` of `families`; variable i is the leaf `leaves[i]`, an event or a module."""

    families: Families
    root: int
    leaves: tuple[Formula, ...]


@dataclass(frozen=True)
class Sets:
    """A family of sets of events of which none holds another. `parts` are in the places of the modules, the whole last."""

    parts: tuple[Part, ...]

    @property
    def number(self) -> int:
        """How many sets there are, exactly."""
        return sum(self.orders.values())

    @cached_property
    def orders(self) -> dict[int, int]:
        """How many sets there are of each order (number of events in a set), rising; orders without a set are left out."""
        counts = self._counts[-1][self.parts[-1].root]
        return {order: count for order, count in enumerate(counts) if count}

    @property
    def size(self) -> int:
        """The nodes of all diagrams together, without leaves."""
        return sum(len(part.families.below(part.root)) for part in self.parts)

    def smallest(self, most: int) -> Iterator[tuple[str, ...]]:
        """At most `most` sets, those with fewest events first, always in the same order."""
        return islice(self, most)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        for order in self.orders:
            yield from self._of_order(order)

    def rare_event_sum(self, probabilities: Mapping[str, float]) -> float:
        """The sum of the probabilities of all sets: an upper bound of the top event's, close where all are small."""
        return self._sums(probabilities)[-1][self.parts[-1].root]

    def upper_bound(self, probabilities: Mapping[str, float]) -> float:
        """The min-cut upper bound: one minus the product, over all sets, of one minus the set's probability.

        No set is listed: the logarithm of the product is a series of sums of powers, and the j-th is the rare-event sum of the
        events' probabilities to the power j. Where the series is slow, since a set is nearly certain, the rest is bounded from
        above, so that the result may be larger than this bound, but is never smaller.
        """
        largest = self._largest(probabilities)
        if largest >= 1.0:
            return 1.0
        total = rest = 0.0
        for power in range(1, MOST_TERMS + 1):
            term = self._sums(probabilities, power)[-1][self.parts[-1].root] / power
            total += term
            rest = term * largest / (1.0 - largest)
            if rest <= total * 1e-17:
                break
        return -expm1(-(total + rest))

    def shares(self, probabilities: Mapping[str, float]) -> dict[str, float]:
        """For each event in a set: which part of the rare-event sum is of sets with it. Empty where it is 0 or infinite."""
        sums = self._sums(probabilities)
        whole = sums[-1][self.parts[-1].root]
        if not whole or not isfinite(whole):
            return {}
        weights = [0.0] * len(self.parts)
        weights[-1] = 1.0
        found: dict[str, float] = {}
        for place in reversed(range(len(self.parts))):
            for leaf, slope in self._slopes(place, weights[place], probabilities, sums):
                if leaf.kind is Kind.MODULE:
                    weights[leaf.value] = slope
                else:
                    found[leaf.name] = slope * probabilities[leaf.name] / whole
        return found

    def _slopes(
        self, place: int, weight: float, probabilities: Mapping[str, float], sums: list[dict[int, float]]
    ) -> Iterator[tuple[Formula, float]]:
        """How fast the whole's sum grows with each leaf of a part, given how fast with the part; only leaves in a set."""
        part, known = self.parts[place], sums[place]
        families = part.families
        leaf_sums = self._leaf_values(part, probabilities, sums)
        slopes: dict[int, float] = {}
        reached = {part.root: weight}
        for node in reversed(families.below(part.root)):
            variable, low, high = families.variable[node], families.low[node], families.high[node]
            slopes[variable] = slopes.get(variable, 0.0) + reached[node] * known[high]
            reached[low] = reached.get(low, 0.0) + reached[node]
            reached[high] = reached.get(high, 0.0) + reached[node] * leaf_sums[variable]
        return ((part.leaves[variable], slope) for variable, slope in slopes.items())

    def _sums(self, probabilities: Mapping[str, float], power: int = 1) -> list[dict[int, float]]:
        """For each part and node: the sum, over its sets, of the set's probability to the power `power`."""
        found: list[dict[int, float]] = []
        for part in self.parts:
            families, sums = part.families, {NONE: 0.0, EMPTY: 1.0}
            leaf_sums = self._leaf_values(part, probabilities, found, power)
            for node in families.below(part.root):
                sums[node] = sums[families.low[node]] + leaf_sums[families.variable[node]] * sums[families.high[node]]
            found.append(sums)
        return found

    def _largest(self, probabilities: Mapping[str, float]) -> float:
        """The probability of the most probable set."""
        found: list[dict[int, float]] = []
        for part in self.parts:
            families, most = part.families, {NONE: 0.0, EMPTY: 1.0}
            leaves = self._leaf_values(part, probabilities, found)
            for node in families.below(part.root):
                most[node] = max(most[families.low[node]], leaves[families.variable[node]] * most[families.high[node]])
            found.append(most)
        return found[-1][self.parts[-1].root]

    def _leaf_values(
        self, part: Part, probabilities: Mapping[str, float], found: list[dict[int, float]], power: int = 1
    ) -> list[float]:
        return [
            found[leaf.value][self.parts[leaf.value].root] if leaf.kind is Kind.MODULE else probabilities[leaf.name] ** power
            for leaf in part.leaves
        ]

    @cached_property
    def _counts(self) -> list[dict[int, Counts]]:
        """For each part and node: how many sets there are of each size, in events of the whole."""
        found: list[dict[int, Counts]] = []
        for part in self.parts:
            families, counts = part.families, {NONE: (), EMPTY: (1,)}
            leaf_counts = [
                found[leaf.value][self.parts[leaf.value].root] if leaf.kind is Kind.MODULE else (0, 1) for leaf in part.leaves
            ]
            for node in families.below(part.root):
                high = _product(leaf_counts[families.variable[node]], counts[families.high[node]])
                counts[node] = _sum(counts[families.low[node]], high)
            found.append(counts)
        return found

    def _of_order(self, order: int) -> Iterator[tuple[str, ...]]:
        """All sets of `order` events. Every path that is begun leads to a set, since the counts say where there is none."""
        last = len(self.parts) - 1
        todo: list[tuple[Goals, Chosen]] = [((last, self.parts[last].root, order, None), None)]
        while todo:
            goals, chosen = todo.pop()
            if goals is None:
                yield _names(chosen)
                continue
            place, node, size, rest = goals
            if node == EMPTY:
                todo.append((rest, chosen))
                continue
            families = self.parts[place].families
            low, high = families.low[node], families.high[node]
            if _at(self._counts[place][low], size):
                todo.append(((place, low, size, rest), chosen))
            leaf = self.parts[place].leaves[families.variable[node]]
            if leaf.kind is Kind.EVENT:
                if _at(self._counts[place][high], size - 1):
                    todo.append(((place, high, size - 1, rest), (leaf.name, chosen)))
                continue
            root = self.parts[leaf.value].root
            for taken, count in reversed(list(enumerate(self._counts[leaf.value][root]))):
                if count and _at(self._counts[place][high], size - taken):
                    todo.append(((leaf.value, root, taken, (place, high, size - taken, rest)), chosen))


def _names(chosen: Chosen) -> tuple[str, ...]:
    names = []
    while chosen is not None:
        name, chosen = chosen
        names.append(name)
    return tuple(reversed(names))


def _at(counts: Counts, size: int) -> int:
    return counts[size] if 0 <= size < len(counts) else 0


def _sum(one: Counts, other: Counts) -> Counts:
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    return tuple(map(int.__add__, longer, shorter)) + longer[len(shorter) :]


def _product(one: Counts, other: Counts) -> Counts:
    if one == (0, 1):
        return (0, *other) if other else ()
    if not one or not other:
        return ()
    found = [0] * (len(one) + len(other) - 1)
    for place, count in enumerate(one):
        if count:
            for other_place, other_count in enumerate(other):
                found[place + other_place] += count * other_count
    return tuple(found)

"""Boolean formulas as values that share what is equal, so that a tree with shared gates stays a graph.

A table (`Formulas`) makes them. What it makes is already simple: constants are gone, a gate with one argument is that argument,
double negations and repeated arguments are away, and two equal formulas of one table are the same object. Nothing here
recurses, so a tree may be thousands of gates deep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """What a formula is. Everything else (nand, imply, cardinality …) is said with these."""

    CONSTANT = "constant"
    EVENT = "event"
    NOT = "not"
    AND = "and"
    OR = "or"
    ATLEAST = "atleast"
    XOR = "xor"
    MODULE = "module"  # stands for a part that is analysed on its own (nospof.analysis.fault_tree.modules)


@dataclass(frozen=True, eq=False, slots=True)
class Formula:
    """A node of the graph. Compared by identity: within one table equal formulas are one object.

    `number` grows with the making, so arguments have smaller numbers than what they are arguments of. `value` is k of
    k-out-of-n, 1 of the constant TRUE, and of a MODULE its place among the modules.
    """

    number: int
    kind: Kind
    args: tuple[Formula, ...] = ()
    name: str = ""
    value: int = 0

    def __repr__(self) -> str:
        return self.name or f"<{self.kind.value} {self.number}>"


@dataclass
class Formulas:
    """Makes formulas and remembers them. Formulas of different tables must not be mixed."""

    _known: dict[tuple[object, ...], Formula] = field(default_factory=dict)

    @property
    def true(self) -> Formula:
        return self._made(Kind.CONSTANT, value=1)

    @property
    def false(self) -> Formula:
        return self._made(Kind.CONSTANT, value=0)

    def constant(self, *, value: bool) -> Formula:
        return self.true if value else self.false

    def event(self, name: str) -> Formula:
        """The basic event `name`: it happens, or not, independently of all others."""
        return self._made(Kind.EVENT, name=name)

    def module(self, place: int) -> Formula:
        """What stands for the module at `place` in the formula that uses it."""
        return self._made(Kind.MODULE, value=place)

    def all_of(self, args: Iterable[Formula]) -> Formula:
        """True when all of `args` are; of none: true."""
        return self._joined(Kind.AND, args, neutral=self.true, ruling=self.false)

    def any_of(self, args: Iterable[Formula]) -> Formula:
        """True when one of `args` is or several are; of none: false."""
        return self._joined(Kind.OR, args, neutral=self.false, ruling=self.true)

    def negated(self, arg: Formula) -> Formula:
        if arg.kind is Kind.CONSTANT:
            return self.constant(value=arg is self.false)
        return arg.args[0] if arg.kind is Kind.NOT else self._made(Kind.NOT, (arg,))

    def at_least(self, least: int, args: Iterable[Formula]) -> Formula:
        """True when `least` or more of `args` are. An argument that stands there twice counts twice."""
        rest = [arg for arg in args if arg.kind is not Kind.CONSTANT or arg is self.true]
        least -= sum(arg is self.true for arg in rest)
        rest = [arg for arg in rest if arg is not self.true]
        if least <= 0 or least > len(rest):
            return self.constant(value=least <= 0)
        if least == 1 or least == len(rest):
            return self.any_of(rest) if least == 1 else self.all_of(rest)
        return self._made(Kind.ATLEAST, tuple(sorted(rest, key=_number)), value=least)

    def between(self, least: int, most: int, args: Iterable[Formula]) -> Formula:
        """True when at least `least` and at most `most` of `args` are: the cardinality gate."""
        args = tuple(args)
        return self.all_of((self.at_least(least, args), self.negated(self.at_least(most + 1, args))))

    def odd(self, args: Iterable[Formula]) -> Formula:
        """True when an odd number of `args` are: of two, when exactly one is."""
        kept: dict[Formula, None] = {}
        is_negated = False
        for arg in args:
            if arg.kind is Kind.NOT or arg is self.true:
                is_negated = not is_negated
            one = arg.args[0] if arg.kind is Kind.NOT else arg
            if one in kept:  # an argument and the same once more: together never odd
                del kept[one]
            elif one.kind is not Kind.CONSTANT:
                kept[one] = None
        rest = tuple(sorted(kept, key=_number))
        plain = self.false if not rest else rest[0] if len(rest) == 1 else self._made(Kind.XOR, rest)
        return self.negated(plain) if is_negated else plain

    def same(self, one: Formula, other: Formula) -> Formula:
        """True when both are true or both are false."""
        return self.negated(self.odd((one, other)))

    def implied(self, condition: Formula, consequence: Formula) -> Formula:
        """True unless `condition` is true and `consequence` is not."""
        return self.any_of((self.negated(condition), consequence))

    def rebuilt(self, formula: Formula, args: Sequence[Formula]) -> Formula:
        """`formula` with other arguments, in their order."""
        makers = {Kind.AND: self.all_of, Kind.OR: self.any_of, Kind.XOR: self.odd}
        if formula.kind in makers:
            return makers[formula.kind](args)
        if formula.kind is Kind.ATLEAST:
            return self.at_least(formula.value, args)
        return self.negated(args[0]) if formula.kind is Kind.NOT else formula

    def _joined(self, kind: Kind, args: Iterable[Formula], *, neutral: Formula, ruling: Formula) -> Formula:
        kept: dict[Formula, None] = {}
        for arg in args:
            if arg is ruling:
                return ruling
            if arg is not neutral:
                kept[arg] = None
        if any(arg.kind is Kind.NOT and arg.args[0] in kept for arg in kept):
            return ruling
        rest = tuple(kept)
        return neutral if not rest else rest[0] if len(rest) == 1 else self._made(kind, rest)

    def _made(self, kind: Kind, args: tuple[Formula, ...] = (), name: str = "", value: int = 0) -> Formula:
        key = (kind, name, value, frozenset(args) if kind in {Kind.AND, Kind.OR} else args)
        if key not in self._known:
            self._known[key] = Formula(len(self._known), kind, args, name, value)
        return self._known[key]


def nodes(top: Formula) -> Iterator[Formula]:
    """Everything `top` consists of, each once, arguments before what they are arguments of, left to right."""
    seen: set[Formula] = set()
    todo = [(top, False)]
    while todo:
        formula, is_done = todo.pop()
        if is_done:
            yield formula
        elif formula not in seen:
            seen.add(formula)
            todo.append((formula, True))
            todo.extend((arg, False) for arg in reversed(formula.args))


def events(top: Formula) -> tuple[str, ...]:
    """The names of the events in `top`, in the order in which they are met from left to right."""
    return tuple(formula.name for formula in nodes(top) if formula.kind is Kind.EVENT)


def _number(formula: Formula) -> int:
    return formula.number

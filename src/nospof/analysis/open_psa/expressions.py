"""The probability of a basic event, from the expression in its definition.

An expression without chance has one value; a deviate, which says how uncertain a number is, counts with its mean. What
depends on event trees or on programs outside the file has no value here, and says why.

Source: Open-PSA Model Exchange Format 2.0, Stochastic Layer, https://open-psa.github.io/mef/mef/stochastic_layer.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from nospof.analysis.open_psa.declarations import Declaration, Declarations, Path
from nospof.analysis.open_psa.document import Element
from nospof.analysis.open_psa.walking import Cycle, in_order

Values = Sequence[float]


@dataclass(frozen=True)
class Evaluated:
    """The probabilities by declaration, and why the others have none."""

    probabilities: Mapping[Declaration, float]
    reasons: Mapping[Declaration, str]
    uses_mission_time: bool


class _Unknown(Exception):
    """An expression has no value here; says why."""


def evaluated(declarations: Declarations, mission_time_h: float) -> Evaluated:
    """The probabilities of all basic events. Raises WrongDocument for an expression that is wrong, or no probability."""
    evaluation = _Evaluation(declarations, mission_time_h)
    probabilities: dict[Declaration, float] = {}
    reasons: dict[Declaration, str] = {}
    for event in declarations.of_kind("basic event"):
        expressions = event.element.parts()
        if not expressions:
            reasons[event] = "its definition has none"
            continue
        try:
            probabilities[event] = _probability(event, evaluation.value(event))
        except _Unknown as unknown:
            reasons[event] = str(unknown)
    for parameter in declarations.parameters.by_path.values():
        evaluation.check(parameter)
    return Evaluated(probabilities, reasons, evaluation.uses_mission_time)


def _probability(event: Declaration, value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise event.element.error(f"the probability of {event.name} is {value:g}", fix="it must be from 0 to 1")
    return value


class _Evaluation:
    """Values of expressions, each computed once."""

    def __init__(self, declarations: Declarations, mission_time_h: float) -> None:
        self._declarations = declarations
        self._mission_time_h = mission_time_h
        self.uses_mission_time = False
        self._known: dict[Element, float | _Unknown] = {}
        self._places: dict[Element, Path] = {}

    def check(self, declaration: Declaration) -> None:
        """Raise WrongDocument where the expression of `declaration` is wrong."""
        try:
            self.value(declaration)
        except _Unknown:
            return

    def value(self, declaration: Declaration) -> float:
        """The value of the one expression of `declaration`. Raises _Unknown, WrongDocument."""
        expression = _only(declaration)
        self._places[expression] = declaration.place
        try:
            for element in in_order([expression], self._needs):
                if element not in self._known:
                    self._known[element] = self._computed(element)
        except Cycle as cycle:
            names = [one.required("name") for one in cycle.path if one.tag == "parameter"]
            raise cycle.path[0].error(f"a parameter depends on itself: {' → '.join(names)}") from None
        value = self._known[expression]
        if isinstance(value, _Unknown):
            raise value
        return value

    def _needs(self, element: Element) -> Iterable[Element]:
        if element in self._known:
            return ()
        place = self._places[element]
        if element.tag == "parameter":
            parameter = self._declarations.parameters.found(element.required("name"), place)
            if parameter is None:
                raise element.error(f"parameter {element.required('name')} is not defined")
            target = _only(parameter)
            self._places[target] = parameter.place
            return (target,)
        # A case or a bin is no value of its own: its two numbers belong to what is around it.
        children = [part for child in element for part in (child if child.tag in {"case", "bin"} else (child,))]
        for child in children:
            self._places[child] = place
        return children

    def _computed(self, element: Element) -> float | _Unknown:
        values: list[float] = []
        for need in self._needs(element):
            value = self._known[need]
            if isinstance(value, _Unknown):
                return value
            values.append(value)
        if element.tag in UNKNOWN:
            return _Unknown(f"line {element.line}: <{element.tag}> {UNKNOWN[element.tag]}")
        if element.tag == "system-mission-time":
            self.uses_mission_time = True
            return self._mission_time_h
        return _applied(element, values)


def _only(declaration: Declaration) -> Element:
    parts = declaration.element.parts()
    if len(parts) != 1:
        many = "several expressions" if parts else "no expression"
        raise declaration.element.error(f"{declaration.kind} {declaration.name} has {many}", fix="write one")
    return parts[0]


def _applied(element: Element, values: list[float]) -> float | _Unknown:
    if element.tag in CONSTANTS:
        return _constant(element)
    if element.tag == "parameter":
        return values[0]
    if element.tag not in OPERATIONS:
        raise element.error(f"<{element.tag}> is no expression")
    least, most, operation = OPERATIONS[element.tag]
    if not least <= len(values) <= most:
        raise element.error(f"<{element.tag}> has {len(values)} arguments", fix=f"it takes {_counted(least, most)}")
    try:
        value = operation(values)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise element.error(f"<{element.tag}> cannot be computed: {error}") from None
    if not math.isfinite(value):
        raise element.error(f"<{element.tag}> is {value}, which is no number")
    return value


def _constant(element: Element) -> float:
    if element.tag == "pi":
        return math.pi
    text = element.required("value")
    if element.tag == "bool":
        if text not in {"true", "false"}:
            raise element.error(f'<bool> is "{text}"', fix="write true or false")
        return float(text == "true")
    try:
        value = math.nan if "_" in text else float(int(text) if element.tag == "int" else text)
    except (ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise element.error(f'<{element.tag}> is "{text}", which is no {"whole " if element.tag == "int" else ""}number')
    return value


def _counted(least: int, most: int) -> str:
    if least == most:
        return str(least)
    return f"{least} or more" if most == ANY else f"{least} to {most}"


# --- what the operations mean -----------------------------------------------------------------------------------------
def _exponential(values: Values) -> float:
    rate, time = values
    return -math.expm1(-rate * time)


def _glm(values: Values) -> float:
    """A part that may fail when asked, and then with a rate, and is repaired with another."""
    on_demand, failing, repairing, time = values
    both = failing + repairing
    return failing / both - (failing - on_demand * both) / both * math.exp(-both * time)


def _weibull(values: Values) -> float:
    scale, shape, since, time = values
    return -math.expm1(-(((time - since) / scale) ** shape)) if time > since else 0.0


def _periodic_test(values: Values) -> float:
    """A part that is tested first at `first`, then each `interval`, and is as new after each test."""
    rate, interval, first, time = values
    if time <= first:
        return _exponential((rate, time))
    return _exponential((rate, (time - first) % interval or interval))


def _lognormal_mean(values: Values) -> float:
    """Of three numbers the first is the mean (then error factor and its level); of two they are those of the normal law."""
    return values[0] if len(values) == 3 else math.exp(values[0] + values[1] ** 2 / 2)


def _histogram_mean(values: Values) -> float:
    bounds, weights = [values[0], *values[1::2]], values[2::2]
    if any(weight < 0 for weight in weights):
        raise ValueError("a weight is negative")
    middles = [(low + high) / 2 for low, high in pairwise(bounds)]
    return sum(middle * weight for middle, weight in zip(middles, weights, strict=True)) / sum(weights)


def _switch(values: Values) -> float:
    for place in range(0, len(values) - 1, 2):
        if values[place]:
            return values[place + 1]
    return values[-1]


def _from_first(operation: Callable[[float, float], float]) -> Callable[[Values], float]:
    """The operation on the first number and the second, then on the result and the third, and so on."""

    def applied(values: Values) -> float:
        result = values[0]
        for value in values[1:]:
            result = operation(result, value)
        return result

    return applied


def _of_one(function: Callable[[float], float]) -> Callable[[Values], float]:
    return lambda values: float(function(values[0]))


ANY = 1_000_000
CONSTANTS = {"bool", "int", "float", "pi"}
UNKNOWN = {
    "extern-function": "calls a program that is not here",
    "test-initiating-event": "depends on an event tree",
    "test-functional-event": "depends on an event tree",
}
OPERATIONS: dict[str, tuple[int, int, Callable[[Values], float]]] = {
    "neg": (1, 1, lambda values: -values[0]),
    "add": (1, ANY, math.fsum),
    "sub": (1, ANY, _from_first(lambda one, other: one - other)),
    "mul": (1, ANY, math.prod),
    "div": (1, ANY, _from_first(lambda one, other: one / other)),
    "mod": (2, 2, lambda values: math.fmod(values[0], values[1])),
    "pow": (2, 2, lambda values: math.pow(values[0], values[1])),
    "min": (1, ANY, min),
    "max": (1, ANY, max),
    "mean": (1, ANY, lambda values: math.fsum(values) / len(values)),
    **{
        name: (1, 1, _of_one(getattr(math, name)))
        for name in ("acos", "asin", "atan", "cos", "cosh", "exp", "log", "log10", "sin", "sinh", "sqrt", "tan", "tanh")
    },
    "abs": (1, 1, _of_one(abs)),
    "ceil": (1, 1, _of_one(math.ceil)),
    "floor": (1, 1, _of_one(math.floor)),
    "not": (1, 1, lambda values: float(not values[0])),
    "and": (1, ANY, lambda values: float(all(values))),
    "or": (1, ANY, lambda values: float(any(values))),
    "eq": (2, 2, lambda values: float(values[0] == values[1])),
    "df": (2, 2, lambda values: float(values[0] != values[1])),
    "lt": (2, 2, lambda values: float(values[0] < values[1])),
    "gt": (2, 2, lambda values: float(values[0] > values[1])),
    "leq": (2, 2, lambda values: float(values[0] <= values[1])),
    "geq": (2, 2, lambda values: float(values[0] >= values[1])),
    "ite": (3, 3, lambda values: values[1] if values[0] else values[2]),
    "switch": (1, ANY, _switch),
    "exponential": (2, 2, _exponential),
    "GLM": (4, 4, _glm),
    "Weibull": (4, 4, _weibull),
    "periodic-test": (4, 4, _periodic_test),
    "uniform-deviate": (2, 2, lambda values: (values[0] + values[1]) / 2),
    "normal-deviate": (2, 2, lambda values: values[0]),
    "lognormal-deviate": (2, 3, _lognormal_mean),
    "gamma-deviate": (2, 2, lambda values: values[0] * values[1]),
    "beta-deviate": (2, 2, lambda values: values[0] / (values[0] + values[1])),
    "histogram": (3, ANY, _histogram_mean),
}

"""How sure one can be of a share after so many tries."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

CONFIDENCE = 0.95
_STEPS = 60


def clopper_pearson(successes: int, tries: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact two-sided interval, 0 to 1, for the probability of success; (0, 1) without a try.

    Source: C. Clopper, E. S. Pearson, Biometrika 26 (1934) 404-413. By bisection on the binomial tails, to 2^-60.
    """
    if not 0 <= successes <= tries:
        raise ValueError(f"{successes} successes of {tries} tries")
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else _root(lambda p: _at_least(successes, tries, p) < tail)
    high = 1.0 if successes == tries else _root(lambda p: 1 - _at_least(successes + 1, tries, p) > tail)
    return low, high


def _at_least(successes: int, tries: int, p: float) -> float:
    return sum(comb(tries, k) * p**k * (1 - p) ** (tries - k) for k in range(successes, tries + 1))


def _root(is_below: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2

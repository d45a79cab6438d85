"""Figures as hosts tell them: Prometheus' text format, read strictly enough that no nonsense is shown as a fact.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?')
LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
ESCAPED = re.compile(r"\\(.)")
# A host tells some hundred series; whoever tells far more is not believed to the end.
MOST_SERIES = 20_000


@dataclass(frozen=True)
class Series:
    """One figure with its labels."""

    labels: Mapping[str, str]
    value: float

    def has(self, labels: Mapping[str, str]) -> bool:
        return all(self.labels.get(name) == value for name, value in labels.items())


@dataclass(frozen=True)
class Figures:
    """All that was told at once."""

    by_name: Mapping[str, tuple[Series, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def all(self, name: str, /, **labels: str) -> Iterator[Series]:
        """Each series of this name that has these labels."""
        return (series for series in self.by_name.get(name, ()) if series.has(labels))

    def one(self, name: str, /, **labels: str) -> float | None:
        """The value of the first such series; None where there is none."""
        return next((series.value for series in self.all(name, **labels)), None)


def parse(text: str) -> Figures:
    """Read all figures of `text`. Raises ValueError where a line is none, or there are far too many."""
    found: dict[str, list[Series]] = {}
    count = 0
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        matched = LINE.fullmatch(line.rstrip())
        if matched is None:
            raise ValueError(f"is no figure: {line[:60]!r}")
        count += 1
        if count > MOST_SERIES:
            raise ValueError(f"more than {MOST_SERIES} figures")
        name, labels, value = matched.groups()
        found.setdefault(name, []).append(Series(_labels(labels or ""), _number(value)))
    return Figures(MappingProxyType({name: tuple(series) for name, series in found.items()}))


def _labels(text: str) -> dict[str, str]:
    found, place = {}, 0
    while place < len(text):
        matched = LABEL.match(text, place)
        if matched is None:
            raise ValueError(f"are no labels: {text[:60]!r}")
        found[matched[1]] = ESCAPED.sub(lambda escape: {"n": "\n"}.get(escape[1], escape[1]), matched[2])
        place = matched.end()
    return found


def _number(text: str) -> float:
    value = float(text)
    # Go writes +Inf; underscores and words are Python's own, and nobody's figure.
    if "_" in text or (math.isnan(value) and text != "NaN"):
        raise ValueError(f"is no number: {text[:40]!r}")
    return value

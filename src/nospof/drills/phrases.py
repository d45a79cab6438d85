"""How drills are put into words wherever they are: numbers, times, goals, and text without what no page can show. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from nospof.analysis.availability import MINUTES_A_YEAR
from nospof.analysis.structure import Goal

GOALS = {"serve": "pages are answered", "write": "writes are acknowledged", "observe": "an alert arrives"}
NO_BREAK = "\u00a0"
MOST_NINES = 9.0


def printable(text: str) -> str:
    """`text` without characters that HTML and XML cannot have; what breaks a line is a space."""
    kept = (char if char.isprintable() or char == NO_BREAK else " " if char.isspace() else "�" for char in text)
    return "".join(kept)


def goal_words(goal: str) -> str:
    return GOALS.get(goal, goal)


def goal_fails(goal: str) -> str:
    return next((one.fails for one in Goal if one.value == goal), f"{goal} fails")


def number(count: int) -> str:
    """1234567 as "1 234 567", never broken at the end of a line."""
    return f"{count:,}".replace(",", NO_BREAK)


def counted(count: int, what: str) -> str:
    """`1 drill`, `2 drills`."""
    return f"{number(count)} {what}{'' if count == 1 else 's'}"


def seconds(value: float | None) -> str:
    """A length of time, to be read by people: 4 ms, 0.42 s, 12.3 s, 4 min 10 s."""
    if value is None or not math.isfinite(value):
        return "unknown"
    if value < 0:
        return f"−{seconds(-value)}"
    if value < 0.1:
        return f"{value * 1000:.0f} ms"
    if value < 10:
        return f"{value:.2f} s"
    if value < 120:
        return f"{value:.1f} s"
    whole, rest = divmod(round(value), 60)
    return f"{number(whole)} min {rest} s"


def minutes(value: float) -> str:
    """Minutes of a year."""
    if not math.isfinite(value):
        return "unknown"
    return f"{value:.1f} min" if abs(value) < 100 else f"{number(round(value))} min"


def share_of_year(minutes_away: float) -> str:
    """How much of the year is left, and how many nines that is: "99.98 % (3.7 nines)"."""
    away = minutes_away / MINUTES_A_YEAR
    if not 0 <= away <= 1:
        return "unknown"
    nines = min(MOST_NINES, abs(math.log10(away))) if away else MOST_NINES
    kept = 100 * (1 - max(away, 10**-MOST_NINES))
    return f"{kept:.{max(1, math.ceil(nines) - 1)}f} % ({'over ' * (nines >= MOST_NINES)}{nines:.1f} nines)"


def sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def listed(words: Iterable[str], last: str, most: int = 10) -> str:
    """`a, b and c`; of more than `most` the first ones and how many others."""
    found = list(words)
    if len(found) > most:
        found = [*found[:most], f"{number(len(found) - most)} more"]
    return f" {last} ".join(filter(None, [", ".join(found[:-1]), *found[-1:]]))

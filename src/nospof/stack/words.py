"""Putting values and names into plain words: shown shortened, named by their type, corrected by closeness."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable

_LONGEST_SHOWN = 48
_MOST_LISTED = 20
_NUMBER = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+"
_LOOKS_OTHERWISE = re.compile(rf"{_NUMBER}|true|false|null", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z0-9./_@-][A-Za-z0-9./_@:+-]*")


class WrittenInt(int):
    """A whole number whose writing in the file is not Python's, e.g. 007."""

    written: str


class WrittenFloat(float):
    """A number whose writing in the file is not Python's, e.g. 8.10: a version, most likely."""

    written: str


def show(value: object) -> str:
    """Write a value as it could stand in the file, shortened to one readable line."""
    text = _flow(value, depth=3)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def quoted(text: str) -> str:
    """`text` between double quotes, shortened."""
    inside = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
    return json.dumps(inside, ensure_ascii=False)


def found(value: object) -> str:
    """Say what kind of value was found: `"ten"`, `8.4`, `a list`."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "keys with values" if isinstance(value, dict) else show(value)


def listed(names: Iterable[str], last: str = "and") -> str:
    """`a, b and c`, cut after twenty."""
    all_names = list(names)
    some = all_names[:_MOST_LISTED]
    if len(all_names) > len(some):
        return f"{', '.join(some)} {last} {len(all_names) - len(some)} more"
    return f" {last} ".join(filter(None, [", ".join(some[:-1]), *some[-1:]]))


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be, or None."""
    by_lower_case = {one.lower().replace("_", "-"): one for one in sorted(known, reverse=True)}
    close = difflib.get_close_matches(name.lower().replace("_", "-")[:100], sorted(by_lower_case), n=1, cutoff=0.6)
    return by_lower_case[close[0]] if close else None


def correction(name: str, known: Iterable[str], what: str) -> str:
    """The fix for a name that is not known: the closest one and the list of `what` there are."""
    names = list(known)
    if not names:
        return ""
    close = closest(name, names)
    there_are = f"{what}: {listed(sorted(names))}"
    return f"did you mean {quoted(close)}? {there_are}" if close else there_are


def printable(text: str) -> str:
    """`text` without anything that could steer a terminal or break a line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _flow(value: object, depth: int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) and not _LOOKS_OTHERWISE.fullmatch(value)
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[…]" if depth == 0 else "[" + ", ".join(_flow(item, depth - 1) for item in value[:20]) + "]"
    if isinstance(value, dict):
        pairs = list(value.items())[:20]
        return "{…}" if depth == 0 else "{" + ", ".join(f"{key}: {_flow(item, depth - 1)}" for key, item in pairs) + "}"
    if isinstance(value, (WrittenInt, WrittenFloat)):
        return value.written
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

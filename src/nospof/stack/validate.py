"""One mapping of the file against its pydantic model, with the errors in plain words.

Strict: nothing is guessed from a value of another type, since "8.10" and 8.1 differ. The values go through JSON because
pydantic takes lists for tuples and text for enums there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nospof.stack.keys import Key, key_at, keys_of
from nospof.stack.problems import Problems
from nospof.stack.words import closest, correction, found, listed, quoted, show

M = TypeVar("M", bound=BaseModel)
Steps = tuple[str, ...]

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "dict": "keys with values",
    "model": "keys with values",
    "model_attributes": "keys with values",
    "dataclass": "keys with values",
    "none": "no value",
    "switch": "on or off",
    "names": "a name or a list of names",
}
_LIMITS = {
    "greater_than_equal": ("ge", "must be at least {}"),
    "greater_than": ("gt", "must be more than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "less_than": ("lt", "must be less than {}"),
    "multiple_of": ("multiple_of", "must be a multiple of {}"),
    "string_too_short": ("min_length", "must have at least {} characters"),
    "string_too_long": ("max_length", "must have at most {} characters"),
    "too_short": ("min_length", "must have at least {} entries"),
    "too_long": ("max_length", "must have at most {} entries"),
}
_CHOICES = ("literal_error", "enum")
_WHY_UNKNOWN = "a key that means nothing would be passed over, and nobody would notice"
_ON = {True, "yes", "true", "True", "enabled", "On", "ON"}
_OFF = {False, "no", "false", "False", "disabled", "Off", "OFF", "none"}


def check_keys(raw: Mapping[str, object], allowed: Iterable[str], path: str, problems: Problems) -> frozenset[str]:
    """Check that only `allowed` keys stand in the mapping at `path`; return the keys that were meant by the misspelt ones."""
    names = list(allowed)
    meant = {_unknown_key(key, path, problems, names) for key in raw if key not in names}
    return frozenset(key for key in meant if key is not None)


def validated(
    model: type[M], raw: Mapping[str, object], path: str, problems: Problems, meant: frozenset[str] = frozenset()
) -> M | None:
    """Make a `model` of those keys of `raw`, which stands at `path`, that it has; None = problems, and they are noted.

    Other keys are the business of `check_keys`. `meant`: keys not to be reported as missing, since they were misspelt.
    """
    own = {key: value for key, value in raw.items() if key in keys_of(model)}
    empty = frozenset(key for key, value in own.items() if value is None)
    for name, key in keys_of(model).items():
        if name in empty:
            fix = f"write a value, e.g. {key.example}, or remove the key"
            problems.add("S017", _join(path, name), f"the key {quoted(name)} has no value", why=key.meaning, fix=fix)
    given = {key: value for key, value in own.items() if key not in empty}
    try:
        made = model.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        _report(model, given, path, problems, error.errors(include_url=False), empty | meant)
        return None
    return None if empty else made


def _report(
    model: type[BaseModel],
    raw: Mapping[str, object],
    path: str,
    problems: Problems,
    errors: Iterable[ErrorDetails],
    not_missing: frozenset[str],
) -> None:
    by_steps: dict[Steps, list[ErrorDetails]] = {}
    for error in errors:
        by_steps.setdefault(_steps(error, raw), []).append(error)
    explained: set[Steps] = {(key,) for key in not_missing}
    for steps, group in by_steps.items():
        if group[0]["type"] == "extra_forbidden":
            above = steps[:-1]
            key = key_at(model, above)
            close = _unknown_key(steps[-1], _join(path, *above), problems, key.keys_inside if key else [])
            # The misspelt key is the missing one: saying both would be saying it twice.
            explained |= {(*above, close)} if close else set()
    for steps, group in by_steps.items():
        kind = group[0]["type"]
        if kind == "missing" and steps not in explained:
            _missing_key(key_at(model, steps), _join(path, *steps), problems)
        elif kind not in ("missing", "extra_forbidden"):
            _wrong_value(key_at(model, steps), _join(path, *steps), problems, group)


def _steps(error: ErrorDetails, raw: object) -> Steps:
    """Where in `raw` an error is, without what pydantic adds to tell the branches of a union."""
    steps, here = [], raw
    for number, step in enumerate(error["loc"]):
        is_last = number == len(error["loc"]) - 1
        if isinstance(here, list) and isinstance(step, int) and step < len(here):
            steps.append(str(step))
            here = here[step]
        elif isinstance(here, dict) and step in here:
            steps.append(str(step))
            here = here[str(step)]
        elif is_last and error["type"] == "missing":
            steps.append(str(step))
    return tuple(steps)


def _unknown_key(key: str, path: str, problems: Problems, allowed: list[str]) -> str | None:
    """Report a key that is not allowed; return the one that was probably meant."""
    below = _join(path, key)
    name, colon, value = key.partition(":")
    if colon and value and problems.values.get(below) is None:
        problems.add("S010", below, f"a space is missing after the colon in {quoted(key)}", fix=f"write {name}: {value}")
        return name
    fix = correction(key, allowed, "the keys here are") or "remove it: this takes no keys"
    problems.add("S010", below, f"there is no key {quoted(key)} here", why=_WHY_UNKNOWN, fix=fix)
    return closest(key, allowed)


def _missing_key(key: Key | None, path: str, problems: Problems) -> None:
    what = f"the key {quoted(path.rpartition('.')[2])} is missing"
    problems.add("S011", path, what, why=key.meaning if key else "", fix=f"add e.g. {key.example}" if key else "")


def _wrong_value(key: Key | None, path: str, problems: Problems, group: list[ErrorDetails]) -> None:
    value = problems.values.get(path, group[0]["input"])
    expected = [word for error in group if (word := _expected(error["type"]))]
    others = [error for error in group if not _expected(error["type"])]
    if expected and all(error["type"] in _CHOICES for error in others):
        choices = [quoted(choice) for choice in key.choices] if key and others else []
        code, what = "S013", f"expected {listed(dict.fromkeys([*expected, *choices]), last='or')}, found {found(value)}"
        fix = _type_fix(key, expected[0], value)
    else:
        # Some branch of a union took the type: what it says of the content is nearer to what was meant.
        code, what, fix = _content(key, others[0], value)
    is_number_for_text = expected[:1] == ["text"] and isinstance(value, (int, float))
    why = _why_quotes(value) if is_number_for_text else key.meaning if key else ""
    problems.add(code, path, what, why=why, fix=fix)


def _expected(error_type: str) -> str | None:
    stem = error_type.removesuffix("_type").removesuffix("_parsing").removesuffix("_from_float").removesuffix("_required")
    return _EXPECTED.get(stem)


def _why_quotes(value: object) -> str:
    if isinstance(value, bool):
        return f"without quotes YAML takes {show(value)} for a truth value"
    shown = show(value)
    return f"without quotes YAML takes {shown} for " + ("a number" if shown == str(value) else f"the number {value}")


def _type_fix(key: Key | None, expected: str, value: object) -> str:
    name = f"{key.name}: " if key and key.is_whole else ""
    if expected == "on or off":
        return f"write {name}{'on' if _is_in(value, _ON) else 'off' if _is_in(value, _OFF) else 'on (or off)'}"
    if expected == "text" and isinstance(value, (bool, int, float)):
        return f'put quotes around it: "{show(value)}"'
    if expected == "text" and isinstance(value, list) and len(value) == 1:
        return f"remove the brackets: {name}{show(value[0])}"
    if expected == "text" and value is None:
        return 'write a value, or "" for an empty text'
    if expected in ("a whole number", "a number") and isinstance(value, str) and value.lstrip("-").isdigit():
        return f"remove the quotes: {name}{value}"
    if expected == "a list" and isinstance(value, str):
        return f"put it in brackets: {name}[{value}]"
    if expected == "keys with values" and key and key.keys_inside:
        return f"the keys here are: {listed(key.keys_inside)}"
    return f"write e.g. {key.example}" if key and key.is_whole else ""


def _content(key: Key | None, error: ErrorDetails, value: object) -> tuple[str, str, str]:
    """Code, what is wrong and the fix of an error that is not one of type."""
    kind, context = error["type"], error.get("ctx", {})
    fix = f"write e.g. {key.example}" if key and key.is_whole else ""
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        is_empty = name == "min_length" and context.get(name) == 1
        limit = show(context.get(name))
        return "S014", "must not be empty" if is_empty else f"{words.format(limit)}, found {found(value)}", fix
    if kind in _CHOICES:
        choices = correction(show(value), key.choices if key else [], "the choices are")
        return "S015", f"{found(value)} is not one of the choices", choices
    if kind in ("value_error", "assertion_error"):
        return "S016", str(context.get("error", error["msg"])), fix
    if kind == "string_pattern_mismatch":
        is_key = error["loc"][-1] == "[key]"
        subject = f"the key {found(error['input'])}" if is_key else found(value)
        return "S016", f"{subject} does not have the form {context.get('pattern')}", "" if is_key else fix
    # Whatever else pydantic checks; its sentences mostly begin with "Input", which is the value.
    said = error["msg"].partition("Input ")[2] or error["msg"]
    return "S016", f"{found(value)} {said}" if said != error["msg"] else f"{said}, found {found(value)}", fix


def _is_in(value: object, words: set[object]) -> bool:
    return isinstance(value, (bool, int, str)) and value in words


def _join(path: str, *steps: str) -> str:
    return ".".join([*([path] if path else []), *steps])

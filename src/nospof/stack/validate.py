"""One mapping of the file against its pydantic model, with the errors in plain words.

Strict: nothing is guessed from a value of another type, since "8.10" and 8.1 differ. The values go through JSON because
pydantic takes lists for tuples and text for enums there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from nospof.stack.problems import Problems
from nospof.stack.words import closest, correction, found, listed, quoted, show

M = TypeVar("M", bound=BaseModel)

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
_PLACEHOLDERS: dict[object, str] = {str: "TEXT", int: "NUMBER", float: "NUMBER", bool: "on"}
_A_NUMBER = "without quotes YAML takes {} for a number"
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
    for key in own:
        if key in empty:
            fix = f"write a value, e.g. {_example(keys_of(model)[key], key)}, or remove the key"
            problems.add("S017", _join(path, key), f"the key {quoted(key)} has no value", why=_meaning(model, key), fix=fix)
    given = {key: value for key, value in own.items() if key not in empty}
    try:
        made = model.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        _report(model, given, path, problems, error.errors(include_url=False), empty | meant)
        return None
    return None if empty else made


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys that `model` takes, in its order."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _report(
    model: type[BaseModel],
    raw: Mapping[str, object],
    path: str,
    problems: Problems,
    errors: Iterable[ErrorDetails],
    not_missing: frozenset[str],
) -> None:
    by_steps: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for error in errors:
        by_steps.setdefault(_steps(error, raw), []).append(error)
    explained: set[tuple[str, ...]] = {(key,) for key in not_missing}
    for steps, group in by_steps.items():
        if group[0]["type"] == "extra_forbidden":
            above = steps[:-1]
            close = _unknown_key(steps[-1], _join(path, *above), problems, _keys_at(model, above))
            # The misspelt key is the missing one: saying both would be saying it twice.
            explained |= {(*above, close)} if close else set()
    for steps, group in by_steps.items():
        kind = group[0]["type"]
        if kind == "missing" and steps not in explained:
            _missing_key(model, steps, path, problems)
        elif kind not in ("missing", "extra_forbidden"):
            _wrong_value(model, steps, path, problems, group)


def _steps(error: ErrorDetails, raw: object) -> tuple[str, ...]:
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


def _missing_key(model: type[BaseModel], steps: tuple[str, ...], path: str, problems: Problems) -> None:
    field = _field_at(model, steps)
    fix = f"add e.g. {_example(field, steps[-1])}"
    what = f"the key {quoted(steps[-1])} is missing"
    problems.add("S011", _join(path, *steps), what, why=_meaning(model, *steps), fix=fix)


def _wrong_value(
    model: type[BaseModel], steps: tuple[str, ...], path: str, problems: Problems, group: list[ErrorDetails]
) -> None:
    below, field = _join(path, *steps), _field_at(model, steps)
    value = problems.values.get(below, group[0]["input"])
    expected = [word for error in group if (word := _expected(error["type"]))]
    if len(group) > 1 and len(group) - len(expected) == sum(error["type"] in _CHOICES for error in group):
        expected += [quoted(choice) for choice in _choices(field.annotation)] if field else []
    if len(expected) >= len(group):
        code, what = "S013", f"expected {listed(dict.fromkeys(expected), last='or')}, found {found(value)}"
        fix = _type_fix(field, steps, expected[0], value)
    else:
        # Some branch of a union took the type: what it says of the content is nearer to what was meant.
        error = next(error for error in group if not _expected(error["type"]))
        code, what, fix = _content(field, steps, error, value)
    is_number_for_text = expected[:1] == ["text"] and isinstance(value, (int, float))
    why = _why_quotes(value) if is_number_for_text else _meaning(model, *steps)
    problems.add(code, below, what, why=why, fix=fix)


def _why_quotes(value: object) -> str:
    if isinstance(value, bool):
        return f"without quotes YAML takes {show(value)} for a truth value"
    number = str(value) if str(value) != show(value) else ""
    return f"without quotes YAML takes {show(value)} for the number {number}" if number else _A_NUMBER.format(show(value))


def _expected(error_type: str) -> str | None:
    stem = error_type.removesuffix("_type").removesuffix("_parsing").removesuffix("_from_float").removesuffix("_required")
    return _EXPECTED.get(stem)


def _type_fix(field: FieldInfo | None, steps: tuple[str, ...], expected: str, value: object) -> str:
    key = next((step for step in reversed(steps) if not step.isdigit()), "")
    if expected == "on or off":
        word = "on" if _is_in(value, _ON) else "off" if _is_in(value, _OFF) else "on (or off)"
        return f"write {key}: {word}"
    if expected == "text" and isinstance(value, (bool, int, float)):
        return f'put quotes around it: "{show(value)}"'
    if expected in ("a whole number", "a number") and isinstance(value, str) and value.lstrip("-").isdigit():
        return f"remove the quotes: {key}: {value}"
    if expected == "text" and isinstance(value, list) and len(value) == 1:
        return f"remove the brackets: {key}: {show(value[0])}"
    if expected == "a list" and isinstance(value, str):
        return f"put it in brackets: {key}: [{value}]"
    if (
        expected == "keys with values"
        and field
        and (keys := [key for one in _models_in(field.annotation) for key in keys_of(one)])
    ):
        return f"the keys here are: {listed(keys)}"
    return f"write e.g. {_example(field, key)}" if field and key else ""


def _content(field: FieldInfo | None, steps: tuple[str, ...], error: ErrorDetails, value: object) -> tuple[str, str, str]:
    kind, context = error["type"], error.get("ctx", {})
    fix = f"write e.g. {_example(field, steps[-1])}" if field and steps and not steps[-1].isdigit() else ""
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        limit = context.get(name)
        is_empty = kind in ("string_too_short", "too_short") and limit == 1
        what = "must not be empty" if is_empty else f"{words.format(show(limit))}, found {found(value)}"
        return "S014", what, fix
    if kind in _CHOICES:
        choices = _choices(field.annotation) if field else []
        return (
            "S015",
            f"{found(value)} is not one of the choices",
            correction(show(value), choices, "the choices are"),
        )
    if kind in ("value_error", "assertion_error"):
        return "S016", str(context.get("error", error["msg"])), fix
    if kind == "string_pattern_mismatch":
        return "S016", f"{found(value)} does not have the right form", fix
    return "S016", f"{error['msg'][:1].lower()}{error['msg'][1:]}, found {found(value)}", fix


def _choices(annotation: object) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(one) for one in get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    return [choice for one in get_args(annotation) for choice in _choices(one)]


def _meaning(model: type[BaseModel], *steps: str) -> str:
    field = _field_at(model, steps)
    key = next((step for step in reversed(steps) if not step.isdigit()), "")
    return f"{quoted(key)} means: {field.description}" if field and field.description and key else ""


def _example(field: FieldInfo | None, key: str) -> str:
    value = field.examples[0] if field and field.examples else field.default if field else None
    if isinstance(value, bool):
        value = "on" if value else "off"
    if isinstance(value, Enum):
        value = value.value
    is_known = isinstance(value, (int, float, list, dict, str)) and value not in ("", [], {})
    return f"{key}: {show(value) if is_known else _placeholder(field.annotation if field else None)}"


def _placeholder(annotation: object) -> str:
    if get_origin(annotation) in (list, tuple, set, frozenset):
        return "[VALUE, VALUE]"
    kinds = [annotation, *get_args(annotation), *(inner for one in get_args(annotation) for inner in get_args(one))]
    return next((_PLACEHOLDERS[kind] for kind in kinds if kind in (str, int, float, bool)), "VALUE")


def _field_at(model: type[BaseModel], steps: tuple[str, ...]) -> FieldInfo | None:
    """The field that `steps` lead to, or the one that contains it where they end in a list."""
    models, field = [model], None
    for step in steps:
        fields = [keys_of(one)[step] for one in models if step in keys_of(one)]
        if fields:
            field = fields[0]
            models = [inner for one in fields for inner in _models_in(one.annotation)]
        elif not step.isdigit():
            return None
    return field


def _keys_at(model: type[BaseModel], steps: tuple[str, ...]) -> list[str]:
    field = _field_at(model, steps)
    models = _models_in(field.annotation) if field else [model] if not steps else []
    return [key for one in models for key in keys_of(one)]


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for one in get_args(annotation) for model in _models_in(one)]


def _is_in(value: object, words: set[object]) -> bool:
    return isinstance(value, (bool, int, str)) and value in words


def _join(path: str, *steps: str) -> str:
    return ".".join([*([path] if path else []), *steps])

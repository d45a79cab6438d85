"""What a settings class says of its keys: meaning, example, choices. Everything that an error can tell about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nospof.stack.words import quoted, show

_PLACEHOLDERS: dict[object, str] = {str: "TEXT", int: "NUMBER", float: "NUMBER", bool: "on"}


@dataclass(frozen=True)
class Key:
    """A key of a settings class. `is_whole` False: what is meant is an entry of the list or mapping that it holds."""

    name: str
    info: FieldInfo
    is_whole: bool = True

    @property
    def meaning(self) -> str:
        """A sentence from its description, or nothing."""
        return f"{quoted(self.name)} means: {self.info.description}" if self.info.description else ""

    @property
    def example(self) -> str:
        """The key with a value that could stand there, from its `examples` or its default."""
        value: object = self.info.examples[0] if self.info.examples else self.info.default
        if isinstance(value, bool):
            value = "on" if value else "off"
        if isinstance(value, Enum):
            value = value.value
        is_known = isinstance(value, (int, float, list, dict, str)) and value not in ("", [], {})
        return f"{self.name}: {show(value) if is_known else _placeholder(self.info.annotation)}"

    @property
    def choices(self) -> list[str]:
        """The values that are allowed, where they can be listed."""
        return _choices(self.info.annotation)

    @property
    def keys_inside(self) -> list[str]:
        """The keys of the mappings that it holds."""
        return [name for model in _models(self.info.annotation) for name in keys_of(model)]


def keys_of(model: type[BaseModel]) -> dict[str, Key]:
    """The keys that `model` takes, in its order."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    return {name: Key(name, field) for name, field in fields.items()}


def key_at(model: type[BaseModel], steps: Sequence[str]) -> Key | None:
    """The key that `steps` lead to, or the last one on the way where they go on into its list or mapping."""
    models, found = [model], None
    for step in steps:
        keys = [keys_of(one)[step] for one in models if step in keys_of(one)]
        if keys:
            found = keys[0]
            models = [inner for key in keys for inner in _models(key.info.annotation)]
        elif found is not None:
            found = Key(found.name, found.info, is_whole=False)
    return found


def _choices(annotation: object) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(one) for one in get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    return [choice for one in get_args(annotation) for choice in _choices(one)]


def _placeholder(annotation: object) -> str:
    if get_origin(annotation) in (list, tuple, set, frozenset):
        return "[VALUE, VALUE]"
    kinds = [annotation, *get_args(annotation), *(inner for one in get_args(annotation) for inner in get_args(one))]
    return next((_PLACEHOLDERS[kind] for kind in kinds if kind in (str, int, float, bool)), "VALUE")


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for one in get_args(annotation) for model in _models(one)]

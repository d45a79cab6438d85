"""What a component's settings may say of a value beyond its type, so that the loader can check it against the file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError


class Rank(Enum):
    """How much an instance counts when work is given out or a successor is chosen."""

    NORMAL = "normal"
    SPARE = "spare"
    """Last resort: works when no normal one does."""
    WITNESS = "witness"
    """A copy and a vote in another zone; never takes over by choice."""


@dataclass(frozen=True)
class PlacesOn:
    """Marks a setting that names a host: the tier gets one more instance there, of this rank."""

    rank: Rank


@dataclass(frozen=True)
class AmongSeveral:
    """Marks a setting that decides between instances of its tier: with one alone, documents do not tell its default."""


@dataclass(frozen=True)
class Folder:
    """Marks a setting that names a folder beside the stack file, which must exist."""


@dataclass(frozen=True)
class FileIn:
    """Marks a setting that names a file in the folder which another setting names; there is a warning where it is missing."""

    folder: str


@dataclass(frozen=True)
class Secret:
    """Marks a setting whose value is nobody's business: documents say that it is set, and for keys with values which keys."""


def _switch(value: object) -> bool:
    if value == "on" or value is True:
        return True
    if value == "off" or value is False:
        return False
    raise PydanticCustomError("switch", "a switch is on or off")


Switch = Annotated[
    bool,
    BeforeValidator(_switch),
    PlainSerializer(lambda value: "on" if value else "off", return_type=str),
    WithJsonSchema({"enum": ["on", "off"]}),
]
"""A setting written `on` or `off` in the stack file."""

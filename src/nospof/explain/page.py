"""What a document is made of, before it is Markdown, HTML or JSON: sections of paragraphs, lists, tables and pictures."""

from __future__ import annotations

from dataclasses import dataclass

from nospof.explain.shapes import Drawing

CODE, END = "\x02", "\x03"
"""Stand around names, ports and commands inside a text; nothing else in a text has a meaning of its own."""


def code(words: object) -> str:
    """`words` as what is typed or named, for the middle of a text."""
    return f"{CODE}{plain(str(words))}{END}"


def plain(text: str) -> str:
    """`text` without marks and without what breaks a line."""
    return " ".join("".join(char for char in text if char not in (CODE, END)).split())


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Listing:
    items: tuple[str, ...]
    is_numbered: bool = False


@dataclass(frozen=True)
class Table:
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Commands:
    """What to type, one line each, and what it is for."""

    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Picture:
    """The stack, as text where only text can be shown."""

    drawing: Drawing
    text: str


Block = Paragraph | Listing | Table | Commands | Picture


@dataclass(frozen=True)
class Section:
    """`level` 2 or 3, as headings are counted; `id` is unique in its document."""

    id: str
    title: str
    blocks: tuple[Block, ...]
    level: int = 2


@dataclass(frozen=True)
class Document:
    """The design of a stack, to be read from top to bottom."""

    title: str
    summary: str
    sections: tuple[Section, ...]

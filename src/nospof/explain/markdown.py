"""A document as Markdown (CommonMark with GitHub's tables), easy to read as plain text too."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

from nospof.explain.page import CODE, END, Block, Commands, Document, Listing, Paragraph, Picture, Section, Table

WIDTH = 110
# Cells that are longer do not widen the column of the others.
WIDEST_CELL = 44


def to_markdown(document: Document) -> str:
    """Write `document` as Markdown. Pure; the same document gives the same bytes."""
    parts = [f"# {_inline(document.title)}"]
    for section in document.sections:
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"{'#' * section.level} {_inline(section.title)}"
    for block in section.blocks:
        yield _block(block)


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return _wrapped(_inline(block.text), "", "")
    if isinstance(block, Listing):
        marks = [f"{number}. " if block.is_numbered else "* " for number in range(1, len(block.items) + 1)]
        items = zip(marks, block.items, strict=True)
        return "\n".join(_wrapped(_inline(item), mark, " " * len(mark)) for mark, item in items)
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Commands):
        width = max(len(line) for line, _ in block.lines)
        return _fenced("\n".join(f"{line:<{width}}   # {meaning}" for line, meaning in block.lines), "sh")
    assert isinstance(block, Picture)  # noqa: S101 - the last kind there is
    return _fenced(block.text.rstrip("\n"))


def _table(table: Table) -> str:
    rows = [[_inline(cell).replace("|", "\\|") for cell in row] for row in (table.head, *table.rows)]
    widths = [min(WIDEST_CELL, max(len(row[column]) for row in rows)) for column in range(len(table.head) - 1)]
    widths.append(3)
    lines = [_line(rows[0], widths), _line(["-" * max(3, width) for width in widths], widths)]
    return "\n".join([*lines, *(_line(row, widths) for row in rows[1:])])


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)]
    return f"| {' | '.join(padded)} |"


def _fenced(text: str, kind: str = "") -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{text}\n{fence}"


def _wrapped(text: str, first: str, later: str) -> str:
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )
    # A line must not become a heading, list or quotation because of where it was broken.
    return "\n".join([*lines[:1], *(re.sub(r"^(\s*)([#+\-=]|\d+[.)])(?=\s|$)", r"\1\\\2", line) for line in lines[1:])])


def _inline(text: str) -> str:
    pieces = re.split(f"{CODE}([^{END}]*){END}", text)
    return "".join(_code(piece) if number % 2 else _escaped(piece) for number, piece in enumerate(pieces))


def _code(words: str) -> str:
    if not words:
        return "(empty)"
    if "`" not in words:
        return f"`{words}`"
    ticks = "`" * (max(len(run) for run in re.findall("`+", words)) + 1)
    return f"{ticks} {words} {ticks}"


def _escaped(text: str) -> str:
    text = re.sub(r"([\\`*<>\[\]])", r"\\\1", text)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text).replace("&", "&amp;")

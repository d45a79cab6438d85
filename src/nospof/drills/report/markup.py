"""HTML and SVG as values: what is put between two tags is escaped unless it is markup itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from nospof.drills.outcome import Level
from nospof.drills.phrases import printable

VOID = {"br", "hr", "img", "meta", "rect", "line", "path", "ellipse"}


class Html(str):
    """Markup. Whatever is only a `str` is text."""

    __slots__ = ()


def tag(name: str, /, *content: str, **attributes: str | float | bool | None) -> Html:
    """One element. `class_` is class, `aria_label` aria-label; an attribute that is None or False is left out."""
    said = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None and value is not False)
    if name in VOID:
        return Html(f"<{name}{said}/>")
    return Html(f"<{name}{said}>{join(content)}</{name}>")


def join(content: Iterable[str], between: str = "") -> Html:
    """Text and markup one after the other."""
    return Html(escape(between).join(text(one) for one in content))


def text(words: str) -> Html:
    return words if isinstance(words, Html) else Html(escape(printable(words)))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> Html:
    """A table that scrolls by itself where it is too wide. The first cell of a row is its heading.

    Each cell knows its column's heading, for those that stand below each other on a phone.
    """
    top = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = (tag("tr", tag("th", row[0], scope="row"), *map(_cell, row[1:], head[1:])) for row in rows)
    return tag("div", tag("table", tag("thead", top), tag("tbody", *body), class_=kind or None), class_="wide", tabindex=0)


def fold(summary: str, *content: str, is_open: bool = False, kind: str | None = None) -> Html:
    """What can be opened and closed; on paper it is open."""
    return tag("details", tag("summary", summary), *content, open=is_open, class_=kind)


def listing(items: Iterable[str], kind: str | None = None) -> Html:
    return tag("ul", *(tag("li", item) for item in items), class_=kind)


def sign(level: Level, words: str = "") -> Html:
    """The sign of a level, with words that say the same without it."""
    name, mark = {
        Level.BAD: ("bad", "✗"),
        Level.WEAK: ("weak", "▲"),
        Level.OPEN: ("open", "?"),
        Level.GOOD: ("good", "✓"),
    }[level]
    return tag("span", tag("b", mark, aria_hidden="true"), f" {words}" if words else "", class_=f"sign {name}")


def _cell(cell: str, heading: str) -> Html:
    return tag("td", cell, data_heading=heading or None)


def _attribute(key: str, value: str | float | bool) -> str:
    written = "" if value is True else f"{value:g}" if isinstance(value, float) else printable(str(value))
    return f' {key.rstrip("_").replace("_", "-")}="{escape(written)}"'

"""XML as a tree of elements that know their lines, read by the standard library's expat.

What could make a small file large or read another one is refused where it is declared: any entity of the file's own. A DOCTYPE
without them is common in such files and harmless, since expat fetches nothing by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from nospof.errors import WrongInput


class WrongDocument(WrongInput):
    """The file is no fault tree that can be analysed; says file and line."""


@dataclass(eq=False, slots=True)
class Element:
    """An element; compared by identity."""

    tag: str
    attributes: dict[str, str]
    line: int
    file: str
    children: list[Element] = field(default_factory=list)

    def error(self, what: str, *, why: str = "", fix: str = "") -> WrongDocument:
        return WrongDocument(f"{self.file}:{self.line}: {what}", why=why, fix=fix)

    def required(self, attribute: str) -> str:
        """The attribute's text without spaces around it. Raises WrongDocument when there is none."""
        text = self.attributes.get(attribute, "").strip()
        if not text:
            raise self.error(f"<{self.tag}> has no {attribute}")
        return text

    def parts(self) -> list[Element]:
        """The children that mean something: all but labels and attributes, which document."""
        return [child for child in self.children if child.tag not in {"label", "attributes"}]

    def __iter__(self) -> Iterator[Element]:
        return iter(self.parts())


def parsed(text: bytes, file: str) -> Element:
    """The root element of `text`; `file` is its name in errors. Raises WrongDocument where it is no XML or has entities."""
    if not text.strip():
        raise WrongDocument(f"{file}:1: the file is empty", fix="name a file with an Open-PSA model, whose root is <opsa-mef>")
    parser = expat.ParserCreate()
    roots: list[Element] = []
    open_elements: list[Element] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, attributes, parser.CurrentLineNumber, file)
        (open_elements[-1].children if open_elements else roots).append(element)
        open_elements.append(element)

    def end(_tag: str) -> None:
        open_elements.pop()

    def entity(name: str, *_rest: object) -> None:
        raise WrongDocument(
            f"{file}:{parser.CurrentLineNumber}: entity {name}: entities are not allowed",
            why="a few of them can make a small file fill the memory, or read other files of this machine",
            fix="write what the entity stands for where it is used",
        )

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.EntityDeclHandler = entity
    parser.SkippedEntityHandler = entity
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise WrongDocument(f"{file}:{error.lineno}: not well-formed XML: {expat.ErrorString(error.code)}") from None
    except (LookupError, ValueError) as error:  # an encoding that Python does not have, or cannot use here
        raise WrongDocument(f"{file}:1: its encoding cannot be read: {error}", fix="save it as UTF-8") from None
    return roots[0]

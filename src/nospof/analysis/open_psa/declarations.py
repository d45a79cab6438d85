"""What a model declares, and which declaration a name means where.

A fault tree or component is a container. A public name holds everywhere and must be the only one; a private one holds in its
container; a dotted path, from the root or from a container around the reference, leads to either. The nearest container is
asked first. Events of all kinds share their names; parameters have names of their own.

Source: Open-PSA Model Exchange Format 2.0, Fault Tree Layer, https://open-psa.github.io/mef/mef/fault_tree_layer.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from nospof.analysis.open_psa.document import Element

CONTAINERS = {"define-fault-tree", "define-component"}
EVENT_KINDS = {"define-gate": "gate", "define-basic-event": "basic event", "define-house-event": "house event"}
KINDS = {**EVENT_KINDS, "define-parameter": "parameter"}
# They change what a fault tree means, so without them the answer would be wrong.
UNSUPPORTED = {
    "define-CCF-group": "groups of common-cause failures",
    "define-substitution": "substitutions",
    "include": "files that include others",
}
# They use fault trees and change nothing in them.
BESIDE = {
    "define-event-tree",
    "define-initiating-event",
    "define-initiating-event-group",
    "define-alignment",
    "define-consequence",
    "define-consequence-group",
    "define-rule",
    "define-extern-function",
    "define-extern-library",
    "label",
    "attributes",
}
Path = tuple[str, ...]


@dataclass(eq=False, slots=True)
class Declaration:
    """One definition. `place` is the path of its container, () for model data."""

    name: str
    kind: str
    element: Element
    place: Path
    is_public: bool

    @property
    def path(self) -> str:
        return ".".join((*self.place, self.name))


@dataclass
class Names:
    """The declarations of one kind of names, by path and, where they are public, by name."""

    by_path: dict[str, Declaration] = field(default_factory=dict)
    public: dict[str, Declaration] = field(default_factory=dict)

    def add(self, declaration: Declaration) -> None:
        """Raises WrongDocument where the name is taken."""
        taken = self.by_path.get(declaration.path)
        if taken is None and declaration.is_public:
            taken = self.public.get(declaration.name)
        if taken is not None:
            raise declaration.element.error(
                f"{declaration.name} is defined twice",
                why=f"it is a {taken.kind} in line {taken.element.line} already",
                fix='give one of them another name, or role="private" in different containers',
            )
        self.by_path[declaration.path] = declaration
        if declaration.is_public:
            self.public[declaration.name] = declaration

    def found(self, reference: str, place: Path) -> Declaration | None:
        """What `reference` means inside the container at `place`."""
        for depth in range(len(place), -1, -1):
            declaration = self.by_path.get(".".join((*place[:depth], reference)))
            if declaration is not None:
                return declaration
        return self.public.get(reference)


@dataclass
class Declarations:
    """Everything a model declares."""

    events: Names = field(default_factory=Names)
    parameters: Names = field(default_factory=Names)
    trees: list[str] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)

    def of_kind(self, kind: str) -> Iterator[Declaration]:
        return (one for one in self.events.by_path.values() if one.kind == kind)


def declared(root: Element) -> Declarations:
    """What the model `root` declares. Raises WrongDocument on the first thing that is wrong or is not supported."""
    if root.tag != "opsa-mef":
        raise root.error(f"the root element is <{root.tag}>, not <opsa-mef>", why="so this is no Open-PSA model")
    found = Declarations()
    todo: list[tuple[Element, Path, bool]] = [(child, (), True) for child in reversed(root.parts())]
    containers: dict[Path, Element] = {}
    while todo:
        element, place, is_public = todo.pop()
        if element.tag in KINDS:
            _add(found, element, place, is_public=_is_public(element, inherited=is_public))
        elif element.tag in CONTAINERS and (element.tag == "define-component") == bool(place):
            inner = (*place, element.required("name"))
            if inner in containers:
                raise element.error(f"{'.'.join(inner)} is defined twice", why=f"it is in line {containers[inner].line}, too")
            containers[inner] = element
            if not place:
                found.trees.append(inner[0])
            public = _is_public(element, inherited=is_public)
            todo.extend((child, inner, public) for child in reversed(element.parts()))
        elif element.tag == "model-data" and not place:
            todo.extend((child, (), True) for child in reversed(element.parts()))
        elif element.tag in BESIDE:
            found.ignored.add(element.tag)
        else:
            raise _not_known(element)
    return found


def _add(found: Declarations, element: Element, place: Path, *, is_public: bool) -> None:
    kind = KINDS[element.tag]
    names = found.parameters if kind == "parameter" else found.events
    names.add(Declaration(element.required("name"), kind, element, place, is_public))


def _is_public(element: Element, *, inherited: bool) -> bool:
    role = element.attributes.get("role", "").strip()
    if role not in {"", "public", "private"}:
        raise element.error(f'role is "{role}"', fix="write public or private")
    return role == "public" if role else inherited


def _not_known(element: Element) -> Exception:
    if element.tag in UNSUPPORTED:
        return element.error(
            f"<{element.tag}>: {UNSUPPORTED[element.tag]} are not supported",
            why="the answer would be wrong without it",
            fix="write the model without it, all in one file",
        )
    return element.error(f"<{element.tag}> cannot stand here")

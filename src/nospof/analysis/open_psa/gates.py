"""From the gates of a model to formulas.

Source: Open-PSA Model Exchange Format 2.0, Fault Tree Layer, https://open-psa.github.io/mef/mef/fault_tree_layer.html (table of
connectives; they are associative, so *xor* of many arguments is true for an odd number of them).
"""

from __future__ import annotations

from collections.abc import Iterable

from nospof.analysis.fault_tree.formula import Formula, Formulas
from nospof.analysis.open_psa.declarations import EVENT_KINDS, Declaration, Declarations, Path
from nospof.analysis.open_psa.document import Element
from nospof.analysis.open_psa.walking import Cycle, in_order

REFERENCES = {"event": "", "gate": "gate", "basic-event": "basic event", "house-event": "house event"}
ANY = 1 << 30
# How many arguments each takes.
CONNECTIVES = {
    "and": (1, ANY),
    "or": (1, ANY),
    "nand": (1, ANY),
    "nor": (1, ANY),
    "xor": (2, ANY),
    # The standard changed its mind on more than two, so we do not guess.
    "iff": (2, 2),
    "imply": (2, 2),
    "not": (1, 1),
    "atleast": (1, ANY),
    "cardinality": (1, ANY),
}


class Gates:
    """The formulas of all gates of a model, `by_gate`; `used` are the gates that others have as arguments."""

    def __init__(self, declarations: Declarations) -> None:
        """Raises WrongDocument for the first gate that is wrong or depends on itself."""
        self.formulas = Formulas()
        self.undeclared: dict[str, None] = {}
        """Basic events that are used without a definition, which is allowed in a file that defines none."""
        self.used: set[Declaration] = set()
        self._declarations = declarations
        self._declares_basic_events = any(True for _ in declarations.of_kind("basic event"))
        self._places: dict[Element, Path] = {}
        self._made: dict[Element, Formula] = {}
        gates = list(declarations.of_kind("gate"))
        try:
            for element in in_order([self._formula_of(gate) for gate in gates], self._needs):
                self._made[element] = self._built(element)
        except Cycle as cycle:
            raise _depends_on_itself(cycle.path) from None
        for house_event in declarations.of_kind("house event"):
            _house_value(house_event)
        self.by_gate = {gate: self._made[self._formula_of(gate)] for gate in gates}

    def _formula_of(self, gate: Declaration) -> Element:
        parts = gate.element.parts()
        if len(parts) != 1:
            raise gate.element.error(
                f"gate {gate.name} has {'several formulas' if parts else 'no formula'}", fix="write one: <and>, <or>, <gate> …"
            )
        self._places[parts[0]] = gate.place
        return parts[0]

    def _needs(self, element: Element) -> Iterable[Element]:
        place = self._places[element]
        if element.tag in REFERENCES:
            target = self._target(element)
            if target is None or target.kind != "gate":
                return ()
            self.used.add(target)
            return (self._formula_of(target),)
        for child in element:
            self._places[child] = place
        return element.parts()

    def _target(self, element: Element) -> Declaration | None:
        """What a reference means; None for a basic event without a definition."""
        name = element.required("name")
        wanted = REFERENCES[element.tag] or element.attributes.get("type", "").strip().replace("-", " ")
        if wanted not in {"", *EVENT_KINDS.values()}:
            raise element.error(f'type is "{element.attributes["type"]}"', fix="write gate, basic-event or house-event")
        found = self._declarations.events.found(name, self._places[element])
        if found is None:
            if wanted in {"", "basic event"} and not self._declares_basic_events:
                return None
            raise element.error(
                f"{wanted or 'event'} {name} is not defined",
                fix="define it, or correct the name; a private one is known outside its container only by its path",
            )
        if wanted not in {"", found.kind}:
            raise element.error(f"{name} is no {wanted}", why=f"line {found.element.line} defines it as a {found.kind}")
        return found

    def _built(self, element: Element) -> Formula:
        if element.tag in REFERENCES:
            return self._referred(element)
        if element.tag == "constant":
            return self.formulas.constant(value=_truth(element))
        if element.tag not in CONNECTIVES:
            raise element.error(f"<{element.tag}> is no formula", fix=f"there are {', '.join(sorted(CONNECTIVES))}")
        args = [self._made[child] for child in element]
        least, most = CONNECTIVES[element.tag]
        if not least <= len(args) <= most:
            wanted = f"exactly {least}" if least == most else f"at least {least}"
            raise element.error(f"<{element.tag}> has {_counted(len(args))}", fix=f"it takes {wanted}")
        return self._joined(element, args)

    def _joined(self, element: Element, args: list[Formula]) -> Formula:
        make = self.formulas
        match element.tag:
            case "and":
                return make.all_of(args)
            case "or":
                return make.any_of(args)
            case "nand":
                return make.negated(make.all_of(args))
            case "nor":
                return make.negated(make.any_of(args))
            case "xor":
                return make.odd(args)
            case "iff":
                return make.same(*args)
            case "imply":
                return make.implied(*args)
            case "not":
                return make.negated(args[0])
            case "atleast":
                return make.at_least(_whole(element, "min", len(args)), args)
        least, most = _whole(element, "min", len(args)), _whole(element, "max", len(args))
        if least > most:
            raise element.error(f"min is {least} and max is {most}", fix="min must not be larger than max")
        return make.between(least, most, args)

    def _referred(self, element: Element) -> Formula:
        target = self._target(element)
        if target is None:
            name = element.required("name")
            self.undeclared[name] = None
            return self.formulas.event(name)
        if target.kind == "gate":
            return self._made[self._formula_of(target)]
        if target.kind == "house event":
            return self.formulas.constant(value=_house_value(target))
        return self.formulas.event(shown_name(target))


def shown_name(declaration: Declaration) -> str:
    """The name that holds everywhere: the plain one of what is public, the path of what is private."""
    return declaration.name if declaration.is_public else declaration.path


def _house_value(declaration: Declaration) -> bool:
    parts = declaration.element.parts()
    if not parts:
        return False
    if len(parts) > 1 or parts[0].tag != "constant":
        raise parts[0].error(f"house event {declaration.name} is no constant", fix='write <constant value="true"/>, or "false"')
    return _truth(parts[0])


def _truth(element: Element) -> bool:
    text = element.required("value")
    if text not in {"true", "false"}:
        raise element.error(f'<constant> is "{text}"', fix="write true or false")
    return text == "true"


def _whole(element: Element, attribute: str, most: int) -> int:
    text = element.required(attribute)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise element.error(f'{attribute} is "{text}"', fix="write a whole number from 0")
    if int(text) > most:
        raise element.error(f"{attribute} is {text} of {_counted(most)}", fix=f"write a number up to {most}")
    return int(text)


def _counted(arguments: int) -> str:
    return f"{arguments} argument{'' if arguments == 1 else 's'}"


def _depends_on_itself(path: list[Element]) -> Exception:
    steps = [one for one in path if one.tag in REFERENCES]
    names = [one.required("name") for one in steps]
    circle = names if names[0] == names[-1] and len(names) > 1 else [*names, names[0]]
    return steps[0].error(f"gate {circle[0]} depends on itself: {' → '.join(circle)}", fix="remove one of these references")

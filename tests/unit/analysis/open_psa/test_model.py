"""What a model in the Open-PSA format means, and what is said of one that is wrong."""

from __future__ import annotations

import math
import re

import pytest

from nospof.analysis.fault_tree.budget import Budget
from nospof.analysis.fault_tree.formula import events
from nospof.analysis.fault_tree.structure import StructureFunction
from nospof.analysis.open_psa.document import WrongDocument
from nospof.analysis.open_psa.model import Model, read
from nospof.errors import WrongInput

AB = '<basic-event name="a"/><basic-event name="b"/>'


def model(body: str, top: str = "", mission_time_h: float = 8760.0) -> Model:
    """The model whose lines from the second on are `body`."""
    return read(f"<opsa-mef>\n{body}\n</opsa-mef>".encode(), "x.xml", top=top, mission_time_h=mission_time_h)


def tree(*lines: str) -> str:
    """A fault tree whose lines stand in lines 3, 4 …"""
    return "\n".join(['<define-fault-tree name="T">', *lines, "</define-fault-tree>"])


def gate(formula: str, name: str = "top", attributes: str = "") -> str:
    return f'<define-gate name="{name}"{attributes}>{formula}</define-gate>'


def basic(name: str, expression: str = '<float value="0.1"/>', attributes: str = "") -> str:
    return f'<define-basic-event name="{name}"{attributes}>{expression}</define-basic-event>'


def house(name: str, value: str) -> str:
    return f'<define-house-event name="{name}">{value}</define-house-event>'


def failing(found: Model) -> set[tuple[str, ...]]:
    function = StructureFunction.of(found.formulas, found.formula, Budget())
    return {tuple(sorted(one)) for one in function.least_failures()}


def probability_of(expression: str, *others: str) -> float | str:
    found = model(tree(gate('<basic-event name="a"/>'), basic("a", expression), *others))
    return found.probabilities.get("a", found.reasons.get("a", ""))


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (f"<and>{AB}</and>", {("a", "b")}),
        (f"<or>{AB}</or>", {("a",), ("b",)}),
        (f'<atleast min="2">{AB}<event name="c"/></atleast>', {("a", "b"), ("a", "c"), ("b", "c")}),
        (f"<xor>{AB}</xor>", {("a",), ("b",)}),
        (f"<nand>{AB}</nand>", {()}),
        (f"<not><nor>{AB}</nor></not>", {("a",), ("b",)}),
        (f"<not><iff>{AB}</iff></not>", {("a",), ("b",)}),
        (f"<not><imply>{AB}</imply></not>", {("a",)}),
        (f'<cardinality min="1" max="1">{AB}</cardinality>', {("a",), ("b",)}),
        (f'<and>{AB}<constant value="true"/></and>', {("a", "b")}),
        (f'<or>{AB}<constant value="false"/></or>', {("a",), ("b",)}),
        (
            '<and><event name="a"/><or><event name="b"/><event name="c" type="basic-event"/></or></and>',
            {("a", "b"), ("a", "c")},
        ),
        ('<basic-event name="a"/>', {("a",)}),
    ],
)
def test_connectives_mean_what_the_standard_says(formula: str, expected: set[tuple[str, ...]]) -> None:
    assert failing(model(tree(gate(formula)))) == expected


def test_house_events_are_false_unless_they_are_set() -> None:
    top = gate(
        '<or><and><house-event name="on"/><event name="a"/></and><and><house-event name="off"/><event name="b"/></and></or>'
    )
    found = model(
        tree(top, house("on", '<constant value="true"/>'), '<define-house-event name="off"/>', basic("a"), basic("b"))
    )
    assert failing(found) == {("a",)}


def test_private_names_hold_in_their_container_and_paths_everywhere() -> None:
    component = (
        '<define-component name="C" role="private">',
        basic("e"),
        gate('<event name="e"/>', "inner"),
        "</define-component>",
    )
    top = gate('<or><gate name="C.inner"/><basic-event name="e"/><event name="T.C.e"/></or>')
    found = model(tree(*component, top, basic("e")))
    assert set(events(found.formula)) == {"e", "T.C.e"}
    assert set(found.probabilities) == {"e", "T.C.e"}


def test_public_names_of_a_component_hold_everywhere_and_the_nearest_name_wins() -> None:
    inner = (
        '<define-component name="C">',
        basic("e", attributes=' role="private"'),
        gate('<event name="e"/>', "g"),
        "</define-component>",
    )
    found = model(tree(*inner, gate('<gate name="g"/>')) + f"<model-data>{basic('e')}</model-data>")
    assert events(found.formula) == ("T.C.e",)


def test_labels_and_attributes_are_no_part_of_a_formula() -> None:
    words = '<label>the top</label><attributes><attribute name="x" value="y"/></attributes>'
    assert failing(model(words + tree(words, gate(words + f"<or>{AB}</or>")))) == {("a",), ("b",)}


def test_basic_events_need_no_definition_where_none_has_one() -> None:
    found = model(tree(gate(f"<or>{AB}</or>")))
    assert (found.probabilities, found.reasons) == ({}, {"a": "it is not defined", "b": "it is not defined"})


def test_top_is_the_gate_that_no_other_uses() -> None:
    found = model(tree(gate('<event name="a"/>', "under"), gate('<gate name="under"/>', "over")))
    assert (found.top, found.notes, found.gates) == ("over", (), 2)


def test_several_tops_are_named_in_a_note_or_in_an_error() -> None:
    first, second = gate('<event name="a"/>', "one"), gate('<event name="b"/>', "two")
    two_trees = tree(first) + f'<define-fault-tree name="U">{second}</define-fault-tree>'
    found = model(two_trees)
    assert (found.top, found.notes) == ("one", ("top gate: one, of the first fault tree; others, for --top: two",))
    assert model(two_trees, top="two").top == "two"
    with pytest.raises(WrongInput) as caught:
        model(tree(first, second))
    assert str(caught.value) == (
        "x.xml has 2 gates that no other gate uses, so each may be the top\n  fix: name one with --top: one, two"
    )
    with pytest.raises(WrongInput, match=re.escape("x.xml has no gate three\n  fix: name one of: one, two")):
        model(two_trees, top="three")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('<float value="1e-3"/>', 0.001),
        ('<int value="1"/>', 1.0),
        ('<bool value="true"/>', 1.0),
        ('<sub><float value="1"/><float value="0.25"/><float value="0.5"/></sub>', 0.25),
        ('<div><float value="1"/><float value="4"/></div>', 0.25),
        ('<neg><float value="-0.5"/></neg>', 0.5),
        ('<mul><float value="0.5"/><add><float value="0.25"/><float value="0.25"/></add></mul>', 0.25),
        ('<exponential><float value="1e-4"/><float value="1000"/></exponential>', 1 - math.exp(-0.1)),
        ('<exponential><float value="1e-4"/><system-mission-time/></exponential>', 1 - math.exp(-0.876)),
        (
            '<GLM><float value="0"/><float value="0.1"/><float value="0.3"/><float value="10"/></GLM>',
            0.25 * (1 - math.exp(-4)),
        ),
        ('<GLM><float value="0.2"/><float value="0.1"/><float value="0.3"/><float value="0"/></GLM>', 0.2),
        ('<Weibull><float value="100"/><float value="2"/><float value="0"/><float value="50"/></Weibull>', 1 - math.exp(-0.25)),
        (
            '<periodic-test><float value="1e-3"/><float value="10"/><float value="5"/><float value="28"/></periodic-test>',
            1 - math.exp(-3e-3),
        ),
        (
            '<periodic-test><float value="1e-3"/><float value="10"/><float value="5"/><float value="25"/></periodic-test>',
            1 - math.exp(-1e-2),
        ),
        ('<lognormal-deviate><float value="0.01"/><float value="3"/><float value="0.95"/></lognormal-deviate>', 0.01),
        ('<uniform-deviate><float value="0.2"/><float value="0.4"/></uniform-deviate>', 0.3),
        ('<beta-deviate><float value="1"/><float value="3"/></beta-deviate>', 0.25),
        (
            (
                '<histogram><float value="0"/><bin><float value="0.2"/><float value="3"/></bin>'
                '<bin><float value="0.6"/><float value="1"/></bin></histogram>'
            ),
            (0.1 * 3 + 0.4 * 1) / 4,
        ),
        ('<ite><lt><int value="1"/><int value="2"/></lt><float value="0.1"/><float value="0.9"/></ite>', 0.1),
        ('<switch><case><bool value="false"/><float value="0.1"/></case><float value="0.9"/></switch>', 0.9),
        ('<extern-function name="f"/>', "line 4: <extern-function> calls a program that is not here"),
        ("", "its definition has none"),
    ],
)
def test_expressions(expression: str, expected: float | str) -> None:
    assert probability_of(expression) == (expected if isinstance(expected, str) else pytest.approx(expected))


def test_parameters_may_use_others() -> None:
    others = (
        '<define-parameter name="rate"><mul><parameter name="base"/><int value="2"/></mul></define-parameter>',
        '<define-parameter name="base"><float value="0.2"/></define-parameter>',
    )
    assert probability_of('<parameter name="rate"/>', *others) == pytest.approx(0.4)


def test_mission_time_that_is_used_is_noted() -> None:
    found = model(
        tree(gate('<event name="a"/>'), basic("a", '<exponential><float value="0.1"/><system-mission-time/></exponential>')),
        mission_time_h=2,
    )
    assert found.probabilities["a"] == pytest.approx(1 - math.exp(-0.2))
    assert found.notes == ("the mission time is 2 hours",)


WRONG = {
    "": "x.xml:1: the file is empty\n  fix: name a file with an Open-PSA model, whose root is <opsa-mef>",
    " \n": "x.xml:1: the file is empty\n  fix: name a file with an Open-PSA model, whose root is <opsa-mef>",
    "tree": "x.xml:1: not well-formed XML: syntax error",
    "<opsa-mef>\n<and>\n</opsa-mef>": "x.xml:3: not well-formed XML: mismatched tag",
    "<html/>": "x.xml:1: the root element is <html>, not <opsa-mef>\n  why: so this is no Open-PSA model",
    "<opsa-mef/>": "x.xml:1: no gate is defined, so there is nothing to analyse\n  fix: define a top gate",
    "<opsa-mef>\n<define-gate name='g'/></opsa-mef>": (
        "x.xml:2: gate g has no formula\n  fix: write one: <and>, <or>, <gate> …"
    ),
    "<opsa-mef>\n<surprise/></opsa-mef>": "x.xml:2: <surprise> cannot stand here",
    "<?xml version='1.0' encoding='no-such'?><opsa-mef/>": (
        "x.xml:1: its encoding cannot be read: unknown encoding: no-such\n  fix: save it as UTF-8"
    ),
    "<!DOCTYPE opsa-mef [\n<!ENTITY lol 'lol'>]><opsa-mef/>": (
        "x.xml:2: entity lol: entities are not allowed\n"
        "  why: a few of them can make a small file fill the memory, or read other files of this machine\n"
        "  fix: write what the entity stands for where it is used"
    ),
    "<!DOCTYPE opsa-mef [\n<!ENTITY pass SYSTEM 'file:///etc/passwd'>]><opsa-mef>&pass;</opsa-mef>": (
        "x.xml:2: entity pass: entities are not allowed\n"
        "  why: a few of them can make a small file fill the memory, or read other files of this machine\n"
        "  fix: write what the entity stands for where it is used"
    ),
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_documents(text: str) -> None:
    with pytest.raises(WrongDocument) as caught:
        read(text.encode(), "x.xml")
    assert str(caught.value) == WRONG[text]
    assert caught.value.exit_code == 2


def test_doctype_without_entities_is_harmless() -> None:
    text = "<!DOCTYPE opsa-mef SYSTEM 'mef.dtd'><opsa-mef><define-fault-tree name='T'>"
    text += "<define-gate name='g'><event name='a'/></define-gate></define-fault-tree></opsa-mef>"
    assert read(text.encode(), "x.xml").top == "g"


TOP_A = gate('<event name="a"/>')
WRONG_TREES = {
    tree(gate('<gate name="no"/>')): (
        "x.xml:3: gate no is not defined\n"
        "  fix: define it, or correct the name; a private one is known outside its container only by its path"
    ),
    tree(gate("<or>\n<basic-event name='a'/>\n<event name='no'/>\n</or>"), basic("a")): (
        "x.xml:5: event no is not defined\n"
        "  fix: define it, or correct the name; a private one is known outside its container only by its path"
    ),
    tree(TOP_A, house("a", '<constant value="yes"/>')): 'x.xml:4: <constant> is "yes"\n  fix: write true or false',
    tree(gate('<basic-event name="h"/>'), "", house("h", "")): (
        "x.xml:3: h is no basic event\n  why: line 5 defines it as a house event"
    ),
    tree(gate('<gate name="one"/>'), gate('<gate name="two"/>', "one"), gate('<not><gate name="one"/></not>', "two")): (
        "x.xml:4: gate two depends on itself: two → one → two\n  fix: remove one of these references"
    ),
    tree(gate('<or><gate name="top"/></or>')): (
        "x.xml:3: gate top depends on itself: top → top\n  fix: remove one of these references"
    ),
    tree(TOP_A, basic("a"), basic("a")): (
        "x.xml:5: a is defined twice\n  why: it is a basic event in line 4 already\n"
        '  fix: give one of them another name, or role="private" in different containers'
    ),
    tree(TOP_A, basic("a")) + f"\n<model-data>\n{house('a', '')}</model-data>": (
        "x.xml:7: a is defined twice\n  why: it is a basic event in line 4 already\n"
        '  fix: give one of them another name, or role="private" in different containers'
    ),
    tree(TOP_A) + "\n" + tree(): "x.xml:5: T is defined twice\n  why: it is in line 2, too",
    tree(gate("<also/>")): (
        "x.xml:3: <also> is no formula\n  fix: there are and, atleast, cardinality, iff, imply, nand, nor, not, or, xor"
    ),
    tree(gate(f"<not>{AB}</not>")): "x.xml:3: <not> has 2 arguments\n  fix: it takes exactly 1",
    tree(gate("<and/>")): "x.xml:3: <and> has 0 arguments\n  fix: it takes at least 1",
    tree(gate("<xor><event name='a'/></xor>")): "x.xml:3: <xor> has 1 argument\n  fix: it takes at least 2",
    tree(gate(AB)): "x.xml:3: gate top has several formulas\n  fix: write one: <and>, <or>, <gate> …",
    tree(gate(f"<atleast>{AB}</atleast>")): "x.xml:3: <atleast> has no min",
    tree(gate(f'<atleast min="-1">{AB}</atleast>')): 'x.xml:3: min is "-1"\n  fix: write a whole number from 0',
    tree(gate(f'<atleast min="3">{AB}</atleast>')): "x.xml:3: min is 3 of 2 arguments\n  fix: write a number up to 2",
    tree(gate(f'<cardinality min="2" max="1">{AB}</cardinality>')): (
        "x.xml:3: min is 2 and max is 1\n  fix: min must not be larger than max"
    ),
    tree(gate('<event name="a" type="thing"/>')): 'x.xml:3: type is "thing"\n  fix: write gate, basic-event or house-event',
    tree(gate("<event/>")): "x.xml:3: <event> has no name",
    tree(gate('<event name="a"/>', attributes=' role="secret"')): 'x.xml:3: role is "secret"\n  fix: write public or private',
    tree('<define-CCF-group name="c"/>'): (
        "x.xml:3: <define-CCF-group>: groups of common-cause failures are not supported\n"
        "  why: the answer would be wrong without it\n  fix: write the model without it, all in one file"
    ),
    tree(TOP_A, basic("a", '<float value="1.5"/>')): "x.xml:4: the probability of a is 1.5\n  fix: it must be from 0 to 1",
    tree(TOP_A, basic("a", '<float value="much"/>')): 'x.xml:4: <float> is "much", which is no number',
    tree(TOP_A, basic("a", '<int value="0.5"/>')): 'x.xml:4: <int> is "0.5", which is no whole number',
    tree(TOP_A, basic("a", '<float value="nan"/>')): 'x.xml:4: <float> is "nan", which is no number',
    tree(TOP_A, basic("a", '<parameter name="p"/>')): "x.xml:4: parameter p is not defined",
    tree(TOP_A, basic("a", "<guess/>")): "x.xml:4: <guess> is no expression",
    tree(TOP_A, basic("a", '<exponential><float value="1"/></exponential>')): (
        "x.xml:4: <exponential> has 1 arguments\n  fix: it takes 2"
    ),
    tree(TOP_A, basic("a", '<div><int value="1"/><int value="0"/></div>')): (
        "x.xml:4: <div> cannot be computed: float division by zero"
    ),
    tree(TOP_A, basic("a"), '<define-parameter name="p"><parameter name="p"/></define-parameter>'): (
        "x.xml:5: a parameter depends on itself: p → p"
    ),
}


@pytest.mark.parametrize("body", WRONG_TREES, ids=[text.partition("\n")[0] for text in WRONG_TREES.values()])
def test_wrong_trees(body: str) -> None:
    with pytest.raises(WrongDocument) as caught:
        model(body)
    assert str(caught.value) == WRONG_TREES[body]


def test_formulas_may_be_nested_thousands_deep() -> None:
    depth = 5_000
    found = model(tree(gate("<not>" * depth + '<event name="a"/>' + "</not>" * depth)))
    assert failing(found) == {("a",)}

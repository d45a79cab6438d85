"""SVG and Mermaid: everything is in them, and nothing in a name is taken for syntax."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from tests.unit.explain.random_stacks import random_topology
from tests.unit.stacks import NOTHING_ALLOTTED, example, tier, topology

from nospof.explain.mermaid import mermaid
from nospof.explain.svg import STYLE, svg
from nospof.explain.weak import WeakSpots
from nospof.resolve import resolve
from nospof.topology import Topology

HOSTILE = "<script>alert('&\"1\"')</script>]]>--;%%"


def said(text: str) -> str:
    return "\n".join("".join(element.itertext()) for element in ElementTree.fromstring(text).iter())


@pytest.mark.parametrize("seed", range(20))
def test_every_host_address_and_call_is_in_the_svg(seed: int) -> None:
    made = random_topology(seed)
    words = said(svg(made))

    for host in made.hosts:
        assert host.name in words
        assert host.address in words
    assert all(vip.address in words for vip in made.vips)
    for link in made.links:
        assert link.target.owner.tier in words
        if not link.is_local and link.target.listen.speaks.value not in ("metrics", "vrrp"):
            assert re.search(rf"\b{link.target.listen.port}\b", words)


@pytest.mark.parametrize("seed", range(20))
def test_every_host_instance_address_and_call_is_in_the_mermaid_text(seed: int) -> None:
    made = random_topology(seed)
    text = mermaid(made)

    for host in made.hosts:
        assert f"<b>{host.name}</b> {host.address}" in text
    assert all(instance.id.tier in text for instance in made.instances)
    assert all(vip.address in text for vip in made.vips)
    for link in made.links:
        if link.target.listen.port and not link.target.listen.answers and link.target.listen.speaks.value != "metrics":
            assert str(link.target.listen.port) in text or link.is_local
    assert text.count("\n") < 500  # mermaid draws no more edges than that


@pytest.mark.parametrize("seed", range(20))
def test_lines_of_the_mermaid_text_have_one_of_few_forms(seed: int) -> None:
    label, name = r'"[^"]*"', r"(?:host|call|entrance)\d+|visitors"
    arrow = r"(?:-->|-\.->|-\.-|---)"
    forms = (
        rf"flowchart TB|end|classDef weak .*|class (?:{name})(?:,(?:{name}))* weak|subgraph zone\d+\[{label}\]"
        rf"|(?:{name})(?:\[{label}\]|\({label}\)|\(\[{label}\]\))|(?:{name}) {arrow}(?:\|{label}\|)? (?:{name})"
    )
    made = random_topology(seed)
    for line in mermaid(made, WeakSpots({made.hosts[0].name: ("serve",)})).splitlines():
        assert re.fullmatch(forms, line.strip()), line


def test_many_hosts_that_call_many_meet_in_one_node() -> None:
    names = [f"w{number}" for number in range(30)]
    one, other = " ".join(names[:15]), " ".join(names[15:])
    made = topology(" ".join(f"{name}:a" for name in names), tier("web", "web", one, "app"), tier("app", "application", other))

    assert mermaid(made).count("\n") < 80
    assert mermaid(made).count("web → app") == 1


def hostile() -> Topology:
    made = topology("a1:a b1:b", tier("web", "web", "a1 b1"))
    hosts = tuple(replace(host, zone=HOSTILE) for host in made.hosts)
    return replace(made, stack=HOSTILE, domain=f"{HOSTILE}\x07", hosts=hosts)


def test_hostile_names_stay_text() -> None:
    drawn = svg(hostile())

    assert HOSTILE in said(drawn)
    assert "<script" not in drawn
    assert "<script" not in mermaid(hostile())
    assert '"1"' not in mermaid(hostile())


def test_svg_needs_nothing_from_elsewhere() -> None:
    drawn = svg(resolve(example(), NOTHING_ALLOTTED).topology)

    assert re.findall(r"https?://[^\s\"'<>]+", drawn) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<(script|image|use|foreignObject)|url\(|@import", drawn)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_that_wcag_asks_for(scheme: int) -> None:
    found = re.findall(r"svg\.nospof\{([^}]*)", STYLE)[scheme]
    colours = dict(re.findall(r"--(\w+):(#[0-9a-f]{3,6})", found))

    for text in ("text", "muted", "vip", "weak", "implied"):
        for ground in ("paper", "area", "box", "pill", "weakbox"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for line in ("edge", "call", "peers", "visit", "vip", "weak"):
        for ground in ("paper", "area"):
            assert contrast(colours[line], colours[ground]) >= 3.0, (line, ground)


def contrast(one: str, other: str) -> float:
    """Source: https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

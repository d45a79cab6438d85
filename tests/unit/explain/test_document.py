"""The design document: everything is in it, it says what is not known, and nothing in a name is taken for syntax."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from tests.unit.explain.random_stacks import random_topology
from tests.unit.explain.test_pictures import hostile
from tests.unit.stacks import NOTHING_ALLOTTED, REPOSITORY, example, stack, tier, topology

from nospof.analysis.findings import findings
from nospof.cli.weak import weak_spots as analysed
from nospof.component import Component
from nospof.explain.capacity import Capacity
from nospof.explain.document import document
from nospof.explain.glossary import glossary
from nospof.explain.html import to_html
from nospof.explain.markdown import to_markdown
from nospof.explain.structure import to_json
from nospof.explain.weak import WeakSpots
from nospof.resolve import resolve
from nospof.stack.model import Stack

GOLDEN = REPOSITORY / "tests/golden"


def markdown(whole: Stack) -> str:
    made = resolve(whole, NOTHING_ALLOTTED).topology
    return to_markdown(document(made, findings(whole, made)))


@pytest.mark.parametrize("name", ["distributed", "lamp", "scaled-up", "full"])
def test_document_of_the_example_is_as_it_was(name: str) -> None:
    path = GOLDEN / name / "design.md"
    whole = replace(example(name), file=REPOSITORY / "stack.yaml")
    made = resolve(whole, NOTHING_ALLOTTED).topology
    text = to_markdown(document(made, findings(whole, made), weak=analysed(made)))
    if os.environ.get("NOSPOF_REWRITE"):
        path.write_text(text)
    assert text == path.read_text(), "design.md differs; if that is meant: NOSPOF_REWRITE=1"


@pytest.mark.parametrize("seed", range(20))
def test_every_host_instance_link_and_address_is_in_the_document(seed: int) -> None:
    made = random_topology(seed)
    text = to_markdown(document(made, ()))

    for host in made.hosts:
        assert re.search(rf"^\| `{host.name}` +\| `{host.zone}` +\| `{host.address}`", text, re.MULTILINE)
    for instance in made.instances:
        assert f"### {instance.id.tier}:" in text
    assert all(f"`{vip.address}`" in text for vip in made.vips)
    firewall = text.partition("### The firewall")[2].partition("\n## ")[0]
    for link in made.links:
        if not link.is_local:
            port = f"`tcp {link.target.listen.port}`" if link.target.listen.port else "`vrrp`"
            assert port in firewall or f"`tcp/udp {link.target.listen.port}`" in firewall
            assert f"`{link.target.owner.tier}`" in firewall


def test_page_is_well_formed_and_needs_nothing_from_elsewhere() -> None:
    for made in (resolve(example(), NOTHING_ALLOTTED).topology, random_topology(1), hostile()):
        page = to_html(document(made, ()))

        ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))
        assert "<script" not in page
        assert not re.search(r"(src|srcset)=|url\(|@import|<link|<iframe", page)
        assert set(re.findall(r'href="([^"]*)"', page)) <= {f"#{name}" for name in re.findall(r'<h2 id="([^"]*)"', page)}


def test_headings_of_the_page_have_ids_of_their_own() -> None:
    ids: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            ids.extend(value or "" for name, value in attrs if name == "id")

    Reader().feed(to_html(document(resolve(example(), NOTHING_ALLOTTED).topology, ())))
    assert len(ids) == len(set(ids)) > 10


def test_hostile_names_stay_text_in_markdown() -> None:
    text = to_markdown(document(hostile(), ()))

    outside_code = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)[<>]", outside_code)


def test_json_has_what_the_markdown_has() -> None:
    made = document(resolve(example(), NOTHING_ALLOTTED).topology, ())
    told = json.loads(to_json(made))

    assert [section["title"] for section in told["sections"]] == [section.title for section in made.sections]
    assert "\\u0002" not in to_json(made)


def test_secret_settings_are_not_shown() -> None:
    whole = example()
    values: dict[str, dict[str, object]] = {
        "app": {"environment": {"STRIPE_KEY": "sk-1234"}},
        "database": {"notify_webhook": "https://hooks.example/s3cr3t"},
    }
    tiers = []
    for one in whole.tiers:
        kind = Component.kinds[one.component].settings_type
        given = {**one.settings.model_dump(exclude_unset=True), **values.get(one.name, {})}
        tiers.append(replace(one, settings=kind.model_validate(given)))
    text = markdown(replace(whole, tiers=tuple(tiers)))

    assert "STRIPE_KEY" in text
    assert "sk-1234" not in text
    assert "s3cr3t" not in text


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    made = topology("a1:a b1:b", tier("web", "web", "a1 b1"))

    unknown, known = (
        document(made, ()),
        document(made, (), capacity=Capacity(1200, "As a whole 900 QPS", (), ()), weak=WeakSpots()),
    )
    assert "is unknown: it was neither declared nor measured" in to_markdown(unknown)
    assert "looking at each tier alone" in to_markdown(unknown)
    assert "At the busiest time 1200 queries per second (QPS)" in to_markdown(known)
    assert "As a whole 900 QPS" in to_markdown(known)
    assert "looking at each tier alone" not in to_markdown(known)


def test_spots_that_an_analysis_found_are_told_instead_of_those_of_the_findings() -> None:
    made = topology("a1:a b1:b", tier("web", "web", "a1 b1"))
    text = to_markdown(document(made, (), weak=WeakSpots({"b1": ("serve",)})))

    assert re.search(r"\| host +\| `b1` +\| serve \|", text)
    assert "It has single points of failure: `b1`." in " ".join(text.split())


def test_single_host_is_never_called_redundant() -> None:
    text = markdown(stack("lb1:a web1:a", tier("lb", "balancer", "lb1", "web"), tier("web", "web", "web1")))

    assert text.count("It is not redundant.") == 2
    assert "No tier rests on a single host" not in text
    assert "F201" in text


def test_administrators_are_told_where_they_come_in() -> None:
    """Incident: "Administrators may come in from nobody"."""
    text = " ".join(markdown(example()).split())
    assert "names no network for administrators (`admin`)" in text
    assert "`nospof shell HOST`" in text
    text = markdown(replace(example(), admin=("198.51.100.0/24",)))
    assert "Administrators may come in by SSH from `198.51.100.0/24`." in text
    assert "come in by SSH from everywhere" in markdown(replace(example(), admin=("0.0.0.0/0",)))


def test_visitors_trust_is_told_where_the_stacks_own_authority_signs() -> None:
    text = " ".join(markdown(replace(example(), file=REPOSITORY / "stack.yaml")).split())
    assert "Visitors' browsers do not know this CA" in text
    assert "docs/how-to/trust-the-ca.md" in text
    open_ = stack("lb1:a web1:a", tier("lb", "balancer", "lb1", "web", https=False), tier("web", "web", "web1"))
    assert "do not know this CA" not in markdown(open_)


def test_firewall_that_is_off_is_said() -> None:
    text = to_markdown(document(topology("a1:a", tier("web", "web", "a1"), has_firewall=False), ()))
    assert "The firewall is switched off" in text
    assert "drops what comes in" not in text


def test_only_acronyms_that_occur_are_explained() -> None:
    words = [word for word, _ in glossary("TLS, QPS")]
    assert "QPS" in words
    assert "LAMP" not in words

"""What pictures and the design document mark is what `check` found."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nospof.cli import check, diagram, explain
from nospof.cli.weak import weak_spots
from nospof.component import Component
from nospof.resolve import Allotment, resolve
from nospof.stack.load import load
from nospof.topology import InstanceId, Topology

EXAMPLES = Path(__file__).parents[3] / "examples"
BOTH = ("serve", "write")


def topology(name: str) -> Topology:
    kinds = {kind: component.settings_type for kind, component in Component.kinds.items()}
    return resolve(load(EXAMPLES / name / "stack.yaml", kinds), Allotment()).topology


def test_every_single_point_of_failure_is_marked() -> None:
    found = weak_spots(topology("simple"))
    assert found.hosts == {"db1": BOTH, "lb1": BOTH}
    assert found.zones == {"a": BOTH, "b": BOTH}
    assert found.instances == {
        InstanceId("database", "db1"): BOTH,
        InstanceId("keepalived", "lb1"): BOTH,
        InstanceId("load-balancer", "lb1"): BOTH,
    }


def test_stack_without_any_has_no_marks() -> None:
    assert not weak_spots(topology("distributed"))


def test_design_document_never_calls_what_check_warns_of_safe(capsys: pytest.CaptureFixture[str]) -> None:
    """Incident: `explain` read them from findings that `check` no longer gave, and said that there were none."""
    explain.run(EXAMPLES / "simple", form="markdown", output=None)
    text = " ".join(capsys.readouterr().out.split())
    assert "It has single points of failure: `db1` and `lb1`, and with them zones `a` and `b`." in text
    assert "None was found." not in text


def test_design_document_says_which_hosts_may_be_switched_off(capsys: pytest.CaptureFixture[str]) -> None:
    explain.run(EXAMPLES / "simple", form="markdown", output=None)
    text = " ".join(capsys.readouterr().out.split())
    assert "Any one of `web1` or `web2` may be switched off" in text
    assert "It is the only one: when it is lost" in text, "keepalived has nobody who takes over"
    assert "frozen or too slow counts as living" in text


def test_document_and_check_name_the_same_zones(capsys: pytest.CaptureFixture[str]) -> None:
    """Incident: `check` said what zone a costs, and the document's list of single points of failure had no zone."""
    explain.run(EXAMPLES / "simple", form="markdown", output=None)
    weak = capsys.readouterr().out.partition("## What remains a single point of failure")[2].partition("\n## ")[0]
    rows = {tuple(cell.strip() for cell in line.split("|")[1:4]) for line in weak.splitlines() if line.startswith("| zone")}
    assert rows == {("zone", "`a`, with `lb1`", "serve and write"), ("zone", "`b`, with `db1`", "serve and write")}
    check.run(EXAMPLES / "simple", as_json=True)
    said = [one["what"] for one in json.loads(capsys.readouterr().out) if one["code"] == "F210"]
    assert [zone for zone in "ab" if any(f"so does zone {zone}, which it is in" in what for what in said)] == ["a", "b"]


def test_stack_without_copies_is_told_nothing_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Incident: a stack with one database was told what a replica acknowledges, and to make another host primary."""
    explain.run(EXAMPLES / "simple", form="markdown", output=None)
    text = " ".join(capsys.readouterr().out.split())
    for word in ("`durability`", "`timers`", "switchover", "if it is primary", "the others wait", "costs the redundancy"):
        assert word not in text
    explain.run(EXAMPLES / "distributed", form="markdown", output=None)
    text = " ".join(capsys.readouterr().out.split())
    assert all(word in text for word in ("`durability`", "`timers`", "switchover", "the others wait"))


def test_document_speaks_of_cuts_between_hosts_as_check_does(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"simple": "none does more harm than the loss of one of the two", "distributed": "`F216`, below, names those"}
    for name, words in said.items():
        explain.run(EXAMPLES / name, form="markdown", output=None)
        text = " ".join(capsys.readouterr().out.split())
        assert words in text
        assert ("| `F216` |" in text) == (name == "distributed")


def test_check_says_in_words_what_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """Incident: "of serve: 19.5 h", and nothing on the page said what serve is."""
    for name in ("simple", "distributed"):
        check.run(EXAMPLES / name, as_json=False)
        words = set(re.findall(r"[a-z]+", capsys.readouterr().out))
        assert not words & {"serve", "write", "goal", "goals"}


def test_settings_inside_a_setting_come_with_what_they_are_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Incident: a table began with `trial_write.body`, and nothing said what a trial write is."""
    explain.run(EXAMPLES / "simple", form="json", output=None)
    sections = {one["id"]: one for one in json.loads(capsys.readouterr().out)["sections"]}
    (table,) = [block for block in sections["tier-app"]["blocks"] if block["kind"] == "table"]
    names = [row[0] for row in table["rows"]]
    assert names.index("trial_write") == names.index("trial_write.body") - 1
    assert "see whether writes are kept" in table["rows"][names.index("trial_write")][2]


def test_pictures_mark_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    diagram.run(EXAMPLES / "simple", form="svg", output=None)
    assert capsys.readouterr().out.count("SPOF: serve, write") >= 2
    diagram.run(EXAMPLES / "simple", form="text", output=None)
    text = capsys.readouterr().out
    assert ("▲ db1" in text, "▲ lb1" in text, "▲ web1" in text) == (True, True, False)


def test_what_is_to_be_acted_on_first_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run(EXAMPLES / "simple", as_json=False) == 1
    heads = [line.partition("[")[0] for line in capsys.readouterr().out.splitlines() if line[:5] in ("warni", "note[")]
    assert heads == sorted(heads, reverse=True)
    assert set(heads) == {"warning", "note"}


def test_voters_of_a_stack_that_was_never_up_may_still_go_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "stack.yaml").write_text("""\
name: two
domain: two.example.com
hosts: {a1: {zone: a}, a2: {zone: a}, b1: {zone: b}, b2: {zone: b}}
tiers:
  load-balancer: {component: haproxy, hosts: [a1, b1], to: app}
  app: {component: gunicorn, hosts: [a1, b1], source: ./app, module: "a:b", to: database}
  database: {component: mariadb, hosts: [a2, b2]}
""")
    assert check.run(tmp_path / "stack.yaml", as_json=True) == 1
    fixes = {one["code"]: one["fix"] for one in json.loads(capsys.readouterr().out)}
    assert fixes["F211"] == "add w1: {zone: c} to hosts; in tier database witness: w1"

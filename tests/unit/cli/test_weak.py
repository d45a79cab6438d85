"""What pictures and the design document mark is what `check` found."""

from __future__ import annotations

from pathlib import Path

import pytest

from nospof.cli import diagram, explain
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
    assert found.zones == {}, "their hosts are named already"
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
    assert "It has single points of failure: `db1` and `lb1`." in text
    assert "None was found." not in text


def test_picture_marks_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    diagram.run(EXAMPLES / "simple", form="svg", output=None)
    assert capsys.readouterr().out.count("SPOF: serve, write") >= 2

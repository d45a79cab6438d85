"""What editors and continuous integration get of `check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nospof.cli import check
from nospof.cli.sarif import sarif
from nospof.stack.problems import Problem, Severity

SIMPLE = Path(__file__).parents[3] / "examples/simple/stack.yaml"


def test_each_finding_is_a_result_at_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run(SIMPLE, as_json=False, as_sarif=True) == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    lines = SIMPLE.read_text().splitlines()
    found: dict[str, list[tuple[str, str]]] = {}
    for result in run["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert place["artifactLocation"]["uri"] == SIMPLE.as_uri()
        found.setdefault(result["ruleId"], []).append((result["level"], lines[place["region"]["startLine"] - 1].strip()))
    assert found["F210"] == [("warning", "lb1: {zone: a}"), ("warning", "db1: {zone: b}")]


def test_file_that_is_wrong_as_a_whole_has_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run(tmp_path / "stack.yaml", as_json=False, as_sarif=True) == 2
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == ("S001", "error")
    assert "region" not in result["locations"][0]["physicalLocation"]


def test_relative_file_stays_relative() -> None:
    problem = Problem("F210", "hosts.lb1", 6, 3, "what", "why", "fix", Severity.WARNING, "my shop/stack.yaml")
    (result,) = sarif([problem])["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "my%20shop/stack.yaml"},
        "region": {"startLine": 6, "startColumn": 3},
    }
    assert result["message"]["text"] == "what\nwhy: why\nfix: fix"

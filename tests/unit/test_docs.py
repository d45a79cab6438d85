"""The documents: what is generated is fresh, and what is written by hand points at what exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nospof.analysis.findings import findings
from nospof.component import Component
from nospof.drills.result import Agreement, Check, DrillResult, GoalSeen, Taken
from nospof.drills.words import sentences
from nospof.resolve import Allotment, resolve
from nospof.stack.load import load

ROOT = Path(__file__).parents[2]
WRITTEN = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_reference_pages_are_what_the_code_says() -> None:
    # In a process of its own: other tests register components that nospof does not have.
    make = [sys.executable, str(ROOT / "docs/reference/make.py"), "--check"]
    done = subprocess.run(make, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, ""), f"run script/docs {done.stderr}"


def test_every_code_that_can_be_said_is_explained() -> None:
    used = {code for path in (ROOT / "src").rglob("*.py") for code in re.findall(r'"([SF][0-9]{3})"', path.read_text())}
    explained = set(re.findall(r"`([SF][0-9]{3})`", (ROOT / "docs/reference/codes.md").read_text()))
    assert used == explained


def test_stack_file_of_the_readme_is_the_example() -> None:
    example = (ROOT / "examples/distributed/stack.yaml").read_text().partition("\n")[2]
    assert example in (ROOT / "README.md").read_text()


def test_wordpress_has_one_gap_that_the_example_does_not_have(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/run-wordpress.md").read_text()
    (stack,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "wordpress").mkdir()
    (tmp_path / "stack.yaml").write_text(stack)

    codes = [said_by_check(file) for file in (tmp_path / "stack.yaml", ROOT / "examples/lamp/stack.yaml")]
    assert codes[0] - codes[1] == {"F218"}


def said_by_check(file: Path) -> set[str]:
    stack = load(file, {name: kind.settings_type for name, kind in Component.kinds.items()})
    resolved = resolve(stack, Allotment())
    assert resolved.problems == ()
    return {problem.code for problem in (*stack.warnings, *findings(stack, resolved.topology))}


def test_what_moves_between_load_balancers_has_one_name() -> None:
    """Incident: a reader met a moving, a floating, a virtual address and a VIP, and took them for four things."""
    texts = [*WRITTEN, *(path for folder in ("src", "examples") for path in (ROOT / folder).rglob("*.py"))]
    others = re.compile(r"(moving|floating|shared|virtual) +address|address that moves", re.IGNORECASE)
    found = {str(path.relative_to(ROOT)): others.findall(path.read_text()) for path in texts}
    assert {path: words for path, words in found.items() if words} == {}


def goal(name: str, outage_s: float, error_s: float, asked: int, bad: int, reasons: dict[str, int]) -> GoalSeen:
    return GoalSeen(
        goal=name, predicted="up", predicted_outage_s=4.0, why=(), seen="up", outage_s=outage_s, outage_error_s=error_s,
        asked=asked, bad=bad, reasons=reasons, p50_s=None, p99_s=None, agreement=Agreement.AGREES, bins=(),
    )  # fmt: skip


def test_output_of_a_drill_is_shown_as_it_is_printed() -> None:
    """Incident: the page showed lines that had been printed two versions before."""
    page = (ROOT / "docs/how-to/drill-the-stack.md").read_text()
    (shown,) = re.findall(r"## What you see\n\n```\n(.*?)\n\.nospof/drills/runs/[0-9-]+/report\.html\n```", page, re.DOTALL)
    result = DrillResult(
        number=1, name="host-off db1", faults=(), begun_at=0.0,
        goals=(goal("serve", 0.083, 0.04, 326, 0, {}), goal("write", 1.42, 0.1, 130, 7, {"status 503": 7})),
        taken=(Taken(tier="database", origin="db1", to="db2", cause="", why="nothing heard of db1 for 1.0 s",
                     ms={"voted": 29, "promoted": 4, "writable": 32}),),
        checks=tuple(Check(name=str(one), about="", result="pass", reason="") for one in range(9)),
    )  # fmt: skip
    assert shown.splitlines() == sentences(result)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:src|tests|script|docs|examples)/[\w./-]*\w/?)`", page.read_text())
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing

"""`nospof check`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

from nospof.analysis.findings import findings
from nospof.cli.sarif import sarif
from nospof.cli.screen import console
from nospof.cli.stack_argument import deployment
from nospof.stack.problems import Problem, Severity, StackProblems, worst_first

STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


def run(path: Path, *, as_json: bool, as_sarif: bool = False) -> int:
    document = _sarif if as_sarif else _document
    try:
        site = deployment(path)
    except StackProblems as wrong:
        if not as_json and not as_sarif:
            raise
        print(document(tuple(wrong.problems)))
        return wrong.exit_code
    found = (
        site.stack.warnings
        + site.problems
        + findings(
            site.stack,
            site.topology,
            site.state.allotment(),
            site.state.measured(),
            time.time(),
            site.state.takeovers(),
        )
    )
    if as_json or as_sarif:
        print(document(found))
    else:
        _show(found)
    return 1 if any(problem.severity is not Severity.NOTE for problem in found) else 0


def _document(problems: tuple[Problem, ...]) -> str:
    return json.dumps([{**asdict(problem), "severity": problem.severity.value} for problem in problems], indent=1)


def _sarif(problems: tuple[Problem, ...]) -> str:
    return json.dumps(sarif(problems), indent=1)


def _show(found: tuple[Problem, ...]) -> None:
    for problem in worst_first(found):
        console.print(str(problem), style=STYLES[problem.severity], markup=False)
        console.print()
    counts = [(severity, sum(problem.severity is severity for problem in found)) for severity in Severity]
    said = ", ".join(f"{count} {severity.value}{'s' * (count > 1)}" for severity, count in counts if count)
    console.print(said or "nothing found")

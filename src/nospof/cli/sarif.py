"""What `check` found as SARIF 2.1.0, which editors and continuous integration show beside the file's lines. Pure.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html (sections 3.27 result, 3.30 region, 3.49 rule).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nospof import __version__
from nospof.analysis.codes import CODES as FINDINGS
from nospof.stack.codes import CODES as CONTRADICTIONS
from nospof.stack.problems import Problem

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(problems: Sequence[Problem]) -> dict[str, Any]:
    """One run with a result for each of `problems`; severities are SARIF's levels of the same names."""
    codes = sorted({problem.code for problem in problems})
    rules = [{"id": code, "shortDescription": {"text": _meaning(code)}} for code in codes]
    results = [_result(problem, codes.index(problem.code)) for problem in problems]
    driver = {"name": "nospof", "version": __version__, "rules": rules}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _meaning(code: str) -> str:
    return FINDINGS[code].meaning if code in FINDINGS else CONTRADICTIONS.get(code, code)


def _result(problem: Problem, rule: int) -> dict[str, Any]:
    text = "\n".join(part for part in (problem.what, _labelled("why", problem.why), _labelled("fix", problem.fix)) if part)
    path = Path(problem.file)
    place: dict[str, Any] = {"artifactLocation": {"uri": path.as_uri() if path.is_absolute() else quote(path.as_posix())}}
    if problem.line:
        place["region"] = {"startLine": problem.line, "startColumn": problem.column}
    return {
        "ruleId": problem.code,
        "ruleIndex": rule,
        "level": problem.severity.value,
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    }


def _labelled(label: str, text: str) -> str:
    return f"{label}: {text}" if text else ""

"""`nospof explain`."""

from __future__ import annotations

import time
from pathlib import Path

from nospof.analysis.findings import findings
from nospof.cli.capacity import capacity
from nospof.cli.output import deliver
from nospof.cli.stack_argument import deployment
from nospof.cli.weak import weak_spots
from nospof.explain.document import document
from nospof.explain.html import to_html
from nospof.explain.markdown import to_markdown
from nospof.explain.structure import to_json

WRITERS = {"markdown": to_markdown, "html": to_html, "json": to_json}


def run(path: Path, *, form: str, output: Path | None) -> int:
    """Write the design document in the `form` that is named, else in the one that `output` ends with, else in Markdown."""
    site = deployment(path)
    stack, topology, measured = site.stack, site.topology, site.state.measured()
    analysed = findings(stack, topology, site.state.allotment(), measured, time.time(), site.state.takeovers())
    found = stack.warnings + site.problems + analysed
    known = capacity(stack, topology, measured, found)
    deliver(WRITERS[form or _form_of(output)](document(topology, found, weak=weak_spots(topology), capacity=known)), output)
    return 0


def _form_of(output: Path | None) -> str:
    return {".html": "html", ".htm": "html", ".json": "json"}.get(output.suffix if output else "", "markdown")

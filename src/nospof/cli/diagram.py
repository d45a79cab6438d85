"""`nospof diagram`."""

from __future__ import annotations

from pathlib import Path

from nospof.cli.output import deliver
from nospof.cli.stack_argument import deployment
from nospof.cli.weak import weak_spots
from nospof.explain.diagram import diagram
from nospof.explain.mermaid import mermaid
from nospof.explain.svg import svg


def run(path: Path, *, form: str, output: Path | None) -> int:
    """Draw the stack in the `form` that is named, else in the one that `output` ends with, else as text."""
    site = deployment(path)
    form = form or {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid"}.get(output.suffix if output else "", "text")
    weak = weak_spots(site.topology)
    if form == "text":
        # An empty line after it, so that the prompt does not stand in the picture.
        deliver(diagram(site.topology, weak) + ("\n" if output is None else ""), output)
        return 0
    deliver(svg(site.topology, weak) if form == "svg" else mermaid(site.topology, weak), output)
    return 0

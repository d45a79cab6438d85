"""`nospof diagram`."""

from __future__ import annotations

from pathlib import Path

from nospof.cli.stack_argument import deployment
from nospof.explain.diagram import diagram


def run(path: Path) -> int:
    print(diagram(deployment(path).topology))
    return 0

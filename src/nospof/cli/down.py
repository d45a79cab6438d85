"""`nospof down`."""

from __future__ import annotations

from pathlib import Path

from nospof.cli.root import require_root
from nospof.cli.screen import Lines, console
from nospof.cli.stack_argument import deployment


def run(path: Path) -> int:
    site = deployment(path)
    if not site.state.lab_name or not site.lab.exists:
        console.print("there is nothing to take down")
        return 0
    require_root()
    with Lines() as progress:
        site.down(progress)
    console.print(f"the lab is gone; secrets and ids stay in {site.state.folder}")
    return 0

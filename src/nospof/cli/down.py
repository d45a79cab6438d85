"""`nospof down`."""

from __future__ import annotations

from pathlib import Path

from nospof.apply.state import State
from nospof.cli.root import require_root
from nospof.cli.screen import Lines, console
from nospof.cli.stack_argument import stack_file
from nospof.deployment import lab_of, take_down


def run(path: Path) -> int:
    file = stack_file(path)
    if lab_of(file) is None:
        console.print("there is nothing to take down")
        return 0
    require_root()
    with Lines() as progress:
        take_down(file, progress)
    console.print(f"the lab is gone; secrets and ids stay in {State(file).folder}")
    return 0

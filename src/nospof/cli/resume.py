"""`nospof resume`."""

from __future__ import annotations

from pathlib import Path

from nospof.cli.screen import console
from nospof.cli.stack_argument import running


def run(path: Path, *, tier: str) -> int:
    site = running(path)
    site.resume(site.database_tier(tier))
    console.print("the pause is ended: a primary that is lost is replaced by itself again")
    return 0

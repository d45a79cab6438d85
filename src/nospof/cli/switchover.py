"""`nospof switchover`."""

from __future__ import annotations

from pathlib import Path

from nospof.cli.screen import console, phases
from nospof.cli.stack_argument import running


def run(path: Path, *, tier: str, to: str) -> int:
    site = running(path)
    done = site.switchover(site.database_tier(tier), to)
    console.print(f"{done.to} is primary of {done.tier} now, before it was {done.origin}; no acknowledged write was lost")
    console.print(f"  new connections waited for at most {phases(done.phases)}" if done.phases else f"  it took {done.ms} ms")
    return 0

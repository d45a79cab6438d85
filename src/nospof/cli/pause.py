"""`nospof pause` and how long a pause is."""

from __future__ import annotations

import re
from pathlib import Path

from nospof.cli.screen import console, moment
from nospof.cli.stack_argument import running
from nospof.errors import WrongInput

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def run(path: Path, *, tier: str, duration: str) -> int:
    for_s = seconds(duration)
    site = running(path)
    until = site.pause(site.database_tier(tier), for_s)
    console.print(f"nobody takes over by itself until {moment(until)}")
    console.print(
        "  a primary that is lost stays lost until then; `nospof resume` ends the pause, `nospof switchover` still works"
    )
    return 0


def seconds(duration: str) -> float:
    """Read "90s", "30m", "1h" or "2d". Raises WrongInput."""
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", duration.strip())
    if found is None or int(found[1]) == 0:
        raise WrongInput(f"{duration!r} is no duration", fix="a number and s, m, h or d: 30m")
    return float(int(found[1]) * UNITS_S[found[2]])

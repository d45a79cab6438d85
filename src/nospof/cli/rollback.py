"""`nospof rollback`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from nospof.cli.screen import Lines, console
from nospof.cli.stack_argument import running, split
from nospof.errors import WrongInput


def run(words: Sequence[str]) -> int:
    path, tier, more = split(words)
    if more:
        raise WrongInput(f"one tier at a time: {tier}, and not {' '.join(more)} too")
    site = running(path)
    with Lines() as progress:
        release = site.rollback(tier, progress)
    rolled = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(release.at))
    console.print(f"{tier} is back at the release that was rolled out at {rolled}")
    console.print("the folder is as it was: the next `nospof up` rolls it out again")
    return 0

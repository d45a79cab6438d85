"""`nospof logs`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from nospof.cli.screen import console
from nospof.cli.stack_argument import running, split
from nospof.errors import WrongInput


def run(words: Sequence[str], *, lines: int, since: str) -> int:
    path, target, more = split(words)
    site = running(path)
    if more:
        raise WrongInput(f"one at a time: {target}, and not {' '.join(more)} too")
    told = site.logs(target, lines, since)
    for host, answer in told.items():
        if isinstance(answer, str):
            console.print(Text(answer.rstrip() or f"{host}: nothing was logged"))
        else:
            console.print(Text(f"{host}: unknown, it does not answer ({answer.what})", style="yellow"))
    return 0 if all(isinstance(answer, str) for answer in told.values()) else 3

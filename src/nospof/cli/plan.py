"""`nospof plan`."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

from rich.text import Text

from nospof.apply.plan import Change, Plan
from nospof.cli.output import deliver
from nospof.cli.root import require_root
from nospof.cli.screen import Lines, Silent, console
from nospof.cli.stack_argument import deployment
from nospof.errors import WrongInput

STYLES = {"create": "green", "install": "green", "start": "green", "remove": "red", "stop": "red"}


def run(path: Path, *, as_json: bool, save: Path | None) -> int:
    site = deployment(path)
    if site.is_lab:
        if not site.exists:
            if save is not None:
                raise WrongInput("there is nothing to compare with yet, so no plan to save", fix="nospof up")
            return _nothing_yet(len(site.topology.hosts), as_json=as_json)
        require_root()
    else:
        site.servers.open()
    if as_json:
        plan = site.plan(Silent())
        deliver(plan.as_json(), None)
    else:
        with Lines() as progress:
            plan = site.plan(progress)
        _show(plan, f"up --plan {save}" if save else "up")
    if save is not None:
        deliver(plan.as_json(), save)
    return 3 if plan.problems else 0


def _nothing_yet(hosts: int, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"changes": None, "problems": [], "note": "never brought up"}))
    else:
        console.print(f"nothing of this stack exists yet: `nospof up` will make its {hosts} hosts and everything on them")
    return 0


def _show(plan: Plan, command: str) -> None:
    for host, changes in groupby(plan.changes, key=lambda change: change.host):
        console.print(Text(host, style="bold cyan"))
        for change in changes:
            _show_change(change)
    for problem in plan.problems:
        console.print(Text(f"{problem.host}: unknown, it does not answer ({problem.what})", style="yellow"))
    if plan.is_empty:
        console.print("nothing to change")
    elif plan.changes:
        hosts = {change.host for change in plan.changes}
        count = f"{len(plan.changes)} change{'s' * (len(plan.changes) > 1)} on {len(hosts)} host{'s' * (len(hosts) > 1)}"
        console.print(f"\n{count}; `nospof {command}` makes them")


def _show_change(change: Change) -> None:
    style = STYLES.get(change.change, "yellow")
    line = Text.assemble("  ", (f"{change.change:<8}", style), f"{change.kind:<8} {change.name}")
    if change.instance:
        line.append(f"  ({change.tier})", style="dim")
    console.print(line)
    for text in change.diff.splitlines():
        console.print(Text(f"             {text}", style={"+": "green", "-": "red"}.get(text[:1], "dim")))

"""`nospof status`."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.text import Text

from nospof.cli.screen import console
from nospof.cli.stack_argument import running
from nospof.deployment import Deployment, Status
from nospof.topology import FloatingName

STYLES = {"ok": "green", "failed": "red", "unknown": "yellow"}


def run(path: Path, *, as_json: bool) -> int:
    site = running(path)
    status = site.status()
    if as_json:
        print(json.dumps(as_document(site, status), indent=1))
    else:
        _show(site, status)
    return exit_code(status)


def exit_code(status: Status) -> int:
    """1 when something failed or an address has not exactly one holder, 3 when something is unknown, else 0."""
    if any(state.health == "failed" for state in status.instances):
        return 1
    if not status.problems and any(len(holders) != 1 for holders in status.holders.values()):
        return 1
    return 3 if status.problems else 0


def as_document(site: Deployment, status: Status) -> dict[str, Any]:
    """The status as the JSON document that `--json` prints."""
    silent = {problem.host: problem for problem in status.problems}
    tiers: dict[str, list[dict[str, Any]]] = {}
    for state in status.instances:
        entry = asdict(state)
        tiers.setdefault(entry.pop("tier"), []).append(entry)
    return {
        "stack": site.stack.name,
        "url": site.url,
        "vips": [
            {
                "name": floating.name,
                "address": floating.address,
                "holder": status.holders[floating.name][0] if len(status.holders[floating.name]) == 1 else None,
                "holders": list(status.holders[floating.name]),
            }
            for floating in site.topology.floating
        ],
        "tiers": tiers,
        "hosts": {
            host.name: {
                "zone": host.zone,
                "address": host.address,
                "state": "unknown" if host.name in silent else "ok",
                "why": silent[host.name].what if host.name in silent else "",
            }
            for host in site.topology.hosts
        },
    }


def _show(site: Deployment, status: Status) -> None:
    for floating in site.topology.floating:
        console.print(_held(floating, status))
    for tier, states in groupby(status.instances, key=lambda state: state.tier):
        console.print(Text(tier, style="bold"))
        for state in states:
            line = Text.assemble("  ", f"{state.host:<14}", (f"{state.health:<8}", STYLES[state.health]), f" {state.component}")
            if state.leads is not None:
                line.append("  leads" if state.leads else "  stands by", style="dim")
            if state.why:
                line.append(f"  {state.why}", style=STYLES[state.health])
            console.print(line)
    console.print()
    console.print(_summary(status))
    for problem in status.problems:
        fix = f"; with power again: nospof lab on {site.stack.file} {problem.host}" if problem.what.endswith(" is off") else ""
        console.print(Text(f"  host {problem.host} does not answer: {problem.what}{fix}", style="yellow"))
    if site.url:
        console.print(Text(site.url, style="bold"))


def _held(floating: FloatingName, status: Status) -> Text:
    """Who has the address. Nobody is certain only when every host answered."""
    holders = status.holders[floating.name]
    if len(holders) == 1:
        said, style = holders[0], "green"
    elif holders:
        said, style = f"{' AND '.join(holders)}: it must be one alone", "red"
    else:
        said, style = ("nobody that answers", "yellow") if status.problems else ("nobody", "red")
    return Text.assemble((f"{floating.name} address {floating.address}", "bold"), "  held by ", (said, style))


def _summary(status: Status) -> Text:
    counts = [(health, sum(state.health == health for state in status.instances)) for health in STYLES]
    said = [(f"{count} {health}", STYLES[health]) for health, count in counts if count]
    parts = [piece for pair in said for piece in (pair, ", ")][:-1]
    return Text.assemble(f"{len(status.instances)} parts: ", *parts)

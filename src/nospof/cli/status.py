"""`nospof status`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.text import Text

from nospof.apply.agents import AgentView, Database, Failover
from nospof.apply.state import UNHEALED, State
from nospof.cli.screen import console, moment, phases
from nospof.cli.stack_argument import running
from nospof.deployment import Deployment, InstanceState, Status
from nospof.topology import Vip

STYLES = {"ok": "green", "failed": "red", "unknown": "yellow"}


def run(path: Path, *, as_json: bool) -> int:
    site = running(path)
    status = site.status()
    if as_json:
        print(json.dumps(as_document(site, status), indent=1))
    else:
        _show(site, status)
        for line in unhealed_lines(site.state):
            console.print(line, style="red", markup=False)
    return exit_code(status)


def unhealed_lines(state: State) -> list[str]:
    """What a drill has broken and not healed: what looks like an accident may be none."""
    if not any((state.folder / UNHEALED).glob("*.json")):
        return []
    from nospof.drills.undo import unhealed  # what it imports takes time that status has not

    broken = [f"broken by a drill, and not healed yet: {record}" for record in unhealed(state)]
    return [*broken, "  nospof drill --heal puts it right, unless the drill still runs"] if broken else []


def exit_code(status: Status) -> int:
    """1 when something failed or a VIP has not exactly one holder, 3 when something is unknown, else 0."""
    if any(state.health == "failed" for state in status.instances):
        return 1
    if any(database.health == "failed" for database in status.databases):
        return 1
    if not status.problems and any(len(holders) != 1 for holders in status.holders.values()):
        return 1
    is_unknown = any(not view.answers for database in status.databases for view in database.hosts)
    return 3 if status.problems or is_unknown else 0


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
                "name": vip.name,
                "address": vip.address,
                "tier": vip.tier,
                "home": vip.home or None,
                "holder": status.holders[vip.name][0] if len(status.holders[vip.name]) == 1 else None,
                "holders": list(status.holders[vip.name]),
            }
            for vip in site.topology.vips
        ],
        "tiers": tiers,
        "databases": [_database_document(database) for database in status.databases],
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


def _database_document(database: Database) -> dict[str, Any]:
    return {
        "tier": database.tier,
        "health": database.health,
        "why": database.why,
        "primary": database.primary or None,
        "term": database.term,
        "sync": database.sync,
        "mode": database.mode,
        "voters": list(database.voters),
        "paused_until": database.paused_until or None,
        "paused_by": database.paused_by,
        "etcd": {"leader": database.etcd_leader or None, "members": list(database.etcd_members)},
        "failovers": [
            {
                "term": one.term,
                "from": one.origin,
                "to": one.to,
                "cause": one.cause,
                "why": one.why,
                "at": one.at,
                "ms": dict(one.ms),
                "loss": one.loss,
            }
            for one in database.failovers
        ],
    }


def _show(site: Deployment, status: Status) -> None:
    databases = {database.tier: database for database in status.databases}
    for vip in site.topology.vips:
        console.print(held(vip, status))
    for tier, states in groupby(status.instances, key=lambda state: state.tier):
        console.print(Text(tier, style="bold"))
        for state in states:
            console.print(_line(state, databases.get(tier)))
        if tier in databases:
            for text in database_lines(databases[tier], time.time()):
                console.print(text)
    console.print()
    console.print(_summary(status))
    for problem in status.problems:
        fix = f"; with power again: nospof lab on {site.stack.file} {problem.host}" if problem.what.endswith(" is off") else ""
        console.print(Text(f"  host {problem.host} does not answer: {problem.what}{fix}", style="yellow"))
    if site.url:
        console.print(Text(site.url, style="bold"))


def _line(state: InstanceState, database: Database | None) -> Text:
    line = Text.assemble("  ", f"{state.host:<14}", (f"{state.health:<8}", STYLES[state.health]), f" {state.component}")
    if database is not None and state.role is not None:
        line.append_text(_role(state, database.host(state.host)))
        line.append(f"  {state.qps:g} queries/s" if state.qps is not None else "", style="dim")
    elif state.leads is not None:
        line.append("  leads" if state.leads else "  stands by", style="dim")
    if state.why:
        line.append(f"  {state.why}", style=STYLES[state.health])
    return line


def _role(state: InstanceState, view: AgentView) -> Text:
    if state.role == "unknown":
        return Text(f"  role unknown: {state.says}", style=STYLES["unknown"])
    if state.role != "replica":
        return Text(
            "  primary" if state.role == "primary" else f"  no role: {state.says}",
            style="" if state.role == "primary" else "yellow",
        )
    words = ["witness" if view.is_witness else "spare" if view.is_spare else "replica"]
    words += ["voter"] if state.is_voter else []
    words += [f"{state.lag_s:g} s behind"] if state.lag_s is not None else []
    return Text(f"  {', '.join(words)}", style="dim")


def database_lines(database: Database, now: float) -> list[Text]:
    """What is to be said of a whole tier with agents. `now`: seconds since the epoch."""
    lines = [Text(f"  {_state(database)}", style="dim")] if database.primary else []
    if database.why:
        lines.append(Text(f"  {database.why}", style=STYLES["unknown" if database.health == "ok" else database.health]))
    if database.paused_until > now:
        said = f"  paused until {moment(database.paused_until)} by {database.paused_by}: nobody takes over by itself"
        lines.append(Text(said, style="yellow"))
    return lines + [Text(f"  {_failover(one)}", style="dim") for one in database.failovers]


def _state(database: Database) -> str:
    if len(database.hosts) == 1:
        return f"primary {database.primary}, without a copy"
    acknowledged = " and ".join(database.voters) if database.sync == "ok" else "nobody"
    etcd = f"; etcd is led by {database.etcd_leader}" if database.etcd_leader else ""
    return f"primary {database.primary}, term {database.term}; acknowledged by {acknowledged} ({database.mode}){etcd}"


def _failover(one: Failover) -> str:
    loss = "" if one.loss == "none" else f"; loss {one.loss}"
    return f"{moment(one.at)}  {one.origin} to {one.to}: {one.why}{loss}; {phases(one.ms)}"


def held(vip: Vip, status: Status) -> Text:
    """Who has the VIP. Nobody is certain only when every host answered."""
    holders = status.holders[vip.name]
    if len(holders) == 1:
        is_away = vip.home not in ("", holders[0])
        said, style = (f"{holders[0]}, away from its home {vip.home}", "yellow") if is_away else (holders[0], "green")
    elif holders:
        said, style = f"{' AND '.join(holders)}: it must be one alone", "red"
    else:
        said, style = ("nobody that answers", "yellow") if status.problems else ("nobody", "red")
    return Text.assemble((f"{vip.name} VIP {vip.address}", "bold"), "  held by ", (said, style))


def _summary(status: Status) -> Text:
    counts = [(health, sum(state.health == health for state in status.instances)) for health in STYLES]
    said = [(f"{count} {health}", STYLES[health]) for health, count in counts if count]
    parts = [piece for pair in said for piece in (pair, ", ")][:-1]
    return Text.assemble(f"{len(status.instances)} parts: ", *parts)

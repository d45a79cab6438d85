"""`nospof promote`: a person makes a host primary with what it has, where nobody may do so by itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nospof.apply.agents import AgentView, Database, distance
from nospof.cli.screen import console
from nospof.cli.stack_argument import known_host, running, split
from nospof.errors import Failed, Uncertain, WrongInput


def run(words: Sequence[str], *, tier: str, accept_loss: bool, yes: str) -> int:
    path, host, more = split(words)
    if more:
        raise WrongInput(f"too many words: {' '.join(more)}", fix="nospof promote [STACK] HOST --accept-loss")
    if not accept_loss:
        raise WrongInput(
            "promote makes a host primary that may lack acknowledged writes",
            why="a host that lacks none takes over by itself, or by `nospof switchover`",
            fix=f"nospof status says why nobody did; if you accept the loss: nospof promote {path} {host} --accept-loss",
        )
    site = running(path)
    known_host(site, host)
    tier = site.database_tier(tier)
    now = site.database(tier)
    refuse_needless(now, host)
    for line in loss(now, host):
        console.print(line)
    _confirm(site.stack.name, yes)
    done = site.promote(tier, host)
    console.print(f"{done.to} is primary of {done.tier} now, after {done.ms} ms")
    return 0


def refuse_needless(now: Database, host: str) -> None:
    """Do not lose what need not be lost. Raises WrongInput, Failed, Uncertain."""
    if host not in [view.host for view in now.hosts]:
        raise WrongInput(
            f"{host} is no host of tier {now.tier}", fix=f"name one of: {', '.join(view.host for view in now.hosts)}"
        )
    if host == now.primary:
        raise Failed(f"{host} is primary already", why=now.host(host).says, fix="nospof status")
    writers = [view.host for view in now.hosts if view.takes_writes]
    if writers and now.sync == "ok":
        fix = f"nospof switchover --to {host}: it loses nothing"
        raise Failed(f"{writers[0]} is primary and takes writes", why="promoting another host now would lose writes", fix=fix)
    if not now.host(host).answers:
        raise Uncertain(
            f"{host} cannot be asked to be primary", why=now.host(host).says, fix="bring it back, or promote another host"
        )


def loss(now: Database, host: str) -> list[str]:
    """Say what may be lost when `host` becomes primary: who is away, and how far everybody is known to be."""
    chosen = now.host(host)
    others = [view for view in now.hosts if view.host != host]
    lines = [f"{host} is to be primary of {now.tier} with what it has: {chosen.received or 'nothing known'}"]
    lines += [f"  {view.host:<12}  {_other(now, view, chosen)}" for view in others]
    ahead = [view.host for view in others if view.answers and distance(chosen.received, view.received)]
    if ahead:
        lines.append(f"{' and '.join(ahead)} has more than {host}: promote it instead, unless you know why not.")
    lines.append(f"What {host} lacks is lost. A host that has more saves it as SQL files when it comes back; nobody runs them.")
    return lines


def _other(now: Database, view: AgentView, chosen: AgentView) -> str:
    was = "was primary; " if view.host == now.primary else ""
    if not view.answers:
        told = now.told.get(view.host)
        return f"{was}{view.says}; {f'it last told of {told}' if told else 'how far it is was never told'}, and may have more"
    missing = distance(chosen.received, view.received)
    return f"{was}answers, has {view.received or 'nothing'}" + (
        f": {missing} transactions more" if missing else ": nothing more"
    )


def _confirm(name: str, yes: str) -> None:
    """Have the stack's name typed. Raises WrongInput when it is not that."""
    if not yes and not sys.stdin.isatty():
        raise WrongInput("nobody is there to confirm", fix=f"in a script: --yes {name}")
    typed = yes or input(f"Type the stack's name ({name}) to accept the loss: ").strip()
    if typed != name:
        raise WrongInput(f"{typed!r} is not the stack's name; nothing was changed", fix=f"type: {name}")

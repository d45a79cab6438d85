"""`nospof down`."""

from __future__ import annotations

import sys
from pathlib import Path

from nospof.apply.state import State
from nospof.cli.root import require_root
from nospof.cli.screen import Lines, console
from nospof.cli.stack_argument import stack_file
from nospof.deployment import lab_of, take_down, take_servers_down, way_to
from nospof.errors import WrongInput


def run(path: Path, name: str) -> int:
    file = stack_file(path)
    state = State(file)
    if state.servers():
        return _servers(file, state, name)
    if lab_of(file) is None:
        console.print("there is nothing to take down")
        return 0
    require_root()
    with Lines() as progress:
        take_down(file, progress)
    console.print(f"the lab is gone; secrets and ids stay in {state.folder}")
    return 0


def _servers(file: Path, state: State, name: str) -> int:
    servers = state.servers()
    if not name and sys.stdin.isatty():
        hosts = ", ".join(sorted(servers))
        console.print(f"this stops the site on {hosts} and removes what nospof put there; data and packages stay")
        name = input("type the name of the stack to do it: ").strip()
    if name != state.stack_name:
        what = f"not taken down: {name or 'no name'} is not the name of this stack"
        raise WrongInput(what, fix=f"nospof down {file} --name {state.stack_name}")
    way = way_to(servers)
    way.open()
    with Lines() as progress:
        take_servers_down(file, way, progress)
    console.print(f"nothing of it runs any more; data and packages stay on the servers, secrets and ids in {state.folder}")
    return 0

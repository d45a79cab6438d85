"""`nospof shell`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nospof.cli.stack_argument import deployment
from nospof.errors import WrongInput


def run(words: Sequence[str]) -> int:
    path, host, command = split(words)
    site = deployment(path)
    known = [*(host.name for host in site.topology.hosts), "client"]
    if host not in known:
        raise WrongInput(f"there is no host {host}", why=f"the stack has {', '.join(known)}")
    return site.lab.enter(host, command)


def split(words: Sequence[str]) -> tuple[Path, str, tuple[str, ...]]:
    """Tell stack, host and command apart: the first word is a stack only when it looks like a file or folder."""
    first = Path(words[0])
    is_stack = first.is_dir() or first.suffix in (".yaml", ".yml")
    if is_stack and len(words) < 2:
        raise WrongInput("no host named", fix="nospof shell STACK HOST")
    path, rest = (first, words[1:]) if is_stack else (Path("stack.yaml"), words)
    command = rest[2:] if rest[1:2] == ["--"] else rest[1:]
    return path, rest[0], tuple(command)

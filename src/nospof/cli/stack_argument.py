"""The stack argument that every command takes, and the host that some take after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nospof.cli.root import require_root
from nospof.deployment import Deployment
from nospof.errors import Failed, WrongInput

DEFAULT = Path("stack.yaml")


def deployment(path: Path) -> Deployment:
    """The deployment of the stack file at `path`, or of stack.yaml in the folder `path`."""
    return Deployment.load(stack_file(path))


def stack_file(path: Path) -> Path:
    """The stack file that `path` names, whether or not it is one."""
    return path / DEFAULT if path.is_dir() else path


def running(path: Path) -> Deployment:
    """The same, with hosts that exist and can be reached. Raises Failed or WrongInput where that is not so."""
    site = deployment(path)
    if not site.is_lab:
        if not site.exists:
            raise Failed("this stack was never brought up", fix=f"nospof up {site.stack.file}")
        site.servers.open()
        return site
    if site.state.lab_name and not site.lab.exists:
        raise Failed("this stack is down: none of its hosts exists", fix=f"nospof up {site.stack.file}")
    if site.lab.exists:
        require_root()
    return site


def split(words: Sequence[str]) -> tuple[Path, str, tuple[str, ...]]:
    """Tell stack, host and command apart, as in [STACK] HOST [--] COMMAND; host "" where none is named.

    The first word is a stack when it looks like a file or a folder, which no name of a host does.
    """
    first = words[0]
    is_stack = "/" in first or first.endswith((".yaml", ".yml")) or (Path(first).is_dir() and len(words) > 1) or first == "."
    path, rest = (Path(first), words[1:]) if is_stack else (DEFAULT, words)
    command = rest[2:] if list(rest[1:2]) == ["--"] else rest[1:]
    return path, rest[0] if rest else "", tuple(command)


def known_host(site: Deployment, host: str) -> str:
    """`host`, if the stack has it or it is the client. Raises WrongInput with the hosts there are."""
    known = [*(host.name for host in site.topology.hosts), *(["client"] if site.is_lab else [])]
    if host not in known:
        what = f"there is no host {host}" if host else "no host named"
        raise WrongInput(what, fix=f"name one of: {', '.join(known)}")
    return host

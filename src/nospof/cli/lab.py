"""`nospof lab doctor`, `off`, `on`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nospof.cli.screen import console, show_check
from nospof.cli.stack_argument import deployment, known_host, running, split
from nospof.deployment import Deployment
from nospof.errors import WrongInput
from nospof.lab.doctor import examine

DEFAULT_HOSTS = 6


def doctor(path: Path | None) -> int:
    hosts = len(deployment(path).topology.hosts) if path else DEFAULT_HOSTS
    checks = examine(hosts)
    for check in checks:
        show_check(check.verdict.name, check.name, check.what, check.fix)
    verdicts = {check.verdict.name for check in checks}
    if "FAIL" in verdicts:
        return 1
    return 3 if "UNKNOWN" in verdicts else 0


def off(words: Sequence[str]) -> int:
    site, host = _named(words)
    site.lab.power_off(host)
    console.print(f"{host} is without power; back again with: nospof lab on {site.stack.file} {host}")
    return 0


def on(words: Sequence[str]) -> int:
    site, host = _named(words)
    site.lab.power_on(host)
    console.print(f"{host} is up again")
    return 0


def _named(words: Sequence[str]) -> tuple[Deployment, str]:
    path, host, more = split(words)
    if more:
        raise WrongInput(f"one host at a time: {host}, and not {' '.join(more)} too")
    known = known_host(deployment(path), host)
    return running(path), known

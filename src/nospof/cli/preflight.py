"""`nospof preflight`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from nospof.apply.preflight import Check
from nospof.cli.screen import console, show_check
from nospof.cli.stack_argument import deployment

Alike = dict[tuple[str, str, str, str], list[str]]


def run(path: Path, *, as_json: bool) -> int:
    site = deployment(path)
    if site.is_lab:
        console.print("the hosts of this stack are made in this machine: nospof lab doctor says whether it can carry them")
        return 0
    site.servers.open()
    checks = site.preflight()
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        for (verdict, name, what, fix), hosts in _alike(checks).items():
            show_check(verdict, name, f"{', '.join(hosts)}: {what}", fix)
        ours = {host.name for host in site.topology.hosts} - {check.host for check in checks}
        if ours:
            console.print(f"already this stack's: {', '.join(sorted(ours))}")
    verdicts = {check.verdict for check in checks}
    return 1 if "FAIL" in verdicts else 3 if "UNKNOWN" in verdicts else 0


def _alike(checks: list[Check]) -> Alike:
    """Hosts of which the same is to be said, those with something to do last, where they are read."""
    found: Alike = {}
    for check in sorted(checks, key=lambda check: (check.verdict != "OK", check.verdict == "FAIL")):
        found.setdefault((check.verdict, check.name, check.what, check.fix), []).append(check.host)
    return found

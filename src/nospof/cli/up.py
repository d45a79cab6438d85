"""`nospof up`."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from nospof.apply.plan import read_plan
from nospof.cli.root import require_root
from nospof.cli.screen import Lines, console
from nospof.cli.stack_argument import deployment
from nospof.deployment import Deployment
from nospof.explain.diagram import diagram
from nospof.explain.dns import zone_lines
from nospof.vips import try_vips


def run(path: Path, *, plan: Path | None) -> int:
    shown = None if plan is None else read_plan(plan)
    site = deployment(path)
    if site.is_lab:
        require_root()
    else:
        site.servers.open()
    is_new = not site.exists
    with Lines() as progress:
        if site.password_step:
            progress.note(f"a change of passwords is not finished: {site.password_step.value}; nospof rotate passwords goes on")
        has_changed = site.up(progress, shown)
        if not has_changed:
            progress.phase("nothing to change")
        if site.entrance is not None:
            answer = site.ask_entrance()
            progress.phase(f"the site answers: {answer.status} after {answer.took_s * 1000:.0f} ms")
            if not site.is_lab:
                try_vips(site, progress)
    if is_new:
        console.print()
        console.print(Text(diagram(site.topology)))
    where(site)
    return 0


def where(site: Deployment) -> None:
    """Say how one comes to the site: the URL, whom to trust, and on real servers what DNS must have."""
    if site.url:
        console.print()
        console.print(Text.assemble("  open    ", (site.url, "bold")))
        console.print(f"  trust   {site.ca_file}")
        console.print("          (the certificate of this stack's own CA: import it into the browser, or curl --cacert it)")
    lines = () if site.is_lab else zone_lines(site.topology)
    for number, line in enumerate(lines):
        console.print(Text(f"  {'dns' if not number else '':<8}{line}"), soft_wrap=True)
    if lines:
        console.print(Text(f"          (what the zone of the domain must have; also in {site.zone_file})"), soft_wrap=True)

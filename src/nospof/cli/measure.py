"""`nospof measure`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from nospof.analysis.measured import Measured
from nospof.cli.screen import Silent, console
from nospof.cli.stack_argument import running
from nospof.errors import Uncertain
from nospof.measuring.knee import Knee, Step
from nospof.measuring.measure import Aim, Said, measure


def run(stack: Path, *, p99_s: float, seconds: float, most_qps: float, connections: int, path: str, as_json: bool) -> int:
    site = running(stack)
    aim = Aim(p99_s, seconds, most_qps, connections, path)
    said = Said(_nothing, _nothing, _nothing) if as_json else Said(_show_begin, _show_step, _show_knee)
    try:
        measured = measure(site, aim, said, Silent())
    except KeyboardInterrupt:
        fix = "run it again; figures of an earlier run are still there"
        raise Uncertain("interrupted: nothing was written down, and the load has ended", fix=fix) from None
    if as_json:
        print(json.dumps(asdict(measured), indent=1, sort_keys=True))
    else:
        _show(measured, site.state.measured_file)
    return 0


def _nothing(_: object) -> None:
    pass


def _show_begin(what: str) -> None:
    console.print(Text(what, style="bold"))


def _show_step(step: Step) -> None:
    p99 = f"{step.p99_s:.3f} s" if math.isfinite(step.p99_s) else "none"
    words = [] if step.holds else ["too much"]
    words += [f"{step.bad_share:.0%} failed ({step.why})"] if step.bad_share else []
    words += ["the load itself had no time for more"] if step.is_load_late else []
    console.print(
        Text(f"  {step.qps:6.0f} QPS  p99 {p99:<8}  {', '.join(words)}".rstrip(), style="" if step.holds else "yellow")
    )


def _show_knee(knee: Knee) -> None:
    found = f"{'at least ' if knee.is_at_least else ''}{knee.best.qps:.0f} QPS" if knee.best else "nothing in time"
    console.print(Text(f"  carries {found}", style="green" if knee.best else "red"))


def _show(measured: Measured, file: Path) -> None:
    machine = measured.machine
    console.print()
    console.print(Text(f"{measured.request}, 99 of 100 answered within {measured.p99_s:g} s", style="bold"))
    console.print(f"  the whole      {measured.whole} QPS")
    for tier, hosts in measured.instances.items():
        told = ", ".join(f"{host} {figure}" for host, figure in sorted(hosts.items()))
        console.print(f"  {tier:<14} {told} QPS", markup=False)
    if machine.is_shared:
        said = (
            f"a lab: hosts and load share the {machine.cores} cores of {machine.name}; servers of their own carry other figures"
        )
        console.print(Text(said, style="yellow"))
    if machine.is_busy:
        said = f"{machine.busy_share:.0%} of the machine was busy with other work: the figures are too low, measure again"
        console.print(Text(said, style="red"))
    console.print(f"written to {file}; nospof check uses it", markup=False)

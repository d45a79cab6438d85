"""`nospof dashboard`."""

from __future__ import annotations

from pathlib import Path

from nospof.analysis.security import how_to_watch, is_watched
from nospof.cli.output import deliver
from nospof.cli.stack_argument import deployment
from nospof.errors import WrongInput
from nospof.explain.dashboard import dashboard


def run(path: Path, *, output: Path | None) -> int:
    """Write the Grafana dashboard of the stack. Raises WrongInput where nobody keeps figures that it could show."""
    site = deployment(path)
    topology = site.topology
    if not is_watched(topology):
        raise WrongInput(
            "there are no figures to be drawn: nothing watches the stack",
            why="a dashboard asks whoever keeps the figures of the stack",
            fix=f"{how_to_watch(site.stack)}; then nospof up",
        )
    deliver(dashboard(topology), output)
    return 0

"""Short ways to write down histories."""

from __future__ import annotations

from nospof.drills.workloads.http_get import Outcome
from nospof.drills.workloads.sql_write import History, Write


def write(
    token: str, invoked: float, ended: float, server: int | None = 1, outcome: Outcome = Outcome.OK, client: int = 0
) -> Write:
    return Write(client, token, invoked, ended, outcome, server)


def history(*tokens: str, failed: tuple[str, ...] = (), unknown: tuple[str, ...] = ()) -> History:
    """Writes one after the other: acknowledged `tokens`, then those that failed, then those of which nobody knows."""
    outcomes = [(token, Outcome.OK) for token in tokens]
    outcomes += [(token, Outcome.FAILED) for token in failed] + [(token, Outcome.UNKNOWN) for token in unknown]
    return History.of(write(token, at, at + 0.5, outcome=outcome) for at, (token, outcome) in enumerate(outcomes))

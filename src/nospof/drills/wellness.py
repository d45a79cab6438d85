"""Whether a stack is all that it should be: not only that it answers, but that everything is there which it may lose."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from nospof.drills.ground import Ground
from nospof.drills.visitors import Visitor
from nospof.drills.workloads.http_get import Request

LOOKS_EVERY_S = 0.5
ASKS_EVERY_S = 3.0
# The requests of so long must be good, and must have been answered by everybody: of few visitors so many, of many no more.
LAST_S, FEWEST_LAST, MOST_LAST = 4.0, 20, 60
# Who needs longer is overloaded: what a fault does then says little.
SLOW_S = 2.0


def complaints(ground: Ground) -> list[str]:
    """What is not as it should be, as the hosts and the agents on them say."""
    status = ground.status()
    found = [f"{problem.host}: {problem.what}" for problem in status.problems]
    found += [f"{seen.tier}/{seen.host} is {seen.health}: {seen.why}" for seen in status.instances if seen.health != "ok"]
    found += [f"{name} is held by {', '.join(hosts) or 'nobody'}" for name, hosts in status.holders.items() if len(hosts) != 1]
    return found + [f"{database.tier}: {database.why}" for database in status.databases if database.health != "ok"]


Latest = Sequence[tuple[Visitor, Sequence[Request]]]
"""Of each visitor the last requests that have ended."""


def latest(visitors: Sequence[Visitor]) -> Latest:
    return [(visitor, visitor.so_far(_counted(visitor.period_s))) for visitor in visitors]


def _counted(period_s: float) -> int:
    return min(MOST_LAST, max(FEWEST_LAST, math.ceil(LAST_S / period_s)))


def answering(seen: Latest) -> dict[str, frozenset[str]]:
    """By tier, who answered the visitors' last requests."""
    found: dict[str, set[str]] = {}
    for _, requests in seen:
        for request in requests:
            for tier, server in request.servers.items():
                found.setdefault(tier, set()).add(server)
    return {tier: frozenset(servers) for tier, servers in found.items()}


def unanswered(seen: Latest, before: dict[str, frozenset[str]]) -> list[str]:
    """Which of the last requests were bad, and who of those that shared the work `before` does not yet again."""
    last = [(visitor.goal.value, request) for visitor, requests in seen for request in requests]
    bad = [f"{goal}: {request.why}" for goal, request in last if not request.is_good]
    bad += [f"{goal}: answers take more than {SLOW_S:g} s" for goal, request in last if SLOW_S < request.latency_s < math.inf]
    now = answering(seen)
    idle = [
        f"{tier}/{server} answers nobody yet"
        for tier, servers in before.items()
        if len(servers) > 1
        for server in sorted(servers - now.get(tier, frozenset()))
    ]
    return sorted(set(bad)) + idle


def wait_until_well(ground: Ground, limit_s: float, answers: Callable[[], list[str]] = list) -> list[str]:
    """Wait until visitors are answered as before, and then until the hosts complain of nothing.

    `answers`: what is still wrong for visitors, which costs nothing to look at. Returns what is left after `limit_s`, [] if
    nothing.
    """
    end = time.monotonic() + limit_s
    while True:
        ill, began = answers(), time.monotonic()
        found = ill or complaints(ground)
        if not found or time.monotonic() > end:
            return found
        # Where everybody is slow to answer, being asked all the time is a part of it.
        time.sleep(LOOKS_EVERY_S if ill else max(ASKS_EVERY_S, 2 * (time.monotonic() - began)))

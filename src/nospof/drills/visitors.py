"""The load of a drill: visitors who read and write through the entrance, and clients beside an application.

Visitors are on a host of their own, outside of every fault, and ask at fixed times whatever the answers do.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from nospof.analysis.structure import Goal
from nospof.component import OnePrimary, TcpRoute
from nospof.drills.ground import Ground
from nospof.drills.record import Visits
from nospof.drills.workloads import cache_write, http_get, sql_write
from nospof.errors import Failed
from nospof.lab.places import CLIENT
from nospof.resolve import component_of
from nospof.topology import OUTSIDE, InstanceId, Protocol, Site, Topology

Run = TypeVar("Run")
TABLE = "nospof_drill"
CLIENTS = 2
READS_BACK_EACH = 4
SHOWN_EVERY_S = 0.5


@dataclass(frozen=True)
class Rates:
    """Requests a second, of all sites together."""

    reads: float = 50.0
    writes: float = 20.0
    connections: int = 0
    """That are kept open for each of the two on each site, as browsers do; 0: each request has a new one."""


@dataclass
class Visitor:
    """One load that runs."""

    goal: Goal
    site: Site
    run: http_get.Running

    @property
    def period_s(self) -> float:
        return 1 / self.run.load.rate

    def so_far(self, last: int) -> list[http_get.Request]:
        """The `last` requests that have ended; fewer while there are fewer."""
        lines = _tail(self.run.output, last * 600).split("\n")[1:-1]
        found = [json.loads(line) for line in lines[-last:]]
        return [http_get.read_request(line) for line in found if "outcome" in line]


@dataclass
class Load:
    """All that runs during a drill."""

    visitors: tuple[Visitor, ...]
    writes: sql_write.Running | None
    tokens: str
    """What the visitors' tokens begin with."""
    cached: sql_write.Running | None = None
    """Who writes into a cache."""

    @property
    def token_pattern(self) -> str:
        """A regular expression for every token that is written."""
        beside = f"|{self.writes.token_prefix}[0-9]+-[0-9]+" if self.writes else ""
        return f"{self.tokens}[0-9]+{beside}"

    def calm(self) -> None:
        """Leave the machine to what comes back: the clients that write as fast as they can do so no more."""
        for running in (self.writes, self.cached):
            if running is not None:
                running.calm()

    def finish(self) -> tuple[tuple[Visits, ...], sql_write.History | None, sql_write.History | None]:
        """End it and return what was seen. The clients' histories, of a database and of a cache, are None where they were lost.

        Raises ValueError where a load did not come to its end.
        """
        seen = tuple(Visits(visitor.goal, visitor.site.tier, visitor.run.finish()) for visitor in self.visitors)
        return seen, _finished(self.writes), _finished(self.cached)


@contextmanager
def load(ground: Ground, folder: Path, tokens: str, seconds: float, rates: Rates, spared: Collection[str]) -> Iterator[Load]:
    """Run the load for at most `seconds`; files go to `folder`. `spared`: hosts on which nothing is broken.

    Raises Failed where the stack answers nothing.
    """
    with ExitStack() as stack:
        visitors = []
        for goal, site, planned in _loads(ground, tokens, seconds, rates):
            output = folder / f"{goal.value}-{site.tier}.jsonl"
            wrap = partial(ground.lab.network_argv, CLIENT)
            visitors.append(Visitor(goal, site, _begun(stack, http_get.running(planned, output, wrap))))
        writes = None
        if (writer := writing_application(ground, spared)) is not None:
            planned_sql = sql_write.Load(
                table=TABLE, clients=CLIENTS, seconds=seconds, environment=f"/etc/nospof/{writer.tier}.env"
            )
            on_host = partial(ground.run, writer.host)
            writes = _begun(stack, sql_write.running(planned_sql, on_host))
        cached = None
        if (found := caching_application(ground, spared)) is not None:
            caller, tier = found
            prefix = tier.upper().replace("-", "_")
            planned_cache = cache_write.Load(seconds=seconds, environment=f"/etc/nospof/{caller.tier}.env", prefix=prefix)
            # A stack whose cache does not answer is drilled all the same: it is then not watched who acknowledges there.
            with suppress(Failed):
                cached = _begun(stack, sql_write.running(planned_cache, partial(ground.run, caller.host)))
        yield Load(tuple(visitors), writes, tokens, cached)


@contextmanager
def shown(running: Load, show: Callable[[str], None]) -> Iterator[None]:
    """Tell `show` twice a second what the last requests met with, until the block ends."""
    is_over = threading.Event()

    def tell() -> None:
        while not is_over.wait(SHOWN_EVERY_S):
            show(" · ".join(_lately(visitor) for visitor in running.visitors))

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _lately(visitor: Visitor) -> str:
    last = visitor.so_far(round(visitor.run.load.rate))
    good = [request for request in last if request.is_good]
    ago_s = time.monotonic() - good[-1].ended if good else math.inf
    if ago_s > 3 * visitor.period_s + 0.2:
        said = f"last good answer {ago_s:.1f} s ago"
    else:
        said = f"slowest {1000 * max(request.latency_s for request in good):.0f} ms"
    return f"{visitor.goal.value} {len(good)} of {len(last)} good, {said}"


def writing_application(ground: Ground, spared: Collection[str]) -> InstanceId | None:
    """An application that writes to a database, on one of the hosts `spared`."""
    for link in ground.topology.links:
        route = link.target.listen.answers
        is_for_data = isinstance(route, TcpRoute) and route.writes and not route.is_for_pages
        if is_for_data and link.source.host in spared and not link.asks_health:
            return link.source
    return None


def caching_application(ground: Ground, spared: Collection[str]) -> tuple[InstanceId, str] | None:
    """An application on one of the hosts `spared` that writes to a cache whose servers have roles, and the cache's tier."""
    for link in ground.topology.links:
        route = link.target.listen.answers
        if isinstance(route, TcpRoute) and _is_cache(route) and link.source.host in spared and not link.asks_health:
            return link.source, route.tier
    return None


def cached_tiers(topology: Topology) -> tuple[str, ...]:
    """Caches one of whose servers alone takes writes, and is replaced when it is lost."""
    answers = (link.target.listen.answers for link in topology.links)
    routed = {route.tier for route in answers if isinstance(route, TcpRoute) and _is_cache(route)}
    members = {tier: component_of(topology.of_tier(tier)[0]).redundancy for tier in routed}
    return tuple(sorted(tier for tier, how in members.items() if isinstance(how, OnePrimary) and how.takes_over))


def _is_cache(route: TcpRoute) -> bool:
    return route.writes and route.is_for_pages and route.speaks is Protocol.REDIS


def _finished(running: sql_write.Running | None) -> sql_write.History | None:
    with suppress(ValueError):
        return running.finish() if running is not None else None
    return None


def _begun(stack: ExitStack, starting: AbstractContextManager[Run]) -> Run:
    try:
        return stack.enter_context(starting)
    except TimeoutError as error:
        raise Failed("the stack answers no visitor", why=str(error), fix="nospof status, then mend what it shows") from None


def _loads(ground: Ground, tokens: str, seconds: float, rates: Rates) -> Iterator[tuple[Goal, Site, http_get.Load]]:
    """One who reads for each site, and one who writes where the stack says how."""
    deployment = ground.deployment
    entries = [link.target for link in ground.topology.links if link.source == OUTSIDE]
    if deployment.entrance is None:
        return
    sites = sorted({site for entry in entries for site in ground.topology.promised_sites(entry)}, key=lambda site: site.tier)
    port = deployment.entrance.listen.port or http_get.Load.port
    ca_file = deployment.ca_file if port == http_get.Load.port else None
    for goal, site, asked in visits(sites, rates):
        name = site.domain or ground.topology.domain
        whom = replace(asked, addresses=deployment.entrance_addresses, name=name, ca_file=ca_file, port=port, seconds=seconds)
        yield goal, site, replace(whom, tokens=tokens) if goal is Goal.WRITE else whom


def visits(sites: Sequence[Site], rates: Rates) -> Iterator[tuple[Goal, Site, http_get.Load]]:
    """What is asked for and written on each site, and how often: they share the rates. Nobody is named yet. Pure."""
    nobody = http_get.Load((), "", None, connections=rates.connections)
    for site in sites:
        # A browser asks again where a kept connection ended; nobody writes again unasked.
        asked = replace(nobody, path=site.asked, rate=rates.reads / len(sites))
        yield Goal.SERVE, site, replace(asked, sends_again=rates.connections > 0)
    written = [site for site in sites if site.write_path]
    for site in written:
        told = replace(nobody, path=site.write_path, body=site.write_body, read_back=site.read_path)
        yield Goal.WRITE, site, replace(told, rate=rates.writes / len(written), reads_back_each=READS_BACK_EACH)


def _tail(path: Path, size: int) -> str:
    """The last bytes of a file, from an end of line on; what comes before the first is cut."""
    with path.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - size))
        return "\n" * (stream.tell() == 0) + stream.read().decode(errors="replace")

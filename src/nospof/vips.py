"""Whether a VIP of real servers is found at another host once that has taken it: tried before it has to be so.

In many networks, those of clouds above all, an address does not follow what a host says by gratuitous ARP: then all looks well
until the first host dies.
"""

from __future__ import annotations

import time
from typing import Any

from nospof.apply.rollout import Progress
from nospof.apply.transport import Finished
from nospof.component import Component
from nospof.deployment import Deployment
from nospof.errors import Failed, Uncertain
from nospof.topology import Vip

MOVES_WITHIN_S, LOOKS_EVERY_S = 20.0, 0.2


def try_vips(site: Deployment, progress: Progress) -> None:
    """Have each VIP held by another host, and ask for the site there: once, for as long as its hosts are the same.

    Raises Failed where nobody takes it, or where the site is not found at who took it: the VIP is then back where it was.
    """
    moved = site.state.moved_vips()
    for vip in site.topology.vips:
        line = f"{vip.address} {' '.join(vip.hosts)}"
        # The hosts are asked only when there is something to try: this is run after every `up`.
        if line in moved or len(vip.hosts) < 2 or len(holders := site.status().holders[vip.name]) != 1:
            continue
        progress.phase(f"moving {vip.address} away from {holders[0]} once, to see whether it is found elsewhere")
        to = _moved(site, vip, holders[0])
        try:
            answer = site.ask_at(vip.address)
        except Failed as error:
            back = _moved(site, vip, to)
            raise Failed(
                f"the VIP {vip.address} was taken by {to}, and was not found there; {back} has it again",
                why=f"should {back} die, visitors would still be sent to it: the network does not heed what {to} says by ARP",
                fix=next(kind.if_vip_stays for kind in _movers(site, to)),
                detail=error.what,
            ) from error
        progress.phase(f"found at {to} after {answer.took_s * 1000:.0f} ms")
        moved |= {line}
        site.state.write_moved_vips(moved)


def _moved(site: Deployment, vip: Vip, holder: str) -> str:
    """Have `holder` let go of `vip`; returns who has it then."""
    for kind in _movers(site, holder):
        outcome = site.servers.run(holder, kind.lets_go, timeout_s=30)
        if not isinstance(outcome, Finished):
            raise Uncertain(f"{holder} does not answer: {outcome.reason}")
    end_s = time.monotonic() + MOVES_WITHIN_S
    while time.monotonic() < end_s:
        holders = site.status().holders[vip.name]
        if len(holders) == 1 and holders[0] != holder:
            return holders[0]
        time.sleep(LOOKS_EVERY_S)
    raise Failed(
        f"nobody took the VIP {vip.address} within {MOVES_WITHIN_S:.0f} s after {holder} had let go of it",
        why="should that host die, nobody would either",
        fix="nospof status names what is not well on the others; nospof logs shows what it said",
    )


def _movers(site: Deployment, host: str) -> list[type[Component[Any]]]:
    kinds = [Component.kinds[instance.component] for instance in site.topology.on_host(host)]
    return [kind for kind in kinds if kind.lets_go]

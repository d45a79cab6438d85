"""Who leads a tier without failover agents, as a cache: it hands over by a command, and others agree on who is next."""

from __future__ import annotations

from collections.abc import Callable

from nospof.apply.transport import Finished
from nospof.drills.ground import Ground
from nospof.errors import Failed
from nospof.resolve import component_of
from nospof.topology import InstanceId

# The first time is enough, unless those who agree on it had not heard yet who it is to be.
MOST_HANDOVERS = 3


def have_lead(ground: Ground, tier: str, host: str, say: Callable[[str], None], wait_until_well: Callable[[], None]) -> None:
    """Have whoever leads `tier` hand over until `host` does. Raises Failed where that does not come about."""
    for _ in range(MOST_HANDOVERS):
        leaders = [seen.host for seen in ground.status().instances if seen.tier == tier and seen.leads]
        if leaders == [host]:
            return
        say(f"{host} is to be primary of {tier}, which {' and '.join(leaders) or 'nobody'} is now")
        for leader in leaders[:1]:
            _hand_over(ground, tier, leader, host)
        wait_until_well()
    raise Failed(f"{host} did not become primary of {tier}", fix="nospof status")


def _hand_over(ground: Ground, tier: str, leader: str, host: str) -> None:
    command = component_of(ground.topology.instance(InstanceId(tier, leader))).hands_over
    ended = ground.run(leader, [*command, "--to", host]) if command else None
    if not isinstance(ended, Finished) or ended.exit_code != 0:
        raise Failed(f"{leader} did not hand over the role of primary of {tier}", fix="nospof status")

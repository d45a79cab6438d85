"""Whether a host's packets reach others and answers come back, for faults in the network."""

from __future__ import annotations

from collections.abc import Iterable

from nospof.drills.ground import Ground
from nospof.lab.lab import HostState

# In parallel, since each that is silent takes its second. More than one packet, for those who lose some only by chance.
_PING = """
for address in {addresses}; do
  {{ ping -q -c {count} -i 0.01 -W 1 "$address" >/dev/null 2>&1 && echo "$address"; }} &
done
wait
"""


def reached(ground: Ground, source: str, targets: Iterable[str], count: int = 1) -> frozenset[str]:
    """Those of the hosts `targets` that answer one of `count` pings from `source` within a second."""
    by_address = {ground.lab.address(target): target for target in targets}
    said = ground.sh(source, _PING.format(addresses=" ".join(sorted(by_address)), count=count))
    return frozenset(by_address[address] for address in said.split())


def running(ground: Ground, but: Iterable[str] = ()) -> tuple[str, ...]:
    """The lab's hosts that have power and run, the visitors' among them: another fault may hold at the same time."""
    names = [name for name in ground.lab.host_names() if name not in set(but)]
    return tuple(name for name in names if ground.lab.state(name) is HostState.RUNNING)

"""Whether a host's packets reach others and answers come back, for faults in the network."""

from __future__ import annotations

from collections.abc import Iterable

from nospof.drills.ground import Ground

# In parallel, since each that is silent takes its second.
_PING = """
for address in {addresses}; do
  {{ ping -q -c 1 -W 1 "$address" >/dev/null 2>&1 && echo "$address"; }} &
done
wait
"""


def reached(ground: Ground, source: str, targets: Iterable[str]) -> frozenset[str]:
    """Those of the hosts `targets` that answer a ping from `source` within a second."""
    by_address = {ground.lab.address(target): target for target in targets}
    said = ground.sh(source, _PING.format(addresses=" ".join(by_address)))
    return frozenset(by_address[address] for address in said.split())

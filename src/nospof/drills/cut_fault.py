"""What faults share that have the lab's network drop packets: rules of their own, which nobody else's healing ends."""

from __future__ import annotations

from nospof.drills.fault import Evidence, Fault, Ground, Part, Target, Topology
from nospof.drills.reach import reached, running

# Enough that even of one lost in a hundred something is seen, if it is looked more than once.
PACKETS = 50


class CutFault(Fault):
    """Subclasses inject, with `name=self.mark` in every `Lab.cut`, and say from where to where packets are lost."""

    def heal(self, ground: Ground) -> None:
        ground.lab.mend(self.mark)

    def healed(self, ground: Ground) -> Evidence:
        is_there = ground.lab.has_cut(self.mark)
        return Evidence(not is_there, "packets are still dropped" if is_there else "no packet is dropped any more")

    def silence(self, ground: Ground, here: tuple[str, ...], there: tuple[str, ...]) -> Evidence:
        """No host of `here` gets an answer from one of `there`, and it is because of this fault."""
        found = {(one, other) for one in here for other in reached(ground, one, there)} if there else set()
        lost = ground.lab.dropped(self.mark)
        says = ", ".join(f"{one} reaches {other}" for one, other in sorted(found)) or f"{lost} packets were dropped"
        return Evidence(not found and (lost > 0 or not there), says)

    def others(self, ground: Ground) -> tuple[str, ...]:
        """All that run but the host itself."""
        return running(ground, but=self.hosts(ground.topology))


class LinksFault(CutFault):
    """Cuts links between hosts that all live: no part is lost.

    So nothing is foretold of parts, and the drill is judged by what must never happen. All hosts have to do with it, unless a
    subclass says something else.
    """

    breaks = Target.HOST

    def hosts(self, topology: Topology) -> tuple[str, ...]:
        return tuple(host.name for host in topology.hosts)

    def lost(self, topology: Topology) -> frozenset[Part] | None:
        return None

    def touches(self, topology: Topology) -> frozenset[Part]:
        return frozenset()

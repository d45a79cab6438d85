"""Some packets from and to a host are lost, by chance: a bad cable."""

from nospof.drills.cut_fault import PACKETS, CutFault
from nospof.drills.fault import Evidence, Field, Ground, Part, Target, Topology
from nospof.drills.reach import reached


class PacketLoss(CutFault):
    name = "packet-loss"
    about = "Some of the packets from and to the host are lost; what was sent again arrives late."
    breaks = Target.HOST

    percent: int = Field(20, ge=1, le=99, description="So many of a hundred packets, in each direction.")

    def lost(self, topology: Topology) -> frozenset[Part] | None:
        """Nobody can tell: health checks may or may not notice."""
        return None

    def inject(self, ground: Ground) -> None:
        ground.lab.cut([self.target], None, percent=self.percent, name=self.mark)

    def injected(self, ground: Ground) -> Evidence:
        reached(ground, self.target, self.others(ground)[:1], PACKETS)
        lost = ground.lab.dropped(self.mark)
        return Evidence(lost > 0, f"{lost} packets were dropped")

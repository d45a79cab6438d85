"""A host is heard and hears nothing, or hears and is not heard: half of a broken pair of fibres."""

from typing import Literal

from nospof.drills.cut_fault import CutFault
from nospof.drills.fault import Evidence, Field, Ground, Target


class OneWay(CutFault):
    name = "one-way"
    about = "Packets are dropped in one direction only: the host hears the others and is not heard, or the reverse."
    breaks = Target.HOST

    drops: Literal["out", "in"] = Field("out", description="out: what the host sends is lost; in: what is sent to it.")

    def inject(self, ground: Ground) -> None:
        way = ([self.target], None) if self.drops == "out" else (None, [self.target])
        ground.lab.cut(*way, one_way=True, name=self.mark)

    def injected(self, ground: Ground) -> Evidence:
        return self.silence(ground, (self.target,), self.others(ground))

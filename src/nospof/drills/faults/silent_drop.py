"""Nothing reaches a host and nothing comes from it, while its link stays up: what a switch does that has lost its mind."""

from nospof.drills.cut_fault import CutFault
from nospof.drills.fault import Evidence, Ground, Target


class SilentDrop(CutFault):
    name = "silent-drop"
    about = "Packets from and to the host are dropped in the network; its link stays up, and nobody is told."
    breaks = Target.HOST

    def inject(self, ground: Ground) -> None:
        ground.lab.cut([self.target], None, name=self.mark)

    def injected(self, ground: Ground) -> Evidence:
        return self.silence(ground, (self.target,), self.others(ground))

"""Nothing reaches a host and nothing comes from it, while its link stays up: what a switch does that has lost its mind."""

from nospof.drills.fault import Evidence, Fault, Ground, HostState, Target
from nospof.drills.reach import reached


class SilentDrop(Fault):
    name = "silent-drop"
    about = "Packets from and to the host are dropped in the network; its link stays up, and nobody is told."
    breaks = Target.HOST

    def inject(self, ground: Ground) -> None:
        ground.lab.cut([self.target], self._others(ground))

    def injected(self, ground: Ground) -> Evidence:
        found = reached(ground, self.target, self._others(ground))
        return Evidence(not found, f"{self.target} reaches {', '.join(sorted(found)) or 'nobody'}")

    def heal(self, ground: Ground) -> None:
        ground.lab.mend()

    def healed(self, ground: Ground) -> Evidence:
        others = self._others(ground)
        found = reached(ground, self.target, others)
        return Evidence(len(found) == len(others), f"{self.target} reaches {len(found)} of {len(others)} hosts")

    def _others(self, ground: Ground) -> list[str]:
        """Those that have power: another fault may hold at the same time."""
        names = ground.lab.host_names()
        return [host for host in names if host != self.target and ground.lab.state(host) is HostState.RUNNING]

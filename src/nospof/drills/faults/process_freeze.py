"""All processes of an instance stop where they are: their connections stay open, and nobody answers. The grey failure."""

from collections.abc import Mapping

from nospof.drills.fault import Evidence, Fault, Ground, Target
from nospof.drills.unit_processes import kill, states


class ProcessFreeze(Fault):
    name = "process-freeze"
    about = "All processes of the instance stop where they are (SIGSTOP); connections stay open, and nothing answers."
    breaks = Target.INSTANCE

    def unavailable(self, ground: Ground) -> str:
        return ""

    def inject(self, ground: Ground) -> None:
        ground.sh(self.instance.host, kill(ground.units(self.instance), "STOP"))

    def injected(self, ground: Ground) -> Evidence:
        found = ground.sh(self.instance.host, states(ground.units(self.instance))).split()
        stopped = found.count("T")
        # What watches it may have replaced it: then the freeze was survived, not undone.
        return Evidence(bool(found), f"{stopped} of {len(found)} processes are stopped")

    def undo(self, ground: Ground) -> Mapping[str, str]:
        return {self.instance.host: kill(ground.units(self.instance), "CONT")}

    def healed(self, ground: Ground) -> Evidence:
        found = ground.sh(self.instance.host, states(ground.units(self.instance))).split()
        return Evidence("T" not in found, f"{found.count('T')} of {len(found)} processes are stopped")

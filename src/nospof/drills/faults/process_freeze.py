"""All processes of an instance stop where they are: their connections stay open, and nobody answers. The grey failure."""

from collections.abc import Mapping

from nospof.drills.fault import Evidence, Fault, Ground, Target
from nospof.drills.unit_processes import going_on, kill, processes, states


class ProcessFreeze(Fault):
    name = "process-freeze"
    about = "All processes of the instance stop where they are (SIGSTOP); connections stay open, and nothing answers."
    is_inside = True
    breaks = Target.INSTANCE

    @property
    def _frozen(self) -> str:
        """Which processes there were. What watches them may replace them: then the freeze is survived, not undone."""
        return f"/run/nospof-{self.mark}"

    def inject(self, ground: Ground) -> None:
        units = ground.all_units(self.instance)
        ground.sh(self.instance.host, f"{processes(units)} >{self._frozen}\n{kill(units, 'STOP')}")

    def injected(self, ground: Ground) -> Evidence:
        said = ground.sh(self.instance.host, f"cat {self._frozen} 2>/dev/null | wc -l; {going_on(self._frozen)}").split()
        count, moving = int(said[0]), len(said) - 1
        return Evidence(count > 0 and not moving, f"{count - moving} of {count} processes are stopped or gone")

    def undo(self, ground: Ground) -> Mapping[str, str]:
        return {self.instance.host: f"{kill(ground.all_units(self.instance), 'CONT')}\nrm -f {self._frozen}"}

    def healed(self, ground: Ground) -> Evidence:
        found = ground.sh(self.instance.host, states(ground.all_units(self.instance))).split()
        return Evidence("T" not in found, f"{found.count('T')} of {len(found)} processes are stopped")

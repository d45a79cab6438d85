"""All processes of an instance die at once; what supervises them may start them again."""

from nospof.drills.fault import Evidence, Fault, Ground, Target
from nospof.drills.unit_processes import kill, processes


class ProcessKill(Fault):
    name = "process-kill"
    about = "All processes of the instance are killed with SIGKILL; systemd may start them again."
    is_inside = True
    breaks = Target.INSTANCE
    lasts = False

    @property
    def _before(self) -> str:
        """Which processes there were, with their start times, since a number is soon used again."""
        return f"/run/nospof-{self.mark}"

    def inject(self, ground: Ground) -> None:
        units = ground.all_units(self.instance)
        ground.sh(self.instance.host, f"{processes(units)} >{self._before}\ntest -s {self._before}\n{kill(units, 'KILL')}")

    def injected(self, ground: Ground) -> Evidence:
        units = ground.all_units(self.instance)
        said = ground.sh(self.instance.host, f"cat {self._before}; echo; {processes(units)}")
        before, _, now = said.partition("\n\n")
        killed = set(before.splitlines())
        left = killed & set(now.splitlines())
        return Evidence(bool(killed) and not left, f"{len(killed) - len(left)} of {len(killed)} processes are gone")

    def heal(self, ground: Ground) -> None:
        ground.sh(self.instance.host, f"rm -f {self._before}")

    def healed(self, ground: Ground) -> Evidence:
        return Evidence(is_so=True, says="nothing was left behind")

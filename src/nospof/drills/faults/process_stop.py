"""All processes of an instance die and stay dead until it is healed: the loss of the part itself."""

from collections.abc import Mapping

from nospof.drills import drop_ins
from nospof.drills.fault import Evidence, Fault, Ground, Target
from nospof.drills.unit_processes import kill, processes, services

# A condition that is never met: a start then does nothing, whoever asks for it. Restarts do not look at conditions.
NEVER = "[Unit]\nConditionPathExists=/run/nospof-drill-is-over\n[Service]\nRestart=no\n"


class ProcessStop(Fault):
    name = "process-stop"
    about = "All processes of the instance are killed, and nothing can start them until it is healed."
    is_loss = True
    is_inside = True
    breaks = Target.INSTANCE

    def inject(self, ground: Ground) -> None:
        units = ground.all_units(self.instance)
        killed = services(units)
        # Last: to stop a socket first would end its service in good order.
        others = [unit for unit in units if unit not in killed]
        stop = f"systemctl stop {' '.join(others)}" if others else ""
        ground.sh(self.instance.host, drop_ins.put(units, self.mark, NEVER) + kill(killed, "KILL") + f"\n{stop}")

    def injected(self, ground: Ground) -> Evidence:
        left = ground.sh(self.instance.host, processes(ground.all_units(self.instance))).splitlines()
        return Evidence(not left, f"{len(left)} processes run")

    def undo(self, ground: Ground) -> Mapping[str, str]:
        units = ground.all_units(self.instance)
        start = drop_ins.start_again(ground.units(self.instance))
        return {self.instance.host: drop_ins.take(units, self.mark, start)}

    def healed(self, ground: Ground) -> Evidence:
        held = ground.sh(self.instance.host, drop_ins.left(ground.all_units(self.instance), self.mark)).split()
        return Evidence(not held, f"still there: {', '.join(held)}" if held else "it may start again")

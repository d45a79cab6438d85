"""A program crashes a moment after each start: it answers, and is gone before it has answered."""

from collections.abc import Mapping

from nospof.drills import drop_ins
from nospof.drills.fault import Evidence, Fault, Field, Ground, Target
from nospof.drills.unit_processes import kill, services


class ProcessCrashloop(Fault):
    name = "process-crashloop"
    about = "The instance is killed, and from then on crashes a moment after each start, again and again."
    is_inside = True
    breaks = Target.INSTANCE
    at_most = True

    lives_ms: int = Field(300, ge=0, le=5000, description="Milliseconds from its start to its crash.")

    def inject(self, ground: Ground) -> None:
        crashing = self._services(ground)
        ground.sh(self.instance.host, drop_ins.put(crashing, self.mark, self._drop_in()) + kill(crashing, "KILL"))

    def injected(self, ground: Ground) -> Evidence:
        names = " ".join(services(ground.units(self.instance)))
        held = drop_ins.left(self._services(ground), self.mark)
        look = f'if [ -n "$({held})" ]; then systemctl show --value -p NRestarts {names}; fi'
        said = ground.sh(self.instance.host, look).split()
        most = max(map(int, said), default=0)
        return Evidence(most > 0, f"started again {most} times")

    def undo(self, ground: Ground) -> Mapping[str, str]:
        start = drop_ins.start_again(ground.units(self.instance))
        return {self.instance.host: drop_ins.take(self._services(ground), self.mark, start)}

    def healed(self, ground: Ground) -> Evidence:
        held = ground.sh(self.instance.host, drop_ins.left(self._services(ground), self.mark)).split()
        return Evidence(not held, f"still there: {', '.join(held)}" if held else "it may run again")

    def _services(self, ground: Ground) -> list[str]:
        return services(ground.all_units(self.instance))

    def _drop_in(self) -> str:
        crash = f'/bin/sh -c "sleep {self.lives_ms / 1000:g}; exit 1"'
        return f"[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=500ms\nExecStartPost={crash}\n"

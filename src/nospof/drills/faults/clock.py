"""The clock of an instance is wrong. Its own only: all hosts of a lab share the machine's, which is never touched.

By libfaketime, which programs load when they start, so that they are killed for it. It does not reach programs that ask the
kernel without the C library, as those written in Go do, and some do not start with it: HAProxy 3.0 waits for itself.
Source: https://github.com/wolfcw/libfaketime
"""

from collections.abc import Mapping

from nospof.drills import drop_ins
from nospof.drills.fault import Evidence, Fault, Field, Ground, Target
from nospof.drills.unit_processes import kill, pids, services

LIBRARY = "libfaketimeMT.so.1"
FIND = f"ls /usr/lib/*/faketime/{LIBRARY} 2>/dev/null || true"
# Time-outs and pauses are by the clock that nobody sets, which is right on every machine.
SETTINGS = "LD_PRELOAD={library} FAKETIME={offset:+d}s FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1"
DROP_IN = "[Service]\nRestart=always\nEnvironment={settings}\n"
# Each program once, by what harms nowhere.
UNFIT = """
for program in $(for pid in $({pids}); do readlink /proc/$pid/exe || true; done | sort -u); do
  if grep -q 'Go buildinf:' $program; then echo $program; fi
  ended=0; env {settings} timeout 2 $program --version </dev/null >/dev/null 2>&1 || ended=$?
  if [ $ended = 124 ]; then echo $program; fi
done
"""


class Clock(Fault):
    name = "clock"
    about = "The instance is killed and starts again with a wrong clock; what measures how long something takes is right."
    breaks = Target.INSTANCE
    at_most = True
    comes_back_s = 60.0

    ahead_s: int = Field(3600, description="So many seconds ahead; behind if below 0.")

    def unavailable(self, ground: Ground) -> str:
        library = ground.sh(self.instance.host, FIND).strip()
        if not library:
            return f"libfaketime is not installed on {self.instance.host}"
        script = UNFIT.format(pids=pids(self._services(ground)), settings=self._settings(library))
        unfit = sorted(set(ground.sh(self.instance.host, script).split()))
        return f"libfaketime does not work with {', '.join(unfit)}" if unfit else ""

    def inject(self, ground: Ground) -> None:
        affected, library = self._services(ground), ground.sh(self.instance.host, FIND).strip()
        text = DROP_IN.format(settings=self._settings(library))
        ground.sh(self.instance.host, drop_ins.put(affected, self.mark, text) + kill(affected, "KILL"))

    def injected(self, ground: Ground) -> Evidence:
        faked, count = self._faked(ground)
        return Evidence(0 < faked == count, f"{faked} of {count} processes have another clock")

    def undo(self, ground: Ground) -> Mapping[str, str]:
        affected = self._services(ground)
        restart = f"systemctl try-restart --no-block {' '.join(affected)}"
        return {self.instance.host: drop_ins.take(affected, self.mark, restart)}

    def healed(self, ground: Ground) -> Evidence:
        held = ground.sh(self.instance.host, drop_ins.left(self._services(ground), self.mark)).split()
        faked, count = self._faked(ground)
        return Evidence(not held and not faked, f"{faked} of {count} processes have another clock")

    def _faked(self, ground: Ground) -> tuple[int, int]:
        """How many processes have another clock, and how many there are."""
        look = f"if grep -q {LIBRARY} /proc/$pid/maps 2>/dev/null; then echo faked; else echo right; fi"
        found = ground.sh(self.instance.host, f"for pid in $({pids(self._services(ground))}); do {look}; done").split()
        return found.count("faked"), len(found)

    def _services(self, ground: Ground) -> list[str]:
        return services(ground.all_units(self.instance))

    def _settings(self, library: str) -> str:
        return SETTINGS.format(library=library, offset=self.ahead_s)

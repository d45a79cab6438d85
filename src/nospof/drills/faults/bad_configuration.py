"""Somebody made a mistake in the configuration of one instance, and has it read: a good program refuses, and goes on."""

from collections.abc import Mapping

from nospof.drills.fault import Evidence, Fault, Ground, Target
from nospof.drills.spoilt_file import restore, restored, spoil
from nospof.drills.unit_processes import read_again, services

# Nothing that any program understands.
MISTAKE = "\n}} no-such-setting {{\n"


class BadConfiguration(Fault):
    name = "bad-configuration"
    about = "The configuration of the instance ends with nonsense, and it is told to read it again."
    breaks = Target.INSTANCE
    at_most = True

    def unavailable(self, ground: Ground) -> str:
        return "" if ground.configurations(self.instance) else f"{self.target} has no configuration that could be checked"

    def inject(self, ground: Ground) -> None:
        path = self._file(ground)
        content = ground.sh(self.instance.host, f"cat {path}")
        ground.sh(self.instance.host, spoil(path, f"{content}{MISTAKE}".encode()) + read_again(ground.units(self.instance)))

    def injected(self, ground: Ground) -> Evidence:
        is_spoilt = ground.sh(self.instance.host, f"cat {self._file(ground)}").endswith(MISTAKE)
        return Evidence(is_spoilt, f"{self._file(ground)} {'has' if is_spoilt else 'does not have'} the mistake")

    def undo(self, ground: Ground) -> Mapping[str, str]:
        return {self.instance.host: restore(self._file(ground), then=_begin_again(ground.units(self.instance)))}

    def healed(self, ground: Ground) -> Evidence:
        return restored(ground, self.instance.host, self._file(ground))

    def _file(self, ground: Ground) -> str:
        return ground.configurations(self.instance)[0]


def _begin_again(units: tuple[str, ...]) -> str:
    """Those that gave up over it do not start by themselves."""
    start = "if systemctl --quiet is-failed $unit; then systemctl start --no-block $unit; fi"
    return f"{read_again(units)}\n  for unit in {' '.join(services(units))}; do {start}; done"

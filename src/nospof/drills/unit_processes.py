"""Shell text about the processes of systemd units, for faults that act inside a host."""

from __future__ import annotations

from collections.abc import Sequence

_GROUP = '/sys/fs/cgroup$(systemctl show --value -p ControlGroup "$unit")'


def processes(units: Sequence[str]) -> str:
    """Print "PID START" of each process of `units`; START in ticks since the machine's boot."""
    return f"""{_each(units)}
  for pid in $(cat {_GROUP}/cgroup.procs 2>/dev/null || true); do
    sed 's/^\\([0-9]*\\) .*) /\\1 /' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f1,21 || true
  done
done"""


def states(units: Sequence[str]) -> str:
    """Print the state of each process of `units`, a letter each: R, S, D, T for stopped, Z."""
    return f"""{_each(units)}
  for pid in $(cat {_GROUP}/cgroup.procs 2>/dev/null || true); do
    sed 's/^.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f1 || true
  done
done"""


def kill(units: Sequence[str], signal: str) -> str:
    """Send `signal` to all processes of `units`.

    Not by `systemctl kill`, which is so slow that it also meets what systemd starts because of the first deaths.
    """
    return f"""pids=$({_each(units)} cat {_GROUP}/cgroup.procs 2>/dev/null || true; done)
if [ -n "$pids" ]; then kill -s {signal} $pids 2>/dev/null || true; fi"""


def _each(units: Sequence[str]) -> str:
    return f"for unit in {' '.join(units)}; do"

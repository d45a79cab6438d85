"""Shell text about the processes of systemd units, for faults that act inside a host."""

from __future__ import annotations

from collections.abc import Sequence

_GROUP = "/sys/fs/cgroup$(systemctl show --value -p ControlGroup $unit)"


def services(units: Sequence[str]) -> list[str]:
    """Those of `units` that have processes of their own."""
    return [unit for unit in units if unit.endswith(".service")]


def pids(units: Sequence[str]) -> str:
    """Print the number of each process of `units`."""
    return f"{_each(units)} {_PIDS}; done"


def processes(units: Sequence[str]) -> str:
    """Print "PID START" of each process of `units`; START in ticks since the machine's boot."""
    return _stat(units, "s/^\\([0-9]*\\) .*) /\\1 /", "1,21")


def states(units: Sequence[str]) -> str:
    """Print the state of each process of `units`, a letter each: R, S, D, T for stopped, Z."""
    return _stat(units, "s/^.*) //", "1")


def going_on(file: str) -> str:
    """Print those of the processes in `file`, as `processes` prints them, that are there and not stopped."""
    return f"""if [ -e {file} ]; then while read -r pid start; do
  set -- $(sed 's/^.*) //' /proc/$pid/stat 2>/dev/null | cut -d' ' -f1,20)
  if [ "${{2:-}}" = $start ] && [ "$1" != T ]; then echo $pid; fi
done <{file}; fi"""


def kill(units: Sequence[str], signal: str) -> str:
    """Send `signal` to all processes of `units`.

    Not by `systemctl kill`, which is so slow that it also meets what systemd starts because of the first deaths.
    """
    return f"""pids=$({pids(units)})
if [ -n "$pids" ]; then kill -s {signal} $pids 2>/dev/null || true; fi"""


def read_again(units: Sequence[str]) -> str:
    """Shell text: the running services read their files again, by a restart where they know no other way."""
    return f"for unit in {' '.join(services(units))}; do systemctl try-reload-or-restart $unit || true; done"


def _stat(units: Sequence[str], change: str, fields: str) -> str:
    return f"""{_each(units)} for pid in $({_PIDS}); do
  sed '{change}' /proc/$pid/stat 2>/dev/null | cut -d' ' -f{fields} || true
done; done"""


def _each(units: Sequence[str]) -> str:
    return f"for unit in {' '.join(units)}; do"


# A unit may have groups below its own.
_PIDS = f'group={_GROUP}; [ "$group" = /sys/fs/cgroup ] || find $group -name cgroup.procs -exec cat {{}} + 2>/dev/null || true'

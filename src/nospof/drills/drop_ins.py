"""Shell text that gives systemd units a drop-in for as long as a fault holds, and takes it away again.

In /run, so that a reboot forgets it. Not by masking: a unit in /etc wins over a mask in /run, and one in /etc would outlive a
reboot.
"""

from __future__ import annotations

from collections.abc import Sequence


def put(units: Sequence[str], mark: str, text: str) -> str:
    """Give each of `units` a drop-in with `text`, which has no ' in it, and note which were active.

    What only services know stands in a section [Service], which is left out for others.
    """
    others = text.partition("[Service]")[0]
    return f"""
{_note(units, mark)}
for unit in {" ".join(units)}; do
  mkdir -p /run/systemd/system/$unit.d
  case $unit in *.service) printf '%s' '{text}';; *) printf '%s' '{others}';; esac >/run/systemd/system/$unit.d/{_file(mark)}
done
systemctl daemon-reload
"""


def take(units: Sequence[str], mark: str, then: str) -> str:
    """Take it away, and if it was there do what `then` says, in which $active names the units that were active."""
    return f"""
for unit in {" ".join(units)}; do
  rm -f /run/systemd/system/$unit.d/{_file(mark)}
  rmdir /run/systemd/system/$unit.d 2>/dev/null || true
done
if [ -e {_noted(mark)} ]; then
  systemctl daemon-reload
  active=$(cat {_noted(mark)})
  {then}
  rm -f {_noted(mark)}
fi
"""


def left(units: Sequence[str], mark: str) -> str:
    """Print what is still there."""
    files = " ".join(f"/run/systemd/system/{unit}.d/{_file(mark)}" for unit in units)
    return f"ls {files} {_noted(mark)} 2>/dev/null || true"


def start_again(units: Sequence[str]) -> str:
    """For `take`: start those that were active and that systemd is to start; the rest their owners start."""
    return f"""systemctl reset-failed {" ".join(units)} 2>/dev/null || true
  for unit in $active; do case " {" ".join(units)} " in *" $unit "*) systemctl start --no-block $unit;; esac; done"""


def _note(units: Sequence[str], mark: str) -> str:
    # Whole or not at all: half of it would leave something stopped.
    draft = f"{_noted(mark)}.draft"
    active = f"for unit in {' '.join(units)}; do if systemctl --quiet is-active $unit; then echo $unit; fi; done"
    return f"{active} >{draft}\nmv {draft} {_noted(mark)}"


def _file(mark: str) -> str:
    return f"nospof-{mark}.conf"


def _noted(mark: str) -> str:
    return f"/run/nospof-{mark}"

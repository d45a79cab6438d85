"""The way back from a firewall that shuts its administrators out: this host undoes it, unless told in time that all is well.

A timer of this host's systemd puts the former rules back, in the kernel and in the file. A mark on the disk keeps rules that
nobody has confirmed from coming back with the next boot.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from nospof.onhost import files, units

RULES, UNIT, TABLE = "/etc/nospof/firewall.nft", "nospof-firewall.service", "inet nospof"
UNDO = "nospof-firewall-undo"
SCRIPT = Path(f"/run/{UNDO}.sh")
UNCONFIRMED = Path("/var/lib/nospof/firewall-unconfirmed")


def arm(within_s: int) -> None:
    """Have the rules as they are now come back after `within_s` seconds. What is armed already stays: it has the good ones."""
    if units.run(["systemctl", "is-active", "--quiet", f"{UNDO}.timer"], timeout_s=10).returncode == 0:
        return
    kernel = units.run(["nft", "list", "table", *TABLE.split()], timeout_s=10).stdout
    files.write_atomically(str(SCRIPT), _script(kernel, files.current_text(RULES)).encode(), 0o700)
    units.run(
        ["systemd-run", "--quiet", "--collect", f"--unit={UNDO}", f"--on-active={within_s}s", "sh", str(SCRIPT)], timeout_s=10
    )


def mark_unconfirmed() -> None:
    """From now on a boot leaves the rules out, until they are confirmed; whoever confirms removes the mark."""
    UNCONFIRMED.parent.mkdir(parents=True, exist_ok=True)
    UNCONFIRMED.touch()


def _script(kernel: str, file: str | None) -> str:
    rules = f"table {TABLE} {{}}\ndelete table {TABLE}\n{kernel}"
    put_back = f"rm -f {RULES}; systemctl disable {UNIT}"
    if file is not None:
        put_back = f"printf %s {shlex.quote(file)} >{RULES}.undone && chmod 600 {RULES}.undone && mv {RULES}.undone {RULES}"
    return f"printf %s {shlex.quote(rules)} | nft -f -\n{put_back}\nrm -f {UNCONFIRMED} {SCRIPT}\n"

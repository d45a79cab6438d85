"""Nothing of the fault is left on the hosts: no rule, no mount, no drop-in, no failed unit that was not there before."""

from __future__ import annotations

from typing import Any

from nospof.drills import host_lines
from nospof.drills.checker import Checker, Ground, Record, Verdict, failed, passed, unknown

LOOK = """
find /etc /srv/nospof -maxdepth 5 -name '*.before-drill' 2>/dev/null | sed 's/^/file: /'
nft list tables 2>/dev/null | sed 's/^/firewall: /'
findmnt --noheadings --raw --output TARGET,VFS-OPTIONS | sed -nE 's#^(/|/(etc|var|usr|srv)[^ ]*) (r[ow]).*#mount: \1 \3#p'
find /run/systemd/system /etc/systemd/system -path '*.d/*nospof*' | sed 's/^/drop-in: /'
systemctl list-units --no-legend --plain --state=failed | cut -d' ' -f1 | sed 's/^/failed: /'
systemctl list-units --no-legend --plain 'nospof-heal-*' | cut -d' ' -f1 | sed 's/^/timer: /'
"""


class Leftovers(Checker):
    name = "leftovers"
    about = "Nothing of the fault is left on any host."

    def look(self, ground: Ground) -> Any:
        """By host the lines that describe it."""
        return host_lines.look(ground, LOOK)

    def judge(self, record: Record) -> Verdict | None:
        before, after = record.collected[self.name]
        new, silent = host_lines.compare(before, after)
        if new:
            return failed("the hosts are not as they were", new)
        return unknown(f"could not look at {silent}") if silent else passed(f"{len(before)} hosts are as they were")

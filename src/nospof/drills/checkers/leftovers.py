"""Nothing of the fault is left on the hosts: no rule, no mount, no drop-in, no failed unit that was not there before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nospof.drills.checker import Checker, Ground, Record, Verdict, failed, passed, unknown
from nospof.errors import Uncertain

LOOK = """
nft list tables 2>/dev/null | sed 's/^/firewall: /'
findmnt --noheadings --raw --output TARGET,VFS-OPTIONS | sed -nE 's#^(/|/(etc|var|usr|srv)[^ ]*) (r[ow]).*#mount: \1 \3#p'
find /run/systemd/system /etc/systemd/system -name '*nospof-drill*' | sed 's/^/drop-in: /'
systemctl list-units --no-legend --plain --state=failed | cut -d' ' -f1 | sed 's/^/failed: /'
systemctl list-units --no-legend --plain 'nospof-heal-*' | cut -d' ' -f1 | sed 's/^/timer: /'
"""


class Leftovers(Checker):
    name = "leftovers"
    about = "Nothing of the fault is left on any host."

    def look(self, ground: Ground) -> Any:
        """By host the lines that describe it; None where it did not answer."""

        def lines(host: str) -> list[str] | None:
            try:
                return sorted(set(ground.sh(host, LOOK).splitlines()))
            except Uncertain:
                return None

        names = [host.name for host in ground.topology.hosts]
        with ThreadPoolExecutor(len(names)) as pool:
            return dict(zip(names, pool.map(lines, names), strict=True))

    def judge(self, record: Record) -> Verdict | None:
        before, after = record.collected[self.name]
        silent = [host for host in sorted(before) if before[host] is None or after[host] is None]
        new = [
            f"{host}: {line}"
            for host in sorted(before)
            if host not in silent
            for line in after[host]
            if line not in before[host]
        ]
        if new:
            return failed("the hosts are not as they were", new)
        return unknown(f"could not look at {', '.join(silent)}") if silent else passed(f"{len(before)} hosts are as they were")

"""No program says that it found its data damaged or that it crashed: what counts may be well all the same, this time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nospof.drills.checker import Checker, Ground, Record, Verdict, failed, passed, unknown
from nospof.errors import Uncertain

# The daemons' own words for damage; not "crash": MariaDB says of each kill that it recovers from one.
WORDS = r"corrupt|panic:|segfault|assertion fail|Traceback \(most recent|(mysqld|mariadbd) got signal"
LOOK = f"journalctl --no-pager --quiet --output=short-unix --lines=500 --case-sensitive=no --grep='{WORDS}' || true"


class LogPatterns(Checker):
    name = "log patterns"
    about = "No program says that its data is damaged or that it crashed by a defect of its own."

    def look(self, ground: Ground) -> Any:
        """By host, the suspicious lines of its journal so far."""

        def lines(host: str) -> list[str] | None:
            try:
                return ground.sh(host, LOOK).splitlines()
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
            return failed(f"{len(new)} lines tell of damage", new)
        return unknown(f"could not read the journals of {', '.join(silent)}") if silent else passed("no line tells of damage")

"""No program says that it found its data damaged or that it crashed: what counts may be well all the same, this time."""

from __future__ import annotations

import re
from typing import Any

from nospof.drills import host_lines
from nospof.drills.checker import Checker, Ground, Record, Verdict, failed, passed, unknown
from nospof.resolve import component_of

# The daemons' own words for damage; not "crash": MariaDB says of each kill that it recovers from one.
WORDS = r"corrupt|panic:|segfault|assertion fail|Traceback \(most recent|(mysqld|mariadbd) got signal"
LOOK = f"journalctl --no-pager --quiet --output=short-unix --lines=500 --case-sensitive=no --grep='{WORDS}' || true"


class LogPatterns(Checker):
    name = "log patterns"
    about = "No program says that its data is damaged or that it crashed by a defect of its own."

    def look(self, ground: Ground) -> Any:
        """By host, the suspicious lines of its journal so far; not what a component says as it mends itself."""
        kinds = {type(component_of(instance)) for instance in ground.topology.instances}
        harmless = [re.compile(words) for kind in kinds for words in kind.mends_saying]
        seen = host_lines.look(ground, LOOK)
        return {
            host: lines and [line for line in lines if not any(words.search(line) for words in harmless)]
            for host, lines in seen.items()
        }

    def judge(self, record: Record) -> Verdict | None:
        before, after = record.collected[self.name]
        new, silent = host_lines.compare(before, after)
        new = [
            line
            for line in new
            if not any(line.startswith(f"{host}: ") and re.search(say, line) for host, say in record.excused)
        ]
        if new:
            return failed(f"{len(new)} lines tell of damage", new)
        return unknown(f"could not read the journals of {silent}") if silent else passed("no line tells of damage")

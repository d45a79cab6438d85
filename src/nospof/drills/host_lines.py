"""What a shell script prints on every host, before a fault and after it, for checkers that judge what is new."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from nospof.drills.ground import Ground
from nospof.errors import Uncertain

Lines = Mapping[str, list[str] | None]
"""By host; None: it did not answer."""


def look(ground: Ground, script: str) -> Lines:
    """The lines that `script` prints on each host, all at once."""

    def lines(host: str) -> list[str] | None:
        try:
            return ground.sh(host, script).splitlines()
        except Uncertain:
            return None

    names = [host.name for host in ground.topology.hosts]
    with ThreadPoolExecutor(len(names)) as pool:
        return dict(zip(names, pool.map(lines, names), strict=True))


def compare(before: Lines, after: Lines) -> tuple[list[str], str]:
    """What is there after and was not before, as "host: line"; and which hosts did not answer, "" where all did."""
    new, silent = [], []
    for host, old in sorted(before.items()):
        now = after[host]
        if old is None or now is None:
            silent.append(host)
        else:
            new += [f"{host}: {line}" for line in dict.fromkeys(now) if line not in old]
    return new, ", ".join(silent)

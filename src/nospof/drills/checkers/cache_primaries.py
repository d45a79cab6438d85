"""No two servers of a cache acknowledge writes at the same time, as no two of a database do.

A cache's agents count the changes of its primary by Sentinel's epoch, which is in the note that each of them writes.
"""

from __future__ import annotations

import json
from typing import Any

from nospof.apply.transport import Finished
from nospof.drills.checker import Checker, Ground, Record, Verdict, unknown
from nospof.drills.checkers.two_primaries import two_primaries
from nospof.drills.visitors import cached_tiers


class CachePrimaries(Checker):
    name = "one primary of the cache"
    about = "Never do two servers of a cache acknowledge writes at the same time."

    def look(self, ground: Ground) -> Any:
        """By tier, the highest epoch that an agent knows; None where none says."""
        found: dict[str, int | None] = {}
        for tier in cached_tiers(ground.topology):
            told = [_term(ground, member.id.host, tier) for member in ground.topology.of_tier(tier)]
            found[tier] = max((term for term in told if term is not None), default=None)
        return found

    def judge(self, record: Record) -> Verdict | None:
        before, after = record.collected[self.name]
        if not after or not record.had_cache_writer:
            return None
        if record.cached is None:
            return unknown("those who were to watch who acknowledges were lost")
        if None in (*before.values(), *after.values()):
            return unknown("no agent says how often the primary changed")
        changes = sum(after.values()) - sum(before.values())
        return two_primaries(record.cached, changes)


def _term(ground: Ground, host: str, tier: str) -> int | None:
    ended = ground.run(host, ["cat", f"/run/nospof/{tier}/note.json"])
    if not isinstance(ended, Finished) or ended.exit_code != 0:
        return None
    try:
        return int(json.loads(ended.stdout)["term"])
    except (ValueError, KeyError, TypeError):
        return None

"""Each VIP is held by exactly one host, before and after. Two for a moment while it moves are no split brain."""

from __future__ import annotations

from typing import Any

from nospof.drills.checker import Checker, Ground, Record, Verdict, failed, passed, unknown


class Holders(Checker):
    name = "one holder"
    about = "Once all is healed each VIP is held by exactly one host."

    def look(self, ground: Ground) -> Any:
        """By name the hosts that have the VIP; None where not every host answered."""
        status = ground.recent_status()
        return None if status.problems else {name: list(hosts) for name, hosts in status.holders.items()}

    def judge(self, record: Record) -> Verdict | None:
        before, after = record.collected[self.name]
        if before is None or after is None:
            return unknown("not every host said which addresses it has")
        if not after:
            return None
        wrong = [f"{name}: {', '.join(hosts) or 'nobody'}" for name, hosts in sorted(after.items()) if len(hosts) != 1]
        if wrong:
            return failed("a VIP is not held by exactly one host", wrong)
        moved = [f"{name} moved from {before[name][0]} to {hosts[0]}" for name, hosts in after.items() if before[name] != hosts]
        return passed("; ".join(moved) or "nothing had to move")

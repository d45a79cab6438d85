"""After healing everything comes back by itself: not only the site, but all that it can lose."""

from __future__ import annotations

from nospof.drills.checker import Checker, Record, Verdict, failed, passed


class Redundancy(Checker):
    name = "redundant again"
    about = "Once the fault is healed all instances, copies and voters are back without help."

    def judge(self, record: Record) -> Verdict | None:
        if record.redundant is None:
            return failed("something did not come back by itself", [record.lacking])
        return passed(f"all was as before {max(0.0, record.redundant - record.healed):.1f} s after healing")

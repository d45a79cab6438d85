"""Whoever was told that a write is stored finds it at once."""

from __future__ import annotations

from nospof.analysis.structure import Goal
from nospof.drills.checker import Checker, Record, Verdict, failed, passed, unknown

NOT_THERE = 404


class StaleReads(Checker):
    name = "stale reads"
    about = "Whoever was told that a write is stored finds it when asking right afterwards."

    def judge(self, record: Record) -> Verdict | None:
        written = [request for visits in record.of(Goal.WRITE) for request in visits.history.requests if request.is_good]
        if not record.of(Goal.WRITE):
            return None
        stale = [f"{request.token} was not there" for request in written if request.read_back == NOT_THERE]
        if stale:
            return failed(f"{len(stale)} of {len(written)} writes were not found right after they were acknowledged", stale)
        answered = sum(request.read_back is not None and request.read_back < NOT_THERE for request in written)
        if not answered:
            return unknown("no write was read back")
        return passed(f"{answered} of {len(written)} writes were read back; of the others nobody said that they are not there")

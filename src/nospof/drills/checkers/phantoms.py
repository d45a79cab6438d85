"""Nothing is on a node that should not be: no write twice, none of which the client was told that it failed, none unasked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from nospof.drills.checker import Checker, Record
from nospof.drills.checkers import Copies, Copy, unread
from nospof.drills.verdict import Verdict, failed, passed, unknown, worst_of
from nospof.drills.workloads.http_get import Outcome
from nospof.drills.workloads.sql_write import History


def phantoms(history: History, copies: Copies) -> Verdict:
    """Judge the tokens of each node against what was sent. `unknown` writes may be there, once."""
    outcomes = {write.token: write.outcome for write in history.writes}
    found = [line for node, copy in sorted(copies.items()) if copy for line in _on(node, copy, outcomes)]
    if found:
        return failed(f"{len(found)} rows that should not be there", found)
    if why := unread(copies):
        return unknown(why)
    return passed("no write is there twice, and none that failed") if outcomes else unknown("nothing was written")


def _on(node: str, copy: Copy, outcomes: dict[str, Outcome]) -> Iterator[str]:
    for token, count in Counter(copy.tokens).items():
        if count > 1:
            yield f"{token} {count} times on {node}"
        if token not in outcomes:
            yield f"{token} on {node} was sent by nobody"
        elif outcomes[token] is Outcome.FAILED:
            yield f"{token} on {node} had failed"


class Phantoms(Checker):
    name = "phantoms"
    about = "Nothing is stored twice, nothing that was never sent, and nothing of which the client knows that it failed."

    def judge(self, record: Record) -> Verdict | None:
        history = record.all_writes
        return worst_of([phantoms(history, copies) for copies in record.copies.values()]) if history.writes else None

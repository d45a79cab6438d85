"""Every write that was acknowledged is on every node."""

from __future__ import annotations

from nospof.drills.checker import Checker, Record
from nospof.drills.checkers import Copies, unread
from nospof.drills.result import LOST_WRITES
from nospof.drills.verdict import Verdict, failed, passed, unknown, worst_of
from nospof.drills.workloads.sql_write import History


def lost_writes(history: History, copies: Copies) -> Verdict:
    """Judge whether each acknowledged token is on each node. An example names the token and the nodes that lack it.

    What was never acknowledged may be there or not. Unknown when nothing was acknowledged, or a node was not read and
    the others lack nothing.
    """
    acknowledged = {write.token for write in history.acknowledged}
    held = {node: set(copy.tokens) for node, copy in sorted(copies.items()) if copy is not None}
    missing = {token: [node for node in held if token not in held[node]] for token in acknowledged}
    lost = [f"{token} not on {', '.join(nodes)}" for token, nodes in missing.items() if nodes]
    if lost:
        return failed(f"{len(lost)} of {len(acknowledged)} acknowledged writes are not on every node", lost)
    if why := unread(copies):
        return unknown(why)
    if not acknowledged:
        return unknown("no write was acknowledged")
    return passed(f"all {len(acknowledged)} acknowledged writes are on {len(held)} nodes")


class LostWrites(Checker):
    name = LOST_WRITES
    about = "Every write that was acknowledged is on every copy once all is healed."

    def judge(self, record: Record) -> Verdict | None:
        history = record.all_writes
        verdicts = [lost_writes(history, copies) for copies in record.copies.values()]
        return worst_of(verdicts) if history.writes else None

"""After catching up all nodes hold the same: the same writes, the same checksum of each table, and old tables as they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from nospof.drills.checker import Checker, Record
from nospof.drills.checkers import Copies, Copy, unread
from nospof.drills.verdict import Verdict, failed, passed, unknown, worst_of


def copies_equal(copies: Copies, as_before: Mapping[str, int | str] | None = None) -> Verdict:
    """Judge whether all nodes hold the same. `as_before`: checksums of earlier tables that nobody writes to any more."""
    found = {node: copy for node, copy in sorted(copies.items()) if copy is not None}
    if wrong := [*_apart(found), *_changed(found, as_before or {})]:
        return failed("the nodes do not hold the same", wrong)
    if why := unread(copies):
        return unknown(why)
    if len(found) < 2:
        return unknown("there is only one copy, and nothing to compare it with")
    return passed(f"{len(found)} nodes hold the same")


def _apart(found: Mapping[str, Copy]) -> Iterator[str]:
    if not found:
        return
    first, *others = found
    for node in others:
        more, fewer = (Counter(found[name].tokens) for name in (node, first))
        if more != fewer:
            yield f"{node} has {(more - fewer).total()} rows that {first} lacks, and lacks {(fewer - more).total()} of its rows"
        for table in sorted({*found[first].checksums, *found[node].checksums}):
            if found[first].checksums.get(table) != found[node].checksums.get(table):
                yield f"{table} differs between {first} and {node}"


def _changed(found: Mapping[str, Copy], as_before: Mapping[str, int | str]) -> Iterator[str]:
    for node, copy in found.items():
        for table, checksum in sorted(as_before.items()):
            if copy.checksums.get(table) != checksum:
                yield f"{table} on {node} is not as it was in an earlier round"


class CopiesEqual(Checker):
    name = "copies equal"
    about = "Once all is healed, all copies hold the same."

    def judge(self, record: Record) -> Verdict | None:
        several = [copies for copies in record.copies.values() if len(copies) > 1]
        return worst_of([copies_equal(copies) for copies in several]) if several else None

"""No two servers acknowledge writes at the same time.

An acknowledged write tells that its server was primary at one moment between its begin and its end, and no more. So two writes
of two servers contradict each other only through a third: A's write ended before B's began, and B's ended before another of A's
began, so A, B and A again were primary in turn. Each turn beyond those that were caused is an old primary that never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from nospof.drills.checker import Checker, Record
from nospof.drills.verdict import Verdict, failed, passed, unknown
from nospof.drills.workloads.sql_write import History, Write

MOST_NAMED = 6


def two_primaries(history: History, most_changes: int = 1) -> Verdict:
    """Judge whether `most_changes` changes of the primary, in one line, explain who acknowledged.

    Limit: a change that did not happen is one that an old primary may use unseen. Give the number of changes that did.
    """
    if not history.acknowledged:
        return unknown("no write was acknowledged")
    turns = longest_turns(history.acknowledged)
    servers = [f"server {write.server_id}" for write in turns[:MOST_NAMED]] + ["…"] * (len(turns) > MOST_NAMED)
    if len(turns) - 1 > most_changes:
        wrong = [_said(before, after) for before, after in pairwise(turns)][most_changes:]
        return failed(
            f"acknowledged in turn by {', '.join(servers)}, with at most {most_changes} changes of the primary", wrong
        )
    return passed(f"acknowledged by {', then '.join(servers)}")


def longest_turns(acknowledged: Sequence[Write]) -> tuple[Write, ...]:
    """Return the longest chain of writes in which each began after the one before had ended, at another server.

    The number of its links is the least number of changes of the primary that explain all acknowledgements.
    """
    begins = [(write.invoked, False, write) for write in acknowledged]
    ends = [(write.ended, True, write) for write in acknowledged]
    begun: dict[str, _Chain] = {}
    longest: dict[int | None, _Chain] = {}
    # Of a begin and an end at the same time the begin comes first: these two may have been at once.
    for _, is_end, write in sorted(begins + ends, key=lambda event: event[:2]):
        if not is_end:
            others = [chain for server, chain in longest.items() if server != write.server_id]
            begun[write.token] = _Chain.after(max(others, key=_length, default=None), write)
        elif _length(begun[write.token]) > _length(longest.get(write.server_id)):
            longest[write.server_id] = begun[write.token]
    return _writes(max(longest.values(), key=_length, default=None))


@dataclass(frozen=True)
class _Chain:
    before: _Chain | None
    write: Write
    length: int

    @classmethod
    def after(cls, before: _Chain | None, write: Write) -> _Chain:
        return cls(before, write, _length(before) + 1)


def _length(chain: _Chain | None) -> int:
    return chain.length if chain else 0


def _writes(chain: _Chain | None) -> tuple[Write, ...]:
    found = []
    while chain:
        found.append(chain.write)
        chain = chain.before
    return tuple(reversed(found))


def _said(before: Write, after: Write) -> str:
    return (
        f"server {after.server_id} acknowledged {after.token}, begun {1000 * (after.invoked - before.ended):.1f} ms "
        f"after server {before.server_id} had acknowledged {before.token}"
    )


class TwoPrimaries(Checker):
    name = "one primary"
    about = "Never do two servers acknowledge writes at the same time."

    def judge(self, record: Record) -> Verdict | None:
        if all(len(copies) < 2 for copies in record.copies.values()):
            return None
        if not record.had_writer:
            return None
        if record.writes is None:
            return unknown("those who were to watch who acknowledges were lost")
        return two_primaries(record.writes, record.changes)

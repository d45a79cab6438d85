"""What is carried from one look to the next: since when something is so. Pure, like `decide`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nospof.onhost.agent.decide import AHEAD_S, FIRST_FEED_S, behind_in_handover
from nospof.onhost.agent.model import Cluster, Memory, Observation, Position, Sync

# A row takes so long to be written on a busy disk without anything being wrong.
SLOW_WRITE_S = 0.5


def remember(memory: Memory, o: Observation) -> Memory:
    """Bring `memory` up to the look `o`, whose own memory is not used."""
    memory = replace(
        memory,
        down_since_s=None if o.server.is_running else _since(memory.down_since_s, o.now_s),
        hangs_since_s=_since(memory.hangs_since_s, o.now_s) if _hangs(o) else None,
    )
    if o.cluster is None:
        return memory
    memory = _of_cluster(memory, o, o.cluster)
    return _of_feeds(memory, o, o.cluster) if o.cluster.primary == o.me else _of_no_feeds(memory)


def _of_cluster(memory: Memory, o: Observation, cluster: Cluster) -> Memory:
    if cluster.revision != memory.revision:
        memory = replace(memory, revision=cluster.revision, revision_since_s=o.now_s)
    if cluster.term != memory.term:
        memory = replace(memory, term=cluster.term, primary_since_s=o.now_s)
    handover = cluster.handover.id if cluster.handover else ""
    if handover != memory.handover:
        memory = replace(memory, handover=handover, handover_since_s=o.now_s, prepared_since_s=None)
    if memory.prepared_since_s is None and cluster.handover is not None and cluster.primary == o.me:
        is_late = o.now_s - memory.handover_since_s >= AHEAD_S
        is_prepared = is_late or o.server.is_read_only or not behind_in_handover(o)
        memory = replace(memory, prepared_since_s=o.now_s if is_prepared else None)
    is_own = cluster.election is not None and cluster.election.by == o.me
    if memory.own_election and cluster.election is None:
        memory = replace(memory, closed_election_s=o.now_s)
    # Without waiting in between, writes lie beyond a barrier that was taken before.
    is_joining = cluster.sync is Sync.JOINING and o.server.waits_for_voters
    return replace(memory, own_election=is_own, barrier=memory.barrier if is_joining else None)


def _of_feeds(memory: Memory, o: Observation, cluster: Cluster) -> Memory:
    feeds = o.server.feeds
    fed = memory.fed if memory.fed_term == cluster.term else frozenset()
    lost: dict[str, float] = {}
    for node in cluster.voters:
        if node not in feeds:
            lost[node] = memory.feed_lost_s.get(node, o.now_s if node in fed else o.now_s + FIRST_FEED_S)
            if cluster.handover is not None and node != cluster.handover.to:
                lost[node] = o.now_s  # it goes ahead to the next primary
    blocked_at = {
        node: memory.blocked_at.get(node, o.server.written) for node in o.blocked if node not in feeds and o.server.answers
    }
    confirmed = {node: feeds[node] for node in cluster.voters if node in feeds}
    return replace(
        memory,
        fed_term=cluster.term,
        fed=fed | set(confirmed),
        feed_lost_s=lost,
        blocked_at=blocked_at,
        confirmed=confirmed,
        unconfirmed_since_s=None if _is_confirmed(memory, o, confirmed) else _since(memory.unconfirmed_since_s, o.now_s),
    )


def _of_no_feeds(memory: Memory) -> Memory:
    return replace(memory, feed_lost_s={}, blocked_at={}, confirmed={}, unconfirmed_since_s=None, fed=frozenset())


def _is_confirmed(memory: Memory, o: Observation, confirmed: Mapping[str, Position]) -> bool:
    """Whether a voter has everything, or has confirmed something new since the last look."""
    has_all = any(position.covers(o.server.written) for position in confirmed.values())
    has_more = any(node in memory.confirmed and memory.confirmed[node] != position for node, position in confirmed.items())
    return has_all or has_more


def _hangs(o: Observation) -> bool:
    """Whether the server is there and does not work: no answer, or a row is not written, and not for want of a voter."""
    is_stalled = o.write_hangs_s >= SLOW_WRITE_S and not o.server.waiting
    return o.server.is_running and (not o.server.answers or is_stalled)


def _since(before_s: float | None, now_s: float) -> float:
    return now_s if before_s is None else before_s

"""The agent's table: no gaps, and each rule where it matters. What follows from many of them together: tests/simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nospof.onhost.agent import decide as table
from nospof.onhost.agent import model as m
from nospof.onhost.agent.decide import TABLE, State, choose, decide, report_of, state_of
from nospof.onhost.agent.remember import remember

MEMBERS = (m.Member("db1"), m.Member("db2"), m.Member("w1", is_witness=True))
RULES = m.Rules(MEMBERS, first_primary="db1")
AVAILABLE = replace(RULES, mode=m.Mode.AVAILABLE)


def at(number: int, writer: str = "1") -> m.Position:
    return m.Position((("0", number),), writer)


def cluster(**changes: object) -> m.Cluster:
    ok = m.Cluster(7, 3, "db1", m.Sync.OK, {"db2": "b", "w1": "w"})
    return replace(ok, **changes)  # type: ignore[arg-type]


def replica_of(node: str, number: int = 10, **changes: object) -> m.Server:
    source = m.Source(node, is_receiving=True, is_asking=True, is_applying=True)
    server = m.Server(
        is_running=True, answers=True, incarnation="b", acknowledges=True, source=source,
        written=at(number), received=at(number), applied=at(number),
    )  # fmt: skip
    return replace(server, **changes)  # type: ignore[arg-type]


def primary(number: int = 10, **changes: object) -> m.Server:
    server = m.Server(
        is_running=True, answers=True, incarnation="a", is_read_only=False, waits_for_voters=True,
        written=at(number), received=at(number), applied=at(number), feeds={"db2": at(number), "w1": at(number)},
    )  # fmt: skip
    return replace(server, **changes)  # type: ignore[arg-type]


def seen(me: str, server: m.Server, c: m.Cluster | None = None, **changes: object) -> m.Observation:
    o = m.Observation(
        me=me, rules=RULES, now_s=100.0, cluster=c or cluster(), etcd_silent_s=0.1, server=server,
        memory=m.Memory(revision=7, revision_since_s=99.0, term=3, primary_since_s=50.0), silent_s=0.1, run="r",
        reports={"db2": m.Report("db2", "b", 7, True, False), "w1": m.Report("w1", "w", 7, True, False)},
    )  # fmt: skip
    return replace(o, **changes)  # type: ignore[arg-type]


def rule_of(o: m.Observation) -> str:
    return decide(o).rule


def changed(o: m.Observation) -> m.Cluster:
    (action,) = decide(o).actions
    assert isinstance(action, m.Change)
    return action.cluster


def test_every_state_has_rules_and_every_rule_says_what_it_is_for() -> None:
    assert set(TABLE) == set(State)
    for rules in TABLE.values():
        for rule in rules:
            assert rule.__doc__, rule.__name__


positions = st.builds(at, st.integers(0, 5), st.sampled_from(["1", "2"]))
nodes = st.sampled_from(["db1", "db2", "w1"])
incarnations = st.sampled_from(["a", "b", "w", ""])
sources = st.none() | st.builds(m.Source, nodes, st.booleans(), st.booleans(), st.booleans(), needs_copy=st.booleans())
servers = st.builds(
    m.Server, is_running=st.booleans(), answers=st.booleans(), has_data=st.booleans(), is_copy=st.booleans(),
    incarnation=incarnations, is_read_only=st.booleans(), waits_for_voters=st.booleans(), acknowledges=st.booleans(),
    source=sources, written=positions, received=positions, applied=positions, feeds=st.dictionaries(nodes, positions),
)  # fmt: skip
elections = st.none() | st.builds(m.Election, nodes, st.sampled_from(m.Cause), st.just("why"))
handovers = st.none() | st.builds(m.Handover, nodes, st.just("h"))
clusters = st.builds(
    m.Cluster, revision=st.integers(1, 9), term=st.integers(1, 9), primary=nodes | st.just(""), sync=st.sampled_from(m.Sync),
    voters=st.dictionaries(nodes, incarnations), is_new=st.booleans(), primary_down=st.booleans(), election=elections,
    handover=handovers, last=st.builds(m.Promotion, nodes, positions, st.sampled_from(m.Cause)),
    deposed=st.dictionaries(nodes, positions), removed=st.dictionaries(nodes, st.integers(0, 9)),
)  # fmt: skip
votes = st.dictionaries(nodes, st.builds(m.Vote, nodes, incarnations, positions, positions, st.sampled_from(["", "no"])))
reports = st.dictionaries(
    nodes, st.builds(m.Report, nodes, incarnations, st.integers(0, 9), st.booleans(), st.booleans(), positions)
)
observations = st.builds(
    m.Observation, nodes, st.sampled_from([RULES, AVAILABLE]), st.floats(0, 200), st.none() | clusters,
    st.sampled_from([0.1, 5.0, m.NEVER]), servers, st.builds(m.Memory), votes, reports, st.sampled_from([0.1, 0.8, 3.0]),
    blocked=st.frozensets(nodes), run=st.just("r"),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(observations)
def test_whatever_is_seen_these_hold(o: m.Observation) -> None:
    o = replace(o, memory=remember(o.memory, o))
    decision = decide(o)
    assert decide(o) == decision, "the same each time"
    assert len(decision.actions) <= 1, "one step at a time"
    blind = decide(replace(o, etcd_silent_s=60.0)).actions
    assert not any(isinstance(action, m.StartServer | m.BePrimary | m.Change) for action in blind), "nothing without etcd"
    for action in decision.actions:
        if isinstance(action, m.Change) and o.cluster is not None and o.cluster.primary:
            assert action.cluster.revision == o.cluster.revision
            assert action.cluster.term >= o.cluster.term
            if action.cluster.primary != o.cluster.primary:
                is_elected = choose(o.cluster, o.votes, o.rules) == action.cluster.primary == o.me and o.server.is_drained
                assert is_elected or hands_over_everything(o, action.cluster.primary)


def hands_over_everything(o: m.Observation, to: str) -> bool:
    """Whether `o` is of a primary that writes no more, and `to` is known to have all of it."""
    c, s = o.cluster, o.server
    is_asked = c is not None and c.primary == o.me and c.handover is not None and c.handover.to == to and to in c.voters
    return is_asked and s.is_read_only and to in s.feeds and s.feeds[to].covers(s.written)


def ballots(**numbers: int) -> dict[str, m.Vote]:
    names = {"db2": "b", "w1": "w"}
    return {node: m.Vote(node, names[node], at(number), at(number)) for node, number in numbers.items()}


def test_nobody_is_chosen_while_a_vote_is_missing_refused_or_of_another_incarnation() -> None:
    assert choose(cluster(), ballots(db2=9), RULES) is None
    refused = {**ballots(db2=9, w1=9), "w1": m.Vote("w1", "w", at(9), at(9), "still hears db1")}
    assert choose(cluster(), refused, RULES) is None
    restarted = {**ballots(db2=9, w1=9), "w1": m.Vote("w1", "other", at(9), at(9))}
    assert choose(cluster(), restarted, RULES) is None


def test_a_witness_is_chosen_only_when_nobody_else_is_left() -> None:
    assert choose(cluster(), ballots(db2=5, w1=9), RULES) == "db2"
    assert choose(cluster(voters={"w1": "w"}), ballots(w1=9), RULES) == "w1"


def test_winner_that_lacks_something_fetches_it_before_it_takes_over() -> None:
    c = cluster(election=m.Election("db2", m.Cause.SILENT, "silence"))
    stopped = m.Source("db1", is_receiving=False, is_asking=False, is_applying=True)
    o = seen("db2", replica_of("db1", 5, source=stopped), c, votes=ballots(db2=5, w1=9), silent_s=3.0)
    assert decide(o).actions == (m.Follow("w1", acknowledges=False, may_forget=False),)
    fetched = replica_of("w1", 9)
    promoted = changed(replace(o, server=fetched))
    assert (promoted.primary, promoted.term, promoted.voters) == ("db2", 4, {"w1": "w"})
    assert promoted.deposed == {"db1": at(9)}


def test_winner_takes_over_only_when_all_it_received_is_applied() -> None:
    c = cluster(election=m.Election("db2", m.Cause.SILENT, "silence"))
    stopped = m.Source("db1", is_receiving=False, is_asking=False, is_applying=True)
    o = seen("db2", replica_of("db1", 9, source=stopped, applied=at(7)), c, votes=ballots(db2=9, w1=9), silent_s=3.0)
    assert decide(o).actions == ()
    assert "2 transactions are left" in decide(o).says


def test_voter_that_hears_the_primary_refuses() -> None:
    c = cluster(election=m.Election("w1", m.Cause.SILENT, "silence"))
    (action,) = decide(seen("db2", replica_of("db1"), c)).actions
    assert isinstance(action, m.CastVote)
    assert action.vote.refusal == "still hears db1"


def test_voter_stops_receiving_before_it_votes() -> None:
    c = cluster(election=m.Election("w1", m.Cause.SILENT, "silence"))
    o = seen("db2", replica_of("db1"), c, silent_s=2.0)
    assert decide(o).actions == (m.StopReceiving(),)
    stopped = m.Source("db1", is_receiving=False, is_asking=False, is_applying=True)
    (action,) = decide(replace(o, server=replica_of("db1", source=stopped))).actions
    assert action == m.CastVote(7, m.Vote("db2", "b", at(10), at(10)))


def test_replica_that_restarted_has_no_vote() -> None:
    c = cluster(election=m.Election("w1", m.Cause.SILENT, "silence"))
    o = seen("db2", replica_of("db1", incarnation="b2"), c, silent_s=2.0)
    assert state_of(o) is State.REPLICA
    assert not any(isinstance(action, m.CastVote) for action in decide(o).actions)


@pytest.mark.parametrize(
    ("why", "o"),
    [
        ("the primary is heard", lambda: seen("db2", replica_of("db1"), silent_s=0.4)),
        ("this look came late", lambda: seen("db2", replica_of("db1"), silent_s=2.0, late_s=0.5)),
        ("no copy has everything", lambda: seen("db2", replica_of("db1"), cluster(sync=m.Sync.JOINING), silent_s=2.0)),
        ("paused", lambda: seen("db2", replica_of("db1"), cluster(paused_until=5.0), silent_s=2.0)),
        (
            "another voter restarted",
            lambda: seen("db2", replica_of("db1"), silent_s=2.0, reports={"w1": m.Report("w1", "w2", 7, False, False)}),
        ),
    ],
)
def test_no_election_is_opened_while(why: str, o: Callable[[], m.Observation]) -> None:
    assert rule_of(o()) != "opens_an_election", why


def test_silence_opens_an_election() -> None:
    opened = changed(seen("db2", replica_of("db1"), silent_s=1.2)).election
    assert opened is not None
    assert (opened.by, opened.cause) == ("db2", m.Cause.SILENT)


def test_crashed_primary_starts_again_only_with_a_term_claimed_for_this_crash() -> None:
    down = m.Server(is_running=False)
    o = seen("db1", down, cluster(voters={}), memory=m.Memory(revision=7, down_since_s=90.0))
    claimed = changed(o)
    assert (claimed.term, claimed.claimed_by) == (4, "r/90.0")
    assert decide(replace(o, cluster=claimed)).actions == (m.StartServer(m.Role.MASTER),)
    again = replace(o, cluster=claimed, memory=m.Memory(revision=7, down_since_s=95.0))
    assert rule_of(again) == "claims_next_term"


def test_crashed_primary_waits_to_be_replaced_by_voters_that_can() -> None:
    down = m.Server(is_running=False)
    o = seen("db1", down, memory=m.Memory(revision=7, down_since_s=99.9))
    announced = changed(o)
    assert announced.primary_down
    assert announced.election is not None
    assert rule_of(replace(o, cluster=announced)) == "waits_to_be_replaced"
    restarted = {"w1": m.Report("w1", "w2", 7, False, False)}
    assert rule_of(replace(o, cluster=announced, reports=restarted)) == "claims_next_term"


def test_silent_voter_is_blocked_before_it_is_unpublished() -> None:
    server = primary(12, feeds={"db2": at(11)})
    o = seen("db1", server, memory=m.Memory(revision=7, feed_lost_s={"w1": 98.0}))
    assert decide(o).actions == (m.Block(frozenset({"w1"})),)
    blocked = replace(o, blocked=frozenset({"w1"}), memory=replace(o.memory, blocked_at={"w1": at(12)}))
    assert decide(blocked).actions == ()
    caught_up = replace(blocked, server=replace(server, feeds={"db2": at(12)}))
    assert changed(caught_up).voters == {"db2": "b"}


def test_last_voter_gone_stops_writes_or_degrades_as_the_mode_says() -> None:
    o = seen("db1", primary(feeds={}), cluster(voters={"db2": "b"}), memory=m.Memory(feed_lost_s={"db2": 98.0}))
    o = replace(o, reports={**o.reports, "db1": report_of(o)})
    assert "writes wait" in decide(o).says
    degraded = changed(replace(o, rules=AVAILABLE))
    assert (degraded.sync, degraded.voters) == (m.Sync.DEGRADED, {})


def test_lossless_primary_without_a_voter_takes_no_writes() -> None:
    o = seen("db1", primary(), cluster(sync=m.Sync.DEGRADED, voters={}))
    assert decide(o).actions == (m.BePrimary(waits_for_voters=False, takes_writes=False),)
    new = seen("db1", primary(is_read_only=True), cluster(sync=m.Sync.DEGRADED, voters={}, is_new=True))
    assert decide(new).actions == (m.BePrimary(waits_for_voters=False, takes_writes=True),)


def test_first_voter_counts_only_after_the_barrier() -> None:
    c = cluster(sync=m.Sync.JOINING, voters={"db2": "b"})
    report = {"db2": m.Report("db2", "b", 7, True, False, at(11))}
    o = seen("db1", primary(12, is_read_only=True, feeds={"db2": at(10)}), c, reports=report)
    assert decide(o).actions == (m.TakeBarrier(),)
    waits = replace(o, memory=replace(o.memory, barrier=at(12)))
    assert decide(waits).actions == ()
    there = replace(waits, server=replace(o.server, feeds={"db2": at(12)}))
    assert changed(there).sync is m.Sync.OK


def test_deposed_primary_is_killed_and_one_that_handed_over_follows() -> None:
    c = cluster(primary="db2", voters={"w1": "w"}, last=m.Promotion("db1", at(10), m.Cause.SILENT))
    assert decide(seen("db1", primary(), c)).actions == (m.KillServer(),)
    handed = replace(c, voters={"db1": "a", "w1": "w"}, last=m.Promotion("db1", at(10), m.Cause.HANDOVER))
    frozen = primary(10, is_read_only=True)
    assert decide(seen("db1", frozen, handed)).actions == (m.Follow("db2", acknowledges=True, may_forget=False),)
    assert decide(seen("db1", primary(11, is_read_only=True), handed)).actions == (m.KillServer(),)


def test_former_primary_with_writes_of_its_own_is_copied_anew() -> None:
    c = cluster(primary="db2", voters={"w1": "w"}, deposed={"db1": at(10)})
    idle = m.Server(is_running=True, answers=True, incarnation="a", written=at(11))
    assert decide(seen("db1", idle, c)).actions == (m.CopyFrom("w1"),)
    assert decide(seen("db1", replace(idle, written=at(10)), c)).actions == (
        m.Follow("db2", acknowledges=False, may_forget=True),
    )


def handing_over(server: m.Server, *, ahead_to: str = "db2", knows: int = 7, since_s: float = 99.7) -> m.Observation:
    """The primary at revision 7, which hands over to db2; `knows`: the revision that db2 knows."""
    memory = m.Memory(revision=7, revision_since_s=since_s, term=3, handover="h", handover_since_s=since_s)
    reports = {
        "db2": m.Report("db2", "b", knows, True, False),
        "w1": m.Report("w1", "w", 7, True, False, goes_ahead_to=ahead_to),
    }
    o = seen("db1", server, cluster(handover=m.Handover("db2", "h")), memory=memory, reports=reports)
    return replace(o, memory=remember(memory, o))


def test_handover_freezes_once_the_routers_hold_back_and_the_other_voter_is_ahead() -> None:
    o = handing_over(primary(), ahead_to="")
    assert (rule_of(o), decide(o).actions) == ("lets_the_voter_go_ahead", ())
    ahead = handing_over(primary())
    assert (rule_of(ahead), decide(ahead).actions) == ("lets_routers_prepare", ())
    assert decide(replace(ahead, now_s=100.1)).actions == (m.Freeze("db2"),)


def test_handover_does_not_wait_for_ever_for_a_voter_that_does_not_go_ahead() -> None:
    late = handing_over(primary(), ahead_to="", since_s=99.4)
    assert decide(replace(late, now_s=100.1)).actions == (m.Freeze("db2"),)


def test_handover_waits_until_the_target_knows_of_it() -> None:
    """Its server may end and start as SLAVE, without what it had: only who knows of the handover ends that first."""
    assert decide(handing_over(primary(is_read_only=True), knows=6)).actions == ()


def test_primary_makes_the_target_primary_once_it_has_everything_and_becomes_its_voter() -> None:
    feeds = {"db2": at(9), "w1": at(10)}
    assert decide(handing_over(primary(is_read_only=True, feeds=feeds))).actions == (m.AskReplica("db2"),)
    promoted = changed(handing_over(primary(is_read_only=True)))
    assert (promoted.primary, promoted.term, promoted.voters) == ("db2", 4, {"db1": "a", "w1": "w"})
    assert promoted.removed == {"db2": 7}, "until it says so, it may still acknowledge to db1"
    assert promoted.last == m.Promotion("db1", at(10), m.Cause.HANDOVER, "handed over by db1")


def test_handover_is_undone_in_time() -> None:
    assert changed(handing_over(primary(is_read_only=True), since_s=98.0)).handover is None


def test_other_voter_goes_ahead_and_comes_back_when_the_handover_is_given_up() -> None:
    c = cluster(handover=m.Handover("db2", "h"))
    o = seen("w1", replica_of("db1", incarnation="w"), c)
    assert decide(o).actions == (m.Follow("db2", acknowledges=True, may_forget=False, goes_ahead=True),)
    ahead = replace(o, server=replica_of("db2", incarnation="w"))
    (report,) = decide(ahead).actions
    assert isinstance(report, m.WriteReport)
    assert report.report.goes_ahead_to == "db2"
    undone = replace(ahead, cluster=cluster())
    assert decide(undone).actions == (m.Follow("db1", acknowledges=True, may_forget=False),)


def test_target_of_a_handover_goes_nowhere() -> None:
    assert rule_of(seen("db2", replica_of("db1"), cluster(handover=m.Handover("db2", "h")))) == "reports"


def test_voter_that_is_ahead_is_not_lost() -> None:
    o = handing_over(primary(feeds={"db2": at(10)}))
    again = replace(o, now_s=101.4)
    assert remember(o.memory, again).feed_lost_s == {"w1": 101.4}


def test_memory_of_etcd_that_is_gone_begins_no_second_cluster() -> None:
    none = m.Cluster(0, 0, "", m.Sync.DEGRADED)
    o = seen("db1", m.Server(), none)
    assert changed(o).primary == "db1"
    assert rule_of(replace(o, knew_cluster=True)) == "refuses_to_begin_again"
    assert rule_of(seen("db2", m.Server(), none)) == "waits_for_the_first"


def test_names_of_rules_are_unique_words_for_status_and_log() -> None:
    assert all(rule.__name__ == getattr(table, rule.__name__).__name__ for rules in TABLE.values() for rule in rules)


def test_server_that_hangs_is_announced_before_it_is_killed() -> None:
    """On a stalled disk a killed process stays, and nobody would notice its end."""
    hangs = m.Memory(revision=7, term=3, hangs_since_s=96.0)
    o = seen("db1", primary(answers=False), memory=hangs)
    announced = changed(o)
    assert announced.primary_down
    assert announced.election is not None
    assert decide(replace(o, cluster=announced)).actions == (m.KillServer(),)


def test_row_that_waits_for_a_voter_is_no_hang_and_one_that_waits_for_the_disk_is() -> None:
    o = seen("db1", primary(waiting=3), write_hangs_s=2.0)
    assert remember(o.memory, o).hangs_since_s is None
    stalled = seen("db1", primary(), write_hangs_s=2.0)
    assert remember(stalled.memory, stalled).hangs_since_s == 100.0


def test_barrier_is_forgotten_when_writes_do_not_wait_in_between() -> None:
    c = cluster(sync=m.Sync.JOINING, voters={"db2": "b"})
    o = seen("db1", primary(waits_for_voters=False), c, memory=m.Memory(revision=7, barrier=at(9)))
    assert remember(o.memory, o).barrier is None


def test_voter_that_applies_nothing_any_more_starts_anew_without_a_vote() -> None:
    """Incident: it acknowledged for ever what it could never take over with."""
    stuck = m.Source("db1", is_receiving=True, is_asking=True, is_applying=False, error="lock wait timeout")
    o = seen("db2", replica_of("db1", 10, source=stuck, applied=at(4)))
    assert decide(o).actions == (m.Follow("db1", acknowledges=False, may_forget=True),)


def test_only_a_former_primary_has_something_to_save_before_it_starts() -> None:
    """Incident: a voter that merely restarted saved all that was written since the last promotion as lost."""
    c = cluster(last=m.Promotion("db2", at(3), m.Cause.SILENT), deposed={"w1": at(3)})
    assert decide(seen("db2", m.Server(), c)).actions == (m.StartServer(m.Role.SLAVE, None),)
    assert decide(seen("w1", m.Server(), c)).actions == (m.StartServer(m.Role.SLAVE, at(3)),)


def test_former_voter_says_why_nobody_takes_over() -> None:
    o = seen("db2", replica_of("db1", incarnation="b2", acknowledges=False), silent_s=9.0)
    o = replace(o, reports={**o.reports, "db2": report_of(o)})
    assert "nobody can take over: db2 restarted and may have forgotten" in decide(o).says


# --- nobody tells its role ---------------------------------------------------------------------------------------------------
def untold(untold_s: float = 6.0, since_s: float = 80.0) -> m.Observation:
    """A primary that is well, at its revision since `since_s` of 100, whose role server is gone."""
    return seen("db1", primary(), memory=m.Memory(revision=7, revision_since_s=since_s), untold_s=untold_s)


def test_primary_of_which_no_router_can_hear_hands_over() -> None:
    """With the role server stopped every write failed for as long as that lasted, while the database was well."""
    assert handover_of(untold()) == "db2"


def test_role_server_that_restarts_is_waited_for() -> None:
    assert handover_of(untold(untold_s=4.0)) == ""


def test_primary_does_not_hand_over_again_at_once_where_its_successor_is_no_better() -> None:
    assert handover_of(untold(since_s=95.0)) == ""


def test_nobody_is_handed_to_who_is_far_behind_or_a_witness() -> None:
    feeds = {"db2": at(1), "w1": at(5000)}
    assert handover_of(replace(untold(), server=primary(5000, feeds=feeds))) == ""


def handover_of(o: m.Observation) -> str:
    changes = [action.cluster.handover for action in decide(o).actions if isinstance(action, m.Change)]
    return changes[0].to if changes and changes[0] else ""


def test_host_without_data_copies_from_the_primary_where_a_voter_could_not_give_any() -> None:
    """Incident: two voters that lost their disks each waited for the other's data, for ever."""
    empty = m.Server(is_running=False, has_data=False)
    o = seen("db2", empty, memory=m.Memory(down_since_s=95.0))
    assert decide(o).actions == (m.CopyFrom("w1"),)
    assert decide(replace(o, memory=m.Memory(down_since_s=70.0))).actions == (m.CopyFrom("db1"),)


# --- spares --------------------------------------------------------------------------------------------------------------
BACKED = replace(RULES, members=(*MEMBERS, m.Member("x1", is_spare=True)))


def report(node: str, incarnation: str, **changes: object) -> m.Report:
    return replace(m.Report(node, incarnation, 7, True, False), **changes)  # type: ignore[arg-type]


def fit(node: str, number: int = 10) -> m.Report:
    return report(node, "b", acknowledges=False, is_fit_to_vote=True, received=at(number))


def test_a_spare_is_chosen_after_a_normal_host_and_before_a_witness() -> None:
    voters = {"db2": "b", "x1": "x"}
    votes = {"db2": m.Vote("db2", "b", at(5), at(5)), "x1": m.Vote("x1", "x", at(9), at(9))}
    assert choose(cluster(voters=voters), votes, BACKED) == "db2", "it fetches what only the spare has"
    alone = cluster(voters={"x1": "x", "w1": "w"})
    votes = {"w1": m.Vote("w1", "w", at(9), at(9)), "x1": m.Vote("x1", "x", at(5), at(5))}
    assert choose(alone, votes, BACKED) == "x1"


def test_a_spare_that_alone_has_the_last_writes_wins() -> None:
    c = cluster(voters={"x1": "x"}, last=m.Promotion("db2", at(7), m.Cause.SILENT))
    assert choose(c, {"x1": m.Vote("x1", "x", at(9), at(9))}, BACKED) == "x1"


def test_normal_host_is_admitted_before_a_witness_and_a_witness_before_a_spare() -> None:
    reports = {node: fit(node) for node in ("db2", "w1", "x1")}
    o = seen("db1", primary(), cluster(voters={}, sync=m.Sync.DEGRADED), rules=BACKED, reports=reports)
    o = replace(o, server=replace(o.server, waits_for_voters=False, is_read_only=True))
    assert list(changed(o).voters) == ["db2"]
    assert list(changed(replace(o, reports={"w1": fit("w1"), "x1": fit("x1")})).voters) == ["w1"]


def test_a_spare_makes_room_for_a_host_that_is_back_and_is_no_voter_any_more_before_that_is_one() -> None:
    voters = {"w1": "w", "x1": "x"}
    feeds = {"w1": at(10), "x1": at(10)}
    reports = {"w1": report("w1", "w"), "x1": report("x1", "x"), "db2": fit("db2")}
    o = seen("db1", primary(feeds=feeds), cluster(voters=voters), rules=BACKED, reports=reports)
    assert (rule_of(o), decide(o).actions) == ("makes_room", (m.Block(frozenset({"x1"})),))
    # Blocked, and its feed ended: what it may have confirmed the witness must have before it is unpublished.
    blocked = replace(o, blocked=frozenset({"x1"}), server=primary(feeds={"w1": at(9)}))
    blocked = replace(blocked, memory=replace(o.memory, blocked_at={"x1": at(10)}))
    assert (rule_of(blocked), decide(blocked).actions) == ("makes_room", ())
    caught_up = changed(replace(blocked, server=primary(feeds={"w1": at(10)})))
    assert (caught_up.voters, caught_up.removed) == ({"w1": "w"}, {"x1": 7})


def test_a_spare_stays_a_voter_where_nobody_better_could_be_one_or_another_voter_is_being_lost() -> None:
    voters, feeds = {"w1": "w", "x1": "x"}, {"w1": at(10), "x1": at(10)}
    reports = {"w1": report("w1", "w"), "x1": report("x1", "x"), "db2": replace(fit("db2"), is_fit_to_vote=False)}
    o = seen("db1", primary(feeds=feeds), cluster(voters=voters), rules=BACKED, reports=reports)
    assert rule_of(o) != "makes_room"
    lost = replace(o, reports={**reports, "db2": fit("db2")}, memory=replace(o.memory, feed_lost_s={"w1": 90.0}))
    assert "x1" not in str(decide(lost).actions)


def test_a_spare_gives_back_to_a_normal_host_once_that_is_a_voter_and_near() -> None:
    memory = m.Memory(revision=7, revision_since_s=90.0, term=3, primary_since_s=50.0)
    feeds = {"db1": at(10), "w1": at(10)}
    voters = {"db1": "a", "w1": "w"}
    reports = {"db1": report("db1", "a"), "w1": report("w1", "w")}
    o = seen("x1", primary(feeds=feeds), cluster(primary="x1", voters=voters), rules=BACKED, reports=reports, memory=memory)
    assert handover_of(o) == "db1"
    assert handover_of(replace(o, server=primary(5000, feeds={"db1": at(10), "w1": at(5000)}))) == "", "too far behind"
    alone = cluster(primary="x1", voters={"w1": "w"})
    assert handover_of(replace(o, cluster=alone, reports={"w1": report("w1", "w")})) == "", "never to a witness"


def test_a_witness_passes_the_role_on_to_a_spare_where_no_normal_host_is_left() -> None:
    memory = m.Memory(revision=7, revision_since_s=90.0, term=3, primary_since_s=50.0)
    o = seen("w1", primary(feeds={"x1": at(10)}), cluster(primary="w1", voters={"x1": "x"}), rules=BACKED, memory=memory)
    assert handover_of(replace(o, reports={"x1": report("x1", "x")})) == "x1"


def test_reports_of_a_host_that_could_take_a_spares_place_tell_how_far_it_is() -> None:
    """Incident: told of once only, a host was too far behind to be asked, however near it was by then."""
    c = cluster(voters={"w1": "w", "x1": "x"})
    o = seen("db2", replica_of("db1", 20, acknowledges=False), c, rules=BACKED, reports={"db2": fit("db2", 10)})
    assert decide(o).actions == (m.WriteReport(report_of(o)),)
    told = replace(o, reports={"db2": replace(report_of(o), received=at(10))})
    assert rule_of(told) == "reports"
    assert rule_of(replace(told, cluster=cluster(voters={"db3": "c", "db4": "d"}))) == "is_replica", "nobody waits for it"

"""What people may ask for, as changes of the cluster's state; pure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nospof.onhost.agent import model as m
from nospof.onhost.agent.requests import NobodyFit, Refusal, accept_loss, hand_over, pause, resume

MEMBERS = (m.Member("db1"), m.Member("db2"), m.Member("db3"), m.Member("w1", is_witness=True))


def at(number: int) -> m.Position:
    return m.Position((("0", number),), "1")


WELL = m.Cluster(7, 3, "db1", m.Sync.OK, {"db2": "b", "w1": "w"})
PRIMARY = m.Server(
    is_running=True, answers=True, is_read_only=False, waits_for_voters=True,
    written=at(9), received=at(9), applied=at(9), feeds={"db2": at(9), "w1": at(9)},
)  # fmt: skip
REPLICA = m.Server(
    is_running=True,
    answers=True,
    source=m.Source("db1", is_receiving=False, is_asking=True, is_applying=True),
    written=at(9),
    received=at(9),
    applied=at(9),
)


def seen(me: str = "db1", server: m.Server = PRIMARY, cluster: m.Cluster | None = WELL, **changes: object) -> m.Observation:
    o = m.Observation(me, m.Rules(MEMBERS), 100.0, cluster, 0.1, server, m.Memory(), epoch_s=1000.0)
    return replace(o, **changes)  # type: ignore[arg-type]


def target(o: m.Observation, to: str = "") -> str:
    handover = hand_over(o, to, "one", "").handover
    return handover.to if handover else ""


# --- handing over --------------------------------------------------------------------------------------------------------
def test_without_a_name_the_best_voter_is_chosen_and_never_a_witness() -> None:
    assert target(seen()) == "db2"
    with pytest.raises(NobodyFit, match="only a witness is left"):
        target(seen(cluster=replace(WELL, voters={"w1": "w"})))
    assert target(seen(), "w1") == "w1"


def test_voter_that_is_far_behind_keeps_no_other_from_taking_over() -> None:
    both = replace(WELL, voters={"db2": "b", "db3": "c"})
    feeds = {"db2": at(9), "db3": at(5000)}
    server = replace(PRIMARY, written=at(5000), received=at(5000), applied=at(5000), feeds=feeds)
    assert target(seen(cluster=both, server=server)) == "db3"
    with pytest.raises(NobodyFit, match="db2 is 4991 transactions behind"):
        target(seen(cluster=both, server=server), "db2")


@pytest.mark.parametrize(
    ("cluster", "why"),
    [
        (replace(WELL, sync=m.Sync.JOINING), "no other copy is known to have every write"),
        (replace(WELL, sync=m.Sync.DEGRADED, voters={}), "no other copy is known to have every write"),
        (replace(WELL, handover=m.Handover("db2", "x")), "under way already"),
        (replace(WELL, election=m.Election("db2", m.Cause.SILENT, "")), "under way already"),
        (replace(WELL, primary="db2"), "db2 is primary, not db1"),
        (None, "etcd was not reached yet"),
    ],
)
def test_handover_that_could_lose_or_confuse_something_is_refused(cluster: m.Cluster | None, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        target(seen(cluster=cluster))


# --- accepting a loss ----------------------------------------------------------------------------------------------------
def test_promotion_with_loss_makes_a_new_beginning_that_says_who_accepted_it() -> None:
    c = accept_loss(seen("db2", REPLICA), "ann@desk")
    assert (c.primary, c.term, dict(c.voters), c.sync, c.is_new) == ("db2", 4, {}, m.Sync.DEGRADED, True)
    assert (c.last.cause, c.last.why, c.revision) == (m.Cause.ACCEPTED_LOSS, "ann@desk accepted the loss", 7)


def test_memory_that_etcd_lost_is_given_back_by_a_host_whose_server_waits_for_it() -> None:
    lost = m.Cluster(0, 0, "", m.Sync.DEGRADED)
    stopped = m.Server(is_running=False, has_data=True, written=at(9))
    c = accept_loss(seen("db2", stopped, lost), "ann@desk")
    assert (c.primary, c.last.position) == ("db2", at(9))
    with pytest.raises(Refusal, match="does not answer"):
        accept_loss(seen("db2", replace(stopped, has_data=False), lost), "ann@desk")
    with pytest.raises(Refusal, match="does not answer"):
        accept_loss(seen("db2", stopped), "ann@desk")


def test_loss_is_not_accepted_where_none_is_needed() -> None:
    heard = replace(REPLICA, source=m.Source("db1", is_receiving=True, is_asking=True, is_applying=True))
    with pytest.raises(Refusal, match="a switchover loses nothing"):
        accept_loss(seen("db2", heard, silent_s=0.1), "ann@desk")
    accept_loss(seen("db2", heard, silent_s=5.0), "ann@desk")
    with pytest.raises(Refusal, match="still applies"):
        accept_loss(seen("db2", replace(REPLICA, received=at(10))), "ann@desk")
    with pytest.raises(Refusal, match="is primary already"):
        accept_loss(seen(), "ann@desk")


def test_pause_and_resume_change_nothing_else() -> None:
    paused = pause(seen(), 2000.0, "ann@desk")
    assert paused == replace(WELL, paused_until=2000.0, paused_by="ann@desk")
    assert resume(seen(cluster=paused)) == WELL

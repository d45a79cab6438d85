from __future__ import annotations

import json
from pathlib import Path

import pytest

from nospof.onhost import etcd_member
from nospof.onhost.etcd import EtcdError, Member
from nospof.onhost.etcd_member import (
    CannotBegin,
    Cluster,
    Knows,
    Voter,
    beginning,
    begun,
    read_voter,
    replaced,
    unhealthy,
)

ADDRESSES = {"a1": "198.18.1.2", "b1": "198.18.1.3", "c1": "198.18.1.4"}
VOTER = Voter("a1", ADDRESSES, 2379, 2380, "ca", "crt", "key", Path("/nowhere"))
CLUSTER, NONE, NOT_RUNNING, SILENT = Knows.CLUSTER, Knows.NONE, Knows.NOT_RUNNING, Knows.SILENT


def url(host: str) -> str:
    return f"https://{ADDRESSES.get(host, '198.18.1.' + str(100 + ord(host[0])))}:2380"


def member(number: int, host: str, is_started: bool = True) -> Member:
    return Member(number, host if is_started else "", (url(host),))


# --- is it well? ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("own", "others", "is_well"),
    [
        (NONE, {"b1": NOT_RUNNING, "c1": NOT_RUNNING}, True),
        (NONE, {"b1": SILENT, "c1": SILENT}, True),
        (NONE, {"b1": NONE, "c1": NOT_RUNNING}, False),
        (NONE, {"b1": CLUSTER, "c1": NOT_RUNNING}, False),
        (CLUSTER, {"b1": NOT_RUNNING, "c1": NOT_RUNNING}, False),
        (NOT_RUNNING, {"b1": NOT_RUNNING, "c1": NOT_RUNNING}, False),
        (SILENT, {"b1": NOT_RUNNING, "c1": NOT_RUNNING}, False),
    ],
)
def test_voter_is_well_without_a_majority_only_while_it_can_never_have_had_one(
    own: Knows, others: dict[str, Knows], is_well: bool
) -> None:
    told = {"a1": own, **others}
    assert (unhealthy(VOTER, told.__getitem__) == "") is is_well


# --- how does it begin? --------------------------------------------------------------------------------------------------
def no_join(through: tuple[str, ...]) -> str:
    raise AssertionError("there is no cluster to join")


@pytest.mark.parametrize("known", [{"b1": NOT_RUNNING, "c1": NOT_RUNNING}, {"b1": NONE, "c1": NOT_RUNNING}])
def test_cluster_is_begun_where_all_others_say_that_there_is_none(known: dict[str, Knows]) -> None:
    told = beginning(VOTER, known.__getitem__, no_join)
    cluster = ",".join(f"{host}={url(host)}" for host in ("a1", "b1", "c1"))
    assert told == f"ETCD_INITIAL_CLUSTER={cluster}\nETCD_INITIAL_CLUSTER_STATE=new\n"


def test_no_cluster_is_begun_while_somebody_is_silent() -> None:
    """It may have one, and this voter may have voted in it."""
    with pytest.raises(CannotBegin, match="c1"):
        beginning(VOTER, {"b1": NOT_RUNNING, "c1": SILENT}.__getitem__, no_join)


def test_cluster_that_somebody_knows_is_joined_through_those_who_know_it() -> None:
    asked: list[tuple[str, ...]] = []

    def join(through: tuple[str, ...]) -> str:
        asked.append(through)
        return "joined"

    assert beginning(VOTER, {"b1": SILENT, "c1": CLUSTER}.__getitem__, join) == "joined"
    assert asked == [("c1",)]


def test_who_is_silent_is_asked_again_for_a_while() -> None:
    """Incident: on a busy machine one of five voters did not hear another in time, and the first `up` was undone."""
    answers = iter([SILENT, NOT_RUNNING, SILENT, NOT_RUNNING, NOT_RUNNING, NOT_RUNNING])
    assert begun(VOTER, lambda _: next(answers), no_join).endswith("=new\n")
    with pytest.raises(CannotBegin, match="b1 and c1"):
        begun(VOTER, lambda _: SILENT, no_join, wait_s=0.0)


# --- whose vote does it take? --------------------------------------------------------------------------------------------
def test_voter_that_lost_its_data_takes_the_place_of_itself() -> None:
    assert replaced(VOTER, (member(1, "a1"), member(2, "b1"), member(3, "z1"))) == member(1, "a1")


def test_new_voter_takes_the_place_of_one_that_is_not_placed_any_more() -> None:
    assert replaced(VOTER, (member(2, "b1"), member(3, "c1"), member(4, "z1"))) == member(4, "z1")


def test_nobody_loses_his_vote_while_there_is_room() -> None:
    assert replaced(VOTER, (member(2, "b1"), member(4, "z1"))) is None
    assert replaced(VOTER, (member(2, "b1"), member(3, "c1"))) is None


class FakeCluster:
    """The others' cluster: keeps members, can lose an answer and can refuse for a while."""

    def __init__(self, *members: Member, refusals: int = 0, loses_answer: bool = False) -> None:
        self.list, self.refusals, self.loses_answer = list(members), refusals, loses_answer
        self.done: list[str] = []

    def members(self, *, is_agreed: bool = True) -> tuple[Member, ...]:
        return tuple(self.list)

    def add_member(self, peer_url: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise EtcdError("etcdserver: unhealthy cluster")
        self.done.append("add")
        self.list.append(Member(77, "", (peer_url,)))
        if self.loses_answer:
            self.loses_answer = False
            raise EtcdError("no answer")

    def remove_member(self, number: int) -> None:
        self.done.append(f"remove {number}")
        self.list = [one for one in self.list if one.id != number]


def join(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, wait_s: float = 5.0) -> str:
    monkeypatch.setattr(etcd_member, "Etcd", lambda *_, **__: cluster)
    return Cluster(VOTER, wait_s).join(("b1", "c1"))


def test_voter_that_lost_its_data_becomes_a_new_member(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster(member(1, "a1"), member(2, "b1"), member(3, "c1"))
    told = join(cluster, monkeypatch)
    assert cluster.done == ["remove 1", "add"]
    assert told.endswith("ETCD_INITIAL_CLUSTER_STATE=existing\n")
    assert f"a1={url('a1')},b1={url('b1')},c1={url('c1')}" in told


def never_met(number: int, host: str) -> Member:
    return Member(number, host, (url(host),), is_met=False)


def test_voter_that_the_others_began_with_and_never_met_begins_as_they_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """Incident: three of five were a cluster before the others began, which were to be new members: none could be taken in."""
    cluster = FakeCluster(never_met(1, "a1"), member(2, "b1"), member(3, "c1"))
    told = join(cluster, monkeypatch)
    assert cluster.done == []
    assert told == f"ETCD_INITIAL_CLUSTER=a1={url('a1')},b1={url('b1')},c1={url('c1')}\nETCD_INITIAL_CLUSTER_STATE=new\n"


@pytest.mark.parametrize("others", [(member(2, "b1"), member(4, "z1")), (member(2, "b1"), member(3, "c1", is_started=False))])
def test_voter_never_met_is_a_new_member_where_the_cluster_is_not_as_it_was_begun(
    others: tuple[Member, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = FakeCluster(never_met(1, "a1"), *others)
    assert join(cluster, monkeypatch).endswith("ETCD_INITIAL_CLUSTER_STATE=existing\n")
    assert cluster.done[0] == "remove 1"


def test_new_voter_is_told_the_members_there_are_and_not_those_that_are_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """etcd compares the two when it starts."""
    told = join(FakeCluster(member(2, "b1")), monkeypatch)
    assert f"ETCD_INITIAL_CLUSTER=a1={url('a1')},b1={url('b1')}\n" in told


@pytest.mark.parametrize("trouble", [{"refusals": 2}, {"loses_answer": True}])
def test_voter_is_added_once_whatever_is_answered(monkeypatch: pytest.MonkeyPatch, trouble: dict[str, int]) -> None:
    cluster = FakeCluster(member(2, "b1"), member(3, "c1"), member(4, "z1"), **trouble)  # type: ignore[arg-type]
    join(cluster, monkeypatch)
    assert cluster.done == ["remove 4", "add"]


def test_voter_that_was_added_and_never_started_is_not_added_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster(member(2, "b1"), member(9, "a1", is_started=False))
    join(cluster, monkeypatch)
    assert cluster.done == []


def test_voter_that_is_never_taken_in_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotBegin, match="unhealthy"):
        join(FakeCluster(member(2, "b1"), refusals=1000), monkeypatch, wait_s=0.0)


# --- what the component wrote --------------------------------------------------------------------------------------------
def test_what_the_component_writes_is_read(tmp_path: Path) -> None:
    config = tmp_path / "member.json"
    told = {"host": "a1", "members": ADDRESSES, "client_port": 2379, "peer_port": 2380, "ca": "ca", "certificate": "crt"}
    config.write_text(json.dumps({**told, "key": "key", "start_file": "/nowhere"}))
    assert read_voter(config) == VOTER

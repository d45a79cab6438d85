"""The state of a database tier, put together from what its agents answered: never better than what was said."""

from __future__ import annotations

from typing import Any

import pytest

from nospof.apply.agents import AgentView, Database, behind, database, distance
from nospof.apply.trips import Problem
from nospof.apply.wire import to_wire
from nospof.component import File, OnChange, Parts, Unit
from nospof.render.host import Manifest
from nospof.topology import InstanceId

Json = dict[str, Any]
HOSTS = ("db1", "db2", "w1")
VOTERS = {"db2": "b", "w1": "w"}


def cluster(**changes: object) -> Json:
    well = {"revision": 7, "term": 3, "primary": "db1", "sync": "ok", "voters": VOTERS, "paused_until": 0.0, "paused_by": ""}
    return {**well, **changes}


def says(host: str, **changes: object) -> Json:
    is_primary = host == "db1"
    told: Json = {
        "role": "primary" if is_primary else "replica",
        "takes_writes": is_primary,
        "details": {},
        "age_s": 0.1,
        "says": "",
    }
    plain = {
        "ok": True,
        "says": "all is well",
        "cluster": cluster(),
        "mode": "lossless",
        "most_voters": 2,
        "history": [],
        "reports": {},
        "etcd": {"leader": "db1", "members": ["db1", "db2", "w1"]},
        "note": told,
    }
    return {**plain, **changes}


def seen(**changes: object) -> Database:
    """The tier, with `changes` of what each host says of its cluster."""
    return database("database", HOSTS, {host: says(host, cluster=cluster(**changes)) for host in HOSTS})


def of(**answers: Json | Problem) -> Database:
    return database("database", HOSTS, {host: answers.get(host, says(host)) for host in HOSTS})


def note(**changes: object) -> Json:
    return {"role": "replica", "takes_writes": False, "details": {}, "age_s": 3.0, "says": "voter of db1", **changes}


def test_tier_that_is_well_is_said_to_be() -> None:
    found = seen()
    assert (found.health, found.why, found.primary, found.voters) == ("ok", "", "db1", ("db2", "w1"))


def test_two_that_say_they_take_writes_are_a_failure_whatever_else_is_said() -> None:
    found = of(db2=says("db2", note=note(takes_writes=True)))
    assert (found.health, found.why) == ("failed", "db1 AND db2 say that they take writes: it must be one alone")


def test_newest_state_of_the_cluster_is_believed() -> None:
    # db2 is cut off from etcd, and still believes what was.
    old = says("db2", cluster=cluster(revision=5, term=2, primary="db2"))
    assert of(db2=old).primary == "db1"


def test_nobody_who_takes_writes_is_a_failure_if_all_were_asked_and_unknown_if_not() -> None:
    read_only = says("db1", note=note(role="primary"), says="primary, read-only: waits for a voter")
    found = of(db1=read_only)
    assert found.health == "failed"
    assert found.why == "nobody is known to take writes; db1: primary, read-only: waits for a voter"
    assert of(db1=Problem("db1", "unreachable", "db1 is off")).health == "unknown"


def test_primary_without_a_copy_is_a_failure_where_there_could_be_one() -> None:
    found = seen(sync="degraded", voters={})
    assert (found.health, found.why) == ("failed", "no copy acknowledges the writes of db1")
    alone = database("database", ("db1",), {"db1": says("db1", cluster=cluster(sync="degraded", voters={}))})
    assert (alone.health, alone.why) == ("ok", "")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"voters": {"db2": "b"}}, "of 2 copies that could acknowledge writes 1 does"),
        ({"sync": "joining", "voters": {"db2": "b"}}, "the first copy is on its way to have everything"),
    ],
)
def test_lost_redundancy_is_said(changes: Json, why: str) -> None:
    assert seen(**changes).why == why


def test_etcd_without_a_leader_is_said() -> None:
    silent = {"leader": "", "members": ["db1", "db2", "w1"]}
    found = database("database", HOSTS, {host: says(host, etcd=silent) for host in HOSTS})
    assert found.why == "etcd has no leader: nobody can take over now"
    # One who reaches it is believed.
    assert of(db2=says("db2", etcd=silent)).why == ""


def test_agents_that_never_read_etcd_know_nothing() -> None:
    blind = {host: says(host, cluster=None) for host in HOSTS}
    found = database(
        "database", HOSTS, {**blind, "db2": {"ok": False, "why": "the agent does not answer: gone", "note": note()}}
    )
    assert (found.health, found.primary) == ("unknown", "")
    assert found.why == "no agent knows the cluster: all is well"
    assert found.host("db2").says == "the agent does not answer: gone; 3 s ago it said: voter of db1"


def test_tier_without_a_primary_says_why() -> None:
    lost = {host: says(host, cluster=cluster(primary=""), says="etcd has lost its memory") for host in HOSTS}
    found = database("database", HOSTS, lost)
    assert (found.health, found.why) == ("failed", "etcd has lost its memory")


@pytest.mark.parametrize(
    ("here", "there", "missing"),
    [("0:17@1", "0:17@1", 0), ("0:17@1", "0:25@2", 8), ("0:25@1", "0:17@1", 0), ("", "0:3@1", 3), ("0:3@1", "", 0)],
)
def test_distance_of_positions(here: str, there: str, missing: int) -> None:
    assert distance(here, there) == missing


def test_unit_that_an_agent_owns_is_asked_for_when_its_own_drop_in_changes() -> None:
    # A restart by systemd would end a primary that nobody was asked to replace.
    owned = Unit("db.service", OnChange.ASK, drop_in="[Service]", ask=("/bin/true",), is_started=False)
    parts = Parts(files=(File("/etc/db.cnf", "x"),), units=(owned, Unit("agent.service", OnChange.RELOAD, text="[Service]")))
    wire = to_wire(Manifest("db1", (), ((InstanceId("database", "db1"), parts),)), lambda text: text)
    notifies = {file["path"]: file["notify"] for file in wire["instances"][0]["files"]}
    assert notifies == {
        "/etc/systemd/system/db.service.d/50-nospof.conf": {"db.service": "ask"},
        "/etc/systemd/system/agent.service": {"agent.service": "restart"},
        "/etc/db.cnf": {"db.service": "ask", "agent.service": "reload"},
    }


def test_copy_has_what_was_there_before_once_it_is_behind_by_less() -> None:
    views = [
        AgentView("database", "db1", role="primary"),
        AgentView("database", "db2", role="replica", lag_s=0.4),
        AgentView("database", "w1", role="replica", lag_s=None),
        AgentView("database", "x1"),
    ]

    assert behind(Database("database", tuple(views)), 2.4) == ("db2", "w1", "x1")
    assert behind(Database("database", tuple(views)), 2.5) == ("w1", "x1"), "who tells nothing may lack anything"
    assert behind(Database("database", tuple(views[:2])), 2.5) == ()

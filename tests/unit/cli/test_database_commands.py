"""switchover, promote, pause, resume, status: what a person sees, with real agents behind it (asked_site.py, small_tier.py)."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asked_site import Site, asked_site
from fakes import Telling
from small_tier import SmallTier, small_tier, wait_until

from nospof import deployment
from nospof.apply.agents import distance
from nospof.cli import pause, promote, resume, status, switchover
from nospof.errors import Failed, NospofError, Uncertain, WrongInput
from nospof.onhost.agent.model import Sync
from nospof.onhost.agent.run import Agent

HERE = Path()


@pytest.fixture
def tier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[SmallTier]:
    caplog.set_level(logging.INFO, "nospof")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "nft").write_text("#!/bin/sh\ncat > /dev/null\n")
    (programs / "nft").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("SUDO_USER", "ann")
    with small_tier(tmp_path) as made:
        made.begin("db1 db2 w1")
        wait_until(lambda: made.cluster.sync is Sync.OK and len(made.cluster.voters) == 2, "no voters")
        wait_until(lambda: note(made, "db1")["takes_writes"], "db1 takes no writes")
        for host in ("db2", "w1"):
            wait_until(lambda host=host: note(made, host)["details"]["is_voter"], f"{host} is no voter")  # type: ignore[misc]
            # It says so a moment later; the tests read what it says.
            wait_until(lambda host=host: note(made, host)["says"] == "voter of db1", f"{host} does not say it")  # type: ignore[misc]
        yield made


def note(tier: SmallTier, host: str) -> dict[str, Any]:
    return tier.ask(host, "status")["note"]  # type: ignore[return-value]


@pytest.fixture
def site(tier: SmallTier, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = asked_site(tier)
    for command in (pause, promote, resume, status, switchover):
        monkeypatch.setattr(command, "running", lambda _path: made)
    return made


def lose(site: Site, host: str) -> None:
    """The host has no power, and its agent is gone with it."""
    site.way.tier.end_agent(host)  # or it would announce that its server has ended
    site.way.tier.databases[host].kill()
    site.way.dark.add(host)
    for other, agent in site.way.tier.agents.items():
        wait_until(lambda agent=agent: not hears(agent, host), f"{other} still hears {host}")  # type: ignore[misc]


def hears(agent: Agent, host: str) -> bool:
    source = agent.observation.server.source if agent.observation and not agent.stop.is_set() else None
    return source is not None and source.node == host and source.is_receiving


def plain(text: str) -> str:
    """Without what differs from run to run: times, positions."""
    text = re.sub(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}", "TIME", text)
    text = re.sub(r"[0-9]+ ms(: [a-z]+ [0-9]+(, [a-z]+ [0-9]+)*)?", "MS", text)
    return re.sub(r"0:[0-9]+@1", "POSITION", text)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return plain(capsys.readouterr().out)


def database_part(text: str) -> list[str]:
    lines = text.splitlines()
    begin = lines.index("database")
    end = next(number for number, line in enumerate(lines) if number > begin and not line.startswith(" "))
    return lines[begin:end]


# --- switchover ----------------------------------------------------------------------------------------------------------
def test_switchover_says_who_is_primary_now_and_how_long_it_took(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert switchover.run(HERE, tier="", to="") == 0
    assert said(capsys) == (
        "db2 is primary of database now, before it was db1; no acknowledged write was lost\n"
        "  new connections waited for at most MS\n"
    )


def text_of(error: pytest.ExceptionInfo[NospofError]) -> str:
    return plain(str(error.value))


def test_refused_switchover_says_why_and_that_nothing_changed(site: Site) -> None:
    site.way.tier.databases["db1"].objection = lambda: "a transaction runs for 90 s (app@web1)"
    with pytest.raises(Failed) as error:
        switchover.run(HERE, tier="database", to="db2")
    assert text_of(error) == (
        "not switched over: nothing is changed\n"
        "  why: a transaction runs for 90 s (app@web1)\n"
        "  fix: look at nospof status, then try again"
    )


def test_switchover_to_a_stranger_is_a_wrong_call(site: Site) -> None:
    with pytest.raises(WrongInput) as error:
        switchover.run(HERE, tier="", to="web1")
    assert text_of(error) == "there is no host web1 in tier database\n  fix: name one of: db1, db2, w1"


def test_switchover_without_an_answer_is_never_said_to_have_failed(site: Site) -> None:
    site.way.mute.add("db1")
    with pytest.raises(Uncertain) as error:
        switchover.run(HERE, tier="", to="db2")
    assert text_of(error) == (
        "what happened is not known\n  why: host db1: no answer within 16 s\n  fix: look at nospof status before anything else"
    )
    assert site.way.tier.cluster.primary == "db2"


def test_switchover_of_a_lost_primary_says_what_happens_by_itself(site: Site) -> None:
    lose(site, "db1")
    with pytest.raises(Uncertain) as error:
        switchover.run(HERE, tier="", to="")
    assert text_of(error) == (
        "not switched over: the agent of the primary db1 does not answer\n"
        "  why: the host does not answer: db1 is off\n"
        "  fix: a primary that is lost is replaced by itself; nospof status shows whether it was, and why not"
    )


@pytest.mark.parametrize("tier_name", ["web", "cache"])
def test_tier_without_agents_is_a_wrong_call(site: Site, tier_name: str) -> None:
    with pytest.raises(WrongInput) as error:
        switchover.run(HERE, tier=tier_name, to="")
    assert text_of(error) == f"tier {tier_name} has no failover agents\n  fix: name one of: database"


# --- promote -------------------------------------------------------------------------------------------------------------
def test_promotion_says_what_may_be_lost_before_it_asks(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(site, "db1")
    site.way.tier.databases["w1"].written = site.way.tier.databases["db2"].written + 8
    wait_until(lambda: distance(*received(site, "db2", "w1")) == 8, "w1 is not ahead")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "shop" if "(shop)" in question else "")
    assert promote.run(["db2"], tier="", accept_loss=True, yes="") == 0
    assert said(capsys) == (
        "db2 is to be primary of database with what it has: POSITION\n"
        "  db1           was primary; the host does not answer: db1 is off; it last told of POSITION, and may have more\n"
        "  w1            answers, has POSITION: 8 transactions more\n"
        "w1 has more than db2: promote it instead, unless you know why not.\n"
        "What db2 lacks is lost. A host that has more saves it as SQL files when it comes back; nobody runs them.\n"
        "db2 is primary of database now, after MS\n"
    )
    assert site.way.tier.cluster.last.why.startswith("ann@")


def is_voter_of(site: Site, host: str, primary: str) -> bool:
    told = note(site.way.tier, host)
    return told["role"] == "replica" and bool(told["details"]["is_voter"]) and site.way.tier.databases[host].source == primary


def received(site: Site, *hosts: str) -> list[str]:
    return [note(site.way.tier, host)["details"]["received"] for host in hosts]


@pytest.mark.parametrize(
    ("yes", "what"),
    [
        ("", "nobody is there to confirm\n  fix: in a script: --yes shop"),
        ("shopp", "'shopp' is not the stack's name; nothing was changed\n  fix: type: shop"),
    ],
)
def test_promotion_that_nobody_confirmed_changes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, yes: str, what: str
) -> None:
    lose(site, "db1")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(WrongInput) as error:
        promote.run(["db2"], tier="", accept_loss=True, yes=yes)
    assert text_of(error) == what
    assert site.way.tier.cluster.primary == "db1"


def test_promotion_beside_a_primary_that_works_is_refused(site: Site) -> None:
    with pytest.raises(Failed) as error:
        promote.run(["db2"], tier="", accept_loss=True, yes="shop")
    assert text_of(error) == (
        "db1 is primary and takes writes\n"
        "  why: promoting another host now would lose writes\n"
        "  fix: nospof switchover --to db2: it loses nothing"
    )


def test_promotion_without_the_word_for_it_is_a_wrong_call() -> None:
    with pytest.raises(WrongInput) as error:
        promote.run(["db2"], tier="", accept_loss=False, yes="shop")
    assert text_of(error) == (
        "promote makes a host primary that may lack acknowledged writes\n"
        "  why: a host that lacks none takes over by itself, or by `nospof switchover`\n"
        "  fix: nospof status says why nobody did; if you accept the loss: nospof promote stack.yaml db2 --accept-loss"
    )


@pytest.mark.parametrize(
    ("host", "kind"), [("web1", WrongInput), ("db9", WrongInput), ("client", WrongInput), ("db1", Failed), ("db2", Uncertain)]
)
def test_host_that_cannot_be_promoted_is_told_before_anything_is_asked(site: Site, host: str, kind: type[NospofError]) -> None:
    lose(site, "db1")
    lose(site, "db2")
    with pytest.raises(kind):
        promote.run([host], tier="", accept_loss=True, yes="shop")


# --- pause and resume ----------------------------------------------------------------------------------------------------
def test_pause_and_resume_work_without_the_primary(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    lose(site, "db1")
    assert pause.run(HERE, tier="", duration="30m") == 0
    assert site.way.tier.cluster.paused_until == pytest.approx(time.time() + 1800, abs=60)
    assert site.way.tier.cluster.paused_by.startswith("ann@")
    assert resume.run(HERE, tier="") == 0
    assert site.way.tier.cluster.paused_until == 0.0
    assert said(capsys) == (
        "nobody takes over by itself until TIME\n"
        "  a primary that is lost stays lost until then; `nospof resume` ends the pause, `nospof switchover` still works\n"
        "the pause is ended: a primary that is lost is replaced by itself again\n"
    )


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h", 3600), ("2d", 172_800)])
def test_durations(text: str, seconds: float) -> None:
    assert pause.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1.5h", "0m", "1w", "1h30m"])
def test_what_is_no_duration_is_a_wrong_call(text: str) -> None:
    with pytest.raises(WrongInput):
        pause.seconds(text)


# --- status --------------------------------------------------------------------------------------------------------------
def test_status_of_a_tier_that_is_well(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.run(HERE, as_json=False) == 0
    assert database_part(said(capsys)) == [
        "database",
        "  db1           ok       mariadb  primary",
        "  db2           ok       mariadb  replica, voter, 0 s behind",
        "  w1            ok       mariadb  witness, voter, 0 s behind",
        "  primary db1, term 1; acknowledged by db2 and w1 (lossless)",
    ]


def test_status_tells_the_last_changes_and_a_pause(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert switchover.run(HERE, tier="", to="db2") == 0
    assert pause.run(HERE, tier="", duration="1h") == 0
    wait_until(lambda: all(is_voter_of(site, host, "db2") for host in ("db1", "w1")), "no voters")
    capsys.readouterr()
    assert status.run(HERE, as_json=False) == 0
    by = site.way.tier.cluster.paused_by
    assert database_part(said(capsys))[-3:] == [
        "  primary db2, term 2; acknowledged by db1 and w1 (lossless)",
        f"  paused until TIME by {by}: nobody takes over by itself",
        "  TIME  db1 to db2: handed over by db1; MS",
    ]


def test_agent_that_is_dead_is_unknown_and_said_so(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.way.tier.socket("w1").unlink()
    assert status.run(HERE, as_json=False) == 3
    line = re.sub(r"[0-9.]+ s ago", "N s ago", database_part(said(capsys))[3])
    assert line == (
        "  w1            ok       mariadb  role unknown: the agent does not answer: No such file or directory; "
        "N s ago it said: voter of db1"
    )


def test_lost_primary_that_nobody_replaces_is_unknown_with_the_reason(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    lose(site, "db1")
    assert status.run(HERE, as_json=False) == 3
    lines = database_part(said(capsys))
    assert lines[1] == ("  db1           unknown  mariadb  role unknown: the host does not answer: db1 is off  db1 is off")
    assert lines[5] == "  nobody is known to take writes; db1: the host does not answer: db1 is off"


def test_status_as_json(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert switchover.run(HERE, tier="", to="db2") == 0
    wait_until(lambda: all(is_voter_of(site, host, "db2") for host in ("db1", "w1")), "no voters")
    capsys.readouterr()
    assert status.run(HERE, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    (database,) = told["databases"]
    (failover,) = database.pop("failovers")
    assert database == {
        "tier": "database",
        "health": "ok",
        "why": "",
        "primary": "db2",
        "term": 2,
        "sync": "ok",
        "mode": "lossless",
        "voters": ["db1", "w1"],
        "paused_until": None,
        "paused_by": "",
        "etcd": {"leader": None, "members": []},
    }
    assert {name: failover[name] for name in ("term", "from", "to", "cause", "why", "loss")} == {
        "term": 2,
        "from": "db1",
        "to": "db2",
        "cause": "handover",
        "why": "handed over by db1",
        "loss": "none",
    }
    assert all(isinstance(ms, int) for ms in failover["ms"].values())
    roles = {one["host"]: (one["role"], one["is_voter"], one["lag_s"]) for one in told["tiers"]["database"]}
    assert roles == {"db1": ("replica", True, 0.0), "db2": ("primary", False, None), "w1": ("replica", True, 0.0)}
    assert {one["role"] for one in told["tiers"]["web"]} == {None}


def test_status_tells_how_much_each_database_host_is_asked(
    site: Site, tier: SmallTier, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"db1": 142.0, "db2": 30.5, "w1": None}
    for host, qps in asked.items():
        tier.agents[host].rate.qps = qps

    assert status.run(HERE, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    status.run(HERE, as_json=False)
    text = capsys.readouterr().out

    assert {one["host"]: one["qps"] for one in told["tiers"]["database"]} == asked
    assert {one["qps"] for one in told["tiers"]["web"]} == {None}
    assert re.search(r"db1 .*primary  142 queries/s", text)
    assert not re.search(r"w1 .*queries/s", text)


# --- a host that is taken out of its tier --------------------------------------------------------------------------------
def without(site: Site, host: str) -> Site:
    """The stack file no longer has `host` in the database tier; its agent still runs."""
    kept = tuple(one for one in site.topology.instances if str(one.id) != f"database/{host}")
    site.topology = replace(site.topology, instances=kept)
    return site


def feeds(tier: SmallTier, host: str) -> set[str]:
    seen = tier.agents[host].observation
    return set(seen.server.feeds) if seen else set()


def test_primary_that_leaves_its_tier_hands_over_first(site: Site, tier: SmallTier) -> None:
    told = Telling()
    without(site, "db1")._have_primaries_leave({"db1", "lb1"}, told)
    assert tier.cluster.primary == "db2"
    assert [(host, plain(text)) for host, text in told.lines] == [("db1", "leaves tier database: handed over to db2 in MS")]


def test_replica_that_leaves_is_not_in_the_way(site: Site, tier: SmallTier) -> None:
    without(site, "db2")._have_primaries_leave({"db2"}, Telling())
    assert tier.cluster.primary == "db1"


def test_primary_that_nobody_can_follow_does_not_leave(site: Site, tier: SmallTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "LEAVES_WITHIN_S", 0.2)
    lose(site, "db2")
    wait_until(lambda: "db2" not in feeds(tier, "db1"), "db2 is still fed")
    with pytest.raises(Failed, match="db1 leads tier database and cannot leave it: nothing is changed") as caught:
        without(site, "db1")._have_primaries_leave({"db1"}, Telling())
    assert caught.value.why == "db2 is not connected"
    assert tier.cluster.primary == "db1"
    assert tier.cluster.handover is None

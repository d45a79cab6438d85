"""What people ask of the agent, asked over its socket, of real agents on servers that are numbers (small_tier.py)."""

from __future__ import annotations

import logging
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_tier import EtcdOf, SmallTier, small_tier, wait_until

from nospof.onhost.agent import control
from nospof.onhost.agent.ask import ask
from nospof.onhost.agent.control import outcome
from nospof.onhost.agent.model import Cluster, Handover, Sync
from nospof.onhost.agent.run import BEFORE
from nospof.onhost.agent.store import View


@pytest.fixture
def tier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[SmallTier]:
    caplog.set_level(logging.INFO, "nospof")  # as the program does: reasons come from the log
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "nft").write_text("#!/bin/sh\ncat > /dev/null\n")
    (programs / "nft").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with small_tier(tmp_path) as made:
        yield made


def with_voters(tier: SmallTier, hosts: str = "db1 db2", **rules: object) -> SmallTier:
    """A tier whose first host is primary, with a voter that has everything."""
    tier.begin(hosts, **rules)
    full = min(2, len(hosts.split()) - 1)
    wait_until(lambda: tier.cluster.sync is Sync.OK and len(tier.cluster.voters) == full, "no voters")
    wait_until(lambda: not tier.databases["db1"].is_read_only, "db1 takes no writes")
    return tier


def is_settled(tier: SmallTier, primary: str) -> bool:
    is_open = not tier.databases[primary].is_read_only
    return tier.cluster.primary == primary and tier.cluster.sync is Sync.OK and is_open


def is_voter(status: dict[str, Any]) -> bool:
    return bool(status["note"]["details"]["is_voter"]) and status["note"]["role"] == "replica"


def hears(tier: SmallTier, host: str) -> bool:
    o = tier.agents[host].observation
    return o is not None and o.server.source is not None and o.server.source.is_receiving


# --- switchover ----------------------------------------------------------------------------------------------------------
def test_switchover_tells_who_it_went_to_and_how_long_each_phase_took(tier: SmallTier) -> None:
    with_voters(tier, "db1 db2 w1")
    answer = tier.ask("db1", "switchover", to="")
    assert {name: answer[name] for name in ("ok", "from", "to")} == {"ok": True, "from": "db1", "to": "db2"}
    assert {"froze", "promoted", "writable"} <= set(answer["phases"])  # type: ignore[call-overload]
    assert tier.cluster.primary == "db2"
    wait_until(lambda: tier.databases["db1"].source == "db2", "db1 does not follow")
    assert tier.databases["db1"].is_read_only


def test_phases_are_told_when_both_have_recorded_theirs(tier: SmallTier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Incident: on a busy machine the former primary was the later one, and what it saw was missing in the answer."""
    with_voters(tier, "db1 db2 w1")
    record = EtcdOf.record

    def late(store: EtcdOf, term: int, text: str, part: str = "") -> None:
        time.sleep(0.5 if part == BEFORE else 0)
        record(store, term, text, part)

    monkeypatch.setattr(EtcdOf, "record", late)
    answer = tier.ask("db1", "switchover", to="")
    assert {"froze", "promoted", "writable"} <= set(answer["phases"])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("db9", "db9 is no voter now; voters are: db2"),
        ("db1", "db1 is primary already"),
    ],
)
def test_switchover_that_cannot_be_is_refused_with_the_reason(tier: SmallTier, to: str, why: str) -> None:
    with_voters(tier)
    assert tier.ask("db1", "switchover", to=to) == {"ok": False, "outcome": "refused", "why": why}
    assert tier.cluster.handover is None


def test_switchover_is_asked_of_the_primary_only(tier: SmallTier) -> None:
    with_voters(tier)
    assert tier.ask("db2", "switchover", to="")["why"] == "db1 is primary, not db2"


def test_switchover_waits_for_no_long_transaction(tier: SmallTier) -> None:
    with_voters(tier)
    tier.databases["db1"].objection = lambda: "a transaction runs for 90 s (connection 17, app@web1)"
    answer = tier.ask("db1", "switchover", to="db2")
    assert answer["outcome"] == "refused"
    assert answer["why"] == "a transaction runs for 90 s (connection 17, app@web1)"


def test_handover_that_was_given_up_is_undone_and_says_why(tier: SmallTier) -> None:
    with_voters(tier, handover_s=0.4)
    tier.databases["db1"].may_freeze = False
    answer = tier.ask("db1", "switchover", to="db2")
    assert answer["outcome"] == "undone"
    assert answer["why"] == (
        "undone, all is as before: could not: writes could not be stopped within 0.3 s; "
        "the handover to db2 is given up: took too long"
    )
    assert is_settled(tier, "db1")


def test_handover_that_was_given_up_leaves_the_record_of_the_last_one_as_it_was(tier: SmallTier) -> None:
    """A new primary that was to hand back, or held an election in vain, wrote its own record anew, with no times in it."""
    with_voters(tier, "db1 db2 w1", handover_s=0.4)
    assert tier.ask("db1", "switchover", to="db2")["phases"]
    wait_until(lambda: len(tier.cluster.voters) == 2 and is_settled(tier, "db2"), "db2 is not settled")
    recorded = dict(tier.etcd.view.history)
    tier.databases["db2"].may_freeze = False
    # Refused as long as nobody follows it yet who could take over.
    wait_until(lambda: tier.ask("db2", "switchover", to="")["outcome"] == "undone", "it was not given up")
    wait_until(lambda: is_settled(tier, "db2") and not tier.agents["db2"].marks, "the marks of what came to nothing stay")
    assert tier.etcd.view.history == recorded


def test_handover_without_an_end_is_unknown_and_never_called_good(tier: SmallTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "HANDOVER_S", 0.3)
    with_voters(tier)
    tier.databases["db1"].may_freeze = False
    answer = tier.ask("db1", "switchover", to="db2")
    assert answer["outcome"] == "unknown"
    assert answer["why"] == "the handover to db2 was neither done nor undone within 0.3 s"


def test_nothing_is_begun_while_etcd_is_silent(tier: SmallTier) -> None:
    with_voters(tier)
    tier.etcd.is_silent = True
    wait_until(lambda: "does not answer" in str(tier.ask("db1", "switchover", to="")["why"]), "it was begun")
    tier.etcd.is_silent = False


BEGUN = Cluster(7, 3, "db1", Sync.OK, {"db2": "x"}, handover=Handover("db2", "one"))


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (None, ""),
        (BEGUN, ""),
        (replace(BEGUN, revision=8), ""),
        (replace(BEGUN, revision=9, primary="db2", handover=None), "done"),
        (replace(BEGUN, revision=9, handover=None), "undone, all is as before: "),
        (replace(BEGUN, revision=9, handover=Handover("db2", "another")), "undone, all is as before: "),
        (replace(BEGUN, revision=9, primary="db3", handover=None), "db3 is primary now: "),
    ],
)
def test_how_a_handover_ended_is_told_by_the_clusters_state_alone(now: Cluster | None, said: str) -> None:
    assert outcome(BEGUN, now) == said


# --- restart -------------------------------------------------------------------------------------------------------------
def test_restart_of_a_replica_ends_its_server_and_waits_until_it_follows_again(tier: SmallTier) -> None:
    with_voters(tier)
    before = tier.databases["db2"].pid()
    assert tier.ask("db2", "restart")["ok"]
    assert tier.databases["db2"].pid() not in (None, before)
    assert tier.databases["db2"].source == "db1"
    assert tier.cluster.primary == "db1"


def test_restart_of_a_primary_hands_over_first(tier: SmallTier) -> None:
    with_voters(tier)
    before = tier.databases["db1"].pid()
    answer = tier.ask("db1", "restart")
    assert (answer["ok"], answer["handed_to"]) == (True, "db2")
    assert tier.databases["db1"].pid() not in (None, before)
    assert tier.cluster.primary == "db2"
    assert tier.databases["db1"].source == "db2"


@pytest.mark.parametrize("hosts", ["db1", "db1 w1"])
def test_restart_of_a_primary_that_nobody_shall_follow_is_in_place(tier: SmallTier, hosts: str) -> None:
    # The witness could be promoted, and is kept from it by a pause that ends with the restart.
    if hosts == "db1":
        tier.begin("db1")
        wait_until(lambda: not tier.databases["db1"].is_read_only, "db1 takes no writes")
    else:
        with_voters(tier, hosts)
    before = tier.databases["db1"].pid()
    answer = tier.ask("db1", "restart")
    assert (answer["ok"], answer["handed_to"]) == (True, "")
    assert tier.databases["db1"].pid() not in (None, before)
    assert tier.cluster.primary == "db1"
    assert tier.cluster.paused_until == 0.0


def test_pause_of_a_person_outlives_a_restart(tier: SmallTier) -> None:
    with_voters(tier, "db1 w1")
    assert tier.ask("db1", "pause", for_s=3600, by="ann@desk")["ok"]
    assert tier.ask("db1", "restart")["ok"]
    assert tier.cluster.paused_by == "ann@desk"
    assert tier.cluster.paused_until > time.time()


def test_restart_before_the_cluster_is_known_ends_nothing(tier: SmallTier, monkeypatch: pytest.MonkeyPatch) -> None:
    # It could be the primary, whom nobody was asked to replace.
    monkeypatch.setattr(control, "KNOWS_WITHIN_S", 0.2)
    tier.etcd.view = View()
    tier.begin("db1 db2")
    before = tier.databases["db1"].pid()
    answer = tier.ask("db1", "restart")
    assert answer["outcome"] == "refused"
    assert answer["why"] == "the agent does not know the cluster yet: etcd does not answer with its quorum"
    assert tier.databases["db1"].pid() == before


def test_server_that_does_not_come_back_is_unknown(tier: SmallTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "HEALTHY_WITHIN_S", 0.5)
    with_voters(tier)
    tier.databases["db2"].may_start = False
    answer = tier.ask("db2", "restart")
    assert answer["outcome"] == "unknown"
    assert str(answer["why"]).startswith("the server was ended and is not healthy again: ")


# --- promote, pause, leave -----------------------------------------------------------------------------------------------
def test_promotion_with_loss_is_recorded_with_who_accepted_it(tier: SmallTier) -> None:
    with_voters(tier)
    tier.agents["db1"].stop.set()
    tier.databases["db1"].kill()
    wait_until(lambda: not hears(tier, "db2"), "db2 still hears db1")
    answer = tier.ask("db2", "promote", by="ann@desk\n")
    assert {name: answer[name] for name in ("ok", "from", "to", "takes_writes")} == {
        "ok": True,
        "from": "db1",
        "to": "db2",
        "takes_writes": True,
    }
    wait_until(lambda: tier.ask("db2", "status")["history"], "no history")
    entry = next(iter(tier.ask("db2", "status")["history"]))  # type: ignore[call-overload]
    assert (entry["cause"], entry["why"], entry["loss"]) == ("accepted-loss", "ann@desk accepted the loss", "possible")


def test_nothing_is_lost_by_promotion_while_the_primary_is_heard(tier: SmallTier) -> None:
    with_voters(tier)
    assert tier.ask("db2", "promote", by="ann@desk")["why"] == "it hears db1, which is primary: a switchover loses nothing"
    assert tier.cluster.primary == "db1"


def test_pause_and_resume(tier: SmallTier) -> None:
    with_voters(tier)
    assert tier.ask("db2", "pause", for_s=60, by="ann@desk")["ok"]
    assert tier.cluster.paused_by == "ann@desk"
    assert tier.ask("db1", "resume")["ok"]
    assert (tier.cluster.paused_until, tier.cluster.paused_by) == (0.0, "")


@pytest.mark.parametrize(
    ("for_s", "why"),
    [
        (0, "a pause must end later than now"),
        (8 * 86_400, "a pause of more than 7 days is one that was forgotten"),
        ("1h", "for how many seconds is not said"),
        (None, "for how many seconds is not said"),
        (True, "for how many seconds is not said"),
    ],
)
def test_pause_without_a_sensible_end_is_refused(tier: SmallTier, for_s: object, why: str) -> None:
    tier.begin("db1")
    wait_until(lambda: tier.cluster.primary, "no primary")
    assert tier.ask("db1", "pause", for_s=for_s)["why"] == why


def test_host_that_goes_down_hands_over_and_a_replica_just_goes(tier: SmallTier) -> None:
    with_voters(tier)
    assert tier.ask("db2", "leave") == {"ok": True}
    assert tier.ask("db1", "leave")["to"] == "db2"


# --- the socket ----------------------------------------------------------------------------------------------------------
def test_status_is_answered_while_another_request_waits(tier: SmallTier) -> None:
    with_voters(tier)
    asked, go_on = threading.Event(), threading.Event()

    def wait() -> str:
        asked.set()
        assert go_on.wait(30)
        return "enough"

    tier.databases["db1"].objection = wait
    answers: list[dict[str, object]] = []
    waiting = threading.Thread(target=lambda: answers.append(tier.ask("db1", "switchover", to="")))
    waiting.start()
    assert asked.wait(30)
    status = tier.ask("db1", "status")
    assert (status["ok"], status["state"], answers) == (True, "primary", [])
    go_on.set()
    waiting.join(30)
    assert answers[0]["why"] == "enough"


def test_second_change_is_refused_when_its_turn_does_not_come(tier: SmallTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "TURN_S", 0.1)
    with_voters(tier)
    asked, go_on = threading.Event(), threading.Event()
    tier.databases["db1"].objection = lambda: (asked.set(), go_on.wait(30), "enough")[2]  # type: ignore[func-returns-value]
    waiting = threading.Thread(target=lambda: tier.ask("db1", "switchover", to=""))
    waiting.start()
    assert asked.wait(30)
    assert tier.ask("db1", "resume")["why"] == "another request is being carried out: switchover"
    go_on.set()
    waiting.join(30)


def test_status_tells_the_cluster_and_what_this_host_is_in_it(tier: SmallTier) -> None:
    with_voters(tier, "db1 db2 w1")
    wait_until(lambda: is_voter(tier.ask("w1", "status")), "w1 is no voter")
    status = tier.ask("w1", "status")
    assert status["members"] == {
        "db1": {"is_witness": False, "is_spare": False},
        "db2": {"is_witness": False, "is_spare": False},
        "w1": {"is_witness": True, "is_spare": False},
    }
    cluster, note = dict(status["cluster"]), dict(status["note"])  # type: ignore[call-overload]
    assert (cluster["primary"], cluster["sync"], sorted(cluster["voters"])) == ("db1", "ok", ["db2", "w1"])
    assert (note["role"], note["details"]["is_voter"]) == ("replica", True)


def test_socket_belongs_to_its_user_alone(tier: SmallTier) -> None:
    tier.begin("db1")
    assert stat.S_IMODE(tier.socket("db1").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"hello\n", b"[]\n", b'{"do": "drop"}\n', b'{"do": ["status"]}\n', b"x" * 9000 + b"\n"]
)
def test_what_is_no_request_is_refused_and_harms_nothing(tier: SmallTier, line: bytes) -> None:
    tier.begin("db1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(str(tier.socket("db1")))
        connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        assert b'"outcome": "refused"' in connection.recv(65536)
    assert tier.ask("db1", "status")["ok"]


def test_agent_that_is_not_there_was_not_asked(tmp_path: Path) -> None:
    answer = ask(tmp_path / "none.sock", {"do": "switchover", "to": ""})
    assert (answer["ok"], answer["outcome"]) == (False, "not-asked")


def test_agent_that_is_being_started_is_waited_for_before_a_restart(tier: SmallTier) -> None:
    # Given: `up` restarted the agent and asks it at once, before its socket is there.
    path = tier.socket("db1")
    answers: list[dict[str, object]] = []
    asking = threading.Thread(target=lambda: answers.append(ask(path, {"do": "restart"})))
    asking.start()
    tier.begin("db1")
    asking.join(60)
    assert answers[0]["ok"], answers


def test_pause_that_a_person_began_during_a_restart_stays(tier: SmallTier) -> None:
    with_voters(tier, "db1 w1")
    tier.databases["db1"].may_start = False
    answers: list[dict[str, object]] = []
    restarting = threading.Thread(target=lambda: answers.append(tier.ask("db1", "restart")))
    restarting.start()
    wait_until(lambda: tier.databases["db1"].pid() is None, "db1 was not ended")
    assert tier.ask("w1", "pause", for_s=3600, by="ann@desk")["ok"]
    tier.databases["db1"].may_start = True
    restarting.join(60)
    assert answers[0]["ok"], answers
    assert tier.cluster.paused_by == "ann@desk"


def test_agent_that_dies_while_it_answers_leaves_it_unknown(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "dies.sock"))
        listener.listen()

        def die() -> None:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.close()

        dying = threading.Thread(target=die)
        dying.start()
        answer = ask(tmp_path / "dies.sock", {"do": "switchover", "to": ""})
        dying.join(30)
    assert (answer["ok"], answer["outcome"]) == (False, "unknown")

"""A cache tier on real hosts: what becomes of its writes when the primary dies, falls silent, or is cut off with its callers.

A client on the application's host writes all the time through the local port, as an application would.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cache_site import APP, CacheSite, Write, gap_s, history
from quiet_site import Quiet

from nospof.apply import password_change
from nospof.apply.password_change import PasswordStep
from nospof.drills.checkers.two_primaries import two_primaries
from nospof.drills.verdict import Result

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

SERVERS = ("c1", "c2")
SENTINELS = ("c1", "c2", "w1")
# The old primary stops within 0.8 s; the rest is for a busy machine.
STOPS_WITHIN_S = 2.5


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CacheSite]:
    made = CacheSite(tmp_path_factory.mktemp("valkey"), "valkey")
    try:
        made.up()
        yield made
    finally:
        made.down()


def other(primary: str) -> str:
    return next(host for host in SERVERS if host != primary)


def acknowledged(writes: list[Write]) -> list[Write]:
    return [write for write in writes if not write.error]


def lost(site: CacheSite, writes: list[Write], holder: str) -> list[Write]:
    held = site.held(holder, len(writes))
    return [write for write in acknowledged(writes) if write.number not in held]


def by(writes: list[Write], site: CacheSite, host: str) -> list[Write]:
    address = site.deployment.topology.host(host).address
    return [write for write in acknowledged(writes) if write.server.startswith(f"{address}:")]


def test_second_up_changes_nothing(site: CacheSite) -> None:
    site.wait_well(*SERVERS)

    assert not site.up()


def test_copy_takes_over_from_a_killed_primary_which_does_not_come_back_empty(site: CacheSite) -> None:
    primary = site.wait_well(*SERVERS)

    with site.written() as writer:
        time.sleep(2)
        site.on(primary, "systemctl", "kill", "--signal=KILL", "--kill-whom=main", site.unit("server"))
        site.wait_until(lambda: site.primaries(*SERVERS) == [other(primary)])
        assert site.wait_well(*SERVERS) == other(primary)
        time.sleep(3)
    writes = writer.stop()

    assert by(writes, site, primary)
    assert by(writes, site, other(primary))
    # What was sent to the copy when the process died is there; the last ones before are the loss that a cache may have.
    gone, taken = lost(site, writes, other(primary)), by(writes, site, primary)
    assert gone == taken[len(taken) - len(gone) :]
    site.wait_until(lambda: site.held(primary, len(writes)) == site.held(other(primary), len(writes)))


def test_frozen_primary_is_replaced_and_does_not_wake_up_as_one(site: CacheSite) -> None:
    primary = site.wait_well(*SERVERS)
    process = site.process(primary)

    site.on(primary, "systemctl", "kill", "--signal=STOP", "--kill-whom=main", site.unit("server"))
    site.wait_until(lambda: site.primaries(other(primary)) == [other(primary)])

    assert site.wait_well(*SERVERS) == other(primary)
    assert process != site.process(primary)


def test_pages_are_answered_with_and_without_the_cache(site: CacheSite) -> None:
    site.wait_well(*SERVERS)
    counted = [site.visit(), site.visit()]
    for host in SERVERS:
        site.on(host, "systemctl", "stop", site.unit("server"))
    try:
        site.wait_until(lambda: site.primaries(*SERVERS) == [])
        begun_s = time.monotonic()
        without, health = site.visit(), site.visit("/health")
        took_s = time.monotonic() - begun_s
    finally:
        for host in SERVERS:
            site.on(host, "systemctl", "start", "--no-block", site.unit("server"))

    first, second = (int(text.removeprefix("visit ")) for text in counted)
    assert second == first + 1
    assert without.startswith("without the cache")
    assert health == "well"
    assert took_s < 5
    site.wait_well(*SERVERS)
    assert site.visit().startswith("visit ")


def test_primary_that_is_cut_off_with_its_callers_stops_before_they_reach_another(site: CacheSite) -> None:
    primary = site.wait_well(*SERVERS)
    lab = site.deployment.lab

    with site.written() as writer:
        time.sleep(2)
        cut_s = time.monotonic()
        lab.cut([primary, APP], [other(primary), "w1"], name="split")
        try:
            site.wait_until(lambda: site.primaries(other(primary)) == [other(primary)])
            time.sleep(1)
        finally:
            lab.mend("split")
        assert site.wait_well(*SERVERS) == other(primary)
        # What the client's host had sent into the cut is sent again only after a while.
        time.sleep(5)
    writes = writer.stop()

    assert max(write.ended_s for write in by(writes, site, primary)) < cut_s + STOPS_WITHIN_S
    assert by(writes, site, other(primary))
    judged = two_primaries(history(writes))
    assert judged.result is Result.PASS, judged
    # What the old one took after the cut is lost, and nothing else.
    assert all(write.ended_s > cut_s - 0.5 for write in lost(site, writes, other(primary)))


def test_writes_go_on_without_a_majority_of_sentinels_and_end_when_the_copy_is_lost_too(site: CacheSite) -> None:
    primary = site.wait_well(*SERVERS)
    lab = site.deployment.lab
    away = [host for host in SENTINELS if host != primary]

    with site.written() as writer:
        time.sleep(1)
        for host in away:
            site.on(host, "systemctl", "stop", site.unit("sentinel"))
        gone_s = time.monotonic()
        time.sleep(4)
        cut_s = time.monotonic()
        lab.link(other(primary), is_up=False)
        try:
            site.wait_until(lambda: site.primaries(primary) == [])
            stopped_s = time.monotonic()
            time.sleep(1)
        finally:
            lab.link(other(primary), is_up=True)
            back_s = time.monotonic()
            site.wait_until(lambda: site.primaries(primary) == [primary])
            time.sleep(1)
            for host in away:
                site.on(host, "systemctl", "start", site.unit("sentinel"))
    writes = writer.stop()

    took = [write.ended_s for write in acknowledged(writes)]
    assert any(gone_s + 2 < ended_s < cut_s for ended_s in took)
    assert not any(stopped_s + 0.5 < ended_s < back_s for ended_s in took)
    assert any(ended_s > back_s for ended_s in took)
    assert lost(site, writes, primary) == []
    assert site.wait_well(*SERVERS) == primary


def test_changed_setting_reaches_copies_first_and_loses_no_write(site: CacheSite) -> None:
    primary = site.wait_well(*SERVERS)
    site.edit("hosts: [c1, c2]", "hosts: [c1, c2], memory_mib: 96")

    with site.written() as writer:
        time.sleep(1)
        assert site.up()
        assert site.wait_well(*SERVERS) == other(primary)
        time.sleep(1)
    writes = writer.stop()

    assert lost(site, writes, other(primary)) == []
    assert by(writes, site, other(primary))
    assert two_primaries(history(writes)).result is Result.PASS
    assert not site.up()


class Interrupts(Quiet):
    """Ends a run where its first words are said."""

    def __init__(self, words: str) -> None:
        self.words = words

    def phase(self, text: str) -> None:
        if text == self.words:
            raise KeyboardInterrupt


@pytest.mark.long
def test_other_passwords_come_while_writes_go_on_also_after_an_interruption(site: CacheSite) -> None:
    site.wait_well(*SERVERS)
    old, before = site.secrets(), [site.process(host) for host in SERVERS]

    with site.written() as writer:
        with pytest.raises(KeyboardInterrupt):
            site.deployment.replace_passwords(Interrupts(PasswordStep.USE.value))
        halfway = site.deployment.password_step
        site.up()
        both = [site.taken(host, passwords) for host in SERVERS for passwords in (old, coming(site))]
        names = site.deployment.replace_passwords(Quiet())
        primary = site.wait_well(*SERVERS)
        time.sleep(1)
    writes = writer.stop()
    new = site.secrets()

    assert halfway is PasswordStep.USE
    assert names == ("cache/agent", "cache/app", "cache/replication", "cache/sentinel", "valkey-sentinel/watch")
    assert all(all(taken.values()) and len(taken) == len(names) for taken in both)
    for host in SERVERS:
        assert set(site.taken(host, old).values()) == {False}
        assert set(site.taken(host, new).values()) == {True}
    assert old["app.secret-key"] == new["app.secret-key"]
    sys.stdout.write(f"{len(acknowledged(writes))} of {len(writes)} writes; longest pause {gap_s(writes):.1f} s\n")
    assert lost(site, writes, primary) == []
    # Nothing restarts or is cut off: not even one connection ends.
    assert [(write.number, write.server, write.error) for write in writes if write.error] == []
    assert {write.server for write in writes} == {writes[0].server}
    assert [site.process(host) for host in SERVERS] == before
    assert site.visit().startswith("visit ")
    assert not site.up()


def coming(site: CacheSite) -> dict[str, str]:
    """The passwords that are to come, as `secrets` names them."""
    change = password_change.under_way(site.deployment.state)
    assert change is not None
    return {name.replace("/", "."): password for name, password in change.coming.items()}


@pytest.mark.long
def test_copy_takes_over_with_the_new_passwords(site: CacheSite) -> None:
    primary = site.wait_well(*SERVERS)
    site.on(primary, "systemctl", "kill", "--signal=KILL", "--kill-whom=main", site.unit("server"))
    site.wait_until(lambda: site.primaries(*SERVERS) == [other(primary)])
    assert site.wait_well(*SERVERS) == other(primary)


@pytest.mark.long
def test_third_server_joins_and_leaves_while_writes_go_on(site: CacheSite) -> None:
    site.wait_well(*SERVERS)
    site.edit("hosts: [c1, c2]", "hosts: [c1, c2, w1]")

    with site.written() as writer:
        assert site.up()
        primary = site.wait_well(*SERVERS, "w1")
        # Of three the Sentinels would choose any: asked for, each of them in turn becomes primary.
        for host in ("w1", "c1", "w1", "c2"):
            site.hand_over(primary, host)
            primary = site.wait_well(*SERVERS, "w1")
            assert (primary, site.priority(host)) == (host, "100")
        site.edit("hosts: [c1, c2, w1]", "hosts: [c1, c2]")
        assert site.up()
        site.wait_well(*SERVERS)
    writes = writer.stop()

    assert primary in SERVERS
    assert lost(site, writes, site.wait_well(*SERVERS)) == []
    assert not site.up()


def test_redis_is_driven_in_the_same_way_and_its_disk_may_be_torn_by_a_power_cut(tmp_path: Path) -> None:
    """Incident: a server whose log ended in zeros, as after a power cut, started again and again, and never ran."""
    site = CacheSite(tmp_path, "redis", more=", keeps: disk")
    try:
        site.up()
        primary = site.wait_well(*SERVERS)
        with site.written() as writer:
            time.sleep(1)
            site.deployment.lab.power_off(primary)
            site.wait_until(lambda: site.primaries(other(primary)) == [other(primary)])
            time.sleep(1)
        writes = writer.stop()

        assert by(writes, site, other(primary))
        assert two_primaries(history(writes)).result is Result.PASS

        site.deployment.lab.power_on(primary)
        assert site.wait_well(*SERVERS) == other(primary)
        site.tear((primary,))
        assert site.wait_well(*SERVERS) == other(primary)
        assert site.mended(primary) == 1
        # All at once, so that nobody has the entries but on a disk that is torn.
        held, before = site.held(primary, len(writes)), {host: site.mended(host) for host in SERVERS}
        site.tear(SERVERS)
        primary = site.wait_well(*SERVERS)
        assert {host: site.mended(host) for host in SERVERS} == {host: times + 1 for host, times in before.items()}
        assert held == site.held(primary, len(writes)) != set()
    finally:
        site.down()


def test_memcached_answers_while_one_of_its_servers_is_dark(tmp_path: Path) -> None:
    site = CacheSite(tmp_path, "memcached")
    try:
        site.up()
        assert not site.up()
        site.wait_until(lambda: "0 failed" in site.entries(50, 0.01))
        before = site.entries(200, 0.0)
        site.deployment.lab.power_off("c1")
        # If the other one is late just then, as on a busy machine, it counts as away, too, for a second or two.
        site.wait_until(lambda: "0 failed, 0 missing" in site.entries(50, 0.005))
        said = site.entries(400, 0.005)
        # Of what the dark server was asked, it was not answered: the other one did.
        assert "0 failed, 0 missing" in before, before
        assert "0 failed, 0 missing" in said, said

        site.on("c2", "sh", "-c", "systemctl kill --signal=STOP memcached; sleep 3; systemctl kill --signal=CONT memcached")
        site.wait_until(lambda: site.entries(50, 0.005).startswith("0 failed"), limit_s=10.0)
    finally:
        site.down()

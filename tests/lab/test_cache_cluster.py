"""A cache of shards on real hosts: losses of a server, a host and a disk, hosts that come and go, all while somebody writes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import pytest
from cache_site import gap_s
from cluster_site import ClusterSite
from quiet_site import Quiet
from redis.crc import key_slot

from nospof.errors import Failed
from nospof.onhost.cache_cluster_plan import SLOTS

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

HOSTS = ("c1", "c2", "w1")


@pytest.fixture(scope="module", params=["redis-cluster", pytest.param("valkey-cluster", marks=pytest.mark.long)])
def site(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[ClusterSite]:
    made = ClusterSite(tmp_path_factory.mktemp("shards"), request.param)
    try:
        made.up()
        yield made
    finally:
        made.down()


def wait_well(site: ClusterSite, *hosts: str) -> None:
    """Each shard at home, each copy in step, all slots where they belong."""
    site.wait_until(lambda: site.is_well(hosts), limit_s=60)
    assert_well(site, *hosts)


def assert_well(site: ClusterSite, *hosts: str) -> None:
    """All slots are where they belong, as far as the first of `hosts` knows, and all shards at home."""
    slots = site.slots(hosts[0])
    assert set(slots) == set(hosts)
    assert sum(slots.values()) == SLOTS
    assert max(slots.values()) - min(slots.values()) <= 1


def told(what: str, site: ClusterSite, writes: list, limit: int = 0) -> None:  # type: ignore[type-arg]
    """Print what became of the writes; of those that were acknowledged at most `limit` may be missing."""
    missing = site.missing(writes)
    good = sum(not write.error for write in writes)
    # Of the shard that waited longest: the others go on.
    shards = [[write for write in writes if _shard(write.number) == shard] for shard in range(len(HOSTS))]
    pause_s = max(map(gap_s, shards))
    sys.stdout.write(f"{what}: {good} of {len(writes)} writes, longest pause {pause_s:.1f} s, {len(missing)} of them missing\n")
    assert good > 100
    assert len(missing) <= limit


def changed_while_written(what: str, site: ClusterSite) -> None:
    """Bring the changed file up while somebody writes: no write is lost, and a second `up` changes nothing."""
    with site.written() as writer:
        assert site.up()
        wait_well(site, *HOSTS)
    told(what, site, writer.stop())
    assert not site.up()


def _shard(number: int) -> int:
    """Where the entry of a write was when the cache was formed: slots are shared out in turn."""
    return int(key_slot(f"number:{number}".encode())) * len(HOSTS) // SLOTS


def test_it_is_formed_and_a_second_up_changes_nothing(site: ClusterSite) -> None:
    wait_well(site, *HOSTS)

    assert not site.up()
    assert site.visit() == "visit 1"
    assert site.visit() == "visit 2"


def test_killed_home_does_not_come_back_empty_and_takes_its_shard_back(site: ClusterSite) -> None:
    wait_well(site, *HOSTS)
    with site.written() as writer:
        time.sleep(1.5)
        site.on("c1", "systemctl", "kill", "--signal=KILL", "--kill-whom=main", site.unit_of(0))
        site.wait_until(lambda: not site.is_well(["c1"]))
        wait_well(site, *HOSTS)
    # What was sent to the copy when the process died is there; the last ones before are the loss that a cache may have.
    told("home killed", site, writer.stop(), limit=5)


@pytest.mark.long
def test_frozen_home_is_replaced_and_does_not_wake_up_as_one(site: ClusterSite) -> None:
    wait_well(site, *HOSTS)
    before = site.on("c2", "systemctl", "show", "--property=MainPID", "--value", site.unit_of(0))

    site.on("c2", "systemctl", "kill", "--signal=STOP", "--kill-whom=main", site.unit_of(0))
    site.wait_until(lambda: site.on("c2", "systemctl", "show", "--property=MainPID", "--value", site.unit_of(0)) != before)

    wait_well(site, *HOSTS)


def test_dark_host_is_stood_in_for_and_takes_its_shard_back(site: ClusterSite) -> None:
    wait_well(site, *HOSTS)
    lab = site.deployment.lab
    with site.written() as writer:
        time.sleep(1.5)
        lab.power_off("w1")
        site.wait_until(lambda: site.slots("c1").keys() == {"c1", "c2"})
        site.wait_until(lambda: site.visit().startswith("visit "))
        assert site.is_well(["c1", "c2"])
        lab.power_on("w1")
        wait_well(site, *HOSTS)
    told("host dark", site, writer.stop(), limit=5)


def test_host_with_a_new_disk_gets_everything_again(site: ClusterSite) -> None:
    wait_well(site, *HOSTS)
    with site.written() as writer:
        time.sleep(1.5)
        for number in (0, 1):
            site.on("c2", "systemctl", "stop", site.unit_of(number))
            site.on("c2", "sh", "-c", f"rm -rf /var/lib/{site.server}/cache-{number}/*")
        site.wait_until(lambda: site.slots("c1").keys() == {"c1", "w1"})
        for number in (0, 1):
            site.on("c2", "systemctl", "start", site.unit_of(number))
        wait_well(site, *HOSTS)
    # Stopped, it handed over first.
    told("disk lost", site, writer.stop())
    assert len(site.nodes("c1")) == 2 * len(HOSTS)


def test_changed_setting_loses_no_write(site: ClusterSite) -> None:
    wait_well(site, *HOSTS)
    site.edit("hosts: [c1, c2, w1]", "hosts: [c1, c2, w1], memory_mib: 96")
    changed_while_written("setting changed", site)


@pytest.mark.long
def test_other_passwords_come_while_writes_go_on(site: ClusterSite) -> None:
    wait_well(site, *HOSTS)
    with site.written() as writer:
        names = site.deployment.replace_passwords(Quiet())
        wait_well(site, *HOSTS)
    assert names == ("cache/agent", "cache/app", "cache/replication")
    told("other passwords", site, writer.stop())
    assert site.visit().startswith("visit ")
    assert not site.up()


@pytest.mark.long
def test_other_port_comes_while_writes_go_on(site: ClusterSite) -> None:
    wait_well(site, *HOSTS)
    site.edit("memory_mib: 96", "memory_mib: 96, port: 6479")
    changed_while_written("other port", site)
    listening = site.on("c1", "ss", "-Hltn")
    assert [port for port in (6479, 6480, 7000, 7001) if f":{port} " in listening] == [6479, 6480]
    assert site.visit().startswith("visit ")


def test_one_host_in_the_place_of_another_is_refused_before_anything_is_changed(site: ClusterSite) -> None:
    """Incident: they could never reach each other, and `up` waited six minutes for slots that could not move."""
    wait_well(site, *HOSTS)
    site.edit("hosts: [c1, c2, w1], memory", "hosts: [c1, c2, app1], memory")
    with pytest.raises(Failed, match="tier cache loses w1 and gains app1 at once: nothing was changed"):
        site.up()
    site.edit("hosts: [c1, c2, app1], memory", "hosts: [c1, c2, w1], memory")
    assert not site.up()


@pytest.mark.long
def test_host_joins_another_one_leaves_and_comes_back_while_writes_go_on(site: ClusterSite) -> None:
    wait_well(site, *HOSTS)
    site.edit("hosts: [c1, c2, w1], memory", "hosts: [c1, c2, w1, app1], memory")
    with site.written() as writer:
        assert site.up()
        assert_well(site, *HOSTS, "app1")
        site.edit("hosts: [c1, c2, w1, app1], memory", "hosts: [c1, c2, app1], memory")
        assert site.up()
        assert_well(site, "c1", "c2", "app1")
        # It has what it had when it left: old entries, of slots that are others' now.
        site.edit("hosts: [c1, c2, app1]", "hosts: [c1, c2, app1, w1]")
        assert site.up()
        assert_well(site, *HOSTS, "app1")
        site.edit("hosts: [c1, c2, app1, w1]", "hosts: [c1, c2, w1]")
        assert site.up()
        assert_well(site, *HOSTS)
    told("joined, left and came back", site, writer.stop())
    assert not site.up()
    assert site.visit().startswith("visit ")
    site.wait_until(lambda: len(site.nodes("c1")) == 6)


@pytest.mark.long
def test_dead_host_is_replaced_by_another_in_one_step(site: ClusterSite) -> None:
    wait_well(site, *HOSTS)
    site.deployment.lab.power_off("w1")
    site.edit("  w1: {zone: c}\n", "")
    site.edit("hosts: [c1, c2, w1], memory", "hosts: [c1, c2, app1], memory")
    with site.written() as writer:
        assert site.up()
        assert_well(site, "c1", "c2", "app1")
    told("dead host replaced", site, writer.stop(), limit=5)

    site.edit("  c2: {zone: b}\n", "  c2: {zone: b}\n  w1: {zone: c}\n")
    for before, after in (("app1]", "app1, w1]"), ("app1, w1]", "w1]")):
        site.edit(f"hosts: [c1, c2, {before}, memory", f"hosts: [c1, c2, {after}, memory")
        assert site.up()
    assert_well(site, *HOSTS)


def test_power_cut_of_all_with_one_host_staying_dark_loses_no_shard(site: ClusterSite) -> None:
    """Copies that have just started do not know how old they are, and must take over nevertheless."""
    lab = site.deployment.lab
    hosts = tuple(host.id.host for host in site.deployment.topology.of_tier("cache"))
    wait_well(site, *hosts)
    for host in hosts:
        lab.power_off(host)
    for host in hosts[1:]:
        lab.power_on(host)
    site.wait_until(lambda: site.is_well(hosts[1:]) and set(site.slots(hosts[1])) == set(hosts[1:]), limit_s=90)
    assert sum(site.slots(hosts[1]).values()) == SLOTS
    lab.power_on(hosts[0])
    wait_well(site, *hosts)

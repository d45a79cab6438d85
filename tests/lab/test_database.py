"""Replicas that lose their power and come back, in every order: the primary goes on taking new connections."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest
from live_site import LiveSite

from nospof.lab.machine import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    site = LiveSite(tmp_path_factory.mktemp("stack"))
    try:
        site.nospof("up")
        yield site
    finally:
        site.down()


def voters(site: LiveSite) -> int:
    """Replicas that acknowledge: published as voters, and a write comes back."""
    said = site.on("db1", "curl", "-sS", "--cacert", "/etc/nospof/tls/ca.pem", "https://db1:8008/")
    if not said.startswith("{"):
        return 0  # its server or its agent starts again
    write = "REPLACE INTO nospof.pulse VALUES (2, NOW(3))"
    is_acknowledged = site.on("db1", "sh", "-c", f"timeout 2 mariadb -BNe '{write}' && echo yes || echo no") == "yes"
    return len(json.loads(said)["voters"]) if is_acknowledged else 0


def takes_new_connections(site: LiveSite) -> bool:
    return site.on("db1", "sh", "-c", "timeout 5 mariadb -BNe 'SELECT 1' || echo hangs") == "1"


def has_voters(site: LiveSite, count: int, limit_s: float = 60.0) -> bool:
    return wait_until(lambda: voters(site) == count, limit_s, step_s=0.5)


@pytest.mark.parametrize("dark_s", [0.0, 4.0])
@pytest.mark.parametrize("hosts", [("w1",), ("db2", "w1"), ("w1", "db2")], ids="+".join)
def test_primary_takes_new_connections_when_replicas_come_back_from_the_dark(
    site: LiveSite, hosts: tuple[str, ...], dark_s: float
) -> None:
    """Incident: in MariaDB 11.8.6 the return of a dark semi-synchronous replica made every new connection hang for ever."""
    assert has_voters(site, 2)
    lab = site.deployment().lab
    for host in hosts:
        lab.power_off(host)
    time.sleep(dark_s)
    for host in hosts:
        lab.power_on(host)
    # With both dark for seconds the primary has ended itself, cut off from etcd too, and starts again in place.
    assert wait_until(lambda: takes_new_connections(site), 30), "new connections hang"
    assert has_voters(site, 2), "the replicas do not acknowledge again"
    assert takes_new_connections(site)

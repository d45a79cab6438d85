"""Replicas that lose their power and come back, in every order: the primary goes on taking new connections."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest
from live_site import LiveSite, with_the_shop

from nospof.lab.machine import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]


# Twice that is more than once that and all that is kept for others.
MAX_CONNECTIONS = 60
STACK = f"""\
name: crowd
domain: crowd.example.com
hosts:
  web1: {{zone: a}}
  web2: {{zone: b}}
  db1: {{zone: a}}
  db2: {{zone: b}}
  w1: {{zone: c}}
tiers:
  app: {{component: gunicorn, hosts: [web1, web2], source: ./app, module: "shop:app", workers: 1, to: database}}
  database: {{component: mariadb, hosts: [db1, db2], witness: w1, max_connections: {MAX_CONNECTIONS}}}
"""
# Writes of which each waits in a connection of its own until a voter has it.
CROWD = f"""
import os, pymysql, threading
def write():
    try:
        told = dict(host=os.environ["DATABASE_HOST"], port=int(os.environ["DATABASE_PORT"]), user=os.environ["DATABASE_USER"])
        told.update(password=os.environ["DATABASE_PASSWORD"], database=os.environ["DATABASE_NAME"])
        link = pymysql.connect(**told, ssl=dict(ca=os.environ["DATABASE_SSL_CA"]), autocommit=True)
        link.cursor().execute("INSERT INTO crowd VALUES (1)")
    except Exception as error:
        print(error)
for _ in range({MAX_CONNECTIONS + 10}):
    threading.Thread(target=write).start()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    site = with_the_shop(tmp_path_factory.mktemp("crowd"), STACK)
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


def connected(site: LiveSite) -> int:
    said = site.on("db1", "mariadb", "-BNe", "SHOW STATUS LIKE 'Threads_connected'")
    return int(said.split()[1])


def test_replicas_come_back_to_a_primary_whose_connections_are_all_taken(site: LiveSite) -> None:
    """Incident: writers of two hosts waited for a voter in all connections, so that no replica could connect, for ever."""
    assert has_voters(site, 2)
    site.on("db1", "mariadb", "-e", "CREATE TABLE IF NOT EXISTS app.crowd (it INT)")
    units = ("nospof-database-agent.service", "mariadb.service")
    for host in ("db2", "w1"):
        site.on(host, "systemctl", "stop", *units)
    try:
        for host in ("web1", "web2"):
            environment = "EnvironmentFile=/etc/nospof/app.env"
            site.on(host, "systemd-run", "--collect", "--unit=crowd", f"--property={environment}", "python3", "-c", CROWD)
        assert wait_until(lambda: connected(site) >= 2 * MAX_CONNECTIONS, 30), "they do not take all that they may"
    finally:
        for host in ("db2", "w1"):
            site.on(host, "systemctl", "start", units[0])
    assert has_voters(site, 2), "the replicas do not acknowledge again"
    assert wait_until(lambda: connected(site) < MAX_CONNECTIONS, 30), "the writers still wait"

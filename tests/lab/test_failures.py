# ruff: noqa: T201 - the figures are printed for whoever runs this with -s
"""The distributed example loses one part after another under load, what DESIGN promises holds, and then it heals.

Each test prints one line of figures. Times are bounded generously, since machines are busy; `script/bench` compares them with
the budgets. At the end the firewall is compared with the topology: from every host to every host what is open equals the links.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import failing_site as faults
import pytest
from failing_site import FailingSite, Figures
from firewall_scan import HEAR_VRRP, SAY_VRRP, SCAN, SCAN_UDP, expected, listening, python_on

from nospof.drills.workloads.http_get import Load
from nospof.lab.machine import wait_until
from nospof.lab.places import CLIENT
from nospof.topology import Bind

RANDOM_PORTS = 200
pytestmark = [pytest.mark.lab, pytest.mark.alone, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingSite]:
    with FailingSite.brought_up(tmp_path_factory.mktemp("failures")) as made:
        yield made


@pytest.fixture(autouse=True)
def _healed(site: FailingSite) -> Iterator[None]:
    """Find all well, and leave all well: what does not heal fails the test that broke it."""
    site.heal()
    yield
    print(f" · healed {site.heal():.1f} s later")


def told(figures: Figures) -> Figures:
    print(f"\n{figures}", end="")
    return figures


def test_address_of_a_dark_load_balancer_moves_and_fails_nothing_begun_after(site: FailingSite) -> None:
    holder = site.holder
    figures = told(faults.holder_dark(site))
    assert not figures.after.bad
    assert figures.gap.length_s < 3
    site.heal()
    assert site.holder != holder


def test_killed_haproxy_is_replaced_at_once(site: FailingSite) -> None:
    figures = told(faults.haproxy_killed(site))
    # Connections to a process that has just died are refused until the address has moved.
    assert not figures.after.between(figures.cut + 1).bad
    assert figures.gap.length_s < 1


def test_frozen_haproxy_gives_the_address_away(site: FailingSite) -> None:
    frozen = site.holder
    figures = told(faults.haproxy_frozen(site))
    # It was let go again since, and does not take the address back.
    assert site.holder != frozen
    assert figures.after.requests[-1].is_good
    # Two alive checks in a row, each with a second of patience, a second apart.
    assert figures.gap.length_s < 8


def test_killed_keepalived_leaves_one_holder(site: FailingSite) -> None:
    figures = told(faults.keepalived_killed(site))
    assert site.holder
    assert figures.gap.length_s < 3


def test_dark_web_host_fails_nothing_begun_after(site: FailingSite) -> None:
    figures = told(faults.web_dark(site))
    assert not figures.after.bad
    assert figures.in_flight_s < 3
    assert figures.after.latency_s(0.99) < 2


@pytest.mark.parametrize("fault", [faults.nginx_killed, faults.gunicorn_killed, faults.worker_killed])
def test_killed_server_behind_the_load_balancer_fails_nothing(
    site: FailingSite, fault: Callable[[FailingSite], Figures]
) -> None:
    figures = told(fault(site))
    assert not figures.after.bad
    assert not figures.in_flight.bad


@pytest.mark.parametrize("fault", [faults.primary_killed, faults.primary_dark])
def test_guestbook_is_read_all_along_and_written_again_when_the_primary_is_lost(
    site: FailingSite, fault: Callable[[FailingSite, Load], Figures]
) -> None:
    """Reads never fail; a write waits, and then it is there or it said that it is not."""
    before = site.primary
    with site.writing() as written:
        figures = told(fault(site, replace(site.load(), path="/", rate=20)))
    assert not figures.after.bad
    assert site.primary != before
    tokens = site.tokens()
    outcomes = {status: sum(answer.status == status for answer in written) for status in {answer.status for answer in written}}
    print(f" · writes by status: {outcomes}, the longest took {max(answer.took_s for answer in written):.1f} s", end="")
    assert written[-1].status == 201
    assert {answer.token for answer in written if answer.status == 201} <= tokens
    assert not {answer.token for answer in written if answer.status == 503} & tokens


def test_host_without_its_way_to_the_database_is_asked_nothing(site: FailingSite) -> None:
    """Incident: with the database router of one web host stopped for good, every second write failed."""
    host = site.webs[0]
    site.on(host, "systemctl", "stop", "nospof-database-router.service")
    try:
        time.sleep(2)
        assert [site.write(secrets.token_hex(8)) for _ in range(10)] == [201] * 10
    finally:
        site.on(host, "systemctl", "start", "nospof-database-router.service")


@pytest.mark.parametrize("change", [faults.haproxy_reloaded, faults.nginx_reloaded, faults.app_reloaded, faults.app_restarted])
def test_change_fails_no_client_that_keeps_its_connection(site: FailingSite, change: Callable[[FailingSite], Figures]) -> None:
    figures = told(change(site))
    assert not figures.after.bad
    assert not figures.in_flight.bad


def test_requests_go_to_the_servers_in_turn(site: FailingSite) -> None:
    with site.under(replace(site.load(), rate=20)) as finish:
        time.sleep(4)
        history = finish()
    counts = history.servers("app")
    print(f"\nin turn: {dict(counts)}", end="")
    assert not history.bad
    assert set(counts) == set(site.webs)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_requests_to_busy_servers_wait_in_the_queue(site: FailingSite) -> None:
    holder = site.holder
    try:
        for web in site.webs:
            site.admin(holder, f"set maxconn server app/{web} 1")
        site.admin(holder, "clear counters all")
        with site.under(replace(site.load(), rate=2000, seconds=0.04)) as finish:
            time.sleep(2)
            history = finish()
        queued = _longest_queue(site.admin(holder, "show stat"))
    finally:
        for web in site.webs:
            site.admin(holder, f"set maxconn server app/{web} 256")
    print(f"\nbusy servers: {len(history.requests)} requests, {len(history.bad)} bad, up to {queued} in the queue", end="")
    assert not history.bad
    assert queued > 0


def _longest_queue(stat: str) -> int:
    """The largest `qmax`, the fourth column of HAProxy's CSV."""
    return max(int(line.split(",")[3] or 0) for line in stat.splitlines() if line.startswith("app,"))


LOST_ALL_POWER: list[str] = []


def lose_all_power(site: FailingSite, order: Sequence[str]) -> None:
    """Cut the power of all hosts at once, and give it back in this order."""
    with ThreadPoolExecutor(len(order)) as pool:
        list(pool.map(site.lab.power_off, order))
    for host in order:
        site.lab.power_on(host)
    LOST_ALL_POWER.append(site.live.name)


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(("db2", "w1", "web1", "web2", "lb1", "lb2", "db1"), id="primary last", marks=pytest.mark.long),
        pytest.param(("lb1", "lb2", "web1", "web2", "db1", "db2", "w1"), id="load balancers first"),
    ],
)
def test_site_that_lost_all_power_serves_again_without_hands(site: FailingSite, order: Sequence[str]) -> None:
    tokens = {f"dark-{secrets.token_hex(4)}-{number}" for number in range(8)}
    assert {site.write(token) for token in tokens} == {201}
    lose_all_power(site, order)
    on = time.monotonic()
    assert wait_until(lambda: site.status_of() == 200, 60), site.complaints()
    read_s = time.monotonic() - on
    assert wait_until(lambda: site.write(f"after-{secrets.token_hex(4)}") == 201, 60), site.complaints()
    written_s = time.monotonic() - on
    print(f"\nall dark, on again {' '.join(order)}: read after {read_s:.1f} s, written after {written_s:.1f} s", end="")
    assert tokens <= site.tokens()


# --- the firewall ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def cold(site: FailingSite) -> FailingSite:
    """The site after all of it was dark: no connection is left that a rule could owe its passing to."""
    if site.live.name not in LOST_ALL_POWER:
        lose_all_power(site, [host.name for host in site.deployment.topology.hosts])
        site.heal()
    return site


def test_open_tcp_ports_equal_the_links_from_every_host_to_every_host(cold: FailingSite) -> None:
    topology = cold.deployment.topology
    declared = {endpoint.listen.port for endpoint in topology.endpoints if endpoint.listen.port is not None}
    chance = set(random.sample(range(1, 65536), RANDOM_PORTS))
    ports = sorted(declared | listening(cold.live, "-lt") | chance | {22, 3307, 6081, 8000, 8405, 9090, 9100})
    sources, wrong = [*(host.name for host in topology.hosts), CLIENT], []

    def scanned(source: str) -> set[tuple[str, int]]:
        targets = [(host.name, host.address, port) for host in topology.hosts if host.name != source for port in ports]
        return {(host, port) for host, port in json.loads(python_on(cold.live, source, SCAN, json.dumps(targets)))}

    with ThreadPoolExecutor(len(sources)) as pool:
        by_source = dict(zip(sources, pool.map(scanned, sources), strict=True))
    for source, found in by_source.items():
        wanted = expected(topology, source, "tcp")
        wrong += [f"{source} reaches {host}:{port}, and no link says so" for host, port in sorted(found - wanted)]
        wrong += [f"{source} does not reach {host}:{port}, which is a link" for host, port in sorted(wanted - found)]
    assert wrong == []


def test_open_udp_ports_equal_the_links(cold: FailingSite) -> None:
    topology = cold.deployment.topology
    ports = sorted(listening(cold.live, "-lu") | set(random.sample(range(1, 65536), 4)))
    for source in ("web1", CLIENT):
        targets = [(host.name, host.address, port) for host in topology.hosts if host.name != source for port in ports]
        found = {(host, port) for host, port in json.loads(python_on(cold.live, source, SCAN_UDP, json.dumps(targets)))}
        assert found == expected(topology, source, "udp")


def test_vrrp_is_heard_from_the_peer_and_from_nobody_else(cold: FailingSite) -> None:
    topology = cold.deployment.topology
    lb1 = topology.host("lb1").address
    with ThreadPoolExecutor() as pool:
        hearing = pool.submit(python_on, cold.live, "lb1", HEAR_VRRP)
        for source in ("lb2", "web1", "db1", CLIENT):
            pool.submit(python_on, cold.live, source, SAY_VRRP, "", lb1)
        heard = hearing.result().splitlines()[1:]
    assert heard == [topology.host("lb2").address]


def test_scan_finds_a_port_that_is_wrongly_open(site: FailingSite) -> None:
    """The test of the test: with the firewall of one host open for a moment, the scan must say so."""
    web1 = site.deployment.topology.host("web1")
    targets = json.dumps([(web1.name, web1.address, 9999)])
    assert json.loads(python_on(site.live, CLIENT, SCAN, targets)) == []
    site.on("web1", "nft", "insert", "rule", "inet", "nospof", "input", "tcp", "dport", "9999", "accept")
    assert json.loads(python_on(site.live, CLIENT, SCAN, targets)) == [["web1", 9999]]
    site.on("web1", "systemctl", "reload", "nospof-firewall.service")
    assert json.loads(python_on(site.live, CLIENT, SCAN, targets)) == []


def test_daemons_listen_exactly_where_their_components_say(site: FailingSite) -> None:
    """On addresses other hosts could reach; behind the firewall, an open port is one rule away from an open door."""
    topology = site.deployment.topology
    for host in topology.hosts:
        shown = site.on(host.name, "ss", "-Hltn").splitlines()
        found = {line.split()[3] for line in shown if not line.split()[3].startswith(("127.", "[::1]"))}
        declared = set()
        for endpoint in topology.endpoints:
            is_over_network = any(link.target == endpoint and not link.is_local for link in topology.links)
            if endpoint.owner.host != host.name or endpoint.listen.port is None or not is_over_network:
                continue
            address = "0.0.0.0" if endpoint.listen.bind is Bind.ANY else host.address
            declared.add(f"{address}:{endpoint.listen.port}")
        assert found == declared, host.name

"""The firewall is the topology: from every host to every host, from a cold start, what is open equals the links."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator

import pytest
from live_site import LiveSite

from nospof.apply.transport import Finished
from nospof.topology import ADMIN, OUTSIDE, Bind, Topology

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

CLIENT = "client"
RANDOM_PORTS = 200

# Runs on a host: a port is "let in" when anything at all comes back, be it only a refusal; silence is the firewall.
SCAN = """
import errno, json, select, socket, sys, time
targets, limit_s = json.loads(sys.stdin.read()), 2.0
waiting, let_in = {}, []
for host, address, port in targets:
    s = socket.socket()
    s.setblocking(False)
    code = s.connect_ex((address, port))
    if code in (0, errno.ECONNREFUSED):
        let_in.append([host, port]); s.close()
    else:
        waiting[s.fileno()] = (s, host, port)
poll = select.poll()
for fd in waiting:
    poll.register(fd, select.POLLOUT | select.POLLERR | select.POLLHUP)
end = time.monotonic() + limit_s
while waiting and time.monotonic() < end:
    for fd, _ in poll.poll(100):
        s, host, port = waiting.pop(fd)
        poll.unregister(fd)
        code = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code in (0, errno.ECONNREFUSED):
            let_in.append([host, port])
        s.close()
print(json.dumps(let_in))
"""
# ECONNREFUSED on a UDP socket is a host's own word that the datagram got through to it.
SCAN_UDP = """
import json, socket, sys, time
let_in = []
for host, address, port in json.loads(sys.stdin.read()):
    with socket.socket(type=socket.SOCK_DGRAM) as s:
        s.settimeout(0.3)
        s.connect((address, port))
        s.send(b"x")
        try:
            s.recv(1)
            let_in.append([host, port])
        except ConnectionRefusedError:
            let_in.append([host, port])
        except TimeoutError:
            pass
print(json.dumps(let_in))
"""
HEAR_VRRP = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
s.settimeout(0.2)
heard, end = set(), time.monotonic() + 4
print("listening", flush=True)
while time.monotonic() < end:
    try:
        data, (source, _) = s.recvfrom(2000)
    except TimeoutError:
        continue
    if b"nospof-test" in data:
        heard.add(source)
print(*sorted(heard))
"""
SAY_VRRP = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
for _ in range(20):
    s.sendto(b"nospof-test", (sys.argv[1], 0))
    time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    """The example after its whole site was dark: no connection is left that a rule could owe its passing to."""
    site = LiveSite(tmp_path_factory.mktemp("stack"))
    try:
        site.nospof("up")
        lab = site.deployment().lab
        hosts = [host.name for host in site.deployment().topology.hosts]
        for host in hosts:
            lab.power_off(host)
        for host in hosts:
            lab.power_on(host, wait=False)
        site.settled_status(limit_s=120)
        yield site
    finally:
        site.down()


def python_on(site: LiveSite, host: str, script: str, stdin: str = "", *arguments: str) -> str:
    outcome = site.deployment().lab.run(host, ["python3", "-c", script, *arguments], stdin.encode(), timeout_s=90)
    assert isinstance(outcome, Finished), outcome
    assert outcome.exit_code == 0, outcome
    return outcome.stdout.decode().strip()


def expected(topology: Topology, source: str, wire: str) -> set[tuple[str, int]]:
    """(host, port) that `source` may call over the network, from the links alone."""
    found = set()
    for link in topology.links:
        is_ours = link.source.host == source or link.source == OUTSIDE
        if not is_ours or link.source == ADMIN or link.is_local or link.target.owner.host == source:
            continue
        if wire in link.target.listen.speaks.wires and link.target.listen.port is not None:
            found.add((link.target.owner.host, link.target.listen.port))
    return found


def listening(site: LiveSite, option: str) -> set[int]:
    """Every port that any daemon on any host listens on, whatever the topology thinks."""
    ports = set()
    for host in site.deployment().topology.hosts:
        shown = site.on(host.name, "ss", "-Hn", option)
        ports |= {int(line.split()[3].rpartition(":")[2]) for line in shown.splitlines()}
    return ports


def test_open_tcp_ports_equal_the_links_from_every_host_to_every_host(site: LiveSite) -> None:
    topology = site.deployment().topology
    declared = {endpoint.listen.port for endpoint in topology.endpoints if endpoint.listen.port is not None}
    chance = set(random.sample(range(1, 65536), RANDOM_PORTS))
    ports = sorted(declared | listening(site, "-lt") | chance | {22, 3307, 6081, 8000, 8405, 9090, 9100})
    wrong = []
    for source in [*(host.name for host in topology.hosts), CLIENT]:
        targets = [(host.name, host.address, port) for host in topology.hosts if host.name != source for port in ports]
        found = {(host, port) for host, port in json.loads(python_on(site, source, SCAN, json.dumps(targets)))}
        wanted = expected(topology, source, "tcp")
        wrong += [f"{source} reaches {host}:{port}, and no link says so" for host, port in sorted(found - wanted)]
        wrong += [f"{source} does not reach {host}:{port}, which is a link" for host, port in sorted(wanted - found)]
    assert wrong == []


def test_open_udp_ports_equal_the_links(site: LiveSite) -> None:
    topology = site.deployment().topology
    ports = sorted(listening(site, "-lu") | set(random.sample(range(1, 65536), 4)))
    for source in ("web1", CLIENT):
        targets = [(host.name, host.address, port) for host in topology.hosts if host.name != source for port in ports]
        found = {(host, port) for host, port in json.loads(python_on(site, source, SCAN_UDP, json.dumps(targets)))}
        assert found == expected(topology, source, "udp")


def test_vrrp_is_heard_from_the_peer_and_from_nobody_else(site: LiveSite) -> None:
    from concurrent.futures import ThreadPoolExecutor

    topology = site.deployment().topology
    lb1 = topology.host("lb1").address
    with ThreadPoolExecutor() as pool:
        hearing = pool.submit(python_on, site, "lb1", HEAR_VRRP)
        for source in ("lb2", "web1", "db1", CLIENT):
            pool.submit(python_on, site, source, SAY_VRRP, "", lb1)
        heard = hearing.result().splitlines()[1:]
    assert heard == [topology.host("lb2").address]


def test_scan_finds_a_port_that_is_wrongly_open(site: LiveSite) -> None:
    """The test of the test: with the firewall of one host open for a moment, the scan must say so."""
    web1 = site.deployment().topology.host("web1")
    targets = json.dumps([(web1.name, web1.address, 9999)])
    assert json.loads(python_on(site, CLIENT, SCAN, targets)) == []
    site.on("web1", "nft", "insert", "rule", "inet", "nospof", "input", "tcp", "dport", "9999", "accept")
    assert json.loads(python_on(site, CLIENT, SCAN, targets)) == [["web1", 9999]]
    site.on("web1", "systemctl", "reload", "nospof-firewall.service")
    assert json.loads(python_on(site, CLIENT, SCAN, targets)) == []


def test_daemons_listen_exactly_where_their_components_say(site: LiveSite) -> None:
    """On addresses other hosts could reach; behind the firewall, an open port is one rule away from an open door."""
    topology = site.deployment().topology
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

"""What is open from host to host: programs that scan on a host of the lab, and what the links of the topology say."""

from __future__ import annotations

from live_site import LiveSite

from nospof.apply.transport import Finished
from nospof.topology import ADMIN, OUTSIDE, Topology

# Runs on a host: a port is "let in" when anything at all comes back, be it only a refusal; silence is the firewall.
SCAN = """
import errno, json, select, socket, sys, time
targets, limit_s = json.loads(sys.stdin.read()), 4.0
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
import json, select, socket, sys, time
let_in, asked = [], {}
poll = select.poll()
for host, address, port in json.loads(sys.stdin.read()):
    s = socket.socket(type=socket.SOCK_DGRAM)
    s.setblocking(False)
    s.connect((address, port))
    asked[s.fileno()] = (s, host, port)
    poll.register(s, select.POLLIN | select.POLLERR)
for s, _, _ in asked.values():
    s.send(b"x")
end = time.monotonic() + 2.0
while asked and time.monotonic() < end:
    for fd, _ in poll.poll(100):
        s, host, port = asked.pop(fd)
        poll.unregister(fd)
        let_in.append([host, port])
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

"""What a server must be before anything is begun on it, asked of all servers at once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from nospof.apply import trips
from nospof.apply.transport import Transport
from nospof.apply.trips import Problem, Trip
from nospof.component import Bind, Component
from nospof.render.host import packages_of, suite_of
from nospof.topology import Topology

# As long as apt may need to look for its mirrors, on all servers at once.
PATIENCE_S = 150.0
VERSIONS = {"trixie": "13"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at on one server. `verdict`: OK, WARN, FAIL, or UNKNOWN where nobody could look."""

    host: str
    verdict: str
    name: str
    what: str
    fix: str
    is_reached: bool = True
    """False: the server did not answer, and nothing else is known of it."""


def preflight(topology: Topology, transport: Transport, stack_id: str) -> list[Check]:
    """Everything that was looked at on each server that is not finished yet; those that are ours already tell nothing."""
    requests = [Trip(host.name, request(topology, host.name, stack_id), {}, PATIENCE_S) for host in topology.hosts]
    found: list[Check] = []
    for host, answer in trips.send(transport, requests).items():
        if isinstance(answer, Problem):
            found.append(_unreached(host, answer))
        elif not answer["is_ours"]:
            found += [Check(host, **check) for check in answer["checks"]]
    return found


def request(topology: Topology, name: str, stack_id: str) -> dict[str, Any]:
    """What nospof.onhost.preflight is asked."""
    host = topology.host(name)
    kinds = {instance.component: Component.kinds[instance.component] for instance in topology.on_host(name)}
    wanted = {
        (wire, endpoint.listen.port, endpoint.owner.tier)
        for endpoint in topology.endpoints
        if endpoint.owner.host == name and endpoint.listen.port and endpoint.listen.bind is not Bind.ROUTE
        for wire in endpoint.listen.speaks.wires
    }
    return {
        "phase": "preflight",
        "address": host.address,
        "debian": VERSIONS.get(suite_of(topology), ""),
        "ports": sorted(wanted),
        "packages": list(packages_of(topology, name)),
        "stores": sorted({folder for kind in kinds.values() for folder in kind.stores}),
        "vips": [vip.address for vip in topology.vips],
        "ssh_port": host.ssh_port,
        "admin": list(topology.admin),
        "stack_id": stack_id,
        "now": time.time(),
    }


def _unreached(host: str, problem: Problem) -> Check:
    said = problem.what
    if "verification failed" in said:
        fix = f"ssh to {host} once by hand, and compare the key it shows with the server's own"
    elif "Permission denied" in said:
        fix = "`user:` at this host, and your key in its authorized_keys; ssh by hand must work without a password"
    elif "sudo" in said:
        fix = "let the user become root by sudo, or say `user: root`"
    else:
        fix = "ssh to it by hand must work; then run the same again"
    return Check(host, "FAIL" if problem.kind == "unreachable" else "UNKNOWN", "SSH", said, fix, is_reached=False)

"""The example's stack, whose database hosts are the agents of a small tier in this process; everything else is well."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fakes import received
from small_tier import SmallTier

import nospof.components  # noqa: F401 - registers the real components
from nospof.apply.transport import Finished, Outcome, Transport, Unknown, Unreachable
from nospof.deployment import Deployment
from nospof.onhost import status
from nospof.onhost.agent.ask import ask

EXAMPLE = Path(__file__).parents[2] / "examples/distributed/stack.yaml"


class Hosts:
    """The way to the hosts. `dark`: no way to them; `mute`: they carry out what they are sent, and nobody hears of it."""

    def __init__(self, tier: SmallTier) -> None:
        self.tier, self.dark, self.mute = tier, set[str](), set[str]()
        self.instances: dict[str, list[str]] = {}

    def run(self, host: str, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60.0) -> Outcome:
        if host in self.dark:
            return Unreachable(f"{host} is off")
        request, _ = received(stdin)
        answer = self._agent(host, request) if request["phase"] == "agent" else self._status(host, request)
        if host in self.mute and request["phase"] == "agent" and request["ask"]["do"] != "status":
            return Unknown(f"no answer within {timeout_s:.0f} s")
        return Finished(0, json.dumps({"ok": True, **answer}).encode(), b"")

    def run_anew(self, host: str, argv: Sequence[str], timeout_s: float = 15.0) -> Outcome:
        return self.run(host, argv, b"", timeout_s)

    def _agent(self, host: str, request: dict[str, Any]) -> dict[str, Any]:
        return {"answer": ask(self.tier.socket(host), request["ask"], request["limit_s"])}

    def _status(self, host: str, request: dict[str, Any]) -> dict[str, Any]:
        instances = {name: {"health": "ok", "why": "", "leads": None} for name in self.instances[host]}
        agents = {name: status.agent(str(self.tier.socket(host))) for name in request["agents"]}
        return {"instances": instances, "addresses": ["198.18.0.1"] if host == "lb1" else [], "agents": agents}


class Site(Deployment):
    """The deployment, without a lab."""

    way: Hosts
    url = ""

    @property
    def hosts(self) -> Transport:
        return self.way


def asked_site(tier: SmallTier) -> Site:
    site = Site.load(EXAMPLE)
    assert isinstance(site, Site)
    site.way = Hosts(tier)
    for host in site.topology.hosts:
        site.way.instances[host.name] = [str(instance.id) for instance in site.topology.on_host(host.name)]
    return site

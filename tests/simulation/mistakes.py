"""Planted mistakes, each a small change of one part. A simulation that does not find them proves nothing."""

from __future__ import annotations

from tests.simulation.clients import Router
from tests.simulation.etcd import Etcd
from tests.simulation.server import DatabaseServer

from nospof.onhost.agent import decide as deciding
from nospof.onhost.agent import remember as remembering
from nospof.onhost.agent.model import Decision, Memory, Observation


class Mistake:
    """None: everything as it is. A planted one overrides a part."""

    name = "none"
    etcd: type[Etcd] = Etcd
    server: type[DatabaseServer] = DatabaseServer
    router: type[Router] = Router

    def decide(self, o: Observation) -> Decision:
        return deciding.decide(o)

    def remember(self, memory: Memory, o: Observation) -> Memory:
        return remembering.remember(memory, o)


MISTAKES: dict[str, type[Mistake]] = {mistake.name: mistake for mistake in (Mistake,)}

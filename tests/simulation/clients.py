"""Applications that write, and the routers that tell them where to."""

from __future__ import annotations

from random import Random

from tests.simulation.agent import Agent, Note
from tests.simulation.invariants import Watchman
from tests.simulation.loop import Loop
from tests.simulation.network import Network
from tests.simulation.server import DatabaseServer

POLL_S = 0.2
TIMEOUT_S = 3.0


class Router:
    """One application host's router: follows the note of the highest term. It may be stale for long."""

    def __init__(self, host: str, agents: dict[str, Agent], loop: Loop, network: Network, watchman: Watchman) -> None:
        self.host = host
        self.term = 0
        self.primary: str | None = None
        self.is_stale = 0
        self._agents = agents
        self._loop = loop
        self._network = network
        self._watchman = watchman
        self._random: Random = loop.random(f"router/{host}")
        loop.after(self._random.random() * POLL_S, self._poll)

    def _poll(self) -> None:
        self._loop.after(POLL_S, self._poll)
        for node, agent in self._agents.items():
            note = agent.shown_note()
            if note is not None and self._network.talks(self.host, node):
                rare = self._random.random() < 0.02
                self._loop.after(0.002 + (2.0 * self._random.random() if rare else 0.0), self._heard, node, note)

    def _heard(self, node: str, note: Note) -> None:
        if self.is_stale or not note.takes_writes or not self.accepts(note):
            return
        self._watchman.routed(self.host, self.term, note.term)
        self.term, self.primary = note.term, node

    def accepts(self, note: Note) -> bool:
        """Old news is no news."""
        return note.term >= self.term


class Client:
    """Writes one unique token after the other. A bold one sometimes writes to any server, past the router."""

    def __init__(
        self, name: str, router: Router, servers: dict[str, DatabaseServer], loop: Loop, network: Network, boldness: float
    ) -> None:
        self.wrote_ok_s = float("-inf")
        self._router = router
        self._servers = servers
        self._loop = loop
        self._network = network
        self._boldness = boldness
        self._random: Random = loop.random(f"client/{name}")
        self._token = 0
        self._first = int(name) * 10_000_000
        loop.after(self._random.random(), self._write)

    def _write(self) -> None:
        node = self._router.primary
        if self._random.random() < self._boldness:
            node = self._random.choice(list(self._servers))
        if node is None:
            self._loop.after(0.2, self._write)
            return
        self._token += 1
        token = self._first + self._token
        self._network.send(
            self._router.host, node, self._servers[node].write, token, lambda result: self._reply(node, token, result)
        )
        self._loop.after(TIMEOUT_S, self._ended, token, "unknown")

    def _reply(self, node: str, token: int, result: str) -> None:
        self._network.send(node, self._router.host, self._ended, token, result)

    def _ended(self, token: int, result: str) -> None:
        if token != self._first + self._token:
            return
        self._token += 1  # what comes later is not waited for any more
        if result == "ok":
            self.wrote_ok_s = self._loop.now_s
        self._loop.after(0.02 + 0.25 * self._random.random(), self._write)

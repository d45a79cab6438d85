"""Gunicorn's worker as nospof writes it, run here: its health tells what the host lacks."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nospof.components.gunicorn import WORKER

Application = Callable[[dict[str, str], Callable[..., Any]], list[bytes]]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """The worker's text as a module, which needs the file `router` and this host's own name."""
    monkeypatch.setenv("NOSPOF_HEALTH", "/health")
    monkeypatch.setenv("NOSPOF_BESIDE", str(tmp_path / "router"))
    monkeypatch.setenv("NOSPOF_NAMES", "localhost")
    for name in ("gunicorn", "gunicorn.workers", "gunicorn.workers.gthread"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["gunicorn.workers.gthread"].ThreadWorker = object  # type: ignore[attr-defined]
    sys.modules["gunicorn"].version_info = (23, 0, 0)  # type: ignore[attr-defined]
    space: dict[str, Any] = {}
    exec(WORKER, space)
    return SimpleNamespace(**space, router=tmp_path / "router")


def asked(worker: SimpleNamespace, path: str) -> tuple[str, str]:
    """(status, body) of a GET; the application says "page"."""
    said: list[str] = []

    def start(status: str, _: object) -> None:
        said.append(status)

    def application(_: dict[str, str], respond: Callable[..., Any]) -> list[bytes]:
        respond("200 OK", [])
        return [b"page"]

    body = b"".join(worker.guarded(application)({"PATH_INFO": path}, start))
    return said[0], body.decode()


def test_health_is_bad_while_what_this_host_needs_is_away(worker: SimpleNamespace) -> None:
    status, said = asked(worker, "/health")
    assert status.startswith("503")
    assert "router is not there" in said
    assert asked(worker, "/x") == ("200 OK", "page"), "pages are not the health's matter"

    worker.router.touch()
    assert asked(worker, "/health") == ("200 OK", "page")


def test_health_is_bad_while_what_it_needs_has_no_name(worker: SimpleNamespace) -> None:
    worker.router.touch()
    worker.NAMES.append("database.invalid")

    status, said = asked(worker, "/health")

    assert status.startswith("503")
    assert "the name database.invalid is not found" in said


class Connected:
    """A connection that has been accepted, from another host or over the socket of this one."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self.initialized, self.sock, self.timeout, self.is_closed = False, SimpleNamespace(family=family), 99.0, False

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def running(worker: SimpleNamespace) -> Any:
    """One of its workers, whose threads do nothing, with a connection that a caller keeps."""
    return type("Worker", (worker.DrainingWorker, ThreadWorker), {})()


class ThreadWorker:
    """What gunicorn's does with a connection, and no more."""

    def __init__(self) -> None:
        self.handed_on: list[Connected] = []
        self.nr_conns, self.max_keepalived, self._lock = 1, 984, threading.RLock()
        self._keep = [Connected(socket.AF_INET)]
        self.log = SimpleNamespace(debug=lambda *_: None)

    def enqueue_req(self, connection: Connected) -> None:
        self.handed_on.append(connection)

    def murder_keepalived(self) -> None: ...


def test_other_hosts_get_no_connection_while_this_one_lacks_something(worker: SimpleNamespace, running: Any) -> None:
    """Incident: behind web servers on other hosts one of two applications failed half of all orders for as long."""
    over_network, beside = Connected(socket.AF_INET), Connected(socket.AF_UNIX)
    running.enqueue_req(over_network)
    running.enqueue_req(beside)
    assert (over_network.is_closed, running.handed_on) == (True, [beside])
    assert running.nr_conns == 0

    worker.router.touch()
    running.looked_at = 0.0
    running.enqueue_req(over_network)
    assert running.handed_on == [beside, over_network]


def test_kept_connections_end_while_something_is_lacking(worker: SimpleNamespace, running: Any) -> None:
    running.murder_keepalived()
    assert (running.max_keepalived, running._keep[0].timeout) == (0, 0)

    worker.router.touch()
    running.looked_at = 0.0
    running.murder_keepalived()
    assert running.max_keepalived == 984


def test_worker_that_is_to_end_stops_accepting_though_something_is_lacking(worker: SimpleNamespace, running: Any) -> None:
    unregistered: list[object] = []
    running.poller = SimpleNamespace(unregister=unregistered.append, get_map=lambda: {1: 1})
    running.sockets, running.alive = ["unix", "tcp"], True
    running.murder_keepalived()
    running.drain_until = worker.time.monotonic() + 9

    running.murder_keepalived()
    running.murder_keepalived()

    assert unregistered == ["unix", "tcp"]
    assert running.max_keepalived == 0
    assert running.alive

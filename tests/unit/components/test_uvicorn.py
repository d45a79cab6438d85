"""What uvicorn's hosts get beside what gunicorn's do, and its worker, run here against applications that tell what they see."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nospof.component import Component, Context, Facts, Parts
from nospof.components.uvicorn import WORKER
from nospof.resolve import Allotment, component_of, resolve
from nospof.stack.model import Stack, StackHost, Tier
from nospof.topology import InstanceId

FACTS = Facts("3.13", "13.1", "x86_64", "eth0", 24, 20000, 4096, 4)


def tier(name: str, component: str, to: tuple[str, ...] = (), **settings: object) -> Tier:
    return Tier(name, component, ("web1", "web2"), Component.kinds[component].settings_type.model_validate(settings), to)


def parts(component: str, **settings: object) -> Parts:
    app = tier("app", component, (), source="app", module="shop:app", **settings)
    hosts = (StackHost("web1", "a"), StackHost("web2", "b"))
    stack = Stack("shop", "shop.example.com", hosts, (tier("web", "nginx", ("app",)), app), Path("stack.yaml"))
    graph = resolve(stack, Allotment()).topology
    instance = graph.instance(InstanceId("app", "web1"))
    return component_of(instance).parts(Context(graph, instance, FACTS, {}, {"app/release": "a" * 64}))


def service(made: Parts) -> str:
    return next(unit.text or "" for unit in made.units if unit.name == "nospof-app.service")


def test_its_unit_is_gunicorns_with_another_worker() -> None:
    ours, gunicorns = service(parts("uvicorn")).splitlines(), service(parts("gunicorn")).splitlines()

    differing = [(one, other) for one, other in zip(ours, gunicorns, strict=True) if one != other]
    assert len(differing) == 3, "where the worker is found, which it is, whom it believes"
    assert "--worker-class nospof_worker.DrainingWorker --workers 4 \\" in "\n".join(ours)


def test_callers_at_its_socket_may_say_who_the_visitor_is() -> None:
    """Uvicorn takes a socket's caller, who has no address, for a stranger."""
    assert "--forwarded-allow-ips * " in service(parts("uvicorn")) + " "


# --- the worker ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """The worker's text as a module, mounted at /blog, which needs the file `router` and this host's own name."""
    monkeypatch.setenv("NOSPOF_HEALTH", "/health")
    monkeypatch.setenv("NOSPOF_NAMES", "localhost")
    monkeypatch.setenv("SCRIPT_NAME", "/blog")
    monkeypatch.setenv("NOSPOF_BESIDE", str(tmp_path / "router"))
    for name in ("gunicorn", "gunicorn.arbiter", "uvicorn", "uvicorn.workers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["gunicorn.arbiter"].Arbiter = object  # type: ignore[attr-defined]
    sys.modules["uvicorn.workers"].UvicornWorker = object  # type: ignore[attr-defined]
    sys.modules["uvicorn"].Server = FakeServer  # type: ignore[attr-defined]
    space: dict[str, Any] = {}
    exec(WORKER, space)
    return SimpleNamespace(**space, router=tmp_path / "router")


class FakeServer:
    def __init__(self, *connections: object) -> None:
        self.servers: list[Any] = []
        self.server_state = SimpleNamespace(connections=list(connections))
        self.is_shut_down = False

    async def shutdown(self, sockets: object = None) -> None:
        self.is_shut_down = True


def asked(worker: SimpleNamespace, path: str) -> tuple[int, bytes]:
    """(status, body) of a GET; the application says its path and where it is mounted."""
    sent: list[dict[str, Any]] = []

    async def application(scope: dict[str, Any], receive: object, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f"{scope['root_path']} {scope['path']}".encode()})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "root_path": ""}
    asyncio.run(worker.guarded(application)(scope, None, send))
    return sent[0]["status"], sent[1]["body"]


def test_application_learns_where_it_is_mounted_and_sees_the_visitors_path(worker: SimpleNamespace) -> None:
    assert asked(worker, "/blog/x") == (200, b"/blog /blog/x")


def test_health_is_bad_while_what_this_host_needs_is_away(worker: SimpleNamespace) -> None:
    status, said = asked(worker, "/blog/health")
    assert status == 503
    assert b"router is not there" in said
    assert asked(worker, "/blog/x")[0] == 200, "pages are not the health's matter"

    worker.router.touch()
    assert asked(worker, "/blog/health") == (200, b"/blog /blog/health")


def test_health_is_bad_while_what_it_needs_has_no_name(worker: SimpleNamespace) -> None:
    worker.router.touch()
    worker.NAMES.append("database.invalid")

    status, said = asked(worker, "/blog/health")

    assert status == 503
    assert b"the name database.invalid is not found" in said


def test_connection_that_has_sent_nothing_yet_is_waited_for(worker: SimpleNamespace) -> None:
    fresh = SimpleNamespace(cycle=None)
    server = worker.DrainingServer(fresh)

    async def end() -> bool:
        ending = asyncio.create_task(server.shutdown())
        await asyncio.sleep(3 * worker.STEP_S)
        was_waiting = not server.is_shut_down
        fresh.cycle = "its first request"
        await ending
        return was_waiting

    assert asyncio.run(end())
    assert server.is_shut_down


def test_connections_that_wait_for_nothing_hold_nobody_up(worker: SimpleNamespace) -> None:
    server = worker.DrainingServer(SimpleNamespace(cycle="done"), SimpleNamespace())

    asyncio.run(asyncio.wait_for(server.shutdown(), 0.9 * worker.SILENCE_S))

    assert server.is_shut_down


def test_other_hosts_get_no_connection_while_this_one_lacks_something(worker: SimpleNamespace) -> None:
    assert worker.turned_away(None, "live", None) == ssl.ALERT_DESCRIPTION_INTERNAL_ERROR

    worker.router.touch()
    assert worker.turned_away(None, "live", None) is None


def test_kept_connections_end_while_something_is_lacking(worker: SimpleNamespace) -> None:
    def heads() -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []

        async def application(scope: object, receive: object, send: Callable[[dict[str, Any]], Any]) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})

        async def send(message: dict[str, Any]) -> None:
            found.extend(message["headers"])

        asyncio.run(worker.guarded(application)({"type": "http", "path": "/blog/x", "headers": []}, None, send))
        return found

    assert heads() == [(b"a", b"b"), (b"connection", b"close")]
    worker.router.touch()
    assert heads() == [(b"a", b"b")]

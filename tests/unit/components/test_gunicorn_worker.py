"""Gunicorn's worker as nospof writes it, run here: its health tells what the host lacks."""

from __future__ import annotations

import sys
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

"""A request for an agent is passed on beside the host's lock, and only for the stack the host belongs to."""

from __future__ import annotations

import fcntl
import io
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from onhost_machine import Machine

from nospof.onhost import receipt, receive


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """A socket that answers with what it was asked."""
    path = tmp_path / "agent.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(json.dumps({"ok": True, "asked": json.loads(connection.recv(4096))}).encode() + b"\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield path
    listener.close()


def received(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request: dict[str, Any]) -> dict[str, Any]:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(request).encode() + b"\n")))
    assert receive.main([]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def request_of(path: Path, stack_id: str = "abcd") -> dict[str, Any]:
    ask = {"do": "promote", "by": "ann@desk"}
    return {"phase": "agent", "stack_id": stack_id, "socket": str(path), "ask": ask, "limit_s": 20.0}


def test_agent_is_asked_while_another_run_holds_the_host(
    machine: Machine, agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # At three in the morning nobody may have to wait for an `up` that hangs.
    monkeypatch.setattr(receive, "LOCK", str(tmp_path / "lock"))
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = received(monkeypatch, capsys, request_of(agent))
    assert answer == {"ok": True, "answer": {"ok": True, "asked": {"do": "promote", "by": "ann@desk"}}}


def test_agent_of_another_stack_is_not_asked(
    machine: Machine, agent: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt.write_receipt(receipt.Receipt(stack="blog", stack_id="ffff"))
    answer = received(monkeypatch, capsys, request_of(agent))
    assert answer["error"]["code"] == "other-stack"

"""Asking the agent of this host over its unix socket; apart from the agent, since each request to a host loads it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

Json = dict[str, Any]
MOST_BYTES = 1 << 20
STARTS_WITHIN_S = 10.0
# Longer than the agent itself takes at most (control.py), so that its own answer comes first.
LIMITS_S = {"status": 1.0, "switchover": 14.0, "promote": 20.0, "pause": 9.0, "resume": 9.0, "restart": 105.0, "leave": 6.0}


class Outcome(Enum):
    """Why an answer is not ok."""

    REFUSED = "refused"
    """Nothing was changed."""
    UNDONE = "undone"
    """It was begun and taken back: all is as before."""
    UNKNOWN = "unknown"
    """It may have happened."""
    NOT_ASKED = "not-asked"
    """The agent was not reached: nothing happened."""


def ask(path: Path, request: Mapping[str, object], limit_s: float | None = None) -> Json:
    """Ask the agent at `path`; never raises. Without "ok" the answer has "outcome" and "why".

    `limit_s` None: what the verb may take. For a restart an agent that is just being started itself is waited for.
    """
    patience_s = STARTS_WITHIN_S if request.get("do") == "restart" else 0.0
    end_s = time.monotonic() + patience_s
    while True:
        answer = _ask(path, request, limit_s)
        if answer.get("outcome") != Outcome.NOT_ASKED.value or time.monotonic() >= end_s:
            return answer
        time.sleep(0.1)


def _ask(path: Path, request: Mapping[str, object], limit_s: float | None) -> Json:
    limit_s = LIMITS_S.get(str(request.get("do")), 5.0) if limit_s is None else limit_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(limit_s)
        try:
            connection.connect(str(path))
        except OSError as error:
            return failed(Outcome.NOT_ASKED, f"the agent does not answer: {error.strerror or 'no room in its queue'}")
        try:
            connection.sendall(json.dumps(dict(request)).encode() + b"\n")
            return _read(connection)
        except TimeoutError:
            return failed(Outcome.UNKNOWN, f"the agent gave no answer within {limit_s:g} s")
        except (OSError, ValueError) as error:
            return failed(Outcome.UNKNOWN, f"the agent gave no answer: {error or type(error).__name__}")


def failed(outcome: Outcome, why: str) -> Json:
    """The answer to what did not work."""
    return {"ok": False, "outcome": outcome.value, "why": why}


def read_note(path: Path, now_s: float) -> Json | None:
    """What the agent last wrote for the role server, and how old that is; None when there is none."""
    try:
        note = json.loads(path.read_text())
        return {**note, "age_s": round(now_s - note["written_at"], 1)}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(connection: socket.socket) -> Json:
    received = b""
    while len(received) <= MOST_BYTES and not received.endswith(b"\n"):
        more = connection.recv(65536)
        if not more:
            break
        received += more
    answer = json.loads(received)
    if not isinstance(answer, dict) or "ok" not in answer:
        raise ValueError("it cannot be understood")
    return answer

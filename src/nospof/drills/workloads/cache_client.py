"""The program of the cache load. It runs on an application's host, on its own: standard library only.

`python3 -I - OPTIONS < cache_client.py` reads the parts of a cache's address in the application's environment file, and uses
the same route: name, port, TLS verified with the stack's CA. Secrets are in no argument.

One client writes one entry after the other over a connection that it keeps, and notes who acknowledged it. What became of each
goes to standard output at the end, as JSON lines: see `sql_write.py`. Beside that, the folder has `progress`; the load ends
once `stop` is there, and takes breath between two writes once `calm` is. Entries end by themselves after some minutes.
Source: https://valkey.io/topics/protocol/ (RESP2).
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
import ssl
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
# Errors of the server after which nothing was written: it takes no writes, is full, or is still loading.
REFUSED = ("NOREPLICAS", "READONLY", "OOM", "LOADING", "MASTERDOWN")
ENTRY_S = 600
PROGRESS_EVERY_S, ANSWER_S, CALM_S = 0.1, 1.0, 0.1


@dataclass(frozen=True)
class Attempt:
    """One write; times in seconds of CLOCK_MONOTONIC. `server_id`: of who answered, made of its address."""

    client: int
    token: str
    invoked: float
    ended: float
    outcome: str
    server_id: int | None = None
    error: str = ""


def main() -> None:
    told = parsed(sys.argv[1:])
    folder = Path(told.folder)
    folder.mkdir(parents=True, exist_ok=True)
    attempts: list[Attempt] = []
    client = Client(Path(told.environment), told.prefix)
    end_s, shown_s, good, last_good, late_s = time.monotonic() + told.seconds, 0.0, 0, 0.0, 0.0
    while time.monotonic() < end_s and not (folder / "stop").exists():
        one = client.write(f"{folder.name}-0-{len(attempts)}")
        attempts.append(one)
        if one.outcome == OK:
            good, last_good = good + 1, one.ended
        if one.ended - shown_s > PROGRESS_EVERY_S:
            shown_s = one.ended
            new = folder / "progress.new"
            new.write_text(json.dumps({"good": good, "last_good": last_good}))
            new.replace(folder / "progress")
        began_s, pause_s = time.monotonic(), CALM_S if (folder / "calm").exists() else told.pause_ms / 1000
        time.sleep(pause_s)
        late_s = max(late_s, time.monotonic() - began_s - pause_s)
    lines = [asdict(attempt) for attempt in attempts]
    end = {"count": len(lines), "at": time.monotonic(), "most_late_s": late_s}
    sys.stdout.write("".join(json.dumps(line) + "\n" for line in [*lines, end]))


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cache_client")
    for name in ("folder", "environment", "prefix"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("seconds", "pause-ms"):
        parser.add_argument(f"--{name}", type=float, required=True)
    return parser.parse_args(arguments)


class Refused(Exception):
    """The server answered with an error."""


class Line:
    """A connection that asks one thing at a time. Raises OSError, ValueError or Refused."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, timeout_s: float) -> None:
        plain = socket.create_connection((host, port), timeout_s)
        try:
            self._socket = context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        self._answers = self._socket.makefile("rb")

    def ask(self, *words: str) -> str:
        parts = [word.encode() for word in words]
        self._socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
        line = self._answers.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("closed the connection")
        kind, said = line[:1], line[1:-2].decode(errors="replace")
        if kind == b"-":
            raise Refused(said)
        if kind == b"$":
            return self._answers.read(int(said) + 2)[:-2].decode(errors="replace")
        if kind != b"+":
            raise ValueError(f"no answer: {line!r:.40}")
        return said

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()


class Client:
    """Writes over a connection that it keeps, and makes another when that ends."""

    def __init__(self, environment: Path, prefix: str) -> None:
        lines = (line.split("=", 1) for line in environment.read_text().splitlines() if "=" in line)
        values = {name: "".join(shlex.split(value)) for name, value in lines}
        self._told = {name.removeprefix(f"{prefix}_"): value for name, value in values.items() if name.startswith(f"{prefix}_")}
        self._context = ssl.create_default_context(cafile=self._told["SSL_CA"])
        # Python 3.13 demands fields of a certificate that the servers do not miss.
        self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._line: Line | None = None
        self._server_id: int | None = None

    def write(self, token: str) -> Attempt:
        invoked, outcome, error = time.monotonic(), OK, ""
        # Until there is a connection nothing was sent.
        is_sent = False
        try:
            line = self._line = self._line or self._connected()
            is_sent = True
            line.ask("SET", f"nospof-drill:{token}", token, "EX", str(ENTRY_S))
        except Refused as problem:
            outcome, error = FAILED if str(problem).startswith(REFUSED) or not is_sent else UNKNOWN, str(problem)
        except (OSError, ValueError) as problem:
            outcome, error = UNKNOWN if is_sent else FAILED, f"{type(problem).__name__}: {problem}"
        one = Attempt(0, token, invoked, time.monotonic(), outcome, self._server_id, error)
        if error:
            self._close()
        return one

    def _connected(self) -> Line:
        told = self._told
        line = Line(told["HOST"], int(told["PORT"]), self._context, ANSWER_S)
        try:
            line.ask("AUTH", told["USER"], told["PASSWORD"])
            fields = dict(pair.split("=", 1) for pair in line.ask("CLIENT", "INFO").split() if "=" in pair)
            numbers = fields["laddr"].rpartition(":")[0].split(".")
            self._server_id = 256 * int(numbers[2]) + int(numbers[3])
        except BaseException:
            line.close()
            raise
        return line

    def _close(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line, self._server_id = None, None


if __name__ == "__main__":
    with suppress(PermissionError):
        os.nice(-5)
    main()

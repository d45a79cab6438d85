"""Round trips to hosts: one per phase, all hosts at once.

The host needs nothing but Python: the programs it runs for us travel along with each request, so that they always are of
this version.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from threading import Lock
from typing import Any

from nospof.apply.transport import Finished, Outcome, Transport, Unreachable
from nospof.component import onhost_at

PARALLEL = 16
SLOW_SHARE, PATIENCE_FACTOR = 0.4, 5.0  # of a trip's limit
Json = dict[str, Any]

# With the programs that are installed under the name of these, where they can be imported: they are compiled. Else with those
# that are sent. In one line: not every user's shell, which it passes on a server, takes several between quotes.
_BOOT = """
import os, sys
source = sys.stdin.buffer
place, length = source.readline().decode().split()
content = source.read(int(length))
sys.dont_write_bytecode = True
sys.path.insert(0, place)
try:
    import nospof
    if nospof.__file__ != place + "/nospof/__init__.py":
        raise ImportError(place)
    from nospof.onhost.receive import main
except Exception:
    for name in [name for name in sys.modules if name.partition(".")[0] == "nospof"]:
        del sys.modules[name]
    sent = os.memfd_create("nospof")
    os.write(sent, content)
    sys.path[0] = "/proc/self/fd/%d" % sent
    from nospof.onhost.receive import main
sys.exit(main([]))
"""
BOOT = f"exec({_BOOT!r})"
MAIN = """import importlib, os, sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
sys.exit(importlib.import_module("nospof.onhost." + sys.argv[1]).main(sys.argv[2:]))
"""


@dataclass(frozen=True)
class Problem:
    """Why a host gave no good answer.

    `kind`: unreachable (nothing happened), unknown (it may have), the host's own code for a refusal, or "defect" for an
    answer that should not exist.
    """

    host: str
    kind: str
    what: str
    detail: str = ""


@dataclass(frozen=True)
class Trip:
    """One request to one host, with the blobs that travel with it."""

    host: str
    request: Json
    blobs: Mapping[str, bytes]
    timeout_s: float


class OneAtATime:
    """A transport on which a host never has two commands of this run at once; different hosts do not wait."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)

    def run(self, host: str, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60.0) -> Outcome:
        """See `Transport.run`; `timeout_s` begins with the host's turn."""
        with self._locks[host]:
            return self._transport.run(host, argv, stdin, timeout_s)

    def run_anew(self, host: str, argv: Sequence[str], timeout_s: float = 15.0) -> Outcome:
        """See `Transport.run_anew`."""
        with self._locks[host]:
            return self._transport.run_anew(host, argv, timeout_s)


def send(transport: Transport, trips: Sequence[Trip]) -> dict[str, Json | Problem]:
    """Make all `trips` at once; the answer or the problem of each host."""
    return _at_once(trips, lambda trip: _send(transport, trip))


def ask(transport: Transport, trips: Sequence[Trip]) -> dict[str, Json | Problem]:
    """As `send`, for trips that change nothing: late hosts get a second one where this machine may be what is slow.

    That is where none answered, or one took more than `SLOW_SHARE` of its limit. The second limit is `PATIENCE_FACTOR` times
    the first. So a dark host among quick ones costs no more than the first.
    """
    shares: list[float] = []  # of their limit, by hosts that answered

    def timed(trip: Trip) -> Json | Problem:
        begin = time.monotonic()
        answer = _send(transport, trip)
        if not isinstance(answer, Problem):
            shares.append((time.monotonic() - begin) / trip.timeout_s)
        return answer

    answers = _at_once(trips, timed)
    late = [trip for trip in trips if _is_late(answers[trip.host])]
    if max(shares, default=1.0) < SLOW_SHARE:
        return answers
    return answers | send(transport, [replace(trip, timeout_s=PATIENCE_FACTOR * trip.timeout_s) for trip in late])


def _at_once(trips: Sequence[Trip], make: Callable[[Trip], Json | Problem]) -> dict[str, Json | Problem]:
    """By host, what `make` says of each trip."""
    if not trips:
        return {}
    with ThreadPoolExecutor(min(PARALLEL, len(trips))) as pool:
        return {trip.host: answer for trip, answer in zip(trips, pool.map(make, trips), strict=True)}


def _is_late(answer: Json | Problem) -> bool:
    return isinstance(answer, Problem) and answer.kind in ("unreachable", "unknown")


def _send(transport: Transport, trip: Trip) -> Json | Problem:
    names = list(trip.blobs)
    header = {**trip.request, "blobs": [[name, len(trip.blobs[name])] for name in names]}
    programs = onhost_zip()
    content = [f"{onhost_at(onhost_blob()[0])} {len(programs)}\n".encode(), programs, json.dumps(header).encode(), b"\n"]
    content += [trip.blobs[name] for name in names]
    outcome = transport.run(trip.host, ("/usr/bin/python3", "-c", BOOT), b"".join(content), trip.timeout_s)
    if isinstance(outcome, Finished):
        return _answer(trip.host, outcome)
    kind = "unreachable" if isinstance(outcome, Unreachable) else "unknown"
    return Problem(trip.host, kind, outcome.reason)


def _answer(host: str, outcome: Finished) -> Json | Problem:
    said = outcome.stderr.decode(errors="replace").strip()
    if outcome.exit_code != 0:
        return Problem(host, "defect", f"the receiver ended with exit code {outcome.exit_code}", said)
    try:
        answer: Json = json.loads(outcome.stdout)
        if answer["ok"]:
            return answer
        error = answer["error"]
        return Problem(host, error["code"], error["what"], error["detail"])
    except (ValueError, KeyError, TypeError):
        text = outcome.stdout.decode(errors="replace")[:400]
        return Problem(host, "defect", "the receiver's answer cannot be read", text or said)


@cache
def _sources() -> tuple[tuple[str, bytes], ...]:
    """The on-host package as (path, content), sorted."""
    package = files("nospof.onhost")
    found = [("nospof/__init__.py", b""), ("__main__.py", MAIN.encode())]
    found += _modules(package, "nospof/onhost")
    return tuple(sorted(found))


def _modules(folder: Traversable, path: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.name.startswith("_"):
            found += _modules(entry, f"{path}/{entry.name}")
        elif entry.name.endswith(".py"):
            found.append((f"{path}/{entry.name}", entry.read_bytes()))
    return found


@cache
def onhost_zip() -> bytes:
    """The on-host package as one importable file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in _sources():
            archive.writestr(path, content)
    return stream.getvalue()


@cache
def onhost_blob() -> tuple[str, bytes]:
    """The on-host package as a tree to be installed: its sha256 and a tar; the same sources give the same bytes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, content in _sources():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    content = stream.getvalue()
    return hashlib.sha256(content).hexdigest(), content


def digest(manifest: Json) -> str:
    """What the host calls the digest of this manifest (`nospof.onhost.manifest.parse`)."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()

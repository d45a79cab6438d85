"""Hosts that exist in memory only, and misbehave on demand: they lie, hang and die."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from nospof.apply.transport import Finished, Outcome, Unknown, Unreachable
from nospof.apply.trips import digest

FACTS = {
    "python": "3.13",
    "debian": "13.1",
    "machine": "x86_64",
    "interface": "host0",
    "prefix_length": 16,
    "max_open_files": 20000,
    "memory_mib": 4096,
    "cpus": 2,
}


def received(stdin: bytes) -> tuple[dict[str, Any], bytes]:
    """The request of a trip, and the blobs that travel with it; the programs are left out."""
    programs, _, rest = stdin.partition(b"\n")
    line, _, blobs = rest[int(programs.split()[1]) :].partition(b"\n")
    return json.loads(line), blobs


class Misdeed(Enum):
    UNREACHABLE = "nothing was sent"
    HANGS = "sent, never carried out, no answer"
    DIES = "carried out, no answer"
    LIES = "an answer that is none"
    CRASHES = "a traceback"
    UNHEALTHY = "the instance does not become healthy"
    NOT_READY = "the staged files are refused"
    OVERTAKEN = "somebody else was here meanwhile"


@dataclass
class FakeHost:
    """What one host remembers."""

    files: dict[str, str] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    trees: set[str] = field(default_factory=set)
    blobs: set[str] = field(default_factory=set)
    staged: dict[str, Any] | None = None
    generation: int = 0
    stack_id: str = ""
    digest: str = ""
    leads: set[str] = field(default_factory=set)
    is_retired: bool = False


class FakeHosts:
    """A transport to hosts in memory. `done` lists every trip as (host, phase, instances); `misdeeds` by (host, phase)."""

    def __init__(self, names: Sequence[str]) -> None:
        self.hosts = {name: FakeHost() for name in names}
        self.misdeeds: dict[tuple[str, str], Misdeed] = {}
        self.done: list[tuple[str, str, tuple[str, ...]]] = []
        self.seen: list[bytes] = []
        self.care: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def run(self, host: str, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60.0) -> Outcome:
        request, blobs = received(stdin)
        assert sum(size for _, size in request["blobs"]) == len(blobs)
        phase = request["phase"]
        misdeed = self.misdeeds.get((host, phase))
        with self._lock:
            self.done.append((host, phase, tuple(request.get("instances", ()))))
            self.seen.append(" ".join(argv).encode())
            if misdeed is Misdeed.UNREACHABLE:
                return Unreachable("no way to it")
            if misdeed is Misdeed.HANGS:
                return Unknown(f"no answer within {timeout_s:.0f} s")
            if misdeed is Misdeed.CRASHES:
                return Finished(1, b"", b"Traceback: something")
            if misdeed is Misdeed.LIES:
                return Finished(0, b"<html>hello</html>", b"")
            answer = self._answer(self.hosts[host], phase, request, misdeed)
        if misdeed is Misdeed.DIES:
            return Unknown("the connection ended")
        return Finished(0, json.dumps(answer).encode(), b"")

    def run_anew(self, host: str, argv: Sequence[str], timeout_s: float = 15.0) -> Outcome:
        with self._lock:
            self.done.append((host, "anew", ()))
        shut = self.misdeeds.get((host, "anew")) is Misdeed.UNREACHABLE
        return Unreachable("connection timed out") if shut else Finished(0, b"", b"")

    def _answer(self, host: FakeHost, phase: str, request: dict[str, Any], misdeed: Misdeed | None) -> dict[str, Any]:
        if misdeed is Misdeed.OVERTAKEN:
            return _refusal("moved-on", "this host was changed meanwhile")
        if misdeed is Misdeed.NOT_READY:
            return _refusal("not-ready", "/etc/x.conf is refused by x:\nline 3: no")
        if phase == "facts":
            leads = {name: name in host.leads for name in request["leads"]}
            common = {"generation": host.generation, "stack_id": host.stack_id, "stack": "other", "leads": leads}
            common["is_retired"] = host.is_retired
            common["instances"] = [one["id"] for one in host.staged["instances"]] if host.staged and host.generation else []
            return {"ok": True, "facts": FACTS, "firewall": host.files.get("/etc/nospof/firewall.nft", ""), **common}
        if phase == "compare":
            return self._compare(host, request["manifest"])
        if host.stack_id not in ("", request["stack_id"]) or host.generation != request["generation"]:
            return _refusal("moved-on", "another generation")
        if phase == "stage":
            host.staged = request["manifest"]
            host.blobs.update(name for name, _ in request["blobs"])
            return {"ok": True}
        assert host.staged is not None
        assert digest(host.staged) == request["digest"]
        if phase == "activate":
            self.care.update(dict.fromkeys(request["instances"], request["care"]))
            activated = []
            for name in request["instances"]:
                activated.append(self._activate(host, name, request, misdeed))
                if activated[-1]["failure"]:
                    break
            return {"ok": True, "activated": activated}
        host.generation += 1
        host.stack_id, host.digest = request["stack_id"], request["digest"]
        return {"ok": True, "removed": []}

    def _compare(self, host: FakeHost, manifest: dict[str, Any]) -> dict[str, Any]:
        found = []
        for instance in manifest["instances"]:
            found += [
                _difference(instance["id"], "file", file["path"], "create" if file["path"] not in host.files else "change")
                for file in instance["files"]
                if host.files.get(file["path"]) != file["text"]
            ]
            found += [
                _difference(instance["id"], "unit", unit["name"], "start")
                for unit in instance["units"]
                if unit["name"] not in host.running
            ]
        trees = [tree["blob"] for instance in manifest["instances"] for tree in instance["trees"]]
        if not found and host.digest != digest(manifest):
            found.append(_difference("", "receipt", "receipt", "write"))
        return {"ok": True, "differences": found, "missing_blobs": sorted(set(trees) - host.blobs)}

    def _activate(self, host: FakeHost, name: str, request: dict[str, Any], misdeed: Misdeed | None) -> dict[str, Any]:
        assert host.staged is not None
        instance = next(entry for entry in host.staged["instances"] if entry["id"] == name)
        if misdeed is Misdeed.UNHEALTHY and not name.startswith(("firewall/", "base/")):
            common = {"instance": name, "done": [], "detail": "app: ImportError: no module named shop"}
            return {**common, "failure": "health did not become healthy within 20 s", "is_restored": True}
        done = []
        for file in instance["files"]:
            text = request["overrides"].get(file["path"], file["text"])
            if host.files.get(file["path"]) != text:
                host.files[file["path"]] = text
                done.append(f"create {file['path']}")
        done += [f"start {unit['name']}" for unit in instance["units"] if unit["name"] not in host.running]
        host.running.update(unit["name"] for unit in instance["units"])
        return {"instance": name, "done": done, "failure": "", "detail": "", "is_restored": False}


class Telling:
    """Progress that is remembered."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []
        self.lines: list[tuple[str, str]] = []

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def host(self, host: str, text: str) -> None:
        self.lines.append((host, text))

    def note(self, text: str) -> None:
        self.notes.append(text)


def _difference(instance: str, kind: str, name: str, change: str) -> dict[str, str]:
    return {"instance": instance, "kind": kind, "name": name, "change": change, "diff": ""}


def _refusal(code: str, what: str) -> dict[str, Any]:
    return {"ok": False, "error": {"code": code, "what": what, "detail": ""}}

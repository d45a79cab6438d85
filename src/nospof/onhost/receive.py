"""One trip: a request comes in on standard input, is carried out under a lock, its answer goes out as JSON.

Request: one line of JSON {"phase", …, "blobs": [[sha256, length], …]}, then the blobs' bytes, end to end.
Answer: {"ok": true, …} or {"ok": false, "error": {"code", "what", "detail"}}; exit code 0 for both. Anything else is a
defect, with its traceback on standard error.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from nospof.onhost import activate, compare, facts, firewall_guard, manifest, preflight, receipt, settle, stage, status, units
from nospof.onhost.agent.ask import ask
from nospof.onhost.files import write_atomically

LOCK = "/run/nospof.lock"
LOGS_S = 15
Request = Mapping[str, Any]
Answer = dict[str, Any]


class Refused(Exception):
    """The request cannot be carried out now. `code`: busy, moved-on, other-stack, not-ready, not-staged, host-error."""

    def __init__(self, code: str, what: str, detail: str = "") -> None:
        super().__init__(what)
        self.code, self.what, self.detail = code, what, detail


def main(argv: list[str]) -> int:
    """Carry out the request on standard input."""
    source = sys.stdin.buffer
    request = json.loads(source.readline())
    blobs = {name: _exactly(source, length) for name, length in request.get("blobs", [])}
    try:
        answer = {"ok": True, **_carry_out(request, blobs)}
    except Refused as refused:
        answer = {"ok": False, "error": {"code": refused.code, "what": refused.what, "detail": refused.detail}}
    except OSError as error:
        what = f"{error.strerror or error}: {error.filename}" if error.filename else str(error.strerror or error)
        answer = {"ok": False, "error": {"code": "host-error", "what": what, "detail": ""}}
    sys.stdout.write(json.dumps(answer))
    return 0


def _exactly(source: IO[bytes], length: int) -> bytes:
    content = source.read(length)
    if len(content) != length:
        raise EOFError(f"the request ended {length - len(content)} bytes early")
    return content


def _carry_out(request: Request, blobs: Mapping[str, bytes]) -> Answer:
    # Not under the lock: what only looks, and what people ask of an agent, which must not wait for a run that hangs.
    free: dict[str, Callable[[Request], Answer]] = {
        "facts": _facts, "compare": _compare, "status": _status, "agent": _agent, "preflight": _preflight, "logs": _logs
    }  # fmt: skip
    phase = request["phase"]
    if phase in free:
        return free[phase](request)
    with open(LOCK, "a+") as lock:
        _lock(lock, request)
        _refuse_strangers(request)
        if phase == "retire":
            return _retire(request)
        if phase == "stage":
            return _stage(request, blobs)
        if phase == "activate":
            return _activate(request)
        if phase == "settle":
            return _settle(request)
    raise ValueError(f"unknown phase {phase}")


def _lock(lock: IO[str], request: Request) -> None:
    """Hold the host for one trip; a trip that lost its controlling machine goes on to its end and frees it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise Refused("busy", f"another nospof works on this host: {lock.read().strip() or 'it does not say who'}") from None
    lock.truncate(0)
    lock.write(f"{request['by']}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
    lock.flush()


def _refuse_strangers(request: Request) -> None:
    known = receipt.read_receipt()
    _refuse_other_stacks(request, known)
    if "generation" in request and known.generation != request["generation"]:
        raise Refused(
            "moved-on",
            f"this host was changed meanwhile by {known.finished_by} at {known.finished_at} "
            f"(generation {known.generation}, not {request['generation']})",
        )


def _refuse_other_stacks(request: Request, known: receipt.Receipt) -> None:
    if known.stack_id and known.stack_id != request["stack_id"]:
        raise Refused(
            "other-stack",
            f"this host belongs to another stack: {known.stack} ({known.stack_id}), applied {known.finished_at} by "
            f"{known.finished_by}",
        )


def _facts(request: Request) -> Answer:
    known = receipt.read_receipt()
    rules = "/etc/nospof/firewall.nft"
    return {
        "facts": asdict(facts.gather(request["address"])),
        "generation": known.generation,
        "stack_id": known.stack_id,
        "stack": known.stack,
        "is_retired": receipt.is_retired(),
        "instances": sorted(known.instances),
        "firewall": _text(rules),
        "leads": {name: compare.is_done(tuple(argv)) for name, argv in request["leads"].items()},
    }


def _text(path: str) -> str:
    try:
        with open(path) as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def _preflight(request: Request) -> Answer:
    known = receipt.read_receipt()
    is_ours = known.generation > 0 and known.stack_id == request["stack_id"]
    return {"is_ours": is_ours, "checks": [] if is_ours else [asdict(check) for check in preflight.look(request)]}


def _compare(request: Request) -> Answer:
    wanted = manifest.parse(request["manifest"])
    found = compare.differences(wanted, receipt.read_receipt(), receipt.read_journal())
    trees = [tree.blob for instance in wanted.instances for tree in instance.trees if not os.path.isdir(tree.path)]
    return {"differences": [asdict(difference) for difference in found], "missing_blobs": sorted(set(trees))}


def _status(request: Request) -> Answer:
    with ThreadPoolExecutor(8) as pool:
        agents = {name: pool.submit(status.agent, path) for name, path in request["agents"].items()}
        found = status.look(receipt.read_receipt(), request["leads"], request["limit_s"])
        return {
            "instances": {name: asdict(state) for name, state in found.items()},
            "addresses": status.addresses(),
            "agents": {name: answer.result() for name, answer in agents.items()},
        }


def _logs(request: Request) -> Answer:
    known = receipt.read_receipt().instances
    entries = [known[name] for name in request["instances"] if name in known]
    names = [unit for entry in entries for unit in (*entry["units"], *entry["other_units"], *entry.get("aside_units", []))]
    if not names:
        return {"text": ""}
    since = [f"--since=-{request['since']}"] if request["since"] else []
    argv = ["journalctl", "--quiet", "--no-pager", "--output=short-iso", f"--lines={request['lines']}", *since]
    done = units.run([*argv, *(f"--unit={unit}" for unit in names)], timeout_s=LOGS_S)
    return {"text": done.stdout or done.stderr}


def _agent(request: Request) -> Answer:
    """Pass on what somebody asks of a failover agent; the agent itself sees to it that requests do not mix."""
    _refuse_other_stacks(request, receipt.read_receipt())
    return {"answer": ask(Path(request["socket"]), request["ask"], request["limit_s"])}


def _retire(request: Request) -> Answer:
    return {"kept": settle.retire(receipt.read_receipt(), receipt.read_journal(), request["stores"])}


def _stage(request: Request, blobs: Mapping[str, bytes]) -> Answer:
    wanted = manifest.parse(request["manifest"])
    receipt.STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(str(receipt.BEGUN), request["stack_id"].encode(), 0o600)
    try:
        stage.stage(wanted, blobs)
    except stage.NotReady as error:
        raise Refused("not-ready", "\n".join(error.problems)) from error
    write_atomically(str(receipt.STAGED), json.dumps(request["manifest"]).encode(), 0o600)
    return {}


def _staged(request: Request) -> manifest.Manifest:
    try:
        staged = manifest.parse(json.loads(receipt.STAGED.read_text()))
    except FileNotFoundError:
        raise Refused("not-staged", "nothing is staged on this host") from None
    if staged.digest != request["digest"]:
        raise Refused("moved-on", "something else was staged on this host meanwhile")
    return staged


def _activate(request: Request) -> Answer:
    staged, known = _staged(request), receipt.read_receipt()
    if request["guard_s"]:
        firewall_guard.arm(request["guard_s"])
    care = activate.Care(**request["care"])
    results = activate.activate(staged, request["instances"], request["overrides"], known, receipt.read_journal(), care)
    if request["guard_s"]:
        firewall_guard.mark_unconfirmed()
    return {"activated": [asdict(result) for result in results]}


def _settle(request: Request) -> Answer:
    staged = _staged(request)
    finished = receipt.Receipt(
        stack=request["stack"], stack_id=request["stack_id"], finished_at=request["at"], finished_by=request["by"]
    )
    removed = settle.settle(staged, receipt.read_receipt(), receipt.read_journal(), finished)
    receipt.STAGED.unlink(missing_ok=True)
    return {"removed": [asdict(difference) for difference in removed]}

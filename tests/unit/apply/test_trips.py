from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from nospof.apply import trips
from nospof.apply.transport import Finished, Outcome
from nospof.apply.trips import BOOT, OneAtATime, Problem, Trip, onhost_blob, onhost_zip, send
from nospof.onhost import manifest


class ThisMachine:
    """A transport to the very machine the test runs on."""

    def run(self, host: str, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60.0) -> Outcome:
        done = subprocess.run([sys.executable, *argv[1:]], input=stdin, capture_output=True, timeout=timeout_s, check=False)
        return Finished(done.returncode, done.stdout, done.stderr)

    def run_anew(self, host: str, argv: Sequence[str], timeout_s: float = 15.0) -> Outcome:
        return self.run(host, argv, b"", timeout_s)


def test_programs_travel_along_and_run_from_memory() -> None:
    """The host needs nothing but Python: not even this package, which is why the interpreter runs isolated."""
    request = json.dumps({"phase": "no-such-phase", "by": "me", "stack_id": "", "generation": 0, "blobs": []}).encode()
    content = f"{len(onhost_zip())}\n".encode() + onhost_zip() + request + b"\n"
    done = subprocess.run(["python3", "-I", "-c", BOOT], input=content, capture_output=True, timeout=60, check=False)
    assert b"unknown phase no-such-phase" in done.stderr
    assert b"/proc/self/fd/" in done.stderr


def test_receiver_that_fails_is_a_defect_with_its_traceback() -> None:
    answer = send(ThisMachine(), [Trip("h", {"phase": "facts"}, {}, 30)])["h"]
    assert isinstance(answer, Problem)
    assert answer.kind == "defect"
    assert "KeyError" in answer.detail


def test_request_that_was_cut_short_does_nothing() -> None:
    header = json.dumps({"phase": "stage", "blobs": [["aa", 100]]}).encode()
    content = f"{len(onhost_zip())}\n".encode() + onhost_zip() + header + b"\nshort"
    done = subprocess.run(["python3", "-I", "-c", BOOT], input=content, capture_output=True, timeout=60, check=False)
    assert b"ended 95 bytes early" in done.stderr


def test_digest_is_the_hosts_own() -> None:
    wire = {"packages": ["a"], "instances": []}
    assert trips.digest(wire) == manifest.parse(wire).digest


def test_installed_programs_are_the_same_bytes_every_time() -> None:
    first = onhost_blob()
    onhost_blob.cache_clear()
    trips._sources.cache_clear()
    assert onhost_blob() == first


def test_installed_programs_run(tmp_path: Path) -> None:
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(onhost_blob()[1])) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian 12's Python has none
        archive.extractall(tmp_path)
    done = subprocess.run(["python3", "-I", str(tmp_path), "no_such_program"], capture_output=True, timeout=30, check=False)
    assert b"nospof.onhost.no_such_program" in done.stderr


def test_one_host_never_has_two_trips_at_once_and_others_do_not_wait() -> None:
    inside: list[str] = []
    most: dict[str, int] = {}
    lock = threading.Lock()

    class Slow:
        def run(self, host: str, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60.0) -> Outcome:
            with lock:
                inside.append(host)
                most[host] = max(most.get(host, 0), inside.count(host))
                most["all"] = max(most.get("all", 0), len(inside))
            time.sleep(0.05)
            with lock:
                inside.remove(host)
            return Finished(0, b"", b"")

        def run_anew(self, host: str, argv: Sequence[str], timeout_s: float = 15.0) -> Outcome:
            return self.run(host, argv, b"", timeout_s)

    transport = OneAtATime(Slow())
    threads = [threading.Thread(target=transport.run, args=(host, ())) for host in ["a", "b"] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most["a"], most["b"], most["all"]) == (1, 1, 2)

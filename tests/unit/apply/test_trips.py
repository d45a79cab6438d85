from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from nospof.apply import trips
from nospof.apply.transport import Finished, Outcome, Unknown
from nospof.apply.trips import BOOT, OneAtATime, Problem, Trip, ask, onhost_blob, onhost_zip, send
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
    done = booted(Path("/nowhere"), NO_SUCH_PHASE)
    assert b"unknown phase no-such-phase" in done.stderr
    assert b"/proc/self/fd/" in done.stderr


NO_SUCH_PHASE = json.dumps({"phase": "no-such-phase", "by": "me", "stack_id": "", "generation": 0}).encode() + b"\n"


def booted(
    installed: Path, request: bytes, option: str = "-I", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    content = f"{installed} {len(onhost_zip())}\n".encode() + onhost_zip() + request
    argv = ["python3", option, "-c", BOOT]
    return subprocess.run(argv, input=content, capture_output=True, timeout=60, check=False, env=env)


def installed(folder: Path, receive: str) -> Path:
    (folder / "nospof/onhost").mkdir(parents=True)
    (folder / "nospof/__init__.py").touch()
    (folder / "nospof/onhost/receive.py").write_text(receive)
    return folder


def test_programs_that_are_installed_already_are_used(tmp_path: Path) -> None:
    """They are compiled; what is sent would have to be, each time."""
    place = installed(tmp_path, "import sys\ndef main(argv): print(sys.stdin.readline()); return 7\n")
    done = booted(place, b"the request\n")
    assert (done.returncode, done.stdout.strip()) == (7, b"the request")


@pytest.mark.parametrize("left", ["from nospof.onhost import activate\n", "def main(argv", "\0", "raise OSError(5)\n"])
def test_programs_that_are_no_more_whole_are_not_used(tmp_path: Path, left: str) -> None:
    """Else a host with a bad disk, or one that is half removed, could be neither asked nor taken down."""
    done = booted(installed(tmp_path, left), NO_SUCH_PHASE)
    assert b"unknown phase no-such-phase" in done.stderr


def test_another_package_of_the_name_is_not_taken_for_the_installed_programs(tmp_path: Path) -> None:
    """As on a host that is the controlling machine, too."""
    place = installed(tmp_path / "other", "def main(argv): return 7\n")
    done = booted(Path("/nowhere"), NO_SUCH_PHASE, "-s", {"PYTHONPATH": str(place)})
    assert b"unknown phase no-such-phase" in done.stderr


def test_receiver_that_fails_is_a_defect_with_its_traceback() -> None:
    answer = send(ThisMachine(), [Trip("h", {"phase": "facts"}, {}, 30)])["h"]
    assert isinstance(answer, Problem)
    assert answer.kind == "defect"
    assert "KeyError" in answer.detail


def test_request_that_was_cut_short_does_nothing() -> None:
    header = json.dumps({"phase": "stage", "blobs": [["aa", 100]]}).encode()
    done = booted(Path("/nowhere"), header + b"\nshort")
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


class Busy:
    """Hosts that answer after so many seconds, however long one waits for them; a host that never does is not in it."""

    def __init__(self, **answers_after_s: float) -> None:
        self.answers_after_s = answers_after_s
        self.limits: list[tuple[str, float]] = []

    def run(self, host: str, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60.0) -> Outcome:
        self.limits.append((host, timeout_s))
        after_s = self.answers_after_s.get(host, 1e9)
        time.sleep(min(after_s, timeout_s))
        return Finished(0, b'{"ok": true}', b"") if after_s < timeout_s else Unknown(f"no answer within {timeout_s:g} s")

    def run_anew(self, host: str, argv: Sequence[str], timeout_s: float = 15.0) -> Outcome:
        return self.run(host, argv, b"", timeout_s)


def asked(hosts: Busy, *names: str) -> dict[str, bool]:
    answers = ask(hosts, [Trip(name, {}, {}, 0.2) for name in names])
    return {host: not isinstance(answer, Problem) for host, answer in answers.items()}


def test_late_hosts_are_asked_once_more_where_others_were_slow() -> None:
    hosts = Busy(slow=0.15, late=0.4)
    assert asked(hosts, "slow", "late", "dark") == {"slow": True, "late": True, "dark": False}
    assert sorted(hosts.limits) == [("dark", 0.2), ("dark", 1.0), ("late", 0.2), ("late", 1.0), ("slow", 0.2)]


def test_dark_host_among_quick_ones_is_not_waited_for_twice() -> None:
    hosts = Busy(quick=0.0)
    assert asked(hosts, "quick", "dark") == {"quick": True, "dark": False}
    assert sorted(hosts.limits) == [("dark", 0.2), ("quick", 0.2)]


def test_where_nobody_answered_all_are_asked_once_more() -> None:
    assert asked(Busy(late=0.3, later=0.4), "late", "later") == {"late": True, "later": True}
    assert ask(Busy(), []) == {}

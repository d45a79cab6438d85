"""Whatever is killed and whenever: `up` converges, `down` leaves nothing, another lab does not notice."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nospof.apply.transport import Finished
from nospof.lab.cgroup import tree
from nospof.lab.lab import HostState, Lab, LabHost, LabPlan
from nospof.lab.machine import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

HOSTS = (LabHost("web1", "a", "198.18.1.1"), LabHost("web2", "b", "198.18.1.2"))
# From before the first file to after the last host is up (0.6 s): where a killed `up` can be.
MOMENTS_S = (0.02, 0.06, 0.1, 0.14, 0.18, 0.24, 0.32, 0.45)


def quiet(host: str, what: str) -> None:
    """Take progress and say nothing."""


def plan(lab: Lab) -> LabPlan:
    return LabPlan(lab.places.lab, HOSTS, (), (("198.18.1.1", 80),))


@pytest.fixture
def lab() -> Iterator[Lab]:
    yield from new_lab()


@pytest.fixture
def other() -> Iterator[Lab]:
    yield from new_lab()


def new_lab() -> Iterator[Lab]:
    made = Lab.open(f"crash-{secrets.token_hex(3)}")
    try:
        yield made
    finally:
        made.down()


def traces(lab: Lab) -> list[str]:
    """Find whatever on this machine bears the lab's name, in any process's view of it."""
    name = lab.places.lab
    found = [line for line in read(Path("/proc/self/mounts")).splitlines() if name in line]
    found += [line for line in run("losetup", "--list").splitlines() if name in line]
    found += [line for line in run("ip", "netns", "list").splitlines() if name in line]
    for folder in ("/run/nospof", "/run/netns", "/var/lib/nospof", "/run/systemd/nspawn"):
        found += [str(path) for path in Path(folder).rglob(f"*{name}*")]
    found += [path for path, _, _ in os.walk(tree().root) if name in path]
    found += [str(lab.places.host(host.name).leavings) for host in HOSTS if lab.places.host(host.name).leavings.exists()]
    # The last to be killed may be ending still, after it has left its group: it takes mounts down, which a busy disk delays.
    wait_until(lambda: not process_traces(name), 10)
    return found + process_traces(name)


def process_traces(name: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # One that has ended and that the machine's process 1 has yet to collect is nothing of ours any more.
        if process.name != str(os.getpid()) and "State:\tZ" not in read(process / "status"):
            found += [f"{process}/{file}" for file in ("cmdline", "cgroup", "mountinfo") if name in read(process / file)]
    return found


def read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def killed_up(lab: Lab, after_s: float) -> None:
    """Start `up` in a process of its own and kill that with -9 `after_s` seconds after it began."""
    program = (
        "from nospof.lab.lab import Lab, LabHost, LabPlan\n"
        f"print('begins', flush=True); Lab.open({lab.places.lab!r}).up({plan(lab)!r}, lambda host, what: None)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after_s)  # not a wait for something: the moment itself is what is tested
        process.kill()


@pytest.fixture(autouse=True)
def _image(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have the image before `up` is killed: its own crashes are in test_lab_image.py."""
    from nospof.lab.image import ensure_image

    ensure_image((), quiet)


@pytest.mark.parametrize("moment_s", MOMENTS_S)
def test_up_converges_after_a_killed_up(lab: Lab, moment_s: float) -> None:
    killed_up(lab, moment_s)
    lab.up(plan(lab), quiet)
    for host in lab.host_names():
        assert lab.state(host) is HostState.RUNNING
    outcome = lab.run("client", ["ping", "-c1", "-W2", "198.18.1.2"])
    assert isinstance(outcome, Finished)
    assert outcome.exit_code == 0


@pytest.mark.parametrize("moment_s", MOMENTS_S)
def test_down_leaves_nothing_after_a_killed_up(lab: Lab, moment_s: float) -> None:
    killed_up(lab, moment_s)
    lab.down()
    assert traces(lab) == []


def test_down_leaves_nothing_of_a_whole_lab_and_does_not_touch_another(lab: Lab, other: Lab) -> None:
    lab.up(plan(lab), quiet)
    other.up(plan(other), quiet)
    boot = other.run("web1", ["cat", "/proc/sys/kernel/random/boot_id"])
    assert lab.url_port != other.url_port
    lab.down()
    assert traces(lab) == []
    assert not lab.exists
    assert other.run("web1", ["cat", "/proc/sys/kernel/random/boot_id"]) == boot
    assert isinstance(boot, Finished)
    outcome = other.run("client", ["ping", "-c1", "-W2", "198.18.1.1"])
    assert isinstance(outcome, Finished)
    assert outcome.exit_code == 0


def test_down_removes_hosts_that_are_frozen_stalled_or_off(lab: Lab) -> None:
    lab.up(plan(lab), quiet)
    lab.freeze("web1")
    lab.stall_disk("web2", is_stalled=True)
    lab.power_off("client")
    lab.down()
    assert traces(lab) == []


def test_down_of_a_lab_that_is_not_there_is_nothing(lab: Lab) -> None:
    lab.down()
    lab.down()
    assert traces(lab) == []


def test_killed_down_is_finished_by_the_next(lab: Lab) -> None:
    lab.up(plan(lab), quiet)
    program = f"from nospof.lab.lab import Lab; print('begins', flush=True); Lab.open({lab.places.lab!r}).down()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05)  # the moment itself is what is tested
        process.kill()
    lab.down()
    assert traces(lab) == []


def test_hosts_go_on_when_the_process_that_made_them_ends(lab: Lab) -> None:
    program = (
        "from nospof.lab.lab import Lab, LabHost, LabPlan\n"
        f"Lab.open({lab.places.lab!r}).up({plan(lab)!r}, lambda host, what: None)"
    )
    run(sys.executable, "-c", program)
    assert {lab.state(host) for host in lab.host_names()} == {HostState.RUNNING}

"""One host of a lab: a booted Debian in systemd-nspawn, and how it is started, reached, cut and brought back.

What a host is at this moment is read from its control group and from its systemd, never remembered: another process
may have cut it, or it may have powered itself off. Root in a host is root on the machine (no user namespaces).
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nospof.apply.transport import Finished, Outcome, Unknown, Unreachable
from nospof.errors import Failed
from nospof.lab import disk, machine, network
from nospof.lab.cgroup import Group, tree
from nospof.lab.network import Cable
from nospof.lab.places import HostPlaces

BOOT_LIMIT_S = 90.0  # 0.5 s alone, 3 s with eight others on two cores; daemons that wait for others need more
_CONSOLE_LIMIT_BYTES = 1 << 20
_LOOK_S = 0.25
_USUAL_DEATH_S = 2.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "SHELL": "/bin/bash", "USER": "root"}
# What systemd-nspawn withholds from the host's own processes, as far as it could hurt the machine: its clock first.
_WITHHELD = "-sys_time,-sys_module,-sys_rawio,-syslog,-mac_admin,-mac_override,-wake_alarm,-block_suspend"


class HostState(Enum):
    """What a host does at this moment."""

    RUNNING = "running"
    BOOTING = "booting"  # or on its way down: there are processes, but its systemd does not say that it is up
    OFF = "off"
    FROZEN = "frozen"


@dataclass(frozen=True)
class Host:
    """One host of a lab, made or not."""

    places: HostPlaces

    @property
    def name(self) -> str:
        return self.places.name

    @property
    def group(self) -> Group:
        return tree().group(self.places.of.lab, self.name)

    def state(self) -> HostState:
        """Read what the host does at this moment; takes 15 ms if it runs, at most 2 s if it hangs."""
        if not self.has_power():
            return HostState.OFF
        if self.group.is_frozen():
            return HostState.FROZEN
        is_up = _says_it_is_up(self.run(["systemctl", "is-system-running"], timeout_s=2.0))
        return HostState.RUNNING if is_up else HostState.BOOTING

    def has_power(self) -> bool:
        """Say whether the host runs in any way; no longer once it was cut, though its last processes still end."""
        return self.group.is_populated() and not self.places.cut_mark.exists()

    def boot(self, cable: Cable, image: Path, lock_fd: int) -> None:
        """Start a host that is off, from its own disk, which is made if there is none; returns before it is up.

        Waits until nothing is left of the time before: systemd ends with "Exiting PID 1..." if started too early,
        and two loop devices on one disk would corrupt it.
        """
        self.settle()
        self.places.root.mkdir(parents=True, exist_ok=True)
        self.places.disk_mount.mkdir(exist_ok=True)
        _, open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        disk.make_disk(self.places, disk.host_files(self.name, cable.address, open_files))
        network.plug(cable)
        self._trim_console()
        self.places.cut_mark.unlink(missing_ok=True)
        argv = tree().detaching(self.places.of.lab, self.name, ["unshare", "--mount", "--propagation", "slave", *_START])
        machine.launch(argv, self.places.console, lock_fd, self._start_environment(image))

    def settle(self) -> None:
        """Wait until nothing is left of a host that was cut, and remove what it left behind."""
        if not machine.wait_until(self._is_gone, _USUAL_DEATH_S):
            disk.resume_unmounted(self.places)
        self.group.wait_until_empty()
        disk.wait_until_released(self.places.disk)
        self.group.remove()
        shutil.rmtree(self.places.leavings, ignore_errors=True)

    def wait_until_up(self) -> None:
        """Wait until the host's systemd is up and runs commands. Raises Failed, with the console, if it does not."""
        end = time.monotonic() + BOOT_LIMIT_S
        while time.monotonic() < end:
            if self._can_be_asked():
                argv = ["systemctl", "is-system-running", "--wait"]
                if _says_it_is_up(self.run(argv, timeout_s=max(0.1, end - time.monotonic()))):
                    return
            if not self.has_power():
                raise self._boot_failure("ended before it was up")
            time.sleep(0.02)
        raise self._boot_failure(f"is not up after {BOOT_LIMIT_S:.0f} s{self._unfinished_jobs()}")

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60.0) -> Outcome:
        """Run `argv` as root in all of the host's namespaces and its control group; see transport.Transport.run.

        Takes about 5 ms more than the command itself.
        """
        init = self._init_process()
        if init is None:
            return Unreachable(f"{self.name} is {'booting or shutting down' if self.has_power() else 'off'}")
        marks, marked = os.pipe()
        try:
            started = [*_MARK, str(marked), "setpriv", f"--bounding-set={_WITHHELD}", "--", *argv]
            ended = _communicate(self._entering(init, started), stdin, timeout_s, marked)
            os.close(marked)
            marked = -1
            if ended.code != 0:
                _tell_of_a_death(init)
            return self._outcome(ended, _was_marked(marks), timeout_s)
        finally:
            os.close(marks)
            if marked >= 0:
                os.close(marked)

    def enter(self, argv: Sequence[str]) -> int:
        """Run `argv`, or a login shell, on the caller's terminal; returns its exit code. Raises Failed if it is off."""
        init = self._init_process()
        if init is None:
            raise Failed(f"{self.name} is off or only booting", fix=f"nospof lab on STACK {self.name}")
        inner = ["setpriv", f"--bounding-set={_WITHHELD}", "--", *(argv or ["bash", "--login"])]
        environment = {**_ENVIRONMENT, "TERM": os.environ.get("TERM", "linux")}
        with _keyboard_left_to(subprocess.Popen(self._entering(init, inner), env=environment)) as shell:
            return _shell_code(shell.wait())

    @contextmanager
    def mounted_disk(self) -> Iterator[int | None]:
        """Give an open descriptor of the root of the host's mounted disk, None if it is not mounted."""
        mount_fd = disk.open_mount(self.places, self.group.processes())
        try:
            yield mount_fd
        finally:
            if mount_fd is not None:
                os.close(mount_fd)

    def cut(self) -> float:
        """Take the power away; returns the monotonic time at which the host fell silent.

        The cable first, else the kernel of the still existing namespace answers with RST and the peers notice at
        once. Then the disk, else the page cache keeps what was never synced. Then every process at once.
        """
        with self.mounted_disk() as mount_fd:
            network.darken(self.places)
            silent_at = time.monotonic()
            if self.places.folder.exists():
                self.places.cut_mark.touch()
            if mount_fd is not None:
                disk.lose_power(mount_fd)
                disk.resume(mount_fd)  # a stalled one would hold its processes for ever
        self.group.kill()
        return silent_at

    def remove(self) -> None:
        """Take the host away with all that it has; nothing if there is nothing."""
        self.cut()
        self.settle()
        network.unplug(self.places)
        shutil.rmtree(self.places.folder, ignore_errors=True)

    def console_end(self) -> str:
        try:
            return machine.last_lines(self.places.console.read_text(errors="replace"))
        except OSError:
            return ""

    def _init_process(self) -> int | None:
        """Find the host's process 1, None while there is none, or none that has taken its place yet."""
        if not self.has_power():
            return None
        scope = Group(self.group.path / "payload" / "init.scope")
        return next((process for process in scope.processes() if _is_first_of_its_namespace(process)), None)

    def _is_gone(self) -> bool:
        return not self.group.is_populated() and not disk.loop_devices(self.places.disk)

    def _can_be_asked(self) -> bool:
        init = self._init_process()
        return init is not None and Path(f"/proc/{init}/root/run/systemd/private").exists()

    def _entering(self, init: int, argv: Sequence[str]) -> list[str]:
        # Into init.scope: a leaf that is always there, so that whatever we run is frozen and killed with the host.
        procs = self.group.path / "payload" / "init.scope" / "cgroup.procs"
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        nsenter = ["nsenter", f"--target={init}", *spaces, "--", *argv]
        return ["sh", "-c", 'echo 0 >"$0" && exec "$@"', str(procs), *nsenter]

    def _outcome(self, ended: _Ended, was_started: bool, timeout_s: float) -> Outcome:
        if not was_started:
            return Unreachable(f"{self.name} does not answer")
        if ended.code is None:
            return Unknown(f"no answer from {self.name} within {timeout_s:g} s")
        if ended.code == -signal.SIGKILL and self._dies():
            return Unknown(f"{self.name} went down while the command ran")
        return Finished(_shell_code(ended.code), ended.stdout, ended.stderr)

    def _dies(self) -> bool:
        """Say whether the host is going down; a killed one needs a moment until nothing of it is seen."""
        return machine.wait_until(lambda: self._init_process() is None, limit_s=0.3)

    def _start_environment(self, image: Path) -> dict[str, str]:
        places = self.places
        return {
            "PATH": PATH,
            "IMAGE": str(image),
            "DISK": str(places.disk),
            "DISK_MOUNT": str(places.disk_mount),
            "ROOT": str(places.root),
            "GROUP": str(self.group.path.relative_to(tree().root)),
            "LEAVINGS": str(places.leavings),
            "MACHINE": places.machine,
            "HOST": self.name,
            "NAMESPACE": str(places.namespace_path),
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",  # /proc/sys/net, for systemd-sysctl in the host
            "SYSTEMD_NSPAWN_LOCK": "0",  # its lock files would stay after a kill; ours is in lock.py
        }

    def _trim_console(self) -> None:
        if self.places.console.exists() and self.places.console.stat().st_size > _CONSOLE_LIMIT_BYTES:
            self.places.console.unlink()

    def _boot_failure(self, how: str) -> Failed:
        return Failed(
            f"host {self.name} {how}",
            why="systemd-nspawn or the systemd in it gave up; its console ended with the lines below",
            fix="nospof lab doctor",
            detail=self.console_end(),
        )

    def _unfinished_jobs(self) -> str:
        outcome = self.run(["systemctl", "list-jobs", "--no-legend", "--plain"], timeout_s=2.0)
        if not isinstance(outcome, Finished) or not outcome.stdout:
            return ""
        jobs = [line.split() for line in outcome.stdout.decode(errors="replace").splitlines()]
        return f", it waits for {', '.join(sorted(job[1] for job in jobs if len(job) > 1))}"


@dataclass(frozen=True)
class _Ended:
    """How the local end of a command ended; code None means that it was killed at the time-out."""

    code: int | None
    stdout: bytes
    stderr: bytes


def _communicate(argv: Sequence[str], stdin: bytes, timeout_s: float, keep_fd: int) -> _Ended:
    pipe = subprocess.PIPE
    with _readable(stdin) as given:
        process = subprocess.Popen(
            argv, stdin=given, stdout=pipe, stderr=pipe, env=_ENVIRONMENT, pass_fds=(keep_fd,), start_new_session=True
        )
    end = time.monotonic() + timeout_s
    while (left_s := end - time.monotonic()) > 0:
        try:
            stdout, stderr = process.communicate(timeout=min(left_s, _LOOK_S))
            return _Ended(process.returncode, stdout, stderr)
        except subprocess.TimeoutExpired:
            _wake(process.pid)
    return _give_up(process)


@contextmanager
def _readable(content: bytes) -> Iterator[int]:
    """Give `content` as an open file in memory.

    Not as a pipe: after a time-out, Python 3.11's `communicate` never sends what was left of its input.
    """
    descriptor = os.memfd_create("stdin")
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _wake(nsenter: int) -> None:
    """Continue an nsenter that has stopped itself.

    It does so when its child is stopped, as a host's systemd stops all processes for a moment when it shuts down. Who
    continues the child does not know of nsenter outside; which then collects no dead child, for which systemd waits
    10 s.
    """
    if " T " in _read(Path(f"/proc/{nsenter}/stat")).rpartition(")")[2][:3]:
        os.kill(nsenter, signal.SIGCONT)


def _tell_of_a_death(init: int) -> None:
    """Let a host's systemd look again at who is left.

    At its shutdown it waits up to 10 s to hear of each process it has ended; of ours, which are not its children, it
    would hear nothing.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(init, signal.SIGCHLD)


def _give_up(process: subprocess.Popen[bytes]) -> _Ended:
    """Kill the command's session; if it had ended by itself, only what it left in the background kept the pipes."""
    code = process.poll()
    if code is None:
        os.killpg(process.pid, signal.SIGKILL)
    try:
        # A process that waits for a stalled disk does not die: it must not hold us too.
        stdout, stderr = process.communicate(timeout=0.5)
    except subprocess.TimeoutExpired as late:
        stdout, stderr = late.stdout or b"", late.stderr or b""
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    return _Ended(code, stdout, stderr)


def _was_marked(marks: int) -> bool:
    """Say whether the command's start was reported: before that nothing can have happened on the host."""
    os.set_blocking(marks, False)
    try:
        return os.read(marks, 1) != b""
    except BlockingIOError:
        return False


def _is_first_of_its_namespace(process: int) -> bool:
    status = _read(Path(f"/proc/{process}/status"))
    return any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in status.splitlines())


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process ended
        return ""


def _says_it_is_up(outcome: Outcome) -> bool:
    return isinstance(outcome, Finished) and outcome.stdout.strip() in (b"running", b"degraded")


def _shell_code(code: int) -> int:
    """Turn Popen's negative code for a signal into what a shell reports."""
    return 128 - code if code < 0 else code


@contextmanager
def _keyboard_left_to(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Let Ctrl-C reach only the program on the terminal."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield process
    finally:
        signal.signal(signal.SIGINT, before)


# Tells the controlling side that the command is about to start, on a descriptor that the command does not get.
# bash, because to sh a descriptor is one digit.
_MARK = ("bash", "-c", 'printf . >&"$0" && eval "exec $0>&-" && exec "$@"')

# systemd-nspawn ends with 133 when the host wants to boot again. The loop that then starts it anew waits in a group
# beside the host's, where it does not keep systemd-nspawn from handing controllers down.
_START = (
    "sh",
    "-euc",
    """
[ -e /sys/fs/cgroup/cgroup.procs ] || mount -t cgroup2 none /sys/fs/cgroup
mount -t ext4 -o loop,noatime "$DISK" "$DISK_MOUNT"
layers="lowerdir=$IMAGE,upperdir=$DISK_MOUNT/upper,workdir=$DISK_MOUNT/work"
mount -t overlay -o "$layers" overlay "$ROOT"
group="/sys/fs/cgroup/$GROUP"
mkdir "$group/starter"
echo 0 >"$group/starter/cgroup.procs"
code=133
while [ "$code" = 133 ]; do
    code=0
    sh -euc 'echo 0 >"$0/cgroup.procs"; exec "$@"' "$group" \
        systemd-nspawn --quiet --settings=no --directory="$ROOT" --boot --machine="$MACHINE" --hostname="$HOST" \
        --register=no --keep-unit --network-namespace-path="$NAMESPACE" --capability=CAP_NET_ADMIN,CAP_NET_RAW \
        --resolv-conf=off --timezone=off --link-journal=no --notify-ready=yes || code=$?
    rm -rf "$LEAVINGS"
done
""",
)

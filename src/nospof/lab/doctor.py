"""Looks whether this machine can carry a lab, before one fails in a way that says little.

Kernel features are tried, in namespaces that vanish with the trial, not guessed from version or configuration. Nothing
of the machine is changed. A check that cannot look says UNKNOWN.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

from nospof.lab import image, inotify
from nospof.lab.cgroup import mounted_at, tree
from nospof.lab.machine import last_lines
from nospof.lab.places import LABS, NAMESPACES, labs

_TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nft": "nftables",
    "mkfs.ext4": "e2fsprogs",
    "mount": "mount",
    **dict.fromkeys(("nsenter", "unshare", "setsid", "setpriv", "losetup"), "util-linux"),
    **dict.fromkeys(("chroot", "truncate", "sync"), "coreutils"),
}
_IMAGE_MIB, _DISK_MIB = 2048, 512  # an image with every component: 1.5 GB; a host with a database
_FSYNCS, _FSYNC_P99_MS = 200, 10.0  # slower, and the database's fast timers mistake a slow disk for a dead host
_TRIAL_LIMIT_S = 10.0


class Verdict(Enum):
    """What a check came to; UNKNOWN is not good."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and what to do unless it is OK."""

    name: str
    verdict: Verdict
    what: str
    fix: str = ""


def examine(host_count: int, host_mib: int = 60) -> tuple[Check, ...]:
    """Look whether the machine can carry `host_count` hosts and the client, of about `host_mib` MiB of memory each.

    Takes about a second, most of it for the disk's fsync. Never raises.
    """
    hosts = host_count + 1  # the client is a host too
    checks: tuple[tuple[str, Callable[[], Check]], ...] = (
        ("root", _root),
        ("tools", _tools),
        ("overlay", partial(_trial, "overlay", _OVERLAY, "modprobe overlay")),
        ("loop", partial(_trial, "loop", "losetup --find", "modprobe loop")),
        ("veth and bridge", partial(_trial, "veth and bridge", _VETH, "modprobe veth bridge")),
        ("nft in bridges", partial(_trial, "nft in bridges", _NFT, "modprobe nf_tables nft_numgen")),
        ("control groups", _control_groups),
        ("delay", _delay),
        ("inotify", partial(_inotify, hosts)),
        ("memory", partial(_memory, hosts * host_mib)),
        ("disk space", partial(_disk_space, _IMAGE_MIB + hosts * _DISK_MIB)),
        ("fsync", _fsync),
        ("open files", _open_files),
        ("AppArmor", _apparmor),
        ("leftovers", _leftovers),
    )
    return tuple(_guarded(name, look) for name, look in checks)


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except Exception as error:  # a check that crashed has not looked
        return Check(name, Verdict.UNKNOWN, f"could not look: {error!r}")


def _root() -> Check:
    if os.geteuid() == 0:
        return Check("root", Verdict.OK, "is root")
    return Check("root", Verdict.FAIL, "is not root, which the lab needs", "sudo nospof …, or real servers with address:")


def _tools() -> Check:
    missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    if not missing:
        return Check("tools", Verdict.OK, "all there")
    tools = ", ".join(tool for tool in _TOOLS if shutil.which(tool) is None)
    return Check("tools", Verdict.FAIL, f"missing: {tools}", f"apt-get install {' '.join(missing)}")


def _trial(name: str, script: str, fix: str) -> Check:
    if os.geteuid() != 0:
        return Check(name, Verdict.UNKNOWN, "only root can look")
    done = _try(script)
    if done.returncode == 0:
        return Check(name, Verdict.OK, "works")
    return Check(name, Verdict.FAIL, f"does not work: {last_lines(done.stderr, 1)}", fix)


def _control_groups() -> Check:
    name, root = "control groups", mounted_at(Path("/proc/self/mounts").read_text())
    if root is None:
        fix = "mkdir -p /sys/fs/cgroup/unified; mount -t cgroup2 none /sys/fs/cgroup/unified"
        return Check(name, Verdict.FAIL, "no version 2 is mounted", fix)
    group = root / f"nospof-doctor-{os.getpid()}"
    group.mkdir()
    try:
        missing = [file for file in ("cgroup.kill", "cgroup.freeze") if not (group / file).exists()]
    finally:
        group.rmdir()
    if missing:
        return Check(name, Verdict.FAIL, f"without {' and '.join(missing)}", "Linux 5.14 or later")
    if "memory" not in (root / "cgroup.controllers").read_text().split():
        return Check(name, Verdict.WARN, f"version 2 at {root} without memory: memory faults are not available")
    return Check(name, Verdict.OK, f"version 2 at {root}")


def _delay() -> Check:
    if _try(_NETEM).returncode == 0:
        return Check("delay", Verdict.OK, "netem works")
    return Check("delay", Verdict.WARN, "no netem: faults of delay and reordering are not available", "modprobe sch_netem")


def _inotify(hosts: int) -> Check:
    room = inotify.room_for(hosts * inotify.FULL_HOST)
    what = f"room for {room} instances; {hosts} hosts take {inotify.BARE_HOST} to {inotify.FULL_HOST} each"
    if room == hosts * inotify.FULL_HOST:
        return Check("inotify", Verdict.OK, what)
    verdict = Verdict.WARN if room >= hosts * inotify.BARE_HOST else Verdict.FAIL
    return Check("inotify", verdict, f"{what}: without, systemd fails in a host and says nothing", inotify.remedy(hosts))


def _memory(needed_mib: int) -> Check:
    lines = Path("/proc/meminfo").read_text().splitlines()
    available_mib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) // 1024
    what = f"{available_mib} MiB available, about {needed_mib} needed"
    if available_mib >= needed_mib:
        return Check("memory", Verdict.OK, what)
    return Check("memory", Verdict.WARN, what, "fewer hosts, or end other programs")


def _disk_space(needed_mib: int) -> Check:
    free_mib = shutil.disk_usage(_existing(LABS)).free // (1 << 20)
    what = f"{free_mib} MiB free under {_existing(LABS)}, about {needed_mib} needed"
    if free_mib >= needed_mib:
        return Check("disk space", Verdict.OK, what)
    return Check("disk space", Verdict.WARN, what, f"make room; old images can go: {image.IMAGES}")


def _fsync() -> Check:
    p99_ms = _fsync_p99_ms(_existing(LABS))
    what = f"99 of 100 take at most {p99_ms:.1f} ms"
    if p99_ms <= _FSYNC_P99_MS:
        return Check("fsync", Verdict.OK, what)
    fix = "the slower timer profile: fast timers mistake a slow disk for a dead host"
    return Check("fsync", Verdict.WARN, f"{what}, more than {_FSYNC_P99_MS:.0f} ms", fix)


def _open_files() -> Check:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    what = f"hard limit {hard}, which is every host's"
    if hard == resource.RLIM_INFINITY or hard >= 16384:
        return Check("open files", Verdict.OK, what)
    return Check("open files", Verdict.WARN, f"{what}: load balancers accept few connections", "ulimit -Hn 65536")


def _apparmor() -> Check:
    profiles = Path("/sys/kernel/security/apparmor/profiles")
    if not Path("/sys/module/apparmor").exists():
        return Check("AppArmor", Verdict.OK, "not in this kernel")
    # The machine's profiles attach by the program's path, which is the same inside a host.
    names = [line.split(" (")[0] for line in profiles.read_text().splitlines() if "(enforce)" in line]
    attached = sorted(name for name in names if name.rsplit("/", 1)[-1] in _CONFINED)
    if not attached:
        return Check("AppArmor", Verdict.OK, "no profile that would confine a host's daemons")
    fix = f"aa-disable {' '.join(attached)} (package apparmor-utils)"
    return Check("AppArmor", Verdict.WARN, f"confines the hosts' daemons too: {', '.join(attached)}", fix)


def _leftovers() -> Check:
    names = [path.name for path in NAMESPACES.glob("nospof-*")] if NAMESPACES.is_dir() else []
    unknown = {name.removeprefix("nospof-").split(".")[0] for name in names} - set(labs())
    dead = [name for name in (*labs(), *sorted(unknown)) if not _runs(name)]
    found = [*(f"lab {name}, of which nothing runs" for name in dead), *sorted(map(str, image.IMAGES.glob("*.building")))]
    if not found:
        return Check("leftovers", Verdict.OK, f"none; labs that run: {', '.join(labs()) or 'none'}")
    return Check("leftovers", Verdict.WARN, "; ".join(found), "nospof up of its stack brings it back, nospof down removes it")


def _runs(lab: str) -> bool:
    return any(tree().group(lab, member).is_populated() for member in tree().members(lab))


def _try(script: str) -> subprocess.CompletedProcess[str]:
    """Run a trial in mount and network namespaces that vanish with it."""
    argv = ["unshare", "--mount", "--net", "sh", "-euc", script]
    return subprocess.run(argv, capture_output=True, text=True, timeout=_TRIAL_LIMIT_S, check=False)


def _fsync_p99_ms(folder: Path) -> float:
    took_ms = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_FSYNCS):
            os.write(file.fileno(), b"x" * 4096)
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            took_ms.append((time.perf_counter() - start) * 1000)
    return sorted(took_ms)[int(_FSYNCS * 0.99)]


def _existing(path: Path) -> Path:
    """Return the path or its nearest ancestor that is there."""
    return next(place for place in (path, *path.parents) if place.exists())


_CONFINED = frozenset(
    ("mysqld", "mariadbd", "chronyd", "ntpd", "named", "haproxy", "nginx", "apache2", "php-fpm", "redis-server", "etcd")
)
_OVERLAY = """
mount -t tmpfs none /mnt
mkdir /mnt/lower /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
"""
_VETH = """
ip link add name z-a type bridge
ip link add name p-a type veth peer name eth0
ip link set dev p-a master z-a
"""
_NFT = """
nft 'add table bridge t; add chain bridge t c { type filter hook forward priority 0; }
     add rule bridge t c iifname "p-a" ip saddr 198.18.0.1 drop; add rule bridge t c numgen random mod 100 < 30 drop'
"""
_NETEM = "ip link set dev lo up && tc qdisc add dev lo root netem delay 1ms"

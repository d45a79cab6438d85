"""The disk of a host: a sparse file with ext4 on a loop device, so that power loss, a full and a stalled disk are real.

The loop device is made by `mount -o loop`, which frees it with the mount; and the mount lives only in the mount
namespace of its host. So a killed host leaves neither, soon after its last process has ended.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

from nospof.errors import NotHealed
from nospof.lab import machine
from nospof.lab.places import HostPlaces

SIZE = "8G"  # apparent; an empty one takes 4 MiB
_EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), linux fs/ext4/ext4.h
_NOLOGFLUSH = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH: what is not yet in the journal is lost, as when power is cut
_FIFREEZE, _FITHAW = 0xC0045877, 0xC0045878  # linux/fs.h
_LOOP_MAJOR = 7
_RELEASE_LIMIT_S = 30.0
_RESUME = 'mount -t ext4 "$0" "$1" && fsfreeze --unfreeze "$1"'


def make_disk(places: HostPlaces, files: dict[str, str]) -> None:
    """Make the host's disk with `files` (path below / → text) laid over the image; nothing if it has one already.

    It gets its name only when it is whole, so that a killed `up` leaves no half disk.
    """
    if places.disk.exists():
        return
    draft, seed = places.folder / "disk.draft", places.folder / "seed"
    shutil.rmtree(seed, ignore_errors=True)
    _write_seed(seed, files)
    draft.unlink(missing_ok=True)
    machine.call(["truncate", "--size", SIZE, str(draft)])
    # Lazy and small, because it is made while the user waits: 14 ms each.
    lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0"
    sizes = ["-m", "0", "-J", "size=32", "-i", "65536"]
    machine.call(["mkfs.ext4", "-q", "-F", "-E", lazy, *sizes, "-d", str(seed), str(draft)])
    shutil.rmtree(seed)
    draft.rename(places.disk)


def host_files(name: str, address: str, open_files: int) -> dict[str, str]:
    """Return what differs from host to host. `open_files` is the machine's hard limit, which no host can exceed."""
    return {
        "etc/hostname": f"{name}\n",
        "etc/hosts": f"127.0.0.1 localhost\n{address} {name}\n",
        # A new one each time: an empty one means "first boot" to systemd, which then enables units by preset.
        "etc/machine-id": f"{secrets.token_hex(16)}\n",
        # systemd's own default of 524288 fails quietly to 1024 where the hard limit is lower.
        "etc/systemd/system.conf.d/nospof.conf": f"[Manager]\nDefaultLimitNOFILE={open_files}\n",
    }


def open_mount(places: HostPlaces, processes: Iterable[int]) -> int | None:
    """Open the root of the host's mounted disk through one of the host's `processes`; None if it is not mounted."""
    for process in processes:
        try:
            mount_fd = os.open(f"/proc/{process}/root{places.disk_mount}", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:  # it ended, or its root is the host's and not the machine's
            continue
        if _is_on(mount_fd, places.disk):
            return mount_fd
        os.close(mount_fd)
    return None


def lose_power(mount_fd: int) -> None:
    """Stop the file system at once without writing anything more."""
    fcntl.ioctl(mount_fd, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NOLOGFLUSH))


def stall(mount_fd: int) -> None:
    """Make every write wait."""
    fcntl.ioctl(mount_fd, _FIFREEZE, 0)


def resume(mount_fd: int) -> None:
    """Let writes go on; nothing if they did."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(mount_fd, _FITHAW, 0)


def is_stalled(mount_fd: int) -> bool:
    """Try to stall it: only one that is stalled refuses. Else it is at once let go again."""
    try:
        stall(mount_fd)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise
    resume(mount_fd)
    return False


def has_failed(mount_fd: int) -> bool:
    """Say whether the file system was stopped by `lose_power`."""
    try:
        os.fsync(mount_fd)
    except OSError:
        return True
    return False


def resume_unmounted(places: HostPlaces) -> None:
    """Resume a file system that was stalled when its host was killed, and free what a killed `mount` left.

    Its stall alone holds it: without a mount, or with processes that wait for it and so do not die. Mounted once more,
    where nobody sees it, it can be resumed. Only for a host that was killed.
    """
    for device in loop_devices(places.disk):
        argv = ["unshare", "--mount", "sh", "-euc", _RESUME, device, str(places.disk_mount)]
        subprocess.run(argv, capture_output=True, check=False, timeout=_RELEASE_LIMIT_S)
        subprocess.run(["losetup", "--detach", device], capture_output=True, check=False)


def wait_until_released(disk: Path) -> None:
    """Wait until no loop device holds `disk`: two on one file would corrupt it. Raises NotHealed after 30 s."""
    if not machine.wait_until(lambda: not loop_devices(disk), _RELEASE_LIMIT_S):
        held_by = ", ".join(loop_devices(disk))
        raise NotHealed(f"{held_by} still holds {disk}", fix=f"look for who has it mounted: grep {disk} /proc/*/mountinfo")


def loop_devices(disk: Path) -> list[str]:
    """Name the loop devices that hold `disk`."""
    devices = Path("/sys/block").glob("loop*/loop/backing_file")
    return [f"/dev/{file.parts[3]}" for file in devices if _backing(file) == str(disk)]


def _write_seed(seed: Path, files: dict[str, str]) -> None:
    (seed / "work").mkdir(parents=True)
    (seed / "upper").mkdir()
    for path, text in files.items():
        file = seed / "upper" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for made in (seed, *seed.rglob("*")):  # whatever our umask is
        made.chmod(0o755 if made.is_dir() else 0o644)


def _is_on(mount_fd: int, disk: Path) -> bool:
    """Say whether an open folder is on the loop device of `disk`: the machine's own disk must never be shut down."""
    device = os.fstat(mount_fd).st_dev
    if os.major(device) != _LOOP_MAJOR:
        return False
    return _backing(Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/loop/backing_file")) == str(disk)


def _backing(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""

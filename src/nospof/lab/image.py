"""The image: one read-only Debian that all hosts of a lab share, made once by mmdebstrap and kept.

It is found by what it is made of (suite, packages, recipe), is built beside its place and renamed into it, and is
never changed afterwards: hosts that run have it under their disks.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nospof.errors import Failed, WrongInput
from nospof.lab import machine

IMAGES = Path("/var/cache/nospof/images")
SUITE = "trixie"
RECIPE = "1"  # raise it with every change of what _finish does: hosts of the old recipe keep the old image
BASE = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "nftables", "iproute2", "python3", "python3-pymysql"),
    *("ca-certificates", "curl", "iputils-ping", "procps", "less"),
    "libfaketime",  # drills give a daemon another clock: the machine's own is everybody's
)

Progress = Callable[[str, str], None]


def image_path(packages: Iterable[str], suite: str = SUITE, at_hand: Iterable[str] = ()) -> Path:
    """Return where the image with these packages is, or would be."""
    made_of = "\n".join([suite, RECIPE, *sorted({*BASE, *packages}), *(f"{name} at hand" for name in sorted({*at_hand}))])
    return IMAGES / hashlib.sha256(made_of.encode()).hexdigest()[:16]


def ensure_image(packages: Iterable[str], progress: Progress, suite: str = SUITE, at_hand: Iterable[str] = ()) -> Path:
    """Return the image with these packages, building it first if there is none (20 s to a minute).

    `at_hand`: packages that are not installed, and which a host can install without a way out.

    Raises WrongInput if mmdebstrap is missing, Failed with its last lines if it fails. Two builds of one image do not
    meet: the second waits for the first and uses its work.
    """
    image = image_path(packages, suite, at_hand)
    if image.exists():
        return image
    with _alone(image, progress) as lock:
        _remove_dead_builds()
        if not image.exists():
            progress("image", f"builds Debian {suite} with {len({*BASE, *packages})} packages, once")
            _build(image, sorted({*BASE, *packages}), suite, lock, sorted({*at_hand}))
    return image


def _build(image: Path, packages: list[str], suite: str, lock: int, at_hand: list[str]) -> None:
    draft = _draft(image)
    shutil.rmtree(draft, ignore_errors=True)  # of a killed build of this image
    _debootstrap(draft, packages, suite, lock, at_hand)
    _finish(draft)
    # On the disk before it has its name: a machine that loses power now must not find a half image later.
    machine.call(["sync", "--file-system", str(draft)])
    draft.rename(image)


def _debootstrap(draft: Path, packages: list[str], suite: str, lock: int, at_hand: list[str]) -> None:
    # In a PID namespace that dies with us, and with it every process that mmdebstrap has started.
    mortal = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount-proc", "--pid", "--fork", "--kill-child"]
    options = ["--variant=minbase", "--mode=root", "--format=directory", f"--include={','.join(packages)}"]
    speed = ["--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/man/*"]
    fetch = f'chroot "$1" apt-get install --yes --download-only --no-install-recommends {" ".join(at_hand)}'
    stocked = [f"--customize-hook={fetch}", "--skip=cleanup/apt"] if at_hand else []
    # A mirror's copy of a suite that changes each day may be past its date.
    old = [] if suite == SUITE else ['--aptopt=Acquire::Check-Valid-Until "false"']
    try:
        done = subprocess.run(
            [*mortal, "mmdebstrap", *options, *speed, *stocked, *old, suite, str(draft)],
            capture_output=True,
            text=True,
            # It has the lock too, which so is free only when it has ended; and no other file of ours or of who started us:
            # with some nine of them open its pipes have numbers of two digits, which Debian's shell does not read.
            pass_fds=(lock,),
        )
    except FileNotFoundError:
        raise WrongInput("setpriv is not installed", fix=f"apt-get install {machine.PACKAGES}") from None
    if done.returncode == 0:
        return
    shutil.rmtree(draft, ignore_errors=True)
    if shutil.which("mmdebstrap") is None:
        raise WrongInput("mmdebstrap is not installed", fix=f"apt-get install {machine.PACKAGES}")
    raise Failed(
        f"the lab's image cannot be built: mmdebstrap ended with {done.returncode}",
        why="it could not fetch or install Debian's packages; its last lines are below",
        fix="look at the machine's way to a Debian mirror: apt-get update",
        detail=machine.last_lines(done.stderr),
    )


def _finish(draft: Path) -> None:
    for path, text in _FILES.items():
        file = draft / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)  # resolv.conf may be a link out of the image
        file.write_text(text)
    for unit in _MASKED:
        link = draft / "etc/systemd" / unit
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    (draft / "var/log/journal").mkdir(exist_ok=True)
    # Packages enable their daemons when installed: off with all of them, the manifest enables what a host runs.
    for scope in ([], ["--global"]):
        machine.call(["chroot", str(draft), "systemctl", *scope, "preset-all"])
    # "Nothing has changed since the last update", or each first boot would rebuild the linker's cache.
    for path in ("etc/.updated", "var/.updated"):
        (draft / path).touch()


@contextmanager
def _alone(image: Path, progress: Progress) -> Iterator[int]:
    """Hold the image's lock, and say so if another build has it; the lock's file is open at the number that is returned."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with _lock_file(image).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("image", "waits for another build of the same image")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _remove_dead_builds() -> None:
    """Remove what killed builds of other images left; a build that lives holds its image's lock."""
    for draft in IMAGES.glob("*.building"):
        _remove_if_dead(draft)


def _remove_if_dead(draft: Path) -> None:
    with _lock_file(draft.with_suffix("")).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(draft, ignore_errors=True)


def _lock_file(image: Path) -> Path:
    return image.with_suffix(".lock")


def _draft(image: Path) -> Path:
    return image.with_suffix(".building")


# No time daemon in a host: all hosts share the machine's clock.
_NO_TIME_DAEMON = "[Unit]\nConditionVirtualization=!container\n"
_FILES = {
    "etc/machine-id": "",
    "etc/hostname": "",
    "etc/resolv.conf": "",
    "etc/fstab": "",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/systemd/system-preset/00-nospof.preset": "disable *\n",
    "etc/systemd/user-preset/00-nospof.preset": "disable *\n",
    # On the host's disk and synced every second, so that what was logged before a power cut can be read after it.
    "etc/systemd/journald.conf.d/nospof.conf": "[Journal]\nStorage=persistent\nSyncIntervalSec=1s\nSystemMaxUse=64M\n",
    **{
        f"etc/systemd/system/{unit}.service.d/nospof.conf": _NO_TIME_DAEMON
        for unit in ("systemd-timesyncd", "chrony", "ntpsec")
    },
}
_MASKED = (
    "system/console-getty.service",
    "system/container-getty@.service",
    "system-generators/systemd-ssh-generator",
    "system-generators/systemd-getty-generator",
)

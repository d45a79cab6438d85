"""The image: built once, whole or not at all, and what it must and must not contain."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nospof.errors import Failed, WrongInput
from nospof.lab import image
from nospof.lab.machine import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

GOOD = 'for draft; do :; done; echo built >>"$BUILDS"; sleep 0.3; mkdir -p "$draft/var/log"'
SLOW = 'for draft; do :; done; mkdir -p "$draft/usr"; sleep 600'
BAD = "echo 'I: fine so far'; echo 'E: cannot reach any mirror' >&2; exit 25"


def quiet(host: str, what: str) -> None:
    """Take progress and say nothing."""


class Fakes:
    """Fake mmdebstrap and chroot, first on PATH, and an empty cache of images."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.programs, self.images, self.builds = folder / "bin", folder / "images", folder / "builds"
        self.programs.mkdir()
        self.path = f"{self.programs}:{os.environ['PATH']}"
        patch.setenv("PATH", self.path)
        patch.setenv("BUILDS", str(self.builds))
        patch.setattr(image, "IMAGES", self.images)
        self.make("chroot", "true")

    def make(self, name: str, script: str) -> None:
        program = self.programs / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    return Fakes(tmp_path, monkeypatch)


def processes_of(draft: Path) -> list[str]:
    found = subprocess.run(["pgrep", "-f", str(draft)], capture_output=True, text=True, check=False).stdout.split()
    return [process for process in found if "State:\tZ" not in read(Path(f"/proc/{process}/status"))]


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def test_image_has_what_hosts_need_and_starts_nothing() -> None:
    made = image.ensure_image((), quiet)
    for program in ("lib/systemd/systemd", "sbin/nft", "bin/python3", "bin/curl", "bin/setpriv", "sbin/sshd"):
        assert (made / "usr" / program).exists()
    assert (made / "etc/machine-id").read_text() == ""
    assert (made / "etc/resolv.conf").read_text() == ""
    assert list((made / "etc/systemd/system").rglob("*.wants/*")) == []
    assert image.ensure_image((), quiet) == made


def test_failed_build_is_told_with_the_last_lines_and_leaves_nothing(fakes: Fakes) -> None:
    fakes.make("mmdebstrap", BAD)
    with pytest.raises(Failed, match="mmdebstrap ended with 25") as caught:
        image.ensure_image((), quiet)
    assert "cannot reach any mirror" in caught.value.detail
    assert [path.suffix for path in fakes.images.iterdir()] == [".lock"]


def test_missing_mmdebstrap_is_told_with_the_line_that_installs_it(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    for tool in ("setpriv", "unshare", "sh"):
        (fakes.programs / tool).symlink_to(shutil.which(tool) or "")
    monkeypatch.setenv("PATH", str(fakes.programs))
    with pytest.raises(WrongInput, match="apt-get install mmdebstrap"):
        image.ensure_image((), quiet)


def test_killed_build_ends_all_it_started_and_the_next_removes_what_it_left(fakes: Fakes) -> None:
    fakes.make("mmdebstrap", SLOW)
    draft = image.image_path(()).with_suffix(".building")
    program = (
        "from pathlib import Path; from nospof.lab import image\n"
        f"image.IMAGES = Path({str(fakes.images)!r}); image.ensure_image((), lambda host, what: None)"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as builder:
        assert wait_until(lambda: (draft / "usr").exists(), 10)
        assert processes_of(draft)
        builder.kill()
    assert wait_until(lambda: not processes_of(draft), 5)
    assert not image.image_path(()).exists()
    fakes.make("mmdebstrap", GOOD)
    made = image.ensure_image(("other",), quiet)  # an image of another name removes it too
    assert made.exists()
    assert not draft.exists()


def test_two_builds_at_once_build_once(fakes: Fakes) -> None:
    fakes.make("mmdebstrap", GOOD)
    said: list[str] = []
    builders = [threading.Thread(target=image.ensure_image, args=((), lambda host, what: said.append(what))) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(20)
    assert fakes.builds.read_text() == "built\n"
    assert any("waits for another build" in what for what in said)
    assert image.image_path(()).exists()

"""One writer per lab: who is refused learns who holds it, and what a killed holder had started is waited for."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nospof.errors import Failed
from nospof.lab import lock, machine, places
from nospof.lab.places import Places


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setattr(places, "LOCKS", tmp_path)
    monkeypatch.setattr(lock, "_PATIENCE_S", 0.1)
    return Places("shop")


def test_second_holder_is_told_who_and_since_when(shop: Places) -> None:
    with lock.whole_lab(shop, "up"), pytest.raises(Failed) as caught, lock.whole_lab(shop, "down"):
        pass
    assert f"lab shop is in use: `up` by process {os.getpid()} since" in caught.value.what


def test_hosts_are_locked_apart_and_the_whole_lab_against_all(shop: Places) -> None:
    with lock.one_host(shop, "web1", "power off"):
        with lock.one_host(shop, "web2", "power off"):
            pass
        with pytest.raises(Failed, match="host web1"), lock.one_host(shop, "web1", "power on"):
            pass
        with pytest.raises(Failed, match="power off web"), lock.whole_lab(shop, "down"):
            pass
    with lock.whole_lab(shop, "down"):
        pass


def test_other_lab_is_not_locked(shop: Places) -> None:
    with lock.whole_lab(shop, "up"), lock.whole_lab(Places("other"), "up"):
        pass


def test_lock_is_held_until_what_a_killed_holder_had_started_has_ended(shop: Places, tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from nospof.lab import lock, machine, places\n"
        f"places.LOCKS = Path({str(tmp_path)!r})\n"
        "with lock.whole_lab(places.Places('shop'), 'up'): machine.call(['sh', '-c', 'echo >begun; sleep 0.7; echo >ended'])"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path) as holder:
        assert machine.wait_until((tmp_path / "begun").exists, 10)
        holder.kill()
    with lock.whole_lab(shop, "down"):
        assert (tmp_path / "ended").exists()


def test_lock_file_that_is_removed_between_open_and_lock_is_not_believed_in(
    shop: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_lock, removed = fcntl.flock, list[Path]()

    def lock_after_down(descriptor: int, kind: int) -> None:
        if not removed:  # at this moment a `down` of another process ends
            shop.lock.unlink()
            removed.append(shop.lock)
        really_lock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", lock_after_down)
    with lock.whole_lab(shop, "up"):
        assert shop.lock.exists()  # else the next one would make it and hold it too


def test_wait_until_has_a_limit() -> None:
    before = time.monotonic()
    assert not machine.wait_until(lambda: False, 0.05)
    assert time.monotonic() - before < 1
    assert machine.wait_until(lambda: True, 0)

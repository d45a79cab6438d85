"""How a MySQL host gets its data: what was there goes only once the new is whole, and no password is seen."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.mariadb_copy import Places, has_data
from nospof.onhost.agent.mariadb_reception import Limits
from nospof.onhost.agent.mariadb_seen import Settings
from nospof.onhost.agent.mysql_copy import be_somebody, copy_from, first_data

PASSWORD = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6"
SETTINGS = Settings(
    members={"db1": "198.18.1.1", "db2": "198.18.1.2"},
    port=3306,
    user="nospof_replication",
    password=PASSWORD,
    ca="/ca.pem",
    certificate="/db.crt",
    key="/db.key",
)
QUICK = Limits(silence_s=1.0, program_s=5.0)
# Makes data when told to, and else ends at once, as a server that cannot start.
MYSQLD = """\
#!/bin/sh
echo "$@" >>ARGV
for word; do case $word in --datadir=*) data=${word#*=};; --init-file=*) cp "${word#*=}" INIT;; esac; done
case $* in *--initialize-insecure*) mkdir -p "$data/mysql"; echo x >"$data/ibdata1"; echo me >"$data/auto.cnf"; exit CODE;; esac
ls "$data" >LISTED
exit 1
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "data").mkdir()
    return Places(tmp_path / "data", getpass.getuser())


def put_mysqld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
    script = MYSQLD.replace("ARGV", str(tmp_path / "argv")).replace("INIT", str(tmp_path / "init")).replace("CODE", str(code))
    script = script.replace("LISTED", str(tmp_path / "listed"))
    (tmp_path / "mysqld").write_text(script)
    (tmp_path / "mysqld").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.parametrize("code", [0, 1], ids=["server does not start", "no empty data"])
def test_copy_that_fails_leaves_the_old_data(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    put_mysqld(tmp_path, monkeypatch, code)
    (places.data / "ibdata1").write_text("old")
    with pytest.raises(EngineError):
        copy_from(places, "db1", SETTINGS, tmp_path / "keep", lambda _: None, QUICK)
    assert [entry.name for entry in places.data.iterdir()] == ["ibdata1"]
    assert PASSWORD not in (tmp_path / "argv").read_text()


def test_first_data_is_for_root_over_the_socket_only(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mysqld(tmp_path, monkeypatch)
    first_data(places, tmp_path / "keep", QUICK)
    assert has_data(places)
    assert "IDENTIFIED WITH auth_socket" in (tmp_path / "init").read_text()


def test_first_data_never_touches_data(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mysqld(tmp_path, monkeypatch)
    (places.data / "mysql").mkdir()
    (places.data / "ibdata1").write_text("old")
    first_data(places, tmp_path / "keep", QUICK)
    assert (places.data / "ibdata1").read_text() == "old"
    assert not (tmp_path / "argv").exists()


# --- an empty database, for the next time --------------------------------------------------------------------------------
def initialized(tmp_path: Path) -> int:
    """How often the server made an empty database."""
    return (tmp_path / "argv").read_text().count("--initialize-insecure")


def copied_in_vain(places: Places, tmp_path: Path) -> list[str]:
    """Try to copy; the server for it does not start. Returns what was in its folder."""
    seen = list[str]()
    with pytest.raises(EngineError, match="does not start"):
        copy_from(places, "db1", SETTINGS, tmp_path / "keep", lambda _: None, QUICK)
    seen += (tmp_path / "listed").read_text().split()
    return seen


def test_empty_database_is_made_once_and_unpacked_then(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mysqld(tmp_path, monkeypatch)
    first_data(places, tmp_path / "keep", QUICK)
    assert copied_in_vain(places, tmp_path) == ["ibdata1", "mysql"], "and without the other's identity"
    assert initialized(tmp_path) == 1


def test_what_cannot_be_unpacked_is_made_anew(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a power cut leaves it."""
    put_mysqld(tmp_path, monkeypatch)
    first_data(places, tmp_path / "keep", QUICK)
    (kept,) = (tmp_path / "keep").iterdir()
    kept.write_bytes(kept.read_bytes()[:50])
    assert "ibdata1" in copied_in_vain(places, tmp_path)
    assert initialized(tmp_path) == 2


def test_what_no_server_starts_with_is_not_used_again(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mysqld(tmp_path, monkeypatch)
    first_data(places, tmp_path / "keep", QUICK)
    copied_in_vain(places, tmp_path)
    assert list((tmp_path / "keep").iterdir()) == []
    copied_in_vain(places, tmp_path)
    assert initialized(tmp_path) == 2


def test_another_server_makes_its_own(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mysqld(tmp_path, monkeypatch)
    first_data(places, tmp_path / "keep", QUICK)
    put_mysqld(tmp_path, monkeypatch)
    os.utime(tmp_path / "mysqld", (1, 1))
    copied_in_vain(places, tmp_path)
    assert initialized(tmp_path) == 2


def test_nothing_is_kept_where_there_is_no_room_and_the_database_is_made(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_mysqld(tmp_path, monkeypatch)
    (tmp_path / "keep").write_text("no folder")
    first_data(places, tmp_path / "keep", QUICK)
    assert has_data(places)


def put_package_data(places: Places) -> None:
    (places.data / "mysql").mkdir()
    for name in ("ibdata1", "auto.cnf", "binlog.000001"):
        (places.data / name).write_text(name)


def test_what_the_package_made_is_kept_at_the_first_start(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_mysqld(tmp_path, monkeypatch)
    put_package_data(places)
    be_somebody(places, tmp_path / "keep", QUICK)
    assert copied_in_vain(places, tmp_path) == ["ibdata1", "mysql"]
    assert initialized(tmp_path) == 0


def test_what_holds_somebodys_data_is_never_taken_for_empty(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_mysqld(tmp_path, monkeypatch)
    put_package_data(places)
    (places.data / "shop").mkdir()
    be_somebody(places, tmp_path / "keep", QUICK)
    assert not (tmp_path / "keep").exists()


# --- identity ------------------------------------------------------------------------------------------------------------
def test_identity_that_came_with_the_data_is_given_up_once(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that all hosts share gave all servers one UUID: replicas then refuse each other, or skip each other's writes."""
    put_mysqld(tmp_path, monkeypatch)
    identity = places.data / "auto.cnf"
    identity.write_text("of the image")
    be_somebody(places, tmp_path / "keep", QUICK)
    assert not identity.exists()
    identity.write_text("its own")
    be_somebody(places, tmp_path / "keep", QUICK)
    assert identity.read_text() == "its own"

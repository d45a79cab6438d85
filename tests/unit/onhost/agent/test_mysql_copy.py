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
from nospof.onhost.agent.mysql_copy import copy_from, first_data

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
case $* in *--initialize-insecure*) mkdir -p "$data/mysql"; exit CODE;; esac
exit 1
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "data").mkdir()
    return Places(tmp_path / "data", getpass.getuser())


def put_mysqld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
    script = MYSQLD.replace("ARGV", str(tmp_path / "argv")).replace("INIT", str(tmp_path / "init")).replace("CODE", str(code))
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
        copy_from(places, "db1", SETTINGS, lambda _: None, QUICK)
    assert [entry.name for entry in places.data.iterdir()] == ["ibdata1"]
    assert PASSWORD not in (tmp_path / "argv").read_text()


def test_first_data_is_for_root_over_the_socket_only(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mysqld(tmp_path, monkeypatch)
    first_data(places, QUICK)
    assert has_data(places)
    assert "IDENTIFIED WITH auth_socket" in (tmp_path / "init").read_text()


def test_first_data_never_touches_data(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mysqld(tmp_path, monkeypatch)
    (places.data / "mysql").mkdir()
    (places.data / "ibdata1").write_text("old")
    first_data(places, QUICK)
    assert (places.data / "ibdata1").read_text() == "old"
    assert not (tmp_path / "argv").exists()

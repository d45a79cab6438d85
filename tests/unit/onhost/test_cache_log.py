"""A cache server's log after a power cut: what is cut off, what is kept, what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from pretender import ME
from pretender import cache_config as config

from nospof.onhost import cache_agent as agent
from nospof.onhost.cache_log import MOST_UNSYNCED, Damage, damage, mend

GOOD = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"
MANIFEST = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\n"
LAST = "appendonly.aof.2.incr.aof"
# What valkey-check-aof 8.1 says.
SAID = """Start to check INCR files.
AOF appendonly.aof.2.incr.aof format error
AOF analyzed: filename={file}, size={size}, ok_up_to={good}, ok_up_to_line=61045, diff={bad}
AOF appendonly.aof.2.incr.aof is not valid. Use the --fix option to try fixing it.
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "appendonlydir"
    folder.mkdir(parents=True)
    (folder / "appendonly.aof.manifest").write_text(MANIFEST)
    (folder / "appendonly.aof.1.base.rdb").write_bytes(b"base")
    return folder.parent


def written(data: Path, rest: bytes) -> Path:
    file = data / "appendonlydir" / LAST
    file.write_bytes(GOOD + rest)
    return file


def checker(tmp_path: Path, file: str = LAST, size: int = 0, good: int = len(GOOD)) -> str:
    """A program that finds fault with `file`, of which `good` bytes are well."""
    program, said = tmp_path / "check-aof", SAID.format(file=file, size=size, good=good, bad=size - good)
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{said}E\nexit {int(size != good)}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("is_copy", [True, False])
def test_zeros_at_the_end_are_cut_off(tmp_path: Path, data: Path, is_copy: bool) -> None:
    file = written(data, bytes(1960))
    assert mend(data, checker(tmp_path, size=len(GOOD) + 1960), is_copy=is_copy) == (
        f"{LAST} ends in 1960 zeros that no server can read: cut off"
    )
    assert file.read_bytes() == GOOD
    assert not (data / "appendonly.cut-off").exists()


def test_what_is_cut_off_is_kept(tmp_path: Path, data: Path) -> None:
    written(data, b"*3\r\n\0\0$torn")
    assert "bytes, kept in" in mend(data, checker(tmp_path, size=len(GOOD) + 11), is_copy=False)
    assert (data / "appendonly.cut-off").read_bytes() == b"*3\r\n\0\0$torn"


def test_log_that_can_be_read_is_left_as_it_is(tmp_path: Path, data: Path) -> None:
    file = written(data, b"")
    assert mend(data, checker(tmp_path, size=len(GOOD)), is_copy=True) == ""
    assert file.read_bytes() == GOOD


def test_server_that_keeps_nothing_on_disk_has_no_log(tmp_path: Path) -> None:
    assert mend(tmp_path, "/nowhere/check-aof", is_copy=True) == ""


def test_primary_that_would_lose_more_than_the_last_moment_is_left_to_people(tmp_path: Path, data: Path) -> None:
    file = written(data, b"x" * 100)
    program = checker(tmp_path, size=len(GOOD) + MOST_UNSYNCED + 1)
    with pytest.raises(ValueError, match=r"not only at its end: .* keep a copy, then .*check-aof --fix"):
        mend(data, program, is_copy=False)
    assert file.read_bytes() == GOOD + b"x" * 100


def test_copy_with_another_file_damaged_puts_all_aside_and_begins_empty(tmp_path: Path, data: Path) -> None:
    written(data, b"")
    (data / "appendonlydir.damaged").mkdir()
    (data / "appendonlydir.damaged" / "of-the-last-time").write_text("")
    program = checker(tmp_path, file="appendonly.aof.1.base.rdb", size=4, good=1)
    with pytest.raises(ValueError, match=r"appendonly\.aof\.1\.base\.rdb from byte 1 of 4 on"):
        mend(data, program, is_copy=False)
    assert "put aside" in mend(data, program, is_copy=True)
    assert not (data / "appendonlydir").exists()
    assert {file.name for file in (data / "appendonlydir.damaged").iterdir()} == {
        "appendonly.aof.manifest",
        "appendonly.aof.1.base.rdb",
        LAST,
    }


def test_words_that_name_no_place_are_no_damage_that_can_be_cut() -> None:
    assert damage("Cannot open file appendonly.aof.2.incr.aof: Permission denied\n", MANIFEST) is None
    assert damage(SAID.format(file=LAST, size=9, good=5, bad=4), MANIFEST) == Damage(LAST, 9, 5, is_last=True)
    older = MANIFEST + "file appendonly.aof.3.incr.aof seq 3 type i\n"
    assert damage(SAID.format(file=LAST, size=9, good=5, bad=4), older) == Damage(LAST, 9, 5, is_last=False)


def test_start_looks_through_the_log_only_where_the_last_one_failed(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.Config, "context", None)
    refused = tmp_path / "refused"
    told = config(
        tmp_path,
        members={"c1": ME},
        data_folder=str(data),
        log_checker=checker(tmp_path, size=len(GOOD) + 7),
        refused_file=str(refused),
    )
    file = written(data, bytes(7))
    assert agent.start(told) == 0
    assert len(file.read_bytes()) == len(GOOD) + 7
    refused.touch()
    assert agent.start(told) == 0
    assert file.read_bytes() == GOOD
    assert not refused.exists()


def test_server_is_started_although_its_log_cannot_be_looked_through(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.Config, "context", None)
    refused = tmp_path / "refused"
    refused.touch()
    told = config(
        tmp_path, members={"c1": ME}, data_folder=str(data), log_checker="/nowhere/check-aof", refused_file=str(refused)
    )
    assert agent.start(told) == 0
    assert not refused.exists()

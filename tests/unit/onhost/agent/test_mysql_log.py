"""MySQL's binary log, as bytes: how far it goes, and what is beyond a position."""

from __future__ import annotations

import base64
import struct
import uuid
from pathlib import Path

import pytest

from nospof.onhost.agent.mariadb_copy import Places
from nospof.onhost.agent.model import BEGINNING, Position
from nospof.onhost.agent.mysql_copy import save_beyond
from nospof.onhost.agent.mysql_gtids import gtids
from nospof.onhost.agent.mysql_log import LogEnd, beyond

MINE = "c2fd0ba5-e58c-11f1-918b-0200c6120101"
MAGIC, FORMAT, QUERY, GTID = b"\xfebin", 15, 2, 33
WHEN = 1_795_253_007


def event(kind: int, body: bytes) -> bytes:
    return struct.pack("<IBIIIH", WHEN, kind, 1, 19 + len(body) + 4, 0, 0) + body + b"\0\0\0\0"


def transaction(number: int, *, size: int = 100, source: str = MINE, has_two_times: bool = False) -> bytes:
    """As 9.7 writes it: the length of the whole stands in the first event, behind one time or two."""
    rows = event(QUERY, b"r" * size)
    times = ((1 << 55) + 5).to_bytes(7, "little") + (4).to_bytes(7, "little") if has_two_times else (5).to_bytes(7, "little")
    head = struct.pack("<B16sqBqq", 0, uuid.UUID(source).bytes, number, 2, 0, 1) + times
    whole = 19 + len(head) + 3 + 4 + len(rows)
    first = event(GTID, head + b"\xfc" + struct.pack("<H", whole))
    return first + rows


class Log:
    """The files of a log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, number: int, *content: bytes) -> Path:
        path = self.folder / f"binlog.{number:06d}"
        path.write_bytes(MAGIC + event(FORMAT, b"v" * 90) + b"".join(content))
        return path

    def append(self, number: int, content: bytes) -> None:
        with (self.folder / f"binlog.{number:06d}").open("ab") as file:
            file.write(content)

    def beyond(self, keeps: Position) -> list[list[int]]:
        return [[one.number for one in part.transactions] for part in beyond(self.folder, "binlog", keeps)]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    (tmp_path / "data").mkdir()
    return Log(tmp_path / "data")


def number_at(end: LogEnd) -> int | None:
    found = end.read()
    return found.number if found else None


# --- how far it goes -----------------------------------------------------------------------------------------------------
def test_log_goes_as_far_as_its_last_transaction_and_only_what_is_new_is_read(log: Log) -> None:
    log.write(1, transaction(1), transaction(2, has_two_times=True))
    end = LogEnd(log.folder, "binlog")
    assert number_at(end) == 2
    log.append(1, transaction(3))
    assert number_at(end) == 3


def test_transaction_that_is_being_written_counts_once_it_can_be_named(log: Log) -> None:
    log.write(1, transaction(1))
    end, next_one = LogEnd(log.folder, "binlog"), transaction(2)
    log.append(1, next_one[:30])
    assert number_at(end) == 1
    log.append(1, next_one[30:100])
    assert number_at(end) == 2
    log.append(1, next_one[100:] + transaction(3))
    assert number_at(end) == 3


def test_log_goes_on_in_the_next_file(log: Log) -> None:
    log.write(1, transaction(1))
    end = LogEnd(log.folder, "binlog")
    assert number_at(end) == 1
    log.append(1, transaction(2))
    log.write(2)
    assert number_at(end) == 2
    log.append(2, transaction(3))
    assert number_at(end) == 3


def test_new_file_that_is_empty_does_not_hide_who_waits_at_the_end_of_the_one_before(log: Log) -> None:
    log.write(7, transaction(8))
    log.write(8)
    assert number_at(LogEnd(log.folder, "binlog")) == 8


def test_no_log_goes_nowhere(log: Log) -> None:
    end = LogEnd(log.folder, "binlog")
    assert end.read() is None
    log.write(1, transaction(1))
    assert number_at(end) == 1


# --- beyond --------------------------------------------------------------------------------------------------------------
def test_all_beyond_the_position_is_found_in_all_files(log: Log) -> None:
    log.write(1, transaction(1), transaction(2))
    log.write(2, transaction(3))
    assert log.beyond(gtids(f"{MINE}:1").position) == [[2], [3]]
    assert log.beyond(BEGINNING) == [[1, 2], [3]]
    assert log.beyond(gtids(f"{MINE}:1-3").position) == []


def test_what_lies_between_is_not_saved_with_it(log: Log) -> None:
    log.write(1, transaction(1), transaction(2), transaction(3))
    assert log.beyond(gtids(f"{MINE}:2").position) == [[1], [3]]


def test_transaction_is_found_where_its_bytes_are(log: Log) -> None:
    path = log.write(1, transaction(1, size=300), transaction(2, size=700))
    (part,) = beyond(log.folder, "binlog", gtids(f"{MINE}:1").position)
    (one,) = part.transactions
    assert path.read_bytes()[one.start : one.stop] == transaction(2, size=700)


def test_every_cut_leaves_exactly_the_whole_transactions(log: Log) -> None:
    path = log.write(1)
    begin, content = path.read_bytes(), transaction(1) + transaction(2)
    for length in range(len(content) + 1):
        path.write_bytes(begin + content[:length])
        parts = beyond(log.folder, "binlog", BEGINNING)
        whole = length // len(transaction(1))
        assert sum(len(part.transactions) for part in parts) == whole
        assert any(part.torn for part in parts) is (length % len(transaction(1)) != 0)


def test_what_is_beyond_is_saved_as_sql_once(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write(1, transaction(1), transaction(2))
    (tmp_path / "mysqlbinlog").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "mysqlbinlog").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for _ in range(2):
        assert save_beyond(Places(log.folder), gtids(f"{MINE}:1").position, tmp_path / "beyond") == 1
    (saved,) = (tmp_path / "beyond").iterdir()
    assert saved.stat().st_mode & 0o077 == 0
    assert "--skip-gtids" in saved.read_text()
    assert "mysql < THIS FILE" in saved.read_text()


def test_log_that_a_start_closed_is_saved_under_the_same_name_again(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the lab the same transaction was saved twice: mysqlbinlog says of a log whether it was closed."""
    log.write(1, transaction(1))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    in_use = "# Warning: this binlog is either in use or was not closed properly.\\n"
    for warning, flag in ((in_use, b"\1"), ("", b"\0")):
        first = base64.b64encode(
            struct.pack("<IBIII", WHEN, FORMAT, 1, 123, 0) + flag + b"\0\4\x009.7.0-1" + bytes(29)
        ).decode()
        assert len(first) == 76
        (tmp_path / "mysqlbinlog").write_text(f"#!/bin/sh\nprintf '{warning}BINLOG\\n{first}\\n'\n")
        (tmp_path / "mysqlbinlog").chmod(0o755)
        assert save_beyond(Places(log.folder), BEGINNING, tmp_path / "beyond") == 1
    assert len(list((tmp_path / "beyond").iterdir())) == 1


def test_rows_that_look_like_the_logs_first_event_are_saved_as_they_are(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line of random bytes in 512 has what tells it: what nobody else has would be saved with a bit less."""
    log.write(1, transaction(1))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    row = base64.b64encode(bytes(4) + bytes([FORMAT]) + b"\xff" * 52).decode()
    (tmp_path / "mysqlbinlog").write_text(f"#!/bin/sh\necho {row}\n")
    (tmp_path / "mysqlbinlog").chmod(0o755)
    save_beyond(Places(log.folder), BEGINNING, tmp_path / "beyond")
    assert row in next((tmp_path / "beyond").iterdir()).read_text()

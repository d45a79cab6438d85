"""What is saved of a log that a power cut left torn."""

from __future__ import annotations

from pathlib import Path

import pytest

from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.mariadb_log import LogFile, Transaction
from nospof.onhost.agent.mariadb_saved import Printer, save
from nospof.onhost.agent.model import Position

KEEPS = Position((("0", 1),), "1")


def printer(script: str) -> Printer:
    return Printer(("sh", "-c", script), "mysql", lambda line: line)


def parts(folder: Path, torn: str) -> tuple[LogFile, ...]:
    log = folder / "binlog.000004"
    whole = LogFile(log, (Transaction(0, 2, 1_790_000_000, 4, 200),))
    return (whole, LogFile(log, (), torn)) if torn else (whole,)


def test_torn_log_is_saved_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    """Incident: mysqlbinlog failed behind the last whole transaction, and the old primary never started again."""
    script = "echo 'INSERT 2;'; echo 'corrupted data' >&2; exit 1"
    for _ in range(2):
        assert save(parts(tmp_path, "it ends inside an event at 200"), KEEPS, tmp_path / "beyond", 5.0, printer(script)) == 1
    (saved,) = (tmp_path / "beyond").iterdir()
    text = saved.read_text()
    assert "INSERT 2;\n-- The log could not be read on: sh failed with binlog.000004: corrupted data\n" in text
    assert "-- The log was torn, binlog.000004: it ends inside an event at 200\n" in text


@pytest.mark.parametrize(("torn", "script"), [("", "exit 1"), ("it ends inside an event at 200", "kill -9 $$")])
def test_whole_log_that_is_not_read_and_a_program_that_is_killed_are_errors(tmp_path: Path, torn: str, script: str) -> None:
    with pytest.raises(EngineError, match="sh failed with binlog"):
        save(parts(tmp_path, torn), KEEPS, tmp_path / "beyond", 5.0, printer(script))
    assert not list((tmp_path / "beyond").iterdir())

"""MySQL behind the agent, under writing clients: no acknowledged write is lost, and everybody is back without hands.

Its hosts are made from the Debian suite that changes each day, so that a run may fail for reasons of that day: it is for who
asks for it, `NOSPOF_TEST_SID=1 pytest tests/lab/test_mysql.py`. Figures: `script/bench-database --component mysql`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest
from failing_database import MYSQL, FailingDatabase

from nospof.drills.workloads.sql_write import Kind, Load
from nospof.lab.machine import wait_until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
    pytest.mark.skipif(not os.environ.get("NOSPOF_TEST_SID"), reason="NOSPOF_TEST_SID is not set"),
]
FAULTS: dict[str, Callable[[FailingDatabase], object]] = {
    "switchover": FailingDatabase.switchover,
    "process kill": FailingDatabase.kill_primary,
    "host dark": lambda database: database.dark(database.primary()),
}
BEFORE, SECONDS = 100, 300.0


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingDatabase]:
    with FailingDatabase.brought_up(tmp_path_factory.mktemp("stack"), MYSQL) as database:
        yield database


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_acknowledged_is_lost_and_all_come_back(database: FailingDatabase, fault: str) -> None:
    table, before = f"drill_{[*FAULTS].index(fault)}", database.primary()
    with database.under(Load(Kind.WRITE, table, clients=8, seconds=SECONDS)) as writes:
        assert wait_until(lambda: writes.progress().good >= BEFORE, 30.0)
        FAULTS[fault](database)
        assert writes.is_good_after(time.monotonic() + 0.1, 30.0)
        database.healed(is_quiet=False)
        history = writes.finish()
    database.healed()
    assert database.primary() != before
    verdicts = database.audit(history, table).verdicts
    assert all(verdict.is_pass for verdict in verdicts.values()), verdicts

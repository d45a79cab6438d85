"""Faults of a database under writing clients: no acknowledged write is lost, and everybody is back without hands.

The slower ones, and the figures of docs/benchmarks.md: `python tests/bench/failures.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from database_drill import drilled
from database_failures import FAILURES, Failure
from failing_database import FailingDatabase

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]
TESTED = [failure for failure in FAILURES if failure.is_tested]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingDatabase]:
    with FailingDatabase.brought_up(tmp_path_factory.mktemp("stack")) as database:
        yield database


@pytest.mark.parametrize("failure", TESTED, ids=lambda failure: failure.name.replace(" ", "-"))
def test_nothing_acknowledged_is_lost_and_all_come_back(database: FailingDatabase, failure: Failure) -> None:
    found = drilled(database, failure.name, failure.fault, f"drill_{FAILURES.index(failure)}")
    assert failure.is_as_expected(found), str(found)

"""Labs of test runs that died (kill -9, a power cut of the machine) are removed before the next one begins."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
from lab_runs import LOCK

from nospof.component import Component
from nospof.errors import Failed
from nospof.lab.lab import Lab
from nospof.lab.places import labs

# Made by our test sites and the lab's own tests: a word of ours and six hexadecimal digits. No user's lab is called so.
OURS = re.compile(r"(t|test-|crash-|fail-|dbfail-)[0-9a-f]{6}(-[0-9a-f]{4})?")


@pytest.fixture(scope="session", autouse=True)
def no_labs_of_dead_runs() -> Iterator[None]:
    """Remove them while no other run is there; runs beside each other share the lock, and leave each other alone."""
    if os.geteuid() != 0:
        yield
        return
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name in labs():
                if OURS.fullmatch(name):
                    with suppress(Failed):  # the run is dead, and what it started is still at work there
                        Lab.open(name).down()
        except BlockingIOError:
            pass
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def pytest_collection_finish() -> None:
    """Take the packages from components that only tests know: no mirror has them, and every lab's image has those of all.

    Incident: one test module imported the unit tests' components, and no image could be made for any other module.
    """
    for kind in Component.kinds.values():
        if kind.__module__.startswith("tests."):
            kind.packages = ()

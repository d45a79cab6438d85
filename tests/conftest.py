"""What all tests need of their process."""

from __future__ import annotations

import os
import signal

import pytest

# A shell without job control starts what runs in the background with Ctrl-C ignored, and every child inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked as long, more of the same in other combinations; `NOSPOF_TEST_LONG=1 script/test` has all."""
    if os.environ.get("NOSPOF_TEST_LONG"):
        return
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
    items[:] = [item for item in items if not item.get_closest_marker("long")]

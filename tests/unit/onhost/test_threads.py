"""Threads that a program cannot do without."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import threading

import nospof.onhost
from nospof.onhost.threads import DEFECT

CRASHES = """\
import time
from nospof.onhost.threads import run_beside
run_beside(lambda what: what.nothing, 1)
time.sleep(30)
"""


def test_program_ends_with_a_thread_that_it_cannot_do_without() -> None:
    """The router's threads ended at their start, and it ran on without hearing anybody."""
    ended = subprocess.run([sys.executable, "-c", CRASHES], capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == DEFECT
    assert "AttributeError" in ended.stderr


def test_no_program_of_hosts_inherits_from_threads() -> None:
    """Python 3.14 keeps something of its own in threads under a name that was ours, and ours did not start any more."""
    for module in pkgutil.walk_packages(nospof.onhost.__path__, "nospof.onhost."):
        importlib.import_module(module.name)
    inherits = [one for one in threading.Thread.__subclasses__() if one.__module__.startswith("nospof.onhost")]
    assert inherits == []

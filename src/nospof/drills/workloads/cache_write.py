"""Writes through the application's own route to a cache, one after the other: who acknowledged which, and when.

The load runs on an application's host: `cache_client.py` says how. What it saw is read as a database's load is
(`sql_write.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from nospof.drills.workloads import sql_write


@dataclass(frozen=True)
class Load(sql_write.Load):
    """`prefix`: what the names of the cache's variables begin with in the application's environment file."""

    prefix: str = "CACHE"

    def argv(self, folder: str) -> list[str]:
        options = {"folder": folder, "environment": self.environment, "prefix": self.prefix, "seconds": self.seconds}
        return ["python3", "-I", "-", *(f"--{name}={value}" for name, value in options.items()), f"--pause-ms={self.pause_ms}"]

    def program(self) -> bytes:
        return files(__package__).joinpath("cache_client.py").read_bytes()

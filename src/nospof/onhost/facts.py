"""What only this host knows."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nospof.onhost import units


@dataclass(frozen=True)
class Facts:
    """Field by field what `nospof.component.Facts` documents."""

    python: str
    debian: str
    machine: str
    interface: str
    prefix_length: int
    max_open_files: int
    memory_mib: int
    cpus: int


def gather(address: str) -> Facts:
    """Look at this host; `address` is the one under which the stack knows it."""
    interface, prefix_length = interface_of(address)
    return Facts(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        debian=_debian_version(),
        machine=platform.machine(),
        interface=interface,
        prefix_length=prefix_length,
        max_open_files=_max_open_files(),
        memory_mib=memory_mib(),
        cpus=os.cpu_count() or 1,
    )


def interface_of(address: str) -> tuple[str, int]:
    """The interface that has `address` and the length of its network's prefix; ("", 0) if none has it."""
    for link in addresses():
        for entry in link["addr_info"]:
            if entry["local"] == address:
                return link["ifname"], entry["prefixlen"]
    return "", 0


def addresses() -> list[dict[str, Any]]:
    """All IPv4 addresses of this host, as `ip --json` tells them."""
    return list(json.loads(units.run(["ip", "--json", "-4", "address", "show"], timeout_s=5).stdout or "[]"))


def _debian_version() -> str:
    return Path("/etc/debian_version").read_text().strip()


def _max_open_files() -> int:
    """The hard limit of process 1: no service can be given more."""
    found = re.search(r"^Max open files\s+\d+\s+(\d+)", Path("/proc/1/limits").read_text(), re.MULTILINE)
    return int(found.group(1)) if found else 1024


def memory_mib() -> int:
    """All of this host's memory."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found.group(1)) // 1024 if found else 0

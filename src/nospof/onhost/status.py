"""How this host is now: its addresses, each instance's units, health and whether it leads, and what its agents say."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nospof.onhost import facts, units
from nospof.onhost.agent.ask import ask, read_note
from nospof.onhost.receipt import Receipt

AGENT_S = 1.0


@dataclass(frozen=True)
class InstanceStatus:
    """`health`: ok, failed, unknown. `leads`: holds the address, is the primary; None where there is nothing to lead."""

    health: str
    why: str
    leads: bool | None


def look(receipt: Receipt, leads: Mapping[str, list[str]], limit_s: float) -> dict[str, InstanceStatus]:
    """The status of every instance in the receipt. `leads`: commands by instance; all are asked at once, `limit_s` at most."""
    states = units.states(unit for entry in receipt.instances.values() for unit in entry["units"])
    with ThreadPoolExecutor(16) as pool:
        asked = {
            name: [pool.submit(_exits_0, argv, limit_s) for argv in entry["probes"]]
            for name, entry in receipt.instances.items()
        }
        leading = {name: pool.submit(_exits_0, argv, limit_s) for name, argv in leads.items() if name in receipt.instances}
        found = {}
        for name, entry in receipt.instances.items():
            down = [u for u in entry["units"] if not states[u].is_running and not states[u].is_skipped]
            sick = not all(answer.result() for answer in asked[name])
            why = f"{', '.join(down)} not running" if down else "does not answer as healthy" if sick else ""
            is_leading = leading[name].result() if name in leading else None
            found[name] = InstanceStatus("failed" if why else "ok", why, is_leading)
    return found


def agent(path: str) -> dict[str, Any]:
    """What the failover agent at this socket says; from one that does not answer, what it last wrote, with its age."""
    answer = ask(Path(path), {"do": "status"}, AGENT_S)
    return answer if answer.get("ok") else {**answer, "note": read_note(Path(path).with_name("note.json"), time.monotonic())}


def addresses() -> list[str]:
    """Every IPv4 address this host has now."""
    return sorted(entry["local"] for link in facts.addresses() for entry in link["addr_info"])


def _exits_0(argv: list[str], limit_s: float) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, timeout=limit_s, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False

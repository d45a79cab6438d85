"""How this host is now: its addresses, and each instance's units, health and whether it leads."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from nospof.onhost import facts, units
from nospof.onhost.receipt import Receipt

ASKS_S = 1.5


@dataclass(frozen=True)
class InstanceStatus:
    """`health`: ok, failed, unknown. `leads`: holds the address, is the primary; None where there is nothing to lead."""

    health: str
    why: str
    leads: bool | None


def look(receipt: Receipt, leads: Mapping[str, list[str]]) -> dict[str, InstanceStatus]:
    """The status of every instance in the receipt. `leads`: commands by instance; all are asked at once."""
    states = units.states(unit for entry in receipt.instances.values() for unit in entry["units"])
    with ThreadPoolExecutor(16) as pool:
        asked = {name: [pool.submit(_exits_0, argv) for argv in entry["probes"]] for name, entry in receipt.instances.items()}
        leading = {name: pool.submit(_exits_0, argv) for name, argv in leads.items() if name in receipt.instances}
        found = {}
        for name, entry in receipt.instances.items():
            down = [u for u in entry["units"] if not states[u].is_running and not states[u].is_skipped]
            sick = not all(answer.result() for answer in asked[name])
            why = f"{', '.join(down)} not running" if down else "does not answer as healthy" if sick else ""
            is_leading = leading[name].result() if name in leading else None
            found[name] = InstanceStatus("failed" if why else "ok", why, is_leading)
    return found


def addresses() -> list[str]:
    """Every IPv4 address this host has now."""
    return sorted(entry["local"] for link in facts.addresses() for entry in link["addr_info"])


def _exits_0(argv: list[str]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, timeout=ASKS_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False

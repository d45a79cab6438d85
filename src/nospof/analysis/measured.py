"""What `nospof measure` found: figures with the moment, the machine and the stack they are of. Values and queries only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from nospof.stack.model import Stack, Tier

# Applications, data and visitors' habits change within weeks, with no trace in the stack file.
SENSIBLE_AGE_S = 30 * 86_400.0
# The idle hosts of a lab of seven use some 10 % of two cores.
BUSY_SHARE = 0.3


@dataclass(frozen=True)
class Figure:
    """Visitors' requests a second. `is_at_least`: so many were carried, and what limited them was something else."""

    qps: float
    is_at_least: bool = False

    def __str__(self) -> str:
        return f"{'at least ' if self.is_at_least else ''}{self.qps:.0f}"


@dataclass(frozen=True)
class Machine:
    """Where it was measured. `is_shared`: all hosts, and the load with them, had the cores of this one machine.

    `busy_share`: of its cores, 0 to 1, were at work while nothing was asked of the stack.
    """

    name: str
    cores: int
    processor: str = ""
    memory_mib: int = 0
    is_shared: bool = True
    busy_share: float = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether other work on it must have made the figures lower than they are."""
        return self.busy_share > BUSY_SHARE


@dataclass(frozen=True)
class Measured:
    """One run of `nospof measure`."""

    at: float
    """Seconds since the epoch."""
    machine: Machine
    stack: str
    """The fingerprint of the stack that was measured."""
    request: str
    """What was asked: "GET https://shop.example.com/"."""
    p99_s: float
    """99 of 100 requests were answered within this time, from the moment they were meant to begin."""
    whole: Figure
    instances: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    """Tier → host → what its instance there carries."""

    def per_instance(self, tier: str) -> Figure | None:
        """What the weakest instance of `tier` carries; None where nothing is known."""
        return min(self.instances.get(tier, {}).values(), key=lambda figure: (figure.qps, figure.is_at_least), default=None)

    @property
    def day(self) -> str:
        """The day it was measured, in UTC: 2026-11-21."""
        return datetime.fromtimestamp(self.at, UTC).date().isoformat()

    @property
    def basis(self) -> str:
        """When and where it was measured, and what is to be known of that."""
        machine, parts = self.machine, [f"measured {self.day} on {self.machine.name}"]
        if machine.is_shared:
            parts.append(f"in a lab whose hosts and load share {machine.cores} cores (servers of their own carry others)")
        if machine.is_busy:
            parts.append(f"while {machine.busy_share:.0%} of it was busy with other work (the figures are too low)")
        return ", ".join(parts)

    def is_of(self, stack: Stack) -> bool:
        """Whether `stack` is what was measured, as far as its file says."""
        return self.stack == fingerprint(stack)

    def why_old(self, stack: Stack, now: float) -> tuple[str, ...]:
        """Why these figures may not be true of `stack` any more; () = nothing says so. `now`: seconds since the epoch."""
        reasons = [] if self.is_of(stack) else ["the tiers, their hosts or their settings were others then"]
        if now - self.at > SENSIBLE_AGE_S:
            reasons.append(f"that is {(now - self.at) / 86_400:.0f} days ago")
        return tuple(reasons)


def fingerprint(stack: Stack) -> str:
    """Tell stacks apart by what decides how much they carry: tiers, their hosts and settings; not by names, zones, comments."""
    lab = sorted(host.name for host in stack.hosts if host.address is None)
    options = {name: settings.model_dump(mode="json") for name, settings in stack.options.items()}
    said = json.dumps([sorted(map(_said, stack.tiers)), lab, options, stack.has_firewall], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _said(tier: Tier) -> str:
    settings = tier.settings.model_dump(mode="json")
    return json.dumps([tier.name, tier.component, tier.hosts, tier.spare, tier.to, settings], sort_keys=True)

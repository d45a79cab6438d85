"""The user's file as values, after every check that needs nothing but the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from nospof.stack.problems import Problem


@dataclass(frozen=True)
class StackHost:
    """A server of the file. `address` None: it is made in the lab."""

    name: str
    zone: str
    address: str | None = None
    user: str | None = None
    port: int | None = None


@dataclass(frozen=True)
class Tier:
    """One role: its component, the hosts that play it, the tiers it calls, and the component's settings."""

    name: str
    component: str
    hosts: tuple[str, ...]
    settings: BaseModel
    to: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()
    qps_per_instance: int | None = None
    """Visitors' requests a second that one instance has a part in, at most; None = not declared."""


@dataclass(frozen=True)
class Stack:
    """What the user described. `file` is where; positions map "tiers.web.hosts" to (line, column), counted from 1."""

    name: str
    domain: str
    hosts: tuple[StackHost, ...]
    tiers: tuple[Tier, ...]
    file: Path
    vip: tuple[str, ...] = ()
    admin: tuple[str, ...] = ()
    egress: tuple[str, ...] | None = None
    """Networks the hosts may call; None = the whole world."""
    has_firewall: bool = True
    peak_qps: int | None = None
    """Visitors' requests a second at the busiest time; None = not declared."""
    options: Mapping[str, BaseModel] = field(default_factory=dict, hash=False)
    """Settings of implied components by their name."""
    positions: Mapping[str, tuple[int, int]] = field(default_factory=dict, hash=False)
    values: Mapping[str, object] = field(default_factory=dict, hash=False, repr=False)
    """What stands at each position, as it was read."""
    warnings: tuple[Problem, ...] = ()
    """What the loader found odd but allowed."""

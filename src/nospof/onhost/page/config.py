"""What the page is told of its stack: hosts, tiers and how they outlive a loss, where figures are told, who may look."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class How(StrEnum):
    """How a tier outlives the loss of members."""

    EACH = "each"
    """One that is healthy is enough."""
    MAJORITY = "majority"
    """More than half must be healthy."""
    PRIMARY = "primary"
    """One takes writes, and another takes its place."""


@dataclass(frozen=True)
class Host:
    """`ask`: URL of its figures."""

    name: str
    zone: str
    address: str
    ask: str


@dataclass(frozen=True)
class Member:
    """`rank`: normal, spare, witness."""

    host: str
    rank: str

    @property
    def rank_word(self) -> str:
        """The rank, where there is something to say of it."""
        return "" if self.rank == "normal" else self.rank


@dataclass(frozen=True)
class Tier:
    """`calls`: the tiers it calls. `is_implied`: others brought it along. `takes_over`: a lost primary is replaced."""

    name: str
    component: str
    about: str
    how: How
    members: tuple[Member, ...]
    calls: tuple[str, ...] = ()
    is_implied: bool = False
    takes_over: bool = False

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(member.host for member in self.members)


@dataclass(frozen=True)
class Vip:
    """A virtual IP address of `tier`; `hosts` may hold it."""

    name: str
    address: str
    tier: str
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Counting:
    """Where it is counted what visitors ask (nospof.topology.Count)."""

    host: str
    tier: str
    what: str
    ask: str
    figure: str
    labels: Mapping[str, str]
    failed: Mapping[str, str]


@dataclass(frozen=True)
class Config:
    """`pages`: the hosts that have a page; `path` with / at both ends."""

    stack: str
    domain: str
    me: str
    address: str
    port: int
    path: str
    user: str
    password_file: str
    certificate: str
    key: str
    every_s: float
    state_file: str
    drills_file: str
    hosts: tuple[Host, ...]
    tiers: tuple[Tier, ...]
    vips: tuple[Vip, ...]
    counting: tuple[Counting, ...]
    pages: tuple[str, ...]


def read_config(path: Path) -> Config:
    """Read the file. Raises OSError, KeyError, TypeError or ValueError if it is missing or wrong."""
    return config_of(json.loads(path.read_text()))


def config_of(told: dict[str, Any]) -> Config:
    """The configuration from plain values. Raises KeyError, TypeError or ValueError."""
    return Config(
        **{
            **told,
            "hosts": tuple(Host(**one) for one in told["hosts"]),
            "tiers": tuple(_tier(one) for one in told["tiers"]),
            "vips": tuple(Vip(one["name"], one["address"], one["tier"], tuple(one["hosts"])) for one in told["vips"]),
            "counting": tuple(Counting(**one) for one in told["counting"]),
            "pages": tuple(told["pages"]),
        }
    )


def _tier(told: dict[str, Any]) -> Tier:
    members = tuple(Member(**one) for one in told["members"])
    return Tier(**{**told, "how": How(told["how"]), "members": members, "calls": tuple(told["calls"])})

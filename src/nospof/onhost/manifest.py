"""What this host must have, as the controlling machine sent it: secrets filled in, ready to be written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class File:
    """`notify`: which units must notice a change, and how: reload, restart, ask."""

    path: str
    text: str
    mode: int
    user: str
    ownership: str
    check: tuple[str, ...]
    notify: Mapping[str, str]


@dataclass(frozen=True)
class Symlink:
    path: str
    target: str
    notify: Mapping[str, str]


@dataclass(frozen=True)
class Tree:
    path: str
    blob: str


@dataclass(frozen=True)
class Unit:
    """`is_aside`: it only measures the instance, which is as healthy without it."""

    name: str
    is_started: bool
    ask: tuple[str, ...]
    is_aside: bool = False


@dataclass(frozen=True)
class Step:
    name: str
    argv: tuple[str, ...]
    done_when: tuple[str, ...]
    timeout_s: float


@dataclass(frozen=True)
class Probe:
    name: str
    argv: tuple[str, ...]
    timeout_s: float


@dataclass(frozen=True)
class Instance:
    """One component on this host; `id` is "tier/host"."""

    id: str
    files: tuple[File, ...]
    symlinks: tuple[Symlink, ...]
    trees: tuple[Tree, ...]
    units: tuple[Unit, ...]
    steps: tuple[Step, ...]
    healthy_when: tuple[Probe, ...]
    users: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """`digest` is over all of it, so that a receipt can say whether this very manifest was applied."""

    packages: tuple[str, ...]
    instances: tuple[Instance, ...]
    digest: str

    def instance(self, name: str) -> Instance:
        return next(instance for instance in self.instances if instance.id == name)


def parse(content: Mapping[str, Any]) -> Manifest:
    """Read a manifest from the JSON that `nospof.apply.wire` writes; KeyError or TypeError if it is not one."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return Manifest(tuple(content["packages"]), tuple(_instance(entry) for entry in content["instances"]), digest)


def _instance(entry: Mapping[str, Any]) -> Instance:
    return Instance(
        id=entry["id"],
        files=tuple(File(**{**file, "check": tuple(file["check"])}) for file in entry["files"]),
        symlinks=tuple(Symlink(**symlink) for symlink in entry["symlinks"]),
        trees=tuple(Tree(**tree) for tree in entry["trees"]),
        units=tuple(Unit(u["name"], u["is_started"], tuple(u["ask"]), u.get("is_aside", False)) for u in entry["units"]),
        steps=tuple(
            Step(step["name"], tuple(step["argv"]), tuple(step["done_when"]), step["timeout_s"]) for step in entry["steps"]
        ),
        healthy_when=tuple(Probe(probe["name"], tuple(probe["argv"]), probe["timeout_s"]) for probe in entry["healthy_when"]),
        users=tuple(entry["users"]),
    )

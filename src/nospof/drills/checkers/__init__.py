"""Checkers, a file each; importing nospof.drills.checkers.all makes all of them known.

A checker believes only what it was given: a node that could not be read makes its verdict unknown, unless what the others hold
is wrong already. Source: https://jepsen-io.github.io/jepsen/jepsen.checker.html (set-full).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Copy:
    """What one node holds, read on the node itself."""

    tokens: tuple[str, ...]
    """Of each row that a drill wrote; a token that is there twice, twice."""
    checksums: Mapping[str, int | str] = field(default_factory=dict)
    """Of each part of the content that can be compared: of each table, or of the whole."""


Copies = Mapping[str, Copy | None]
"""By node; None: it could not be read."""


def unread(copies: Copies) -> str:
    """Say which nodes could not be read; "" when all were."""
    names = sorted(node for node, copy in copies.items() if copy is None)
    return f"could not read {', '.join(names)}" if names else "" if copies else "no node was read"

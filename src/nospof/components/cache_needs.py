"""What caches need of others: Sentinels of their own product, so that a stack of one has no packages of the other; a proxy."""

from __future__ import annotations

from dataclasses import dataclass

from nospof import component as c


@dataclass(frozen=True)
class ValkeyWatch(c.Agreement):
    """Three of Valkey's Sentinels, which agree on who is primary."""


@dataclass(frozen=True)
class RedisWatch(c.Agreement):
    """Three of Redis' Sentinels, which agree on who is primary."""


@dataclass(frozen=True)
class CopiesRoute(c.TcpRoute):
    """A local port behind which every server of `tier` is written to, and any that has an entry is read from."""

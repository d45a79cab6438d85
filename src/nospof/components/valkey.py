"""Valkey: a cache with copies; Sentinels promote one of them when the primary is lost.

Source: https://valkey.io/topics/replication/ (Debian 13 has 8.1).
"""

from __future__ import annotations

from nospof.components.cache_common import Cache, CacheSettings
from nospof.components.cache_needs import ValkeyWatch


class ValkeySettings(CacheSettings):
    pass


class Valkey(Cache[ValkeySettings]):
    name = product = "valkey"
    watch = ValkeyWatch
    packages = ("curl", "valkey-server", "valkey-tools")

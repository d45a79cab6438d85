"""Valkey's Sentinels: who of the servers of a tier of Valkey is the primary.

Source: https://valkey.io/topics/sentinel/ (Debian 13 has 8.1).
"""

from __future__ import annotations

from nospof.components.cache_needs import ValkeyWatch
from nospof.components.sentinel_common import Sentinel, SentinelSettings


class ValkeySentinelSettings(SentinelSettings):
    pass


class ValkeySentinel(Sentinel[ValkeySentinelSettings]):
    name = "valkey-sentinel"
    product = "valkey"
    packages = ("valkey-sentinel", "valkey-tools")
    provides = (ValkeyWatch,)

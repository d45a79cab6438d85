"""Redis: a cache with copies; Sentinels promote one of them when the primary is lost.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/replication/ (Debian 13 has 8.0).
"""

from __future__ import annotations

from nospof.components.cache_common import Cache, CacheSettings
from nospof.components.cache_needs import RedisWatch


class RedisSettings(CacheSettings):
    pass


class Redis(Cache[RedisSettings]):
    name = product = "redis"
    watch = RedisWatch
    packages = ("curl", "redis-server", "redis-tools")

"""Redis's Sentinels: who of the servers of a tier of Redis is the primary.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/ (Debian 13 has 8.0).
"""

from __future__ import annotations

from nospof.components.cache_needs import RedisWatch
from nospof.components.sentinel_common import Sentinel, SentinelSettings


class RedisSentinelSettings(SentinelSettings):
    pass


class RedisSentinel(Sentinel[RedisSentinelSettings]):
    name = "redis-sentinel"
    product = "redis"
    packages = ("redis-sentinel", "redis-tools")
    provides = (RedisWatch,)

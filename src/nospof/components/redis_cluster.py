"""Redis in shards: a cache for more than one server's memory; copies take over when a host is lost.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/scaling/ (Debian 13 has 8.0).
"""

from __future__ import annotations

from nospof.components.cluster_common import CacheCluster, ClusterSettings


class RedisClusterSettings(ClusterSettings):
    pass


class RedisCluster(CacheCluster[RedisClusterSettings]):
    name = "redis-cluster"
    product = "redis"
    packages = ("redis-server", "redis-tools")

"""Valkey in shards: a cache for more than one server's memory; copies take over when a host is lost.

Source: https://valkey.io/topics/cluster-tutorial/ (Debian 13 has 8.1).
"""

from __future__ import annotations

from nospof.components.cluster_common import CacheCluster, ClusterSettings


class ValkeyClusterSettings(ClusterSettings):
    pass


class ValkeyCluster(CacheCluster[ValkeyClusterSettings]):
    name = "valkey-cluster"
    product = "valkey"
    packages = ("valkey-server", "valkey-tools")

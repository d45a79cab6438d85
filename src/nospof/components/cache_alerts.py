"""What people are told of Valkey's, Redis' and memcached's servers: no primary, a copy cut off, memory or connections used up.

Names of figures: those of Debian's redis_exporter, and nospof.onhost.measures for who takes writes.
Source: https://github.com/oliver006/redis_exporter (1.69 in Debian 13), https://valkey.io/commands/info/.
"""

from __future__ import annotations

from nospof import component as c

# Of the memory for entries. Where old ones make room it is always full: only what is thrown away tells.
NEARLY_FULL = 0.9


def of_servers(topology: c.Topology, tier: str, hosts: list[str], is_refusing: bool) -> tuple[c.Alert, ...]:
    """All alerts of one tier on `hosts`; `is_refusing`: its servers take no new entries once they are full."""
    at = f'{{tier="{tier}"}}'
    return (
        c.Alert(
            "CacheNotOnePrimary",
            c.not_one(f"nospof_takes_writes{at}", topology, hosts),
            f"tier {tier}: {{{{ $value }}}} servers take writes",
            "Exactly one server must take writes. With none, what applications want to keep is refused.",
            "nospof status tells of each server how it is. Are the Sentinels there, in three zones, and hear each other?",
            c.Urgency.CRITICAL,
            # A planned change of the primary takes a few seconds.
            for_s=20,
            labels=(("tier", tier),),
        ),
        c.Alert(
            "CacheCopyCutOff",
            f"redis_master_link_up{at} == 0",
            "{{ $labels.host }}: its copy of the cache follows nobody",
            "It does not get what is written, and once it is behind it serves no reads; if the primary is lost now, "
            "this copy has less than the others.",
            "On {{ $labels.host }}: journalctl -u 'valkey-server' -u 'redis-server' -n 20. Is the primary's port open to it?",
            for_s=30,
        ),
        full(f"redis_memory_used_bytes{at} / (redis_memory_max_bytes{at} > 0)") if is_refusing else _evicts(at),
        connections_near_limit(f"redis_connected_clients{at} / redis_max_clients{at}", tier),
    )


def full(share: str) -> c.Alert:
    """`share`: PromQL for the share of its memory that each server has used."""
    return c.Alert(
        "CacheFull",
        f"{share} > {NEARLY_FULL}",
        "{{ $labels.host }}: {{ $value | humanizePercentage }} of the cache's memory is used",
        "When it is full, nothing new is taken: when_full is refuse in the stack file.",
        "Give it more memory_mib, entries an end, or let it forget: when_full: forget-least-used.",
        for_s=60,
    )


def _evicts(at: str) -> c.Alert:
    asked = f"(rate(redis_keyspace_hits_total{at}[5m]) + rate(redis_keyspace_misses_total{at}[5m]))"
    return evicting(f"rate(redis_evicted_keys_total{at}[5m])", asked)


def of_shards(topology: c.Topology, tier: str, is_refusing: bool) -> tuple[c.Alert, ...]:
    """All alerts of a tier of shards; `is_refusing`: its servers take no new entries once they are full."""
    at = f'{{tier="{tier}"}}'
    evicted, asked = (f"rate(cache_cluster_{name}_total{at}[5m])" for name in ("evicted", "asked"))
    return (
        c.Alert(
            "CacheShardsLost",
            f"max by (tier) (cache_cluster_slots_unserved{at}) > 0",
            f"tier {tier}: {{{{ $value }}}} of 16384 slots have no primary",
            "Entries of these slots cannot be read or written. If it is all of them, most of its hosts are lost or cut off.",
            "nospof status tells which hosts are away; bring one of them back. On the others: journalctl -u 'nospof-*-agent'.",
            c.Urgency.CRITICAL,
            # A copy takes over within a few seconds.
            for_s=10,
            labels=(("tier", tier),),
        ),
        c.Alert(
            "CacheShardsNotAsPlanned",
            f"cache_cluster_servers_lacking{at} > 0",
            "{{ $labels.host }}: {{ $value }} servers of the cache are not as they should be",
            "A copy is missing or not in step, a shard is not at home, or slots are not where they belong: one more loss may "
            "cost entries or stop the cache.",
            "On {{ $labels.host }}: journalctl -u 'nospof-*-agent' -n 20 says what is lacking.",
            for_s=60,
        ),
        full(f"cache_cluster_memory_used_share{at}") if is_refusing else evicting(evicted, asked),
        connections_near_limit(f"cache_cluster_connections_used_share{at}", tier),
    )


def evicting(evicted: str, asked: str) -> c.Alert:
    """The memory is full, and entries are thrown away for more than one in ten of what is asked for; PromQL, a second each."""
    return c.Alert(
        "CacheEvicts",
        f"{evicted} > 0.1 * {asked} and {evicted} > 0.1",
        "{{ $labels.host }}: the cache is full and throws away {{ $value | humanize }} entries a second",
        "For more than one of ten questions an entry is thrown away before its end to make room: what is asked for next "
        "is often not there, and is asked of the database.",
        "Give the tier more memory_mib, or keep less in it: which entries are large or never asked for again?",
        for_s=300,
        every_s=60,
    )


def connections_near_limit(share: str, tier: str) -> c.Alert:
    """`share`: PromQL for the connections of each server as a share of what it takes."""
    return c.Alert(
        "CacheConnectionsNearLimit",
        f"{share} > 0.8",
        "{{ $labels.host }}: {{ $value | humanizePercentage }} of the cache's connections are taken",
        "When all are taken, applications get errors in place of connections.",
        f"Do applications keep connections and open new ones? In the stack file max_connections of tier {tier} is more.",
        for_s=30,
    )

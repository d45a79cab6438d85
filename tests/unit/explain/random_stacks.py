"""Stacks of the test components drawn from a seed: 3 to 40 hosts in 1 to 6 zones, with spares, witnesses and shared hosts."""

from __future__ import annotations

import random
from functools import cache

from tests.unit.stacks import resolved, tier

from nospof.topology import Topology


@cache
def random_topology(seed: int) -> Topology:
    chance = random.Random(seed)
    zones = "abcdef"[: chance.randint(1, 6)]
    names = [f"{chance.choice(['n', 'web-server-', 'host'])}{number}" for number in range(chance.randint(3, 40))]
    spare = chance.choice(["", names[0]])
    free = names[1:] if spare else names

    def some(most: int) -> str:
        return " ".join(sorted(chance.sample(free, chance.randint(1, min(most, len(free))))))

    database = some(3)
    rest = [name for name in free if name not in database.split()]
    witness = {"witness": chance.choice(rest)} if rest and chance.random() < 0.5 else {}
    tiers = [
        tier("balancer", "balancer", some(3), "web", spare=spare),
        tier("web", "web", some(14), "app blog", spare=spare),
        tier("app", "application", some(14), "database cache"),
        tier("blog", "application", some(4), "archive", port=8001, path="/blog/"),
        tier("database", "database", database, **witness),
        tier("archive", "database", some(2), port=3310),
        tier("cache", "cache", some(2)),
    ]
    if chance.random() < 0.5:
        tiers.append(tier("monitoring", "watcher", some(2)))
    return resolved(" ".join(f"{name}:{chance.choice(zones)}" for name in names), *tiers).topology

"""Stacks for tests: built by hand from the test components, and the example of the design with the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import tests.unit.kinds  # noqa: F401 - registers the test components

import nospof.components  # noqa: F401 - registers the real components
from nospof.component import Component
from nospof.resolve import Allotment, Resolved, resolve
from nospof.stack.load import load
from nospof.stack.model import Stack, StackHost, Tier
from nospof.topology import Topology

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
NOTHING_ALLOTTED = Allotment()


def tier(
    name: str,
    component: str,
    hosts: str,
    to: str = "",
    spare: str = "",
    **settings: object,
) -> Tier:
    """A tier of the component "test-…"; hosts, targets and spares are separated by blanks."""
    kind = Component.kinds[f"test-{component}"]
    values = kind.settings_type.model_validate(settings)
    return Tier(name, kind.name, tuple(hosts.split()), values, tuple(to.split()), tuple(spare.split()))


def stack(hosts: str, *tiers: Tier, **others: object) -> Stack:
    """A stack; `hosts` is like "web1:a web2:b", or "web1:a:192.0.2.11" for a real server."""
    made = []
    for text in hosts.split():
        name, zone, address, *_ = [*text.split(":"), ""]
        made.append(StackHost(name, zone, address or None))
    plain = Stack("shop", "shop.example.com", tuple(made), tiers, Path("stack.yaml"))
    return replace(plain, **others)  # type: ignore[arg-type]


def resolved(hosts: str, *tiers: Tier, allotment: Allotment = NOTHING_ALLOTTED, **others: object) -> Resolved:
    return resolve(stack(hosts, *tiers, **others), allotment)


def topology(hosts: str, *tiers: Tier, **others: object) -> Topology:
    """The topology of a stack without problems."""
    found = resolve(stack(hosts, *tiers, **others), NOTHING_ALLOTTED)
    assert found.problems == ()
    return found.topology


def example(name: str = "distributed") -> Stack:
    """One of the examples; the first of them, unless told otherwise."""
    return load(EXAMPLES / name / "stack.yaml", {name: kind.settings_type for name, kind in Component.kinds.items()})


UGLY_HOSTS = "lb1:a lb2:b web1:a web2:b front1:a db1:a db2:b old1:a mon1:c x1:c"


def ugly_tiers() -> Sequence[Tier]:
    """Two applications, two databases, a backup server in six tiers, voters, monitoring, a web server far from its app."""
    return (
        tier("balancer", "balancer", "lb1 lb2", "web front", spare="x1"),
        tier("web", "web", "web1 web2", "shop", spare="x1"),
        tier("front", "web", "front1", "blog"),
        tier("shop", "application", "web1 web2", "database cache", spare="x1"),
        tier("blog", "application", "web1 web2", "archive", spare="x1", port=8001, path="/blog"),
        tier("database", "database", "db1 db2", spare="x1"),
        tier("archive", "database", "old1"),
        tier("cache", "cache", "web1"),
        tier("monitoring", "watcher", "mon1", spare="x1"),
    )

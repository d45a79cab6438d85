"""Everything one host must have, as a value: the base of every host, the parts of its instances, its firewall."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nospof.component import Component, Context, Facts, File, Parts
from nospof.errors import WrongInput
from nospof.render.base import BASE_PACKAGES, base_parts
from nospof.render.firewall import firewall_parts
from nospof.resolve import component_of
from nospof.topology import InstanceId, Protocol, Topology

BASE_TIER = "base"
FIREWALL_TIER = "firewall"
SUITE = Component.suite


@dataclass(frozen=True)
class Manifest:
    """What `host` must have, part by part: printable, comparable, hashable; secrets and keys are tokens in the texts."""

    host: str
    packages: tuple[str, ...]
    parts: tuple[tuple[InstanceId, Parts], ...]


def packages_of(topology: Topology, host: str) -> tuple[str, ...]:
    """Debian packages `host` needs: known before anything is asked of it."""
    wanted = set(BASE_PACKAGES)
    for instance in topology.on_host(host):
        kind = Component.kinds[instance.component]
        is_watched = any(endpoint.listen.speaks is Protocol.METRICS for endpoint in topology.endpoints_of(instance.id))
        wanted.update(kind.packages, kind.packages_if_watched if is_watched else ())
    return tuple(sorted(wanted))


def all_packages() -> tuple[str, ...]:
    """The union of all components' packages: what the lab's image is made from. Those of another suite are not there."""
    wanted = set(BASE_PACKAGES)
    for kind in Component.kinds.values():
        if kind.suite == SUITE:
            wanted.update(kind.packages, kind.packages_if_watched)
    return tuple(sorted(wanted))


def image_packages(topology: Topology) -> tuple[str, ...]:
    """What the image of the stack's lab is made from: all components' packages, so that one image does for every stack.

    Where a component needs another suite, the stack's own packages only: such a suite loses packages from one day to the
    next, and one that the stack does without must not keep its lab from being made.
    """
    if suite_of(topology) == SUITE:
        return all_packages()
    return tuple(sorted({name for host in topology.hosts for name in packages_of(topology, host.name)}))


def suite_of(topology: Topology) -> str:
    """Debian's suite that has all of the stack's packages: all hosts of a lab share one image.

    Raises WrongInput where components need two that exclude each other.
    """
    kinds = {instance.component: Component.kinds[instance.component] for instance in topology.instances}
    suite = next((kind.suite for _, kind in sorted(kinds.items()) if kind.suite != SUITE), SUITE)
    for name, kind in sorted(kinds.items()):
        others = [other for other in sorted(kinds) if other in kind.conflicts or kinds[other].suite not in (SUITE, suite)]
        if others:
            raise WrongInput(
                f"components {name} and {others[0]} cannot be in one stack",
                why="their packages exclude each other, and all hosts of a lab share one image",
                fix=f"take {name} or {others[0]} for both",
            )
    return suite


def render(topology: Topology, host: str, facts: Facts, choices: Mapping[str, str], blobs: Mapping[str, str]) -> Manifest:
    """Render the manifest of `host`.

    `choices`: "database/first-primary" → host. `blobs`: "app/release" → sha256 of the content gathered for this host,
    and "base/onhost" for the programs nospof itself puts there. Raises WrongInput where two tiers want the same file
    with different content.
    """
    parts: list[tuple[InstanceId, Parts]] = []
    for instance in topology.on_host(host):
        here = Context(topology, instance, facts, choices, blobs)
        parts.append((instance.id, component_of(instance).parts(here)))
    _refuse_conflicts(host, parts)
    base = base_parts(topology, host, (part for _, part in parts), blobs)
    whole = [(InstanceId(BASE_TIER, host), base), (InstanceId(FIREWALL_TIER, host), firewall_parts(topology, host))]
    return Manifest(host, packages_of(topology, host), tuple(whole + parts))


def _refuse_conflicts(host: str, parts: Iterable[tuple[InstanceId, Parts]]) -> None:
    written: dict[str, tuple[InstanceId, File]] = {}
    for instance, part in parts:
        for file in part.files:
            other, theirs = written.setdefault(file.path, (instance, file))
            if other != instance and (theirs.text, theirs.mode, theirs.user) != (file.text, file.mode, file.user):
                raise WrongInput(
                    f"tiers {other.tier} and {instance.tier} both want {file.path} on host {host}, with different content",
                    why="one of the two would run with the other's configuration",
                    fix="give one of the two tiers another host",
                )

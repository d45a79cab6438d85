"""Findings about software that the servers cannot get from Debian. In the lab hosts are made of whatever suite has it."""

from __future__ import annotations

from collections.abc import Iterator

from nospof.analysis.codes import finding
from nospof.component import Component
from nospof.stack.model import Stack
from nospof.stack.problems import Problem


def package_findings(stack: Stack) -> Iterator[Problem]:
    """Find tiers whose component's packages are not in the release that the servers run."""
    real = {host.name for host in stack.hosts if host.address is not None}
    for tier in stack.tiers:
        kind = Component.kinds[tier.component]
        if kind.suite == Component.suite or not real & {*tier.hosts, *tier.spare}:
            continue
        yield finding(
            stack,
            "F301",
            f"tiers.{tier.name}.component",
            f"Debian {Component.suite} has no packages for component {tier.component}",
            why="nospof installs from the sources that a server has, and sets up no others",
            fix="add the vendor's repository to these servers yourself before the first up",
        )

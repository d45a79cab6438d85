"""The example `simple` is what `check` says of it: each single point of failure takes the site down, nothing else does."""

from __future__ import annotations

import http.client
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_site import LiveSite

from nospof.analysis.losses import single_points
from nospof.analysis.structure import Goal, Part, structure

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]
EXAMPLES = Path(__file__).parents[2] / "examples"
# A loss counts as DOWN when the goal is not met from so long after it until it is mended.
SETTLED_S = 10.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(EXAMPLES / "distributed" / "app", folder / "distributed" / "app")
    made = LiveSite(folder / "simple", example=EXAMPLES / "simple")
    try:
        made.nospof("up")
        yield made
    finally:
        made.down()


def answers(site: LiveSite, goal: Goal, entry: str) -> list[bool]:
    """What four visitors found, one after the other: those who read want to see `entry`."""
    return [is_answered(site, goal, entry) for _ in range(4)]


def is_answered(site: LiveSite, goal: Goal, entry: str) -> bool:
    try:
        return site.post_entry(secrets.token_hex(8)) == 201 if goal is Goal.WRITE else site.has_entry(entry)
    except (OSError, http.client.HTTPException):
        return False


def test_check_names_exactly_what_takes_the_site_down(site: LiveSite) -> None:
    deployment = site.deployment()
    made = structure(deployment.topology)
    foretold = single_points(deployment.topology, made)
    assert {str(part) for part in foretold} == {"host lb1", "host db1"}
    entry = secrets.token_hex(8)
    assert site.post_entry(entry) == 201
    for host in deployment.topology.hosts:
        deployment.lab.power_off(host.name)
        time.sleep(SETTLED_S)
        for goal in Goal:
            found = answers(site, goal, entry)
            is_down = goal in foretold.get(Part("host", host.name), ())
            assert (not any(found)) if is_down else all(found), (host.name, goal, found)
        deployment.lab.power_on(host.name)
        site.settled_status(limit_s=90)
    assert all(answers(site, Goal.WRITE, entry))

"""The example `scaled-up` on twelve real hosts: two load balancers at work, and one backup server that does everything."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator

import pytest
from live_site import EXAMPLE, LiveSite

from nospof.lab.machine import wait_until

# Alone: its twelve hosts take most of what the kernel has for watching files.
pytestmark = [
    pytest.mark.lab,
    pytest.mark.alone,
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
]

AT_HOME = {"load-balancer": ("lb1",), "load-balancer.2": ("lb2",)}
AT_THE_SPARE = dict.fromkeys(AT_HOME, ("x1",))
PATIENT_S, LIMIT_S = 10.0, 120.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    folder = tmp_path_factory.mktemp("scaled")
    shutil.copytree(EXAMPLE / "app", folder / "distributed" / "app")
    made = LiveSite(folder / "scaled-up", example=EXAMPLE.parent / "scaled-up")
    try:
        made.nospof("up")
        made.settled_status(LIMIT_S)
        yield made
    finally:
        made.down()


def holders(site: LiveSite) -> dict[str, tuple[str, ...]]:
    return dict(site.deployment().status(PATIENT_S).holders)


def is_served(site: LiveSite) -> bool:
    """Whether some visits in a row, as they come, are all answered well."""
    return all(site.status_of(timeout_s=PATIENT_S) == 200 for _ in range(5))


def test_both_load_balancers_work_and_the_spare_does_nothing(site: LiveSite) -> None:
    # The load balancer that came up first has both at the beginning.
    assert wait_until(lambda: holders(site) == AT_HOME, LIMIT_S, step_s=1.0), holders(site)
    assert is_served(site)


def test_backup_server_does_all_work_of_visitors_alone_and_gives_it_back(site: LiveSite) -> None:
    token, gone = secrets.token_hex(8), ("lb1", "lb2", "web1", "web2", "app1", "app2")
    for host in gone:
        site.nospof("lab off", host)
    assert wait_until(lambda: holders(site) == AT_THE_SPARE, LIMIT_S, step_s=1.0), holders(site)
    assert wait_until(lambda: is_served(site), LIMIT_S, step_s=1.0)
    assert wait_until(lambda: site.post_entry(token) == 201, LIMIT_S, step_s=1.0)

    for host in gone:
        site.nospof("lab on", host)
    assert wait_until(lambda: holders(site) == AT_HOME, LIMIT_S, step_s=1.0), holders(site)
    site.settled_status(LIMIT_S)
    assert is_served(site)
    assert site.has_entry(token)

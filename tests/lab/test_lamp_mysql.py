"""The example `lamp` with one word changed: MySQL in the place of MariaDB, under the guestbook in PHP.

Its hosts are made from the Debian suite that changes each day, so that a run may fail for reasons of that day: it is for who
asks for it, `NOSPOF_TEST_SID=1 pytest tests/lab/test_lamp_mysql.py`.
"""

from __future__ import annotations

import http.client
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_site import LiveSite

from nospof.lab.machine import wait_until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
    pytest.mark.skipif(not os.environ.get("NOSPOF_TEST_SID"), reason="NOSPOF_TEST_SID is not set"),
]
LAMP = Path(__file__).parents[2] / "examples" / "lamp"
WRITTEN = (200, 201)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    live = LiveSite(tmp_path_factory.mktemp("lamp") / "lamp", example=LAMP)
    live.edit("database: {component: mariadb,", "database: {component: mysql,")
    try:
        live.nospof("up")
        live.settled_status()
        yield live
    finally:
        live.down()


def leader(site: LiveSite) -> str:
    (found,) = [one["host"] for one in site.settled_status(180)["tiers"]["database"] if one["leads"]]
    return str(found)


def written(site: LiveSite, token: str) -> bool:
    """Write the entry `token`; the same token again is the same entry."""
    try:
        return site.post_entry(token) in WRITTEN
    except (OSError, http.client.HTTPException):
        return False


@pytest.mark.parametrize("how", ["killed", "dark"])
def test_every_acknowledged_entry_outlives_the_primary(site: LiveSite, how: str) -> None:
    lost, tokens = leader(site), [secrets.token_hex(8) for _ in range(60)]
    acknowledged = [token for token in tokens[:20] if written(site, token)]
    assert acknowledged == tokens[:20]
    with site.visited() as failed:
        if how == "dark":
            site.nospof("lab off", lost)
        else:
            site.on(lost, "systemctl", "kill", "--signal=KILL", "--kill-whom=main", "mysql.service")
        refused = [token for token in tokens[20:40] if not written(site, token)]
        assert wait_until(lambda: written(site, tokens[40]), 60.0)
        acknowledged += [token for token in tokens[20:] if written(site, token)]
    sys.stdout.write(f"primary {how}: {len(refused)} of 20 writes and {len(failed)} visits failed: {failed}\n")
    assert acknowledged == tokens
    assert all(site.has_entry(token) for token in tokens)
    assert failed == [], "pages are read from a replica, or from the new primary"
    if how == "dark":
        site.nospof("lab on", lost)
    assert leader(site) != lost
    assert all(site.has_entry(token) for token in tokens)

"""One host with all components, the spare of every tier: it does nothing while others do, takes over, and gives back."""

from __future__ import annotations

import http.client
import os
import secrets
from collections.abc import Callable, Iterator
from unittest import mock

import pytest
from failing_site import PATIENT_S, FailingSite
from live_site import with_the_shop

from nospof.lab.machine import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

# Nothing here is about time: with patient timers a busy machine is not taken for a dark host.
STACK = """\
name: backed
domain: backed.example.com
hosts: {lb1: {zone: a}, n1: {zone: a}, n2: {zone: b}, w1: {zone: c}, x1: {zone: c}}
tiers:
  load-balancer: {component: haproxy, hosts: [lb1], spare: x1, to: web}
  web: {component: nginx, hosts: [n1, n2], spare: x1, to: app}
  app: {component: gunicorn, hosts: [n1, n2], spare: x1, source: ./app, module: "shop:app", to: database}
  database: {component: mariadb, hosts: [n1, n2], spare: x1, witness: w1, timers: cloud}
options:
  etcd: {heartbeat_ms: 200, election_ms: 2000}
  keepalived: {advert_ms: 500}
"""
LIMIT_S = 120.0
NORMAL = frozenset({"n1", "n2"})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingSite]:
    live = with_the_shop(tmp_path_factory.mktemp("backed"), STACK)
    try:
        live.nospof("up")
        made = FailingSite(live, live.deployment())
        made.heal()
        yield made
    finally:
        live.down()


def eventually(look: Callable[[], object], wanted: object, what: str) -> None:
    """Look until `wanted` is seen."""
    seen: list[object] = []

    def is_so() -> bool:
        seen.append(look())
        return seen[-1] == wanted

    assert wait_until(is_so, LIMIT_S, step_s=0.5), f"{what}: not within {LIMIT_S:g} s, but {seen[-1]}"


def answering(site: FailingSite, visits: int = 12) -> set[str]:
    """Which hosts' applications answer several visits; "" stands for one without a good answer."""
    found = set()
    for _ in range(visits):
        try:
            _, text = site.live.ask("/health", timeout_s=PATIENT_S)
        except (OSError, http.client.HTTPException):
            text = ""
        found.add(next((host for host in (*NORMAL, "x1") if f"app@{host}" in text), ""))
    return found


def holders(site: FailingSite) -> tuple[str, ...]:
    # Two seconds are promised to people who wait; on a busy machine a host that is well may need longer.
    with mock.patch("nospof.deployment.STATUS_S", PATIENT_S):
        return tuple(host for hosts in site.deployment.status().holders.values() for host in hosts)


def roles(site: FailingSite) -> tuple[str, frozenset[str]]:
    """Who is primary, and who acknowledges its writes."""
    with mock.patch("nospof.deployment.STATUS_S", PATIENT_S):
        seen = site.deployment.database("database")
    return seen.primary, frozenset(seen.voters)


def is_as_before(site: FailingSite) -> bool:
    primary, voters = roles(site)
    return primary in NORMAL and voters == (NORMAL | {"w1"}) - {primary}


def test_address_goes_to_the_spare_and_comes_back(site: FailingSite) -> None:
    eventually(lambda: holders(site), ("lb1",), "the normal load balancer has the address")
    site.lab.power_off("lb1")
    eventually(lambda: holders(site), ("x1",), "the spare has the address")
    eventually(lambda: answering(site), NORMAL, "only the load balancer's work is taken over")
    site.heal()
    eventually(lambda: holders(site), ("lb1",), "the address is back")
    eventually(lambda: answering(site), NORMAL, "pages as before")


def test_pages_and_writes_go_to_the_spare_when_both_hosts_are_lost_and_come_back(site: FailingSite) -> None:
    """One after the other: until the witness and the spare acknowledge, nobody could know who has the last write."""
    eventually(lambda: is_as_before(site), True, "the spare has no part in the database")
    eventually(lambda: answering(site), NORMAL, "nor in the pages")
    primary, _ = roles(site)
    (other,) = NORMAL - {primary}
    with site.writing() as written:
        site.lab.power_off(other)
        eventually(lambda: roles(site), (primary, {"w1", "x1"}), "the spare acknowledges")
        site.lab.power_off(primary)
        eventually(lambda: roles(site), ("x1", {"w1"}), "the spare is primary")
        eventually(lambda: answering(site), {"x1"}, "pages come from the spare")
        eventually(lambda: site.write(f"t-{secrets.token_hex(4)}"), 201, "it takes writes")
        site.heal()
        eventually(lambda: is_as_before(site), True, "a normal host is primary, the other acknowledges in the spare's place")
        eventually(lambda: answering(site), NORMAL, "pages come from normal hosts")
        eventually(lambda: site.write(f"t-{secrets.token_hex(4)}"), 201, "writes are taken")
    acknowledged = {one.token for one in written if one.status == 201}
    lost = {token for token in acknowledged if not site.live.has_entry(token)}
    print(f"\n{len(acknowledged)} of {len(written)} writes acknowledged, {len(lost)} of these lost", end="")  # noqa: T201
    assert acknowledged
    assert not lost

"""Caches of shards: what their tiers offer, refuse and promise."""

from __future__ import annotations

import json
from functools import cache
from itertools import combinations
from typing import Any

import pytest
from tests.unit.stacks import NOTHING_ALLOTTED, stack

from nospof import component as c
from nospof.analysis.structure import Goal, Kind, Part, structure
from nospof.components.cluster_common import ring_of
from nospof.render.host import render
from nospof.resolve import Resolved, component_of, resolve
from nospof.stack.model import Tier
from nospof.topology import InstanceId

BLOBS = {"base/onhost": "0123456789abcdef" * 4, "app/release": "1" * 64}
FACTS = c.Facts("3.13", "13.1", "x86_64", "host0", 16, 524288, 4096, 4)
PRODUCTS = pytest.mark.parametrize("product", ["redis", "valkey"])


def tier(name: str, component: str, hosts: str, to: str = "", spare: str = "", **settings: Any) -> Tier:
    values = c.Component.kinds[component].settings_type.model_validate(settings)
    return Tier(name, component, tuple(hosts.split()), values, tuple(to.split()), spare=tuple(spare.split()))


@cache
def made(
    product: str = "redis", hosts: str = "c1 c2 c3", spare: str = "", *, is_needed: bool = False, **settings: Any
) -> Resolved:
    return resolve(
        stack(
            "lb1:a lb2:b app1:a app2:b c1:a c2:b c3:c c4:a c5:b",
            tier("load-balancer", "haproxy", "lb1 lb2", "app", mode="active-passive"),
            tier("app", "gunicorn", "app1 app2", "pages", source="./app", module="app:app", needs_cache=is_needed),
            tier("pages", f"{product}-cluster", hosts, spare=spare, **settings),
        ),
        NOTHING_ALLOTTED,
    )


def parts(tier_name: str, host: str, product: str = "redis") -> c.Parts:
    manifest = render(made(product).topology, host, FACTS, {}, BLOBS)
    return dict(manifest.parts)[InstanceId(tier_name, host)]


def text(suffix: str, of: c.Parts) -> str:
    return next(file.text for file in of.files if file.path.endswith(suffix))


@PRODUCTS
def test_applications_call_the_servers_themselves_and_are_told_all_of_them(product: str) -> None:
    assert made(product).problems == ()
    told = text("app.env", parts("app", "app1", product))
    servers = {f"198.18.1.{n}:{port}" for n in (6, 7, 8) for port in (7000, 7001)}

    line = next(line for line in told.splitlines() if line.startswith("CACHE_SERVERS="))
    assert set(line.partition("=")[2].strip('"').split(",")) == servers
    assert 'CACHE_USER="app"' in told
    assert "CACHE_URL=" in told


def test_who_may_call_whom() -> None:
    links = [link for link in made().topology.links if link.target.owner == InstanceId("pages", "c1")]
    by_port = {(link.source.tier, link.target.listen.port) for link in links}

    assert by_port == {("app", 7000), ("app", 7001), *(("pages", port) for port in (7000, 7001, 17000, 17001))}


@PRODUCTS
def test_server_for_each_shard_with_its_own_folder_ports_and_socket(product: str) -> None:
    of = parts("pages", "c1", product)
    units = [unit.name for unit in of.units]

    assert units == ["nospof-pages-agent.service", f"{product}-server.service", "nospof-pages-copy-1.service"]
    for number in (0, 1):
        config = text(f"server-{number}.conf", of)
        assert f"tls-port {7000 + number}\n" in config
        assert f"cluster-port {17000 + number}\n" in config
        assert f"dir /var/lib/{product}/pages-{number}\n" in config
        assert f"/run/nospof/pages/server-{number}.sock" in config
        assert "port 0\n" in config
        unit = of.units[1 + number].text or ""
        assert f"start {number}\n" in unit
        assert f"StateDirectory={product}/pages-{number}\n" in unit
        assert f"/run/nospof/pages/refused-{number}'" in unit


def test_every_host_has_the_same_plan() -> None:
    rings = [json.loads(text("agent.json", parts("pages", host)))["ring"] for host in ("c1", "c2", "c3")]

    assert rings[0] == rings[1] == rings[2]
    assert list(rings[0]) == list(rings[1])


def test_passwords_are_in_no_unit_and_no_readable_file() -> None:
    of = parts("pages", "c1")

    for file in of.files:
        if "\x02secret" in file.text or "\x02accepted" in file.text:
            assert (file.mode, file.user) == (0o400, "redis"), file.path
    assert not any("\x02" in (unit.text or "") for unit in of.units)


@pytest.mark.parametrize(
    ("hosts", "settings", "key", "fix"),
    [
        ("c1 c2", {}, "hosts", "name 3 hosts in three zones, or take a cache with one primary: component: redis"),
        ("c1 c2 c3", {"copies": 3}, "copies", "copies: 1"),
        ("c1 c2 c3 c4 c5", {"copies": 1}, "copies", "copies: 2"),
    ],
)
def test_what_cannot_work_is_refused(hosts: str, settings: dict[str, Any], key: str, fix: str) -> None:
    problem = next(problem for problem in made(hosts=hosts, **settings).problems if problem.code == "S012")

    assert problem.path == f"tiers.pages.{key}"
    assert problem.fix == fix


def test_spare_is_refused() -> None:
    assert [problem.path for problem in made(spare="c4").problems] == ["tiers.pages.spare"]


def test_tier_with_a_host_more_has_the_copies_for_it() -> None:
    kind = c.Component.kinds["redis-cluster"]
    grown = kind.with_host(tier("pages", "redis-cluster", "c1 c2 c3 c4"), "c5")

    assert grown.hosts == ("c1", "c2", "c3", "c4", "c5")
    assert kind.objections(grown) == ()


@pytest.mark.parametrize(("hosts", "copies"), [("c1 c2 c3", 1), ("c1 c2 c3 c4 c5", 2)])
def test_pages_that_need_it_are_answered_while_most_hosts_are_there(hosts: str, copies: int) -> None:
    found = structure(made(hosts=hosts, copies=copies, is_needed=True).topology)
    without = structure(made(hosts=hosts, copies=copies).topology)

    for lost in combinations(hosts.split(), copies):
        assert not found.fails(Goal.SERVE, [Part(Kind.HOST, host) for host in lost])
    for lost in combinations(hosts.split(), copies + 1):
        assert found.fails(Goal.SERVE, [Part(Kind.HOST, host) for host in lost])
        assert not without.fails(Goal.SERVE, [Part(Kind.HOST, host) for host in lost])


def test_neighbours_in_the_ring_are_in_different_zones() -> None:
    for zones in ("aabbcc", "aab", "abc", "aabb", "aaabbb", "aabbc"):
        hosts = {f"h{number}": zone for number, zone in enumerate(zones)}
        ring = ring_of(hosts)
        same = sum(hosts[one] == hosts[other] for one, other in zip(ring, ring[1:] + ring[:1], strict=True))
        # Of three hosts in two zones two of one zone must be neighbours, since the ring closes.
        assert same == (1 if zones == "aab" else 0), (zones, ring)
        assert sorted(ring) == sorted(hosts)


def test_reader_is_told_what_it_keeps_and_what_clients_must_know() -> None:
    instance = made(memory_mib=100).topology.of_tier("pages")[0]
    said = " ".join(component_of(instance).remarks(made(memory_mib=100).topology))

    assert "3 shards" in said
    assert "300 MiB" in said
    assert "a client that knows such clusters" in said

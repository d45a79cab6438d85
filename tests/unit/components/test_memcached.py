"""Memcached's tiers and the proxy beside each application."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from tests.unit.stacks import NOTHING_ALLOTTED, stack

from nospof import component as c
from nospof.analysis.redundancy import redundancy_findings
from nospof.analysis.structure import Goal, Kind, Part, structure
from nospof.render.host import render
from nospof.resolve import Resolved, resolve
from nospof.stack.model import Stack, StackHost, Tier
from nospof.topology import InstanceId

BLOBS = {"base/onhost": "0123456789abcdef" * 4, "app/release": "1" * 64}
FACTS = c.Facts("3.13", "13.1", "x86_64", "host0", 16, 524288, 4096, 4)


def tier(name: str, component: str, hosts: str, to: str = "", **settings: Any) -> Tier:
    values = c.Component.kinds[component].settings_type.model_validate(settings)
    return Tier(name, component, tuple(hosts.split()), values, tuple(to.split()))


def shop(*, is_needed: bool = False) -> Stack:
    return stack(
        "lb1:a lb2:b app1:a app2:b c-1:a c-2:b",
        tier("load-balancer", "haproxy", "lb1 lb2", "app", mode="active-passive"),
        tier("app", "gunicorn", "app1 app2", "pages", source="./app", module="app:app", needs_cache=is_needed),
        tier("pages", "memcached", "c-1 c-2"),
    )


@cache
def made(*, is_needed: bool = False) -> Resolved:
    return resolve(shop(is_needed=is_needed), NOTHING_ALLOTTED)


def parts(tier_name: str, host: str) -> c.Parts:
    manifest = render(made().topology, host, FACTS, {}, BLOBS)
    return dict(manifest.parts)[InstanceId(tier_name, host)]


def text(suffix: str, of: c.Parts) -> str:
    return next(file.text for file in of.files if file.path.endswith(suffix))


def test_each_application_host_has_a_proxy_of_its_own() -> None:
    assert made().problems == ()
    assert [one.id.host for one in made().topology.of_tier("memcached-proxy")] == ["app1", "app2"]


def test_application_calls_the_local_proxy_and_no_server() -> None:
    called = {link.target.owner for link in made().topology.links_from(InstanceId("app", "app1"), "cache")}
    told = text("app.env", parts("app", "app1"))

    assert called == {InstanceId("memcached-proxy", "app1")}
    assert 'CACHE_URL="memcached://pages:11211"' in told
    assert "CACHE_PASSWORD" not in told


def test_between_hosts_both_sides_show_certificates() -> None:
    crossing = [link.target.listen for link in made().topology.links if link.target.owner.tier == "pages"]
    server = parts("pages", "c-1").units[0].text or ""
    links = text("links.cfg", parts("memcached-proxy", "app1"))

    assert crossing
    assert {listen.tls for listen in crossing} == {c.Tls.MUTUAL}
    assert "--enable-ssl" in server
    assert "ssl_verify_mode=2" in server
    assert "ssl verify required" in links
    assert "verifyhost c-1" in links


def test_entries_are_written_to_all_servers_and_read_from_any() -> None:
    routes = text("pages.lua", parts("memcached-proxy", "app1"))

    assert 'c_1 = { backends = { "127.0.1.1:11300" } },' in routes
    assert 'local everybody = { "c_1", "c_2", }' in routes
    assert "get = route_failover{ children = everybody, miss = true }" in routes
    assert "default = route_everybody{ children = everybody }" in routes


def test_spare_is_read_from_last() -> None:
    spare = tuple(replace(one, spare=("a-0",)) if one.name == "pages" else one for one in shop().tiers)
    backed = replace(shop(), tiers=spare, hosts=(*shop().hosts, StackHost("a-0", "c")))
    manifest = render(resolve(backed, NOTHING_ALLOTTED).topology, "app1", FACTS, {}, BLOBS)
    routes = text("pages.lua", dict(manifest.parts)[InstanceId("memcached-proxy", "app1")])

    assert 'local everybody = { "c_1", "c_2", "a_0", }' in routes


def test_proxy_answers_on_the_hosts_own_loopback_address_only() -> None:
    unit = next(unit for unit in parts("memcached-proxy", "app1").units if unit.name == "nospof-memcached-pages.service")

    assert "--listen=127.0.1.1 --port=11211" in (unit.text or "")


def test_lost_servers_stop_only_those_who_need_them() -> None:
    servers = [Part(Kind.PROCESS, "pages/c-1"), Part(Kind.PROCESS, "pages/c-2")]

    assert not structure(made().topology).fails(Goal.SERVE, servers)
    assert structure(made(is_needed=True).topology).fails(Goal.SERVE, servers)
    assert structure(made(is_needed=True).topology).single(Goal.SERVE) == frozenset()


def test_two_zones_of_copies_are_enough() -> None:
    found = {problem.code for problem in redundancy_findings(shop(), made().topology, made().allotment)}

    assert "F203" not in found

"""What Varnish's hosts get: two encrypted ends, what is kept and what never, who may purge, and what its loss costs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nospof.analysis.structure import Goal, Kind, Part, structure
from nospof.component import Component, Context, Facts, Parts
from nospof.resolve import Allotment, component_of, resolve
from nospof.stack.model import Stack, StackHost, Tier
from nospof.topology import InstanceId, Tls, Topology

FACTS = Facts("3.13", "13.1", "x86_64", "eth0", 24, 20000, 4096, 4)
ZONES = {"lb1": "a", "lb2": "b", "c1": "a", "c2": "b", "c3": "a", "web1": "a", "web2": "b", "mon1": "a"}


def tier(name: str, component: str, hosts: str, to: str = "", **settings: Any) -> Tier:
    values = Component.kinds[component].settings_type.model_validate(settings)
    return Tier(name, component, tuple(hosts.split()), values, tuple(to.split()))


def app(name: str = "app", **settings: Any) -> Tier:
    return tier(name, "gunicorn", "web1 web2", **{"source": "app", "module": "shop:app", **settings})


def topology(*more: Tier, hosts: str = "c1 c2", to: str = "app", **settings: Any) -> Topology:
    """Load balancers, Varnish on `hosts` with these settings, the application, and `more`."""
    tiers = (
        tier("load-balancer", "haproxy", "lb1 lb2", "pages"),
        tier("pages", "varnish", hosts, to, **settings),
        *((app(),) if to == "app" else ()),
        *more,
    )
    places = tuple(StackHost(name, zone) for name, zone in ZONES.items())
    found = resolve(Stack("shop", "shop.example.com", places, tiers, Path("stack.yaml")), Allotment())
    assert found.problems == ()
    return found.topology


def parts(graph: Topology, host: str = "c1") -> Parts:
    instance = graph.instance(InstanceId("pages", host))
    return component_of(instance).parts(Context(graph, instance, FACTS, {}, {}))


def text(of: Parts, name: str) -> str:
    return next(file.text for file in of.files if file.path == f"/etc/nospof/varnish/{name}")


def unit(of: Parts, name: str) -> str:
    return next(unit.text or "" for unit in of.units if unit.name == name)


def section(of: Parts, name: str) -> str:
    """One frontend or backend of HAProxy's."""
    return re.split(r"\n(?=frontend|backend|#)", text(of, "links.cfg").split(f"\n{name}\n")[1])[0]


def expression(of: Parts, before: str) -> re.Pattern[str]:
    """The regular expression in VCL that follows `before`."""
    return re.compile(text(of, "pages.vcl").split(before)[1].split('"')[1])


# --- its two ends -------------------------------------------------------------------------------------------------------
def test_between_hosts_nothing_is_unencrypted() -> None:
    graph = topology()
    crossing = [link for link in graph.links if "pages" in (link.source.tier, link.target.owner.tier)]

    assert {link.target.listen.tls for link in crossing} == {Tls.MUTUAL}
    binds = re.findall(r"bind (?!unix).*", text(parts(graph), "links.cfg"))
    assert len(binds) == 2, "callers, and the other host of its tier"
    assert all(bind.endswith("ca-file /etc/nospof/tls/ca.pem verify required") for bind in binds)
    servers = re.findall(r"    server (?!varnish|around).*", text(parts(graph), "links.cfg"))
    assert len(servers) == 7
    assert all("verifyhost" in server for server in servers)


def test_nobody_else_on_the_host_can_ask_varnish_itself() -> None:
    of = parts(topology())

    assert "UMask=0077" in unit(of, "varnish.service").splitlines()
    assert "misses.sock mode 600" in text(of, "links.cfg")
    for name in ("varnish.service", "nospof-varnish-links.service"):
        assert {"RuntimeDirectoryMode=0700", "User=vcache"} <= set(unit(of, name).splitlines())


def test_what_the_two_ends_tell_each_other_is_not_believed_of_callers() -> None:
    of = parts(topology())

    for name in ("frontend callers", "frontend peers"):
        lines = section(of, name).splitlines()
        forgets = next(number for number, line in enumerate(lines) if "del-header X-Nospof- -m beg" in line)
        believes = next(number for number, line in enumerate(lines) if "set-header X-Nospof-" in line)
        assert forgets < believes
    assert "del-header X-Nospof- -m beg" in section(of, "frontend misses"), "applications see none of it"


def test_only_what_can_be_kept_passes_through_varnish() -> None:
    choices = re.findall(r"use_backend (.*)", section(parts(topology()), "frontend callers"))

    assert choices == [
        "kept.here if purges",
        "kept.here if may_be_kept !upgrades",
        "%[var(txn.site)].any if { var(txn.site),nbsrv eq 0 }",
        "%[var(txn.site)].once",
    ]


def test_without_varnish_pages_come_from_the_applications_and_health_is_bad() -> None:
    of = parts(topology())

    assert section(of, "backend kept.here").splitlines()[-1].strip().startswith("server around unix@/run/nospof-varnish-links/")
    assert section(of, "backend kept.here").splitlines()[-1].endswith(" backup")
    assert "return status 503 if { req.hdr(X-Nospof-Health) -m found }" in section(of, "frontend misses")


def test_each_site_has_its_own_servers_health_and_conditions() -> None:
    graph = topology(
        tier("web", "nginx", "web1 web2", "shop blog"),
        app("shop", path="/shop/"),
        app("blog", domain="blog.example.com", port=8001),
        to="web",
    )
    of = parts(graph)

    assert "str(shop) if { path,concat(/) -m beg /shop/ }" in section(of, "frontend callers")
    assert "str(blog) if { req.hdr(host),host_only -i -m str blog.example.com }" in section(of, "frontend callers")
    assert "uri /shop/health ver HTTP/1.1 hdr Host shop.example.com" in section(of, "backend shop")
    assert "uri /health ver HTTP/1.1 hdr Host blog.example.com" in section(of, "backend blog")
    assert re.findall(r"backend (site_\w+) \{", text(of, "pages.vcl")) == ["site_shop", "site_blog"]
    assert [probe.argv[-1] for probe in of.healthy_when] == [
        f"https://{graph.host('c1').address}:6443{path}" for path in ("/shop/health", "/health")
    ]


def test_tier_with_a_hyphen_has_a_name_that_vcl_takes() -> None:
    assert "backend site_my_app {" in text(parts(topology(app("my-app"), to="my-app")), "pages.vcl")


# --- what is kept -------------------------------------------------------------------------------------------------------
def test_how_applications_are_is_always_asked_of_them() -> None:
    never = expression(
        parts(topology(never=["/admin/", "/a.b"])), 'return (synth(503, "No application is well"));\n    }\n    if (req.url ~ '
    )

    for path in ("/ready", "/ready?x=1", "/admin", "/admin/", "/admin/x", "/admin?x", "/a.b"):
        assert never.match(path), path
    for path in ("/", "/readiness", "/administer", "/aab", "/x/ready"):
        assert not never.match(path), path


def test_old_pages_are_shown_for_as_long_as_is_set_and_no_fresher_ones_are_made_old() -> None:
    vcl = text(parts(topology(grace_s=600, ttl_s=5)), "pages.vcl")

    assert re.findall(r"set req\.grace = (\d+)s", vcl) == ["600", "1", "600"]
    assert "set beresp.grace = 600s;" in vcl
    assert "set beresp.ttl = 5s;" in vcl
    assert "set beresp.grace = 1s;" in text(parts(topology(grace_s=0)), "pages.vcl")


def test_error_never_takes_the_place_of_a_page() -> None:
    vcl = text(parts(topology()), "pages.vcl")

    assert vcl.index("return (error(beresp.status") < vcl.index("set beresp.ttl = 1s")
    assert vcl.index("return (abandon)") < vcl.index("set beresp.ttl = 0s")


@pytest.mark.parametrize(
    ("cookies", "left"),
    [
        ("_ga=1", ""),
        ("_ga_X1=a.b; _gid=c", ""),
        ("_ga=1; session=2", "session=2"),
        ("session=_ga=1", "session=_ga=1"),
        ("m.t=1", ""),
        ("mxt=1", "mxt=1"),
    ],
)
def test_cookies_that_no_application_reads_do_not_count(cookies: str, left: str) -> None:
    of = parts(topology(unread_cookies=["_ga", "_gid", "m.t"]))

    assert expression(of, "regsuball(req.http.Cookie, ").sub("", cookies).lstrip("; ") == left


def test_files_are_the_same_for_everybody() -> None:
    assert expression(parts(topology()), "set req.grace = 3600s;\n    }\n    if (req.url ~ ").match("/static/style.css")


@pytest.mark.parametrize(
    "settings", [{"never": ['/x"']}, {"never": ["x"]}, {"unread_cookies": ["a b"]}, {"ttl_s": -1}, {"port": 65535}]
)
def test_settings_that_would_break_it_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        topology(**settings)


# --- purging ------------------------------------------------------------------------------------------------------------
def test_only_hosts_of_the_stack_may_purge() -> None:
    graph = topology()
    rule = next(line for line in section(parts(graph), "frontend callers").splitlines() if "may purge" in line)

    allowed = set(re.findall(r"\d+\.\d+\.\d+\.\d+", rule))
    assert allowed == {host.address for host in graph.hosts} | {vip.address for vip in graph.vips}
    assert "return status 403" in rule


def test_each_host_tells_every_other_of_a_purge_once() -> None:
    of = parts(topology(hosts="c1 c2 c3"))
    vcl = text(of, "pages.vcl")

    assert re.findall(r'req\.restarts == (\d)\) \{\n            set req\.http\.X-Nospof-Tell = "(\w+)"', vcl) == [
        ("1", "c2"),
        ("2", "c3"),
    ]
    assert "if (req.restarts < 2)" in vcl
    assert "max_restarts=3 " in unit(of, "varnish.service")
    assert "if (!req.http.X-Nospof-Told)" in vcl, "who is told tells nobody"
    assert section(of, "backend peer.c3")


def test_one_alone_tells_nobody() -> None:
    of = parts(topology(hosts="c1"))

    assert "frontend peers" not in text(of, "links.cfg")
    assert "X-Nospof-Told" not in text(of, "pages.vcl")


# --- in the stack -------------------------------------------------------------------------------------------------------
def test_any_one_of_them_is_enough() -> None:
    graph = topology()
    both = [Part(Kind.PROCESS, "pages/c1"), Part(Kind.PROCESS, "pages/c2")]

    assert structure(graph).single(Goal.SERVE) == frozenset()
    assert structure(graph).fails(Goal.SERVE, both)
    assert structure(topology(hosts="c1")).single(Goal.SERVE) >= {Part(Kind.HOST, "c1"), Part(Kind.PROCESS, "pages/c1")}


def test_figures_are_told_where_somebody_watches() -> None:
    watched = topology(tier("monitoring", "prometheus", "mon1"))

    assert f"-web.listen-address {watched.host('c1').address}:9131" in unit(
        parts(watched), "prometheus-varnish-exporter.service"
    )
    assert "prometheus-varnish-exporter.service" not in {unit.name for unit in parts(topology()).units}


def test_readers_of_the_design_learn_what_visitors_see_while_no_application_answers() -> None:
    graph = topology(grace_s=60)

    assert "for up to 60 s" in component_of(graph.of_tier("pages")[0]).remarks(graph)[0]
    without = topology(grace_s=0)
    assert component_of(without.of_tier("pages")[0]).remarks(without) == ()


def test_change_of_what_is_kept_is_a_reload_and_the_pages_stay() -> None:
    before, after = parts(topology(ttl_s=1)), parts(topology(ttl_s=2))

    changed = {file.path for file in before.files} - {file.path for file in before.files if file in after.files}
    assert changed == {"/etc/nospof/varnish/pages.vcl"}
    assert before.units == after.units

"""What all applications have, whatever they are written in: a migration, and folders that are sites."""

from __future__ import annotations

from pathlib import Path

import pytest

from nospof.component import Component, Context, Facts, Parts
from nospof.drills.visitors import Rates, visits
from nospof.resolve import Allotment, Resolved, component_of, resolve
from nospof.stack.model import Stack, StackHost, Tier
from nospof.topology import InstanceId

FACTS = Facts("3.13", "13.1", "x86_64", "eth0", 24, 20000, 4096, 4)
MIGRATION = {"migrate": "python3 manage.py migrate --noinput", "migrated": "python3 manage.py migrate --check"}
BLOBS = {"app/release": "a" * 64, "app/files": "b" * 64, "base/onhost": "0" * 64}
OF = {"gunicorn": {"module": "shop:app"}, "uvicorn": {"module": "shop:app"}, "php-fpm": {}, "static": {}}
applications = pytest.mark.parametrize("component", ["gunicorn", "uvicorn", "php-fpm"])


def resolved(component: str, **settings: object) -> Resolved:
    kind = Component.kinds[component]
    values = kind.settings_type.model_validate({"source": "app", **OF[component], **settings})
    hosts = (StackHost("web1", "a"), StackHost("web2", "b"))
    web = Tier("web", "nginx", ("web1", "web2"), Component.kinds["nginx"].settings_type(), ("app",))
    tiers = (web, Tier("app", component, ("web1", "web2"), values))
    return resolve(Stack("shop", "shop.example.com", hosts, tiers, Path("stack.yaml")), Allotment())


def parts(component: str, **settings: object) -> Parts:
    graph = resolved(component, **settings).topology
    instance = graph.instance(InstanceId("app", "web1"))
    return component_of(instance).parts(Context(graph, instance, FACTS, {}, BLOBS))


@applications
def test_migration_is_run_as_the_application_is(component: str) -> None:
    (step,) = parts(component, **MIGRATION, migrate_s=60).steps

    assert step.argv[-1] == MIGRATION["migrate"]
    assert step.done_when[-1] == MIGRATION["migrated"]
    assert step.timeout_s == 60
    for argv in (step.argv, step.done_when):
        assert "--uid=nospof-app" in argv
        assert "--property=EnvironmentFile=/etc/nospof/app.env" in argv
        assert "--property=WorkingDirectory=/srv/nospof/app/releases/aaaaaaaaaaaa/app" in argv


@pytest.mark.parametrize("component", ["gunicorn", "uvicorn"])
def test_migration_finds_the_releases_packages(component: str) -> None:
    (step,) = parts(component, **MIGRATION).steps

    assert "--setenv=PYTHONPATH=/srv/nospof/app/releases/aaaaaaaaaaaa/site-packages" in step.argv


@applications
def test_without_a_migration_nothing_is_run(component: str) -> None:
    assert parts(component).steps == ()


@applications
@pytest.mark.parametrize("key", sorted(MIGRATION))
def test_migration_that_cannot_know_when_it_is_done_is_refused(component: str, key: str) -> None:
    (problem,) = resolved(component, **{key: MIGRATION[key]}).problems

    assert (problem.code, problem.path) == ("S011", f"tiers.app.{key}")


def test_a_folder_of_files_needs_nothing_running() -> None:
    made = parts("static")

    assert not [*made.units, *made.files, *made.healthy_when]
    assert made.trees[0].path == "/srv/nospof/app/releases/bbbbbbbbbbbb"
    assert made.symlinks[0].for_units == (), "web servers look it up at each request"


ASKED = [
    ({}, "/docs/"),
    ({"page": "a/b.css"}, "/docs/a/b.css"),
    ({"page": "a/index.html"}, "/docs/a/"),
    ({"page": "my-index.html"}, "/docs/my-index.html"),
]


@pytest.mark.parametrize(("settings", "asked"), ASKED)
def test_a_folder_of_files_is_asked_for_a_page_that_is_in_it(settings: dict[str, str], asked: str) -> None:
    values = Component.kinds["static"].settings_type.model_validate({"source": "docs", "path": "/docs/", **settings})
    tiers = (
        Tier("web", "nginx", ("web-a",), Component.kinds["nginx"].settings_type(), ("docs",)),
        Tier("docs", "static", ("web-a",), values),
    )
    topology = resolve(Stack("s", "s.example.com", (StackHost("web-a", "a"),), tiers, Path("stack.yaml")), Allotment()).topology

    (site,) = topology.endpoints_of(InstanceId("docs", "web-a"))[0].listen.sites
    assert [load.path for _, _, load in visits([site], Rates())] == [asked]


# --- caches of two kinds ------------------------------------------------------------------------------------------------
def with_caches(component: str, **settings: object) -> Resolved:
    values = Component.kinds[component].settings_type.model_validate({"source": "app", **OF[component], **settings})
    hosts = tuple(StackHost(name, name[-1]) for name in ("web-a", "web-b", "db-a", "db-b", "w-c"))
    tiers = (
        Tier("web", "nginx", ("web-a", "web-b"), Component.kinds["nginx"].settings_type(), ("app",)),
        Tier("app", component, ("web-a", "web-b"), values, ("sessions", "pages")),
        Tier("sessions", "valkey", ("db-a", "db-b", "w-c"), Component.kinds["valkey"].settings_type()),
        Tier("pages", "memcached", ("db-a", "db-b"), Component.kinds["memcached"].settings_type()),
    )
    return resolve(Stack("shop", "shop.example.com", hosts, tiers, Path("stack.yaml")), Allotment())


@applications
@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({}, set()),
        ({"needs_cache": "on"}, {"database-router", "memcached-proxy"}),
        ({"needs_cache": "on", "optional_caches": ["pages"]}, {"database-router"}),
        ({"needs_cache": "on", "optional_caches": ["sessions"]}, {"memcached-proxy"}),
    ],
)
def test_pages_need_the_caches_that_they_do_not_do_without(
    component: str, settings: dict[str, object], needed: set[str]
) -> None:
    made = with_caches(component, **settings)
    links = made.topology.links_from(InstanceId("app", "web-a"), "cache")

    assert made.problems == ()
    assert {link.target.owner.tier for link in links} == {"database-router", "memcached-proxy"}, "all are called"
    assert {link.target.owner.tier for link in links if link.is_required} == needed
    assert len({link.target for link in links}) == len(links)


@applications
def test_lost_cache_that_pages_do_without_takes_no_host_out(component: str) -> None:
    graph = with_caches(component, needs_cache="on", optional_caches=["pages"]).topology
    here = Context(graph, graph.instance(InstanceId("app", "web-a")), FACTS, {}, BLOBS)

    assert here.names_needed() == ("sessions",)
    assert not any("memcached" in path for path in here.alive_files_beside())


@applications
@pytest.mark.parametrize(
    ("settings", "code"),
    [({"needs_cache": "on", "optional_caches": ["page"]}, "S015"), ({"optional_caches": ["pages"]}, "S011")],
)
def test_caches_to_do_without_are_among_those_that_are_needed(component: str, settings: dict[str, object], code: str) -> None:
    (problem,) = with_caches(component, **settings).problems

    assert (problem.code, problem.path) == (code, "tiers.app.optional_caches")

"""What holds for every component there is, and for those still to come."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from alert_cases import second_stack
from tests.unit.stacks import NOTHING_ALLOTTED, example, stack

from nospof.component import Component, Context, Facts
from nospof.resolve import component_of, resolve
from nospof.stack.model import Stack, Tier
from nospof.topology import Instance, Topology

KINDS = {name: kind for name, kind in sorted(Component.kinds.items()) if kind.__module__.startswith("nospof.components.")}
FACTS = Facts("3.13", "13.1", "x86_64", "host0", 16, 524288, 4096, 4)

every_component = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def test_flagships_components_are_here() -> None:
    assert {"haproxy", "keepalived", "nginx", "gunicorn", "mariadb", "database-router"} <= set(KINDS)


@every_component
def test_file_says_what_it_is_and_where_that_is_from(kind: type[Component[Any]]) -> None:
    doc = sys.modules[kind.__module__].__doc__ or ""

    assert doc[:1].isalpha()
    assert doc.splitlines()[0].endswith((".", ","))
    assert "Source:" in doc


@every_component
def test_component_is_alone_in_its_file(kind: type[Component[Any]]) -> None:
    others = [name for name, other in KINDS.items() if other.__module__ == kind.__module__]

    assert others == [kind.name]
    assert kind.__module__.split(".")[2] == kind.name.replace("-", "_")


@every_component
def test_name_can_be_a_unit_and_a_key(kind: type[Component[Any]]) -> None:
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?", kind.name)


@every_component
def test_every_setting_is_described(kind: type[Component[Any]]) -> None:
    for name, field in kind.settings_type.model_fields.items():
        assert field.description, name
        assert field.description.endswith((".", "?")), name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)


@every_component
def test_settings_refuse_what_they_do_not_know_and_never_change(kind: type[Component[Any]]) -> None:
    assert kind.settings_type.model_config.get("extra") == "forbid"
    assert kind.settings_type.model_config.get("frozen") is True


@every_component
def test_implied_component_needs_no_settings(kind: type[Component[Any]]) -> None:
    if kind.provides:
        kind.settings_type()


@every_component
def test_packages_are_constant_names_of_debian_packages(kind: type[Component[Any]]) -> None:
    """The lab's image is made from them before there is any instance."""
    assert isinstance(kind.packages, tuple)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", package) for package in kind.packages)
    assert len(set(kind.packages)) == len(kind.packages)


def tier(name: str, component: str, hosts: str, to: str = "", **settings: Any) -> Tier:
    values = Component.kinds[component].settings_type.model_validate(settings)
    return Tier(name, component, tuple(hosts.split()), values, tuple(to.split()))


def of_the_others() -> Stack:
    """What no example has."""
    return stack(
        "lb1:a web1:a web2:b c1:a c2:b db1:a db2:b w1:c",
        tier("load-balancer", "haproxy", "lb1", "pages"),
        tier("pages", "varnish", "web1 web2", "web perl"),
        tier("web", "nginx", "web1 web2", "live docs perl"),
        tier("live", "uvicorn", "web1 web2", "sessions", source="./live", module="live:app", path="/live/"),
        tier("docs", "static", "web1 web2", source="./docs", path="/docs/"),
        tier("perl", "starman", "web1 web2", "database entries counts shards", source="./perl"),
        tier("database", "mysql", "db1 db2", witness="w1"),
        tier("sessions", "valkey", "c1 c2"),
        tier("counts", "redis", "c1 c2", port=6380),
        tier("entries", "memcached", "c1 c2"),
        tier("shards", "redis-cluster", "web1 web2 w1"),
        tier("monitoring", "prometheus", "w1"),
        name="others",
    )


def instances_of_the_examples() -> Iterator[tuple[Topology, Instance]]:
    """And of two more stacks, with components that no example has."""
    for made_from in (example("distributed"), example("lamp"), second_stack(), of_the_others()):
        made = resolve(made_from, NOTHING_ALLOTTED).topology
        for instance in made.instances:
            yield made, instance


INSTANCES = list(instances_of_the_examples())
every_instance = pytest.mark.parametrize(
    ("made", "instance"), INSTANCES, ids=[f"{made.stack}: {instance.id}" for made, instance in INSTANCES]
)


def context(made: Topology, instance: Instance, facts: Facts = FACTS) -> Context:
    sources = {f"{one.id.tier}/{source.name}" for one in made.instances for source in component_of(one).sources}
    choices = {
        f"{one.id.tier}/{choice}": made.of_tier(one.id.tier)[0].id.host
        for one in made.instances
        for choice in Component.kinds[one.component].chooses_once
    }
    return Context(
        made,
        instance,
        facts,
        choices,
        dict.fromkeys([*sources, "base/onhost"], "0123456789abcdef" * 4),
    )


@every_instance
def test_parts_are_the_same_each_time(made: Topology, instance: Instance) -> None:
    named = {(topology.stack, other.id): (topology, other) for topology, other in instances_of_the_examples()}
    again = named[made.stack, instance.id]

    first = component_of(instance).parts(context(made, instance))

    assert first == component_of(instance).parts(context(made, instance))
    assert first == component_of(again[1]).parts(context(*again))
    assert hash(first) == hash(component_of(instance).parts(context(made, instance)))


@every_instance
def test_declarations_are_the_same_each_time(made: Topology, instance: Instance) -> None:
    one, other = component_of(instance), component_of(instance)

    assert (one.listens, one.connects, one.wants) == (other.listens, other.connects, other.wants)
    assert (one.sources, one.touch_last_if) == (other.sources, other.touch_last_if)
    assert len({listen.name for listen in one.listens}) == len(one.listens)


@every_instance
def test_health_is_asked_at_an_endpoint_that_the_component_has(made: Topology, instance: Instance) -> None:
    listens = component_of(instance).listens
    names = {listen.name for listen in listens}

    assert {listen.checked_at for listen in listens} <= names | {""}


@every_instance
def test_files_have_absolute_paths_and_an_end(made: Topology, instance: Instance) -> None:
    parts = component_of(instance).parts(context(made, instance))
    paths = [file.path for file in parts.files]

    assert all(path.startswith("/") for path in paths)
    assert len(set(paths)) == len(paths)
    for file in parts.files:
        assert file.text.endswith(("\n", "\x03")), file.path
        # What is left to Prometheus and Alertmanager to fill in begins otherwise than anything of ours.
        theirs = re.sub(r"\{\{-? ?(\$|\.|template|define|range|if|else|end|len|slice).*?\}\}", "", file.text)
        assert not re.search(r"\{\{|\{%", theirs), file.path
        if not file.path.endswith(".py") and "python" not in file.text[:30]:
            assert not re.search(r"[=:] ?None\b", file.text), file.path
        if file.mode & 0o111:
            assert file.text.startswith("#!/"), file.path


@every_instance
def test_files_are_for_units_that_there_are(made: Topology, instance: Instance) -> None:
    """Incident: a certificate was for a unit that only some hosts have, and the others' manifest could not be carried out."""
    parts = component_of(instance).parts(context(made, instance))
    told = [*(file.for_units for file in parts.files), *(link.for_units for link in parts.symlinks)]
    noticing = {unit for units in told for unit in units}

    assert noticing <= {unit.name for unit in parts.units} | {"*"}


@every_instance
def test_units_name_programs_by_their_whole_path(made: Topology, instance: Instance) -> None:
    for unit in component_of(instance).parts(context(made, instance)).units:
        for text in (unit.text or "", unit.drop_in or ""):
            for command in re.findall(r"(?m)^Exec\w+=[-+!@:]*(\S*)", text):
                assert command == "" or command.startswith("/"), (unit.name, command)


@every_instance
def test_data_between_hosts_is_encrypted(made: Topology, instance: Instance) -> None:
    for link in made.links_from(instance.id):
        if not link.is_local and link.target.listen.speaks.carries_data:
            assert link.target.listen.tls.value != "none", str(link.target)


@every_instance
def test_parts_suit_a_small_host_and_a_large_one(made: Topology, instance: Instance) -> None:
    small = Facts("3.11", "12.0", "aarch64", "eth0", 24, 1024, 256, 1)
    large = Facts("3.13", "13.9", "x86_64", "bond0.100", 8, 1 << 30, 1 << 20, 256)

    for facts in (small, large):
        assert component_of(instance).parts(context(made, instance, facts)) is not None


@pytest.mark.parametrize("name", sorted(name for name in Component.kinds if not name.startswith("test-")))
def test_component_tells_a_beginner_what_it_is_and_why(name: str) -> None:
    kind = Component.kinds[name]

    for text in (kind.about, kind.why, kind.when_lost):
        assert text.endswith("."), "about, why and when_lost are sentences: nospof explain shows them"

"""Exporters are there where somebody reads their figures, belong to what they measure, and show nobody else anything."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import pytest
from alert_cases import second_stack
from tests.unit.stacks import NOTHING_ALLOTTED, example

from nospof import component as c
from nospof.render.firewall import input_rules
from nospof.render.host import all_packages, packages_of
from nospof.resolve import component_of, resolve
from nospof.topology import InstanceId, Topology

FACTS = c.Facts("3.13", "13.1", "x86_64", "host0", 16, 524288, 4096, 4)
BLOBS = {"base/onhost": "0123456789abcdef" * 4, "app/release": "1" * 64, "pages/release": "1" * 64}
EXPORTERS = {
    "database/db2": ("prometheus-mysqld-exporter", 9104),
    "web/web1": ("prometheus-nginx-exporter", 9113),
    "www/one": ("prometheus-apache-exporter", 9117),
    "cache/one": ("prometheus-redis-exporter", 9121),
    "sessions/two": ("prometheus-redis-exporter", 9122),
}


@cache
def topologies(is_watched: bool = True) -> tuple[Topology, Topology]:
    """The example and the second stack; or both without their tier that watches."""
    found = []
    for stack in (example(), second_stack()):
        tiers = tuple(tier for tier in stack.tiers if is_watched or tier.name != "monitoring")
        found.append(resolve(replace(stack, tiers=tiers), NOTHING_ALLOTTED).topology)
    return found[0], found[1]


def made(name: str, is_watched: bool = True) -> tuple[Topology, c.Parts]:
    """The topology that has this instance, and what its host must have for it."""
    instance = InstanceId(*name.split("/"))
    topology = next(one for one in topologies(is_watched) if any(other.id == instance for other in one.instances))
    choices = {f"{one.id.tier}/first-primary": one.id.host for one in reversed(topology.instances)}
    one = topology.instance(instance)
    return topology, component_of(one).parts(c.Context(topology, one, FACTS, choices, BLOBS))


def exporter_of(parts: c.Parts) -> c.Unit:
    (unit,) = (unit for unit in parts.units if unit.is_aside)
    return unit


@pytest.mark.parametrize(("name", "expected"), EXPORTERS.items())
def test_exporter_runs_beside_its_server_and_is_none_of_its_health(name: str, expected: tuple[str, int]) -> None:
    topology, parts = made(name)
    program, port = expected
    unit = exporter_of(parts)
    assert f"ExecStart=/usr/bin/{program} \\\n" in (unit.text or "")
    assert "User=prometheus" in (unit.text or "")
    assert f"{topology.host(name.split('/')[1]).address}:{port}" in (unit.text or "")
    assert not any(program in " ".join(probe.argv) for probe in parts.healthy_when)


@pytest.mark.parametrize(("name", "expected"), EXPORTERS.items())
def test_its_port_wants_a_certificate_and_lets_in_those_who_watch_only(name: str, expected: tuple[str, int]) -> None:
    topology, parts = made(name)
    _, port = expected
    text = exporter_of(parts).text or ""
    files = {file.path: file.text for file in parts.files}
    web = re.search(r"--web.config.file=(\S+)", text)
    shown = files[web[1]] if web else text
    for secret in ("certificate.pem", "key.pem", "ca.pem"):
        assert f"/run/credentials/nospof-{name.split('/')[0]}-figures.service/{secret}" in shown
    assert "RequireAndVerifyClientCert" in shown if web else "-tls-server-ca-cert-file=" in shown
    watching = {topology.host(one.id.host).address for one in topology.of_tier("monitoring")}
    rules = [rule for rule in input_rules(topology, name.split("/")[1]) if f"dport {port} " in rule]
    assert {address for rule in rules for address in re.findall(r"198\.18\.[\d.]+", rule)} <= watching
    assert rules


@pytest.mark.parametrize("name", EXPORTERS)
def test_no_secret_is_in_its_command_or_in_a_file_that_others_read(name: str) -> None:
    _, parts = made(name)
    token = c.token("secret", f"{name.split('/')[0]}/figures")
    assert token not in (exporter_of(parts).text or "")
    for file in parts.files:
        assert token not in file.text or file.mode in (0o400, 0o600), file.path


@pytest.mark.parametrize("name", EXPORTERS)
def test_where_nobody_watches_there_is_none_and_no_account_for_it(name: str) -> None:
    _, parts = made(name, is_watched=False)
    assert not [unit for unit in parts.units if unit.is_aside]
    assert not [
        file.path for file in parts.files if "figures" in file.path or "/figures" in file.text or "stub_status" in file.text
    ]


@pytest.mark.parametrize(("name", "expected"), EXPORTERS.items())
def test_its_package_is_on_hosts_where_it_runs_and_in_the_labs_image(name: str, expected: tuple[str, int]) -> None:
    program, _ = expected
    host = name.split("/")[1]
    assert program in packages_of(made(name)[0], host)
    assert program not in packages_of(made(name, is_watched=False)[0], host)
    assert program in all_packages()


@pytest.mark.parametrize("name", EXPORTERS)
def test_new_certificate_restarts_it(name: str) -> None:
    """systemd hands them over when it starts."""
    _, parts = made(name)
    keys = [file for file in parts.files if file.path.endswith(".key")]
    unit = exporter_of(parts).name
    assert keys
    assert all({unit, "*"} & set(file.for_units) for file in keys)


def test_database_account_for_figures_is_for_the_socket_and_may_see_how_far_a_copy_is() -> None:
    _, parts = made("database/db2")
    accounts = next(file.text for file in parts.files if file.path.endswith("accounts.json"))
    assert '"user": "nospof_figures"' in accounts
    figures = accounts[accounts.index('"figures"') :]
    assert re.search(r'"from": \[\s*"localhost"\s*\]', figures)


def test_cache_account_for_figures_sees_no_entry() -> None:
    _, parts = made("cache/one")
    config = next(file.text for file in parts.files if file.path.endswith("users.acl"))
    rights = re.search(r"(?m)^user nospof_figures on >[^\x03]+\x03 (.*)$", config)
    assert rights
    words = rights[1].split()
    assert words[:3] == ["resetkeys", "resetchannels", "-@all"]
    assert set(words[3:]) == {"+info", "+ping", "+slowlog|len", "+slowlog|get", "+latency|latest"}


def test_what_has_no_exporter_tells_its_figures_by_a_program_of_ours() -> None:
    topology = topologies()[1]
    exporter = component_of(topology.instance(InstanceId("node-exporter", "one")))
    told = next(
        file.text
        for file in exporter.parts(c.Context(topology, topology.instance(exporter.id), FACTS, {}, BLOBS)).files
        if file.path.endswith("measures.json")
    )
    assert '"store/one": [' in told
    assert '"memcached_ask"' in told
    assert '"php_fpm_figures"' in told
    assert '"/run/nospof/cache/note.json"' in told

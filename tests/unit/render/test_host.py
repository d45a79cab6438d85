from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from tests.unit.stacks import NOTHING_ALLOTTED, example, tier, topology

from nospof.component import Component, Facts, File, Ownership, Parts
from nospof.errors import WrongInput
from nospof.render.base import BASE_PACKAGES
from nospof.render.host import Manifest, all_packages, packages_of, render
from nospof.resolve import component_of, resolve
from nospof.topology import InstanceId, Topology

FACTS = Facts("3.13", "13.1", "x86_64", "host0", 16, 524288, 4096, 4)


def blobs_of(made: Topology) -> Mapping[str, str]:
    """Any content for every source there is."""
    names = {f"{one.id.tier}/{source.name}" for one in made.instances for source in component_of(one).sources}
    return {name: f"{number:064x}" for number, name in enumerate(sorted(names | {"base/onhost"}), 1)}


def manifest(made: Topology, host: str) -> Manifest:
    choices = {"database/first-primary": "db1"}
    return render(made, host, FACTS, choices, blobs_of(made))


def files(one: Manifest) -> dict[str, File]:
    return {file.path: file for _, parts in one.parts for file in parts.files}


@pytest.fixture(scope="module")
def shop() -> Topology:
    found = resolve(example(), NOTHING_ALLOTTED)
    assert found.problems == ()
    return found.topology


def test_manifest_has_the_base_the_firewall_and_every_instance(shop: Topology) -> None:
    for host in shop.hosts:
        tiers = [instance.tier for instance, _ in manifest(shop, host.name).parts]
        assert tiers == ["base", "firewall", *(one.id.tier for one in shop.on_host(host.name))]


def test_firewall_that_is_switched_off_is_taken_away_and_not_just_forgotten() -> None:
    made = topology("w:a", tier("web", "web", "w"), has_firewall=False)

    firewall = dict(manifest(made, "w").parts)[InstanceId("firewall", "w")]
    assert firewall.files[0].text.endswith("delete table inet nospof\n")


def test_same_input_gives_the_same_bytes(shop: Topology) -> None:
    again = resolve(example(), NOTHING_ALLOTTED).topology

    for host in shop.hosts:
        assert manifest(shop, host.name) == manifest(again, host.name)
        assert repr(manifest(shop, host.name)) == repr(manifest(again, host.name))
        assert hash(manifest(shop, host.name)) == hash(manifest(again, host.name))


def test_database_hosts_differ_in_name_address_number_keys_and_firewall_only(shop: Topology) -> None:
    """Roles are in no manifest, so that applying never fights the agent."""
    first, second = files(manifest(shop, "db1")), files(manifest(shop, "db2"))

    assert set(first) == set(second)
    for path in set(first) - {"/etc/nospof/firewall.nft"}:
        assert neutral(shop, "db1", first[path]) == neutral(shop, "db2", second[path]), path
    # A host asks itself under its own name, which is the one in its certificate.
    of_first = repr(units(manifest(shop, "db1"))).replace("//db1:", "//db2:")
    of_first = of_first.replace(f"{shop.host('db1').address}:", f"{shop.host('db2').address}:")
    assert of_first == repr(units(manifest(shop, "db2")))


def neutral(made: Topology, host: str, file: File) -> File:
    """`file` without what tells this host from others: its name, address and number where they stand for itself."""
    me = made.host(host)
    text = file.text
    for pattern, word in (
        (rf"(?m)^(server_id|wsrep_node_id) = {me.number}$", r"\1 = NUMBER"),
        (rf"(?m)^(report_host) = {me.name}$", r"\1 = NAME"),
        (rf"(?m)^(bind_address) = {me.address}$", r"\1 = ADDRESS"),
        (rf'"host": "{me.name}"', '"host": "NAME"'),
        (rf'"([a-z-]+)/{me.name}"', r'"\1/NAME"'),
        (rf'"address": "{me.address}"', '"address": "ADDRESS"'),
        (rf'"number": {me.number}', '"number": NUMBER'),
        (rf"(?m)^(ETCD_NAME)={me.name}$", r"\1=NAME"),
        (rf"(?m)^(ETCD_\w+_URLS)=(https?)://{me.address}:", r"\1=\2://ADDRESS:"),
        (rf"\x02(certificate|key):([a-z-]+)/{me.name}\x03", r"\1 of \2"),
    ):
        text = re.sub(pattern, word, text)
    return replace(file, text=text)


def units(one: Manifest) -> list[object]:
    return [(instance.tier, parts.units, parts.steps, parts.healthy_when) for instance, parts in one.parts]


TOKEN = re.compile(r"\x02(secret|accepted|certificate|key|ca):[a-z0-9/-]*(\|[^\x03]*)?\x03")


def test_secrets_and_keys_are_tokens_only(shop: Topology) -> None:
    found = set()
    for host in shop.hosts:
        for path, file in files(manifest(shop, host.name)).items():
            found |= {match[1] for match in TOKEN.finditer(file.text)}
            rest = TOKEN.sub("", file.text)
            assert "\x02" not in rest, path
            assert "\x03" not in rest, path
            assert "PRIVATE KEY" not in rest, path
            # What a secret looks like once it is filled in.
            assert not re.search(r"(?i)(password|secret|token)\S*[=:] ?\"?[A-Za-z0-9]{32}\b", rest), path

    assert found == {"secret", "accepted", "certificate", "key", "ca"}


def test_files_with_secrets_or_keys_are_not_for_everybody(shop: Topology) -> None:
    for host in shop.hosts:
        for path, file in files(manifest(shop, host.name)).items():
            if re.search(r"\x02(secret|accepted|key):", file.text):
                assert file.mode & 0o077 == 0, path


def test_secrets_stand_in_files_only(shop: Topology) -> None:
    """Never in argv: everybody on a host can read it."""
    for host in shop.hosts:
        for _, parts in manifest(shop, host.name).parts:
            assert "\x02" not in "".join(repr(part).replace("\\x02", "\x02") for part in (parts.units, parts.steps))
            assert "\x02" not in repr(parts.healthy_when).replace("\\x02", "\x02")


def test_every_host_knows_all_others_and_the_shared_address_by_name(shop: Topology) -> None:
    for host in shop.hosts:
        hosts = files(manifest(shop, host.name))["/etc/hosts"]
        assert hosts.ownership is Ownership.BLOCK
        assert {f"{other.address} {other.name}" for other in shop.hosts} <= set(hosts.text.splitlines())
        assert "198.18.0.1 load-balancer" in hosts.text


def test_packages_are_known_before_anything_is_asked_of_the_host(shop: Topology) -> None:
    for host in shop.hosts:
        assert manifest(shop, host.name).packages == packages_of(shop, host.name)
        assert set(packages_of(shop, host.name)) <= set(all_packages())
    assert set(packages_of(topology("idle:a w:a", tier("web", "web", "w")), "idle")) == set(BASE_PACKAGES)
    assert "test-web" in packages_of(topology("w:a", tier("web", "web", "w")), "w")


def test_two_tiers_that_want_one_file_differently_are_refused() -> None:
    made = topology("a:a", tier("one", "writer", "a", text="1"), tier("two", "writer", "a", text="2"))

    with pytest.raises(WrongInput) as refused:
        manifest(made, "a")

    assert "tiers one and two both want /etc/shared" in str(refused.value)


def test_two_tiers_may_share_an_equal_file() -> None:
    made = topology("a:a", tier("one", "writer", "a"), tier("two", "writer", "a"))

    assert "/etc/shared" in files(manifest(made, "a"))


def test_kernel_settings_that_contradict_each_other_are_refused() -> None:
    made = topology("a:a", tier("one", "writer", "a"), tier("two", "writer", "a", backlog="9"))

    with pytest.raises(WrongInput, match=r"net.core.somaxconn to be 4 and 9"):
        manifest(made, "a")


def test_what_instances_ask_of_the_host_is_gathered_in_its_base() -> None:
    made = topology("a:a", tier("one", "writer", "a"))
    base = dict(manifest(made, "a").parts)[InstanceId("base", "a")]

    assert base.users == ("writer",)
    assert "127.0.1.9 somewhere" in files(manifest(made, "a"))["/etc/hosts"].text
    assert "net.core.somaxconn = 4\n" in files(manifest(made, "a"))["/etc/sysctl.d/60-nospof.conf"].text


def test_parts_are_plain_values(shop: Topology) -> None:
    assert all(isinstance(parts, Parts) for _, parts in manifest(shop, "web1").parts)
    assert all(one.component in Component.kinds for one in shop.instances)

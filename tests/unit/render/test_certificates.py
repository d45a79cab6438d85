from __future__ import annotations

from tests.unit.stacks import NOTHING_ALLOTTED, example, tier, topology

from nospof.render.certificates import CertificateRequest, certificate_request
from nospof.resolve import resolve
from nospof.topology import InstanceId, Topology


def request(made: Topology, instance: str) -> CertificateRequest:
    return certificate_request(made, InstanceId(*instance.split("/")))


def two_sites(hosts: str = "lb:a w:a", **others: object) -> Topology:
    return topology(
        hosts,
        tier("lb", "balancer", "lb", "web"),
        tier("web", "web", "w", "shop blog"),
        tier("shop", "application", "w"),
        tier("blog", "application", "w", port=8001, domain="blog.example.com"),
        **others,
    )


def test_internal_certificate_has_host_tier_and_address() -> None:
    made = resolve(example(), NOTHING_ALLOTTED).topology

    assert request(made, "database/db1") == CertificateRequest(
        InstanceId("database", "db1"), ("database", "db1"), (made.host("db1").address,), is_public=False
    )


def test_public_certificate_has_all_domains_and_the_address_that_moves() -> None:
    found = request(two_sites(), "lb/lb")

    assert found.is_public
    assert found.names == ("blog.example.com", "lb", "shop.example.com", "shop.localhost")
    assert found.addresses == ("198.18.0.1", "198.18.1.2")


def test_real_servers_have_no_localhost_name() -> None:
    made = two_sites("lb:a:192.0.2.1 w:a:192.0.2.2", vip=("192.0.2.10/24",))

    assert request(made, "lb/lb").names == ("blog.example.com", "lb", "shop.example.com")
    assert request(made, "lb/lb").addresses == ("192.0.2.1", "192.0.2.10")


def test_web_server_behind_the_entrance_is_not_public() -> None:
    found = request(two_sites(), "web/w")

    assert not found.is_public
    assert found.names == ("w", "web")
    assert found.addresses == ("198.18.1.3",)


def test_names_under_which_routed_callers_ask_are_in_the_certificate() -> None:
    made = resolve(example(), NOTHING_ALLOTTED).topology

    for tier_name in made.routes:
        for instance in made.of_tier(tier_name):
            assert tier_name in certificate_request(made, instance.id).names


def test_no_name_stands_twice_and_all_are_sorted() -> None:
    made = topology("lb:a", tier("lb", "balancer", "lb"))

    for found in (request(made, "lb/lb"), request(two_sites(), "lb/lb")):
        assert list(found.names) == sorted(set(found.names))
        assert list(found.addresses) == sorted(set(found.addresses))

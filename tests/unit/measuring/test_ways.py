from __future__ import annotations

from dataclasses import replace

from tests.unit.stacks import NOTHING_ALLOTTED, example, stack, tier

from nospof.lab.places import CLIENT
from nospof.measuring.ways import only_behind, way_in, ways_to_instances
from nospof.resolve import resolve
from nospof.topology import OUTSIDE, InstanceId


def test_whole_is_asked_as_visitors_do() -> None:
    topology = resolve(example(), NOTHING_ALLOTTED).topology
    entrance = next(link.target for link in topology.links if link.source == OUTSIDE and link.target.listen.port == 443)

    way = way_in(topology, entrance, ("198.18.0.1", "198.18.0.2"))

    assert way.addresses == ("198.18.0.1", "198.18.0.2")
    assert (way.source, way.port, way.tls_name, way.certificate_of) == (CLIENT, 443, "shop.example.com", None)


def test_instance_is_asked_by_one_who_calls_it_with_his_certificate() -> None:
    made = example()
    topology = resolve(made, NOTHING_ALLOTTED).topology

    ways = ways_to_instances(made, topology)

    assert set(ways) == {InstanceId("web", "web1"), InstanceId("web", "web2")}
    for instance, way in ways.items():
        assert way.addresses == (topology.host(instance.host).address,)
        assert way.tls_name == instance.host
        assert way.certificate_of == InstanceId("load-balancer", way.source)


def test_application_behind_a_socket_is_measured_with_the_web_server_before_it() -> None:
    topology = resolve(example(), NOTHING_ALLOTTED).topology

    assert only_behind(topology, InstanceId("app", "web1")) == InstanceId("web", "web1")
    assert only_behind(topology, InstanceId("web", "web1")) is None
    assert only_behind(topology, InstanceId("load-balancer", "lb1")) is None


def test_instance_is_not_asked_where_others_only_ask_whether_it_is_well() -> None:
    made = example()
    topology = resolve(made, NOTHING_ALLOTTED).topology
    checks = tuple(replace(link, purpose="to-health") if link.purpose == "to" else link for link in topology.links)

    assert ways_to_instances(made, replace(topology, links=checks)) == {}


def test_application_on_hosts_of_its_own_is_asked_from_the_web_servers() -> None:
    made = stack(
        "lb1:a web1:a app1:b app2:a",
        tier("balancer", "balancer", "lb1", "web"),
        tier("web", "web", "web1", "app"),
        tier("app", "application", "app1 app2"),
    )
    topology = resolve(made, NOTHING_ALLOTTED).topology

    ways = ways_to_instances(made, topology)

    assert ways[InstanceId("app", "app2")].source == "web1"
    assert only_behind(topology, InstanceId("app", "app1")) is None

"""What is told of load balancers that all work: every address, where it is at home, and the lines for DNS."""

from __future__ import annotations

from pathlib import Path

from tests.unit.components import web_stacks

from nospof.component import Tier
from nospof.explain.diagram import diagram
from nospof.explain.dns import zone_lines
from nospof.explain.document import document
from nospof.explain.layout import layout
from nospof.explain.markdown import to_markdown
from nospof.explain.mermaid import mermaid
from nospof.explain.svg import to_svg
from nospof.resolve import Allotment, resolve
from nospof.stack.model import Stack, StackHost
from nospof.topology import Topology

ADDRESSES = {"lb1": "192.0.2.9", "lb2": "192.0.2.10"}


def tiers(mode: str = "active-active") -> tuple[Tier, ...]:
    balancers = web_stacks.tier("load-balancer", "haproxy", ["lb1", "lb2"], ("web",), mode=mode)
    return balancers, web_stacks.tier("web", "nginx", ["web1", "web2"], ("app",)), web_stacks.folder("app")


def on_servers(mode: str, *vips: str) -> Topology:
    hosts = tuple(StackHost(name, "a", f"192.0.2.{20 + n}") for n, name in enumerate(("lb1", "lb2", "web1", "web2")))
    stack = Stack("shop", "shop.example.com", hosts, tiers(mode), Path("stack.yaml"), vip=vips)
    found = resolve(stack, Allotment())
    assert not found.problems
    return found.topology


def both() -> Topology:
    return on_servers("active-active", *(f"{address}/24" for address in ADDRESSES.values()))


def test_zone_has_a_line_for_each_address_in_the_order_of_numbers() -> None:
    assert zone_lines(both()) == tuple(f"shop.example.com. 300 IN A {address}" for address in ADDRESSES.values())
    assert zone_lines(on_servers("active-passive", "192.0.2.9/24")) == ("shop.example.com. 300 IN A 192.0.2.9",)


def test_design_tells_the_lines_for_dns_and_where_each_address_is_at_home() -> None:
    text = to_markdown(document(both(), ()))

    assert all(f"`{line}`" in text for line in zone_lines(both()))
    words = " ".join(text.split())
    assert all(f"`{address}` is at home on `{host}`" in words for host, address in ADDRESSES.items())
    assert "with one of them missing, a load balancer stands idle" in words


def test_pictures_show_every_address() -> None:
    made = both()
    for picture in (diagram(made), mermaid(made), to_svg(layout(made))):
        assert all(address in picture for address in ADDRESSES.values())
    assert "at home on lb2, else held by lb1" in " ".join(diagram(made).split())

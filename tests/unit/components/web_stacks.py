"""Stacks with a web tier, for the tests of web servers, and what such a server must have on its host."""

from pathlib import Path

from nospof.component import Component, Context, Facts, Parts
from nospof.resolve import Allotment, component_of, resolve
from nospof.stack.model import Stack, StackHost, Tier
from nospof.topology import InstanceId, Topology

BOTH = """\
name: both
domain: both.example.com
vip: [192.0.2.10/24, 192.0.2.20/24]
hosts:
  lb1: {zone: a, address: 192.0.2.11}
  lb2: {zone: b, address: 192.0.2.12}
  web1: {zone: a, address: 192.0.2.13}
  web2: {zone: b, address: 192.0.2.14}
tiers:
  load-balancer: {component: haproxy, hosts: [lb1, lb2], mode: active-active, to: web}
  web: {component: nginx, hosts: [web1, web2], to: app}
  app: {component: static, hosts: [web1, web2], source: ./app}
"""
FACTS = Facts("3.13", "13.1", "x86_64", "eth0", 24, 20000, 4096, 2)


def tier(name: str, component: str, hosts: list[str], to: tuple[str, ...] = (), **settings: object) -> Tier:
    return Tier(name, component, tuple(hosts), Component.kinds[component].settings_type.model_validate(settings), to)


def app(name: str = "app", hosts: tuple[str, ...] = ("web1", "web2"), **settings: object) -> Tier:
    return tier(name, "gunicorn", list(hosts), (), **{"source": "app", "module": "shop:app", **settings})


def php(name: str = "app", hosts: tuple[str, ...] = ("web1", "web2"), **settings: object) -> Tier:
    return tier(name, "php-fpm", list(hosts), (), **{"source": "app", **settings})


def folder(name: str, **settings: object) -> Tier:
    return tier(name, "static", ["web1", "web2"], (), **{"source": "site", **settings})


def balancer() -> Tier:
    return tier("load-balancer", "haproxy", ["lb1", "lb2"], ("web",))


def topology(*tiers: Tier) -> Topology:
    hosts = tuple(StackHost(name, "a") for name in ("lb1", "lb2", "web1", "web2", "x1", "x2"))
    return resolve(Stack("shop", "shop.example.com", hosts, tiers, Path("stack.yaml")), Allotment()).topology


def parts(graph: Topology, host: str = "web1") -> Parts:
    instance = graph.instance(InstanceId("web", host))
    return component_of(instance).parts(Context(graph, instance, FACTS, {}, {}))

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from nospof.stack.schema import HostKeys, StackKeys, TierKeys, json_schema

jsonschema = pytest.importorskip("jsonschema")


def errors(text: str, kinds: Mapping[str, type[BaseModel]]) -> list[str]:
    schema = json_schema(kinds)
    jsonschema.Draft202012Validator.check_schema(schema)
    stack = YAML(typ="safe", pure=True).load(StringIO(text))
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(stack)]


def test_schema_takes_the_example(example: str, kinds: Mapping[str, type[BaseModel]]) -> None:
    assert errors(example, kinds) == []
    assert errors(example + "firewall: off\nvip: [203.0.113.10/24]\noptions: {nginx: {keepalive: 3}}\n", kinds) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: shop", "name: My Shop"),
        ("name: shop", "name: shop\nfirewall: no"),
        ("name: shop", "name: shop\npeak_qps: 0"),
        ("component: nginx", "component: nginx, qps_per_instance: 2.5"),
        ("name: shop", "name: shop\nvip:"),
        ("domain: shop.example.com", ""),
        ("lb1: {zone: a}", "lb1: {zone: 1}"),
        ("lb1: {zone: a}", "Lb1: {zone: a}"),
        ("lb1: {zone: a}", "lb1: {zoen: a}"),
        ("component: nginx", "component: ngnix"),
        ("component: nginx", "component: nginx, module: x"),
        ("component: nginx", "component: nginx, keepalive: 0"),
        ("roundrobin", "random"),
        ("hosts: [db1, db2], ", ""),
        ('module: "shop:app", ', ""),
        ("name: shop", "name: shop\noptions: {nginx: {keepalive: many}}"),
        ("source: ./app", "source: ./app, sites: [{helth: /}]"),
    ],
)
def test_schema_refuses_what_the_loader_refuses(old: str, new: str, example: str, kinds: Mapping[str, type[BaseModel]]) -> None:
    assert old in example
    assert errors(example.replace(old, new), kinds) != []


def test_switches_are_on_and_off_in_the_schema(kinds: Mapping[str, type[BaseModel]]) -> None:
    schema: dict[str, Any] = json_schema(kinds)

    firewall = schema["properties"]["firewall"]
    assert (firewall["enum"], firewall["default"]) == (["on", "off"], "on")


@pytest.mark.parametrize("keys", [StackKeys, HostKeys, TierKeys])
def test_each_key_is_described(keys: type[BaseModel]) -> None:
    assert all(field.description for field in keys.model_fields.values())


def test_schema_is_the_same_whatever_the_order_of_the_components(kinds: Mapping[str, type[BaseModel]]) -> None:
    assert repr(json_schema(kinds)) == repr(json_schema(dict(reversed([*kinds.items()]))))

"""The keys of the stack file that belong to no component, and the JSON Schema that editors use.

Only shape and description stand here; what a value must be beyond its type is in checks.py and addresses.py, so that it is
said in a sentence of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from nospof.stack.marks import Switch

NAME_PATTERN = r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?"
"""A name of a host, tier or stack: it becomes a host name (RFC 1123: no hyphen at the end) and part of unit names."""


MOST_QPS = 10_000_000


def _as_list(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple(value)
    raise PydanticCustomError("names", "a name or a list of names")


_NAMES_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "uniqueItems": True}]}
Names = Annotated[tuple[str, ...], BeforeValidator(_as_list), WithJsonSchema(_NAMES_SCHEMA)]
"""One name, or a list of names."""


class Keys(BaseModel):
    """A mapping of the file with a fixed set of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HostKeys(Keys):
    """A server."""

    zone: str = Field(
        min_length=1, examples=["a"], description="Failure domain, e.g. a rack or a site: hosts of one zone fail together."
    )
    address: str | None = Field(
        None, examples=["192.0.2.11"], description="IPv4 address of a real server; without it the host is made in the lab."
    )
    user: str | None = Field(
        None, min_length=1, examples=["root"], description="User for SSH; without it, what your SSH configuration says."
    )
    port: int | None = Field(
        None, ge=1, le=65535, examples=[22], description="Port for SSH; without it, what your SSH configuration says."
    )


class TierKeys(Keys):
    """One role in the stack. Which further keys there are depends on the component."""

    component: str = Field(examples=["nginx"], description="The software of this tier.")
    hosts: Names = Field(
        examples=[["web1", "web2"]], description="The hosts of this tier; more than one, so that one may stop."
    )
    to: Names = Field((), examples=["app"], description="The tiers that this one calls.")
    spare: Names = Field((), examples=["x1"], description="Hosts of last resort: they work when no other one does.")
    qps_per_instance: int | None = Field(
        None,
        ge=1,
        le=MOST_QPS,
        examples=[200],
        description="Visitors' requests a second that one instance of this tier has a part in, at most; "
        "without it, what `nospof measure` found.",
    )


class StackKeys(Keys):
    """The whole file."""

    name: str = Field(examples=["shop"], description="Name of the stack.")
    domain: str = Field(examples=["shop.example.com"], description="Domain under which the site is visited.")
    hosts: dict[str, object] = Field(examples=[{"web1": {"zone": "a"}}], description="The servers, by name.")
    tiers: dict[str, object] = Field(
        examples=[{"web": {"component": "nginx", "hosts": ["web1", "web2"]}}], description="The roles in the stack, by name."
    )
    vip: Names = Field(
        (),
        examples=["203.0.113.10/24"],
        description="Virtual IP address (VIP) that moves between load balancers, or a list: one for each of their tiers, "
        "in mode active-active one for each of its hosts; in the lab it is chosen for you.",
    )
    admin: Names = Field((), examples=["198.51.100.0/24"], description="Networks from which SSH is allowed.")
    peak_qps: int | None = Field(
        None,
        ge=1,
        le=MOST_QPS,
        examples=[500],
        description="Visitors' requests a second at the busiest time, to be carried without any one host or zone.",
    )
    egress: Names | None = Field(
        None, examples=["192.0.2.0/24"], description="Networks that the hosts may call; without it, the whole world."
    )
    firewall: Switch = Field(True, description="Close every port that no link of the stack needs.")
    options: dict[str, object] = Field({}, description="Settings of components that come in without being named, by name.")


def json_schema(kinds: Mapping[str, type[BaseModel]]) -> dict[str, object]:
    """The JSON Schema (draft 2020-12) of a stack file, for editors; put together from what the loader checks with."""
    definitions: dict[str, object] = {"host": HostKeys.model_json_schema()}
    for component in sorted(kinds):
        settings = _settings_schema(component, kinds[component], definitions)
        definitions[f"settings.{component}"] = settings
        definitions[f"tier.{component}"] = _tier_schema(component, settings)
    schema = StackKeys.model_json_schema()
    properties = schema["properties"]
    properties["name"]["pattern"] = f"^{NAME_PATTERN}$"
    names = {"propertyNames": {"pattern": f"^{NAME_PATTERN}$"}, "minProperties": 1}
    properties["hosts"] |= names | {"additionalProperties": {"$ref": "#/$defs/host"}}
    properties["tiers"] |= names | {"additionalProperties": _any_tier(sorted(kinds))}
    options = {component: {"$ref": f"#/$defs/settings.{component}"} for component in sorted(kinds)}
    properties["options"] |= {"properties": options, "additionalProperties": False}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    whole = _tidy(head | schema | {"$defs": definitions})
    assert isinstance(whole, dict)  # noqa: S101 - it went in as one
    return whole | {"title": "nospof stack file"}


def _tidy(schema: object) -> object:
    """Take out what pydantic says of Python only: titles made of names, null for "left out", switches as booleans."""
    if isinstance(schema, list):
        return [_tidy(one) for one in schema if one != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    tidy = {key: _tidy(value) for key, value in schema.items() if (key, value) != ("default", None)}
    if isinstance(tidy.get("title"), str):
        del tidy["title"]
    if tidy.get("enum") == ["on", "off"] and "default" in tidy:
        tidy["default"] = "on" if tidy["default"] else "off"
    branches = tidy.get("anyOf")
    if isinstance(branches, list) and len(branches) == 1:
        del tidy["anyOf"]
        tidy |= branches[0]
    return tidy


def _settings_schema(component: str, settings: type[BaseModel], definitions: dict[str, object]) -> dict[str, object]:
    schema = settings.model_json_schema(ref_template=f"#/$defs/part.{component}.{{model}}")
    for model, definition in schema.pop("$defs", {}).items():
        definitions[f"part.{component}.{model}"] = definition
    return schema


def _tier_schema(component: str, settings: Mapping[str, object]) -> dict[str, object]:
    schema = TierKeys.model_json_schema()
    more, required = settings.get("properties", {}), settings.get("required", [])
    assert isinstance(more, dict)  # noqa: S101 - pydantic's own form
    assert isinstance(required, list)  # noqa: S101
    properties = schema["properties"] | more
    properties["component"] = {"const": component, "description": "The software of this tier."}
    title = {"title": f"A tier of {component}"}
    return schema | title | {"properties": properties, "required": [*schema["required"], *required]}


def _any_tier(components: list[str]) -> dict[str, object]:
    def is_of(component: str) -> dict[str, object]:
        return {"properties": {"component": {"const": component}}, "required": ["component"]}

    chosen = [{"if": is_of(one), "then": {"$ref": f"#/$defs/tier.{one}"}} for one in components]
    component = {"enum": components, "description": "The software of this tier."}
    schema: dict[str, object] = {"type": "object", "properties": {"component": component}, "required": ["component", "hosts"]}
    return schema | {"allOf": chosen} if chosen else schema

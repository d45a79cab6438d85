"""Components' settings as the loader's tests need them; the real ones may change without these."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nospof.stack.marks import FileIn, Folder, PlacesOn, Rank, Switch


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Mode(Enum):
    ACTIVE_PASSIVE = "active-passive"
    ACTIVE_ACTIVE = "active-active"


class Haproxy(Settings):
    mode: Mode = Field(Mode.ACTIVE_PASSIVE, description="How the load balancers share the work.")
    balance: Literal["roundrobin", "leastconn", "source"] = Field("roundrobin", description="How a server is chosen.")
    https: Switch = Field(True, description="Serve HTTPS, and send HTTP there.")


class Nginx(Settings):
    keepalive: int = Field(16, ge=1, le=512, description="Connections kept open to each application server.")


class Site(Settings):
    path: str = Field(description="Where the application begins.")
    health: str = Field("/health", description="What is asked for its health.")


class Gunicorn(Settings):
    source: Annotated[str, Folder()] = Field(examples=["./app"], description="Folder of the application.")
    module: str = Field(examples=["shop:app"], description="Python module and the WSGI application in it.")
    workers: int | Literal["auto"] = Field("auto", description="Processes that answer requests.")
    timeout_s: float = Field(30.0, gt=0, description="Seconds that a request may take.")
    environment: dict[Annotated[str, Field(pattern="^[A-Z]+$")], Annotated[str, Field(pattern="^[ -~]*$")]] = Field(
        {}, description="Further variables for the application."
    )
    sites: list[Site] = Field([], description="Applications seen from outside.")


class Static(Settings):
    source: Annotated[str, Folder()] = Field(description="Folder of the files.")
    page: Annotated[str, FileIn("source")] = Field("index.html", description="File in it that is asked for.")


class Mariadb(Settings):
    witness: Annotated[str, PlacesOn(Rank.WITNESS)] | None = Field(None, description="Host of a copy that only votes.")
    version: str = Field("11.8", description="Release of MariaDB.")

    @field_validator("version")
    @classmethod
    def has_a_dot(cls, version: str) -> str:
        if "." not in version:
            raise ValueError("a version has two numbers with a dot between")
        return version


class Etcd(Settings):
    pass


EXAMPLE = """\
name: shop
domain: shop.example.com
hosts:                       # `address:` makes it a real server (SSH); none, and it is made in the lab
  lb1: {zone: a}
  lb2: {zone: b}
  web1: {zone: a}
  web2: {zone: b}
  db1: {zone: a}
  db2: {zone: b}
  w1: {zone: c}
tiers:
  load-balancer: {component: haproxy, hosts: [lb1, lb2], mode: active-passive, balance: roundrobin, to: web}
  web:      {component: nginx, hosts: [web1, web2], to: app}
  app:      {component: gunicorn, hosts: [web1, web2], source: ./app, module: "shop:app", to: database}
  database: {component: mariadb, hosts: [db1, db2], witness: w1}
"""
KINDS: dict[str, type[BaseModel]] = {
    "haproxy": Haproxy,
    "nginx": Nginx,
    "gunicorn": Gunicorn,
    "mariadb": Mariadb,
    "etcd": Etcd,
    "static": Static,
}


@pytest.fixture(scope="session")
def kinds() -> Mapping[str, type[BaseModel]]:
    return KINDS


@pytest.fixture(scope="session")
def example() -> str:
    """The stack file of DESIGN.md, section 5."""
    return EXAMPLE


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for stack files, with the application that the example names."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "app").mkdir()
    return folder

"""The load that writes into a cache: whom it picks, and what its program makes of the answers it gets."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.stacks import stack

from nospof.component import Component
from nospof.drills.ground import Ground
from nospof.drills.visitors import cached_tiers, caching_application, writing_application
from nospof.drills.workloads import cache_client
from nospof.drills.workloads.cache_client import Client, Refused
from nospof.drills.workloads.cache_write import Load
from nospof.resolve import Allotment, resolve
from nospof.stack.model import Tier
from nospof.topology import InstanceId, Topology


class Line:
    """Answers what it was made with, or raises it."""

    def __init__(self, *answers: object) -> None:
        self.answers, self.is_closed = list(answers), False

    def ask(self, *words: str) -> str:
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return str(found)

    def close(self) -> None:
        self.is_closed = True


LOGGED_IN = ("OK", "id=7 addr=198.18.1.9:4000 laddr=198.18.2.7:6379 name=")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    values = {"HOST": "cache", "PORT": "6379", "USER": "app", "PASSWORD": "p", "SSL_CA": "ca.pem"}
    path = tmp_path / "app.env"
    path.write_text("".join(f'CACHE_{name}="{value}"\n' for name, value in values.items()))
    return path


def client(environment: Path, monkeypatch: pytest.MonkeyPatch, *lines: object) -> Client:
    """A client whose connections are `lines`, one after the other."""
    left = list(lines)

    def connect(*_: object) -> object:
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(ssl, "create_default_context", lambda cafile: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    monkeypatch.setattr(cache_client, "Line", connect)
    return Client(environment, "CACHE")


def test_acknowledged_write_says_who_acknowledged_it(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = client(environment, monkeypatch, Line(*LOGGED_IN, "OK")).write("a-0-0")

    assert (one.outcome, one.server_id, one.error) == ("ok", 2 * 256 + 7, "")


def test_write_that_was_sent_and_not_answered_is_unknown(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = client(environment, monkeypatch, Line(*LOGGED_IN, ConnectionResetError())).write("a-0-0")

    assert one.outcome == "unknown"


@pytest.mark.parametrize("line", [ConnectionRefusedError(), Line(ConnectionResetError()), Line(Refused("WRONGPASS"))])
def test_write_that_was_never_sent_has_failed(environment: Path, monkeypatch: pytest.MonkeyPatch, line: object) -> None:
    assert client(environment, monkeypatch, line).write("a-0-0").outcome == "failed"


def test_refused_write_has_failed_and_is_tried_elsewhere_next(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Line(*LOGGED_IN, Refused("NOREPLICAS Not enough")), Line(*LOGGED_IN, "OK")
    writer = client(environment, monkeypatch, first, second)

    assert [writer.write("a-0-0").outcome, writer.write("a-0-1").outcome] == ["failed", "ok"]
    assert first.is_closed


def test_error_of_another_kind_says_nothing_of_the_write(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client(environment, monkeypatch, Line(*LOGGED_IN, Refused("ERR something"))).write("a").outcome == "unknown"


def test_secrets_are_in_no_argument() -> None:
    argv = Load(seconds=5, environment="/etc/nospof/app.env", prefix="SESSIONS").argv("/run/nospof-drill/ab")

    assert argv[:3] == ["python3", "-I", "-"]
    assert "--prefix=SESSIONS" in argv
    assert b"def main" in Load().program()


# --- whom it picks --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("product", "tiers"), [("valkey", ("sessions",)), ("redis", ("sessions",)), ("memcached", ())])
def test_caches_with_a_primary_are_watched(product: str, tiers: tuple[str, ...]) -> None:
    assert cached_tiers(shop(product)) == tiers


def test_it_writes_where_nothing_is_broken_and_never_sql_into_a_cache() -> None:
    ground = cast(Ground, SimpleNamespace(topology=shop("valkey")))

    assert caching_application(ground, {"app2"}) == (InstanceId("app", "app2"), "sessions")
    assert caching_application(ground, set()) is None
    assert writing_application(ground, {"app1", "app2"}) is None


def shop(product: str) -> Topology:
    def tier(name: str, component: str, hosts: str, to: str = "", **settings: Any) -> Tier:
        values = Component.kinds[component].settings_type.model_validate(settings)
        return Tier(name, component, tuple(hosts.split()), values, tuple(to.split()))

    app = tier("app", "gunicorn", "app1 app2", "sessions", source="./app", module="app:app")
    return resolve(stack("app1:a app2:b c1:a c2:b c3:c", app, tier("sessions", product, "c1 c2")), Allotment()).topology

"""What the database router listens on, and the configuration it writes."""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.unit.components.test_mariadb import FACTS, SHOP, database, stack

from nospof import component as c
from nospof.components.database_router import STATE
from nospof.resolve import Allotment, component_of, resolve
from nospof.topology import InstanceId


def parts() -> c.Parts:
    resolved = resolve(stack(SHOP, database()), Allotment())
    instance = resolved.topology.instance(InstanceId("database-router", "app1"))
    here = c.Context(resolved.topology, instance, c.Facts(**FACTS), {}, {})  # type: ignore[arg-type]
    return component_of(instance).parts(here)


def text_of(name: str) -> str:
    return next(file.text for file in parts().files if file.path.endswith(name))


def section(name: str) -> list[str]:
    blocks = text_of(".cfg").split("\n\n")
    return next(block.splitlines() for block in blocks if block.strip().splitlines()[0] == name)


def test_each_route_has_its_port_on_the_tiers_own_address_and_name() -> None:
    assert "    bind 127.0.1.1:3306" in section("frontend database-3306")
    assert "    bind 127.0.1.1:3307" in section("frontend database-3307")
    assert parts().names == (("127.0.1.1", "database"),)


def test_writes_go_to_the_primary_only_and_reads_to_it_when_no_replica_is_good() -> None:
    assert section("frontend database-3306")[2:] == ["    default_backend database-primary"]
    assert section("frontend database-3307")[2:] == [
        "    use_backend database-replica if { nbsrv(database-replica) gt 0 }",
        "    default_backend database-primary",
    ]


def test_every_server_is_asked_for_its_role_by_its_name_over_tls() -> None:
    for path in ("primary", "replica"):
        lines = section(f"backend database-{path}")
        assert f"    http-check send meth GET uri /{path}" in lines
        assert "    default-server check-ssl verify required ca-file /etc/nospof/tls/ca.pem" in lines
        servers = [line.strip() for line in lines if line.startswith("    server ")]
        assert servers == [
            "server db1 198.18.1.4:3306 port 8008 check-sni db1 verifyhost db1",
            "server db2 198.18.1.5:3306 port 8008 check-sni db2 verifyhost db2",
            "server w1 198.18.1.6:3306 port 8008 check-sni w1 verifyhost w1",
        ]


def test_a_connection_is_tried_once() -> None:
    """Incident: with retries, sessions that waited for the next try when the server was marked down hung for ever."""
    assert "    retries 0" in section("defaults")


def test_no_server_is_good_at_the_start() -> None:
    states = [line.split() for line in text_of(".down").splitlines()[2:]]
    assert [(fields[1], fields[3], fields[5]) for fields in states] == [
        (group, host, "0") for group in ("database-primary", "database-replica") for host in ("db1", "db2", "w1")
    ]
    assert {len(fields) for fields in states} == {len(text_of(".down").splitlines()[1].split()) - 1}


def test_it_needs_no_key_of_its_own() -> None:
    assert [file.path for file in parts().files if "tls" in file.path] == ["/etc/nospof/tls/ca.pem"]


class Admin(threading.Thread):
    """HAProxy's admin socket: answers one command with `text`."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(daemon=True)
        self.text = text
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()

    def run(self) -> None:
        caller, _ = self.listener.accept()
        with caller:
            caller.recv(100)
            caller.sendall(self.text.encode())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # A socket's path has 107 characters at most, and pytest's folders are long.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "down").write_text(text_of(".down"))
    program = STATE.replace("/run/nospof-database-router", ".").replace("/etc/nospof/database-router.down", "down")
    (tmp_path / "program.py").write_text(program)
    return tmp_path


def good_in(place: Path) -> set[tuple[str, str]]:
    lines = [line.split() for line in (place / "state").read_text().splitlines()]
    return {(fields[1], fields[3]) for fields in lines if len(fields) > 18 and fields[5] == "2"}


def test_a_start_forgets_and_a_reload_keeps_who_is_good(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "program.py"], check=True)
    assert good_in(place) == set()
    live = text_of(".down").replace("database-primary 1 db1 198.18.1.4 0", "database-primary 1 db1 198.18.1.4 2")
    Admin(place / "admin.sock", live).start()
    subprocess.run([sys.executable, "program.py", "reload"], check=True)
    assert good_in(place) == {("database-primary", "db1")}


def test_a_reload_does_not_carry_a_server_over_to_another_address(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = text_of(".down").replace("database-primary 1 db1 198.18.1.4 0", "database-primary 1 db1 203.0.113.9 2")
    Admin(place / "admin.sock", live).start()
    monkeypatch.setattr(sys, "argv", ["program.py", "reload"])
    runpy.run_path(os.fspath(place / "program.py"))
    assert good_in(place) == set()

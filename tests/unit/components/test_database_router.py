"""What the database router listens on, and the configuration it writes."""

from __future__ import annotations

from pathlib import Path

from tests.unit.components.test_mariadb import FACTS, SHOP, database, stack

from nospof import component as c
from nospof.onhost.database_router import Server, read_config
from nospof.onhost.database_routing import DARK_CONNECTED_S, Group
from nospof.resolve import Allotment, component_of, resolve
from nospof.topology import InstanceId


def parts() -> c.Parts:
    resolved = resolve(stack(SHOP, database()), Allotment())
    instance = resolved.topology.instance(InstanceId("database-router", "app1"))
    here = c.Context(resolved.topology, instance, c.Facts(**FACTS), {}, {"base/onhost": "f" * 64})  # type: ignore[arg-type]
    return component_of(instance).parts(here)


def text_of(name: str) -> str:
    return next(file.text for file in parts().files if file.path.endswith(name))


def unit_of(name: str) -> str:
    return next(unit.text or "" for unit in parts().units if unit.name == name)


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


def test_haproxy_starts_with_the_state_that_the_program_writes() -> None:
    """Without that file it takes every server for good until a check fails."""
    state = "/run/nospof-database-router/state"
    assert f"    server-state-file {state}" in text_of(".cfg").splitlines()
    unit = unit_of("nospof-database-router.service")
    errand = "/usr/bin/python3 /usr/lib/nospof/onhost database_router --config /etc/nospof/database-router.json"
    assert f"ExecStartPre={errand} --write-state {state}" in unit
    assert f"ExecReload={errand} --write-state {state}" in unit


def test_haproxy_and_its_sessions_outlive_a_new_version_of_the_program() -> None:
    assert "onhost-" not in unit_of("nospof-database-router.service")
    assert f"ExecStart=/usr/bin/python3 {c.ONHOST}-{'f' * 12} database_router" in unit_of("nospof-database-router-lead.service")


def test_a_program_that_ended_or_hangs_holds_nothing_up() -> None:
    unit = unit_of("nospof-database-router-lead.service")
    assert "--let-go" in next(line for line in unit.splitlines() if line.startswith("ExecStopPost="))
    assert {"WatchdogSec=3", "WatchdogSignal=SIGKILL", "Restart=always"} <= set(unit.splitlines())


def test_the_highest_term_outlives_a_restart_of_the_program() -> None:
    assert "RuntimeDirectoryPreserve=restart" in unit_of("nospof-database-router-lead.service")


def test_the_program_knows_whom_to_hear_and_what_to_lead(tmp_path: Path) -> None:
    file = tmp_path / "routes.json"
    file.write_text(text_of("database-router.json"))
    config = read_config(file)
    assert (config.ca, config.tiers[0].hold_s) == ("/etc/nospof/tls/ca.pem", 10)
    [led] = config.tiers
    assert led.servers == tuple(Server(host, f"198.18.1.{n}", 3306, 8008) for host, n in (("db1", 4), ("db2", 5), ("w1", 6)))
    assert led.write == Group("database-primary", {"database-3306": 2000})
    assert led.read == Group("database-replica", {"database-3307": 2000})
    names = {
        block.splitlines()[0].split()[-1] for block in text_of(".cfg").split("\n\n") if block.startswith(("front", "back"))
    }
    assert names == {"database-primary", "database-replica", "database-3306", "database-3307"}


def test_a_session_that_connects_is_given_up_before_its_server_is_put_out() -> None:
    """Incident: HAProxy 3.0.11 let clients wait for ever whose sessions were ended while they were connecting to the server."""
    assert "    timeout connect 500ms" in section("defaults")
    assert DARK_CONNECTED_S > 0.5


def test_it_needs_no_key_of_its_own() -> None:
    assert [file.path for file in parts().files if "tls" in file.path] == ["/etc/nospof/tls/ca.pem"]

"""What MySQL's component says of itself, and what it writes for each host."""

from __future__ import annotations

import json

import pytest
from tests.unit.components.test_mariadb import FACTS, SHOP, stack, text_of

from nospof import component as c
from nospof.analysis.findings import findings
from nospof.components.mariadb import MariadbSettings
from nospof.components.mysql import Mysql, MysqlSettings
from nospof.errors import WrongInput
from nospof.lab import image
from nospof.render.host import all_packages, image_packages, packages_of, suite_of
from nospof.resolve import Allotment, component_of, resolve
from nospof.stack.model import Tier
from nospof.topology import InstanceId, Topology

DATABASE = Tier("database", "mysql", ("db1", "db2"), MysqlSettings.model_validate({"witness": "w1"}))


def topology_of(*tiers: Tier) -> Topology:
    resolved = resolve(stack(*tiers), Allotment())
    assert resolved.problems == ()
    return resolved.topology


def parts_of(host: str) -> c.Parts:
    resolved = resolve(stack(SHOP, DATABASE), Allotment())
    instance = resolved.topology.instance(InstanceId("database", host))
    choices = {name: hosts[0] for name, hosts in resolved.allotment.placed.items()}
    facts = c.Facts(**{**FACTS, "memory_mib": 24_000})  # type: ignore[arg-type]
    return component_of(instance).parts(c.Context(resolved.topology, instance, facts, choices, {"base/onhost": "f" * 64}))


def test_server_boots_as_nobody_and_keeps_what_it_confirmed() -> None:
    found = settings_in_mysql(parts_of("db1"))
    assert found["super_read_only"] == found["skip_replica_start"] == "ON"
    assert found["relay_log_recovery"] == "OFF"
    assert found["sync_relay_log"] == found["sync_binlog"] == found["innodb_flush_log_at_trx_commit"] == "1"


def test_voter_syncs_two_events_for_a_small_transaction_and_not_five() -> None:
    assert settings_in_mysql(parts_of("db1"))["binlog_transaction_compression"] == "ON"


def test_history_has_no_holes_and_no_write_is_acknowledged_alone() -> None:
    found = settings_in_mysql(parts_of("db1"))
    assert found["gtid_mode"] == found["enforce_gtid_consistency"] == found["replica_preserve_commit_order"] == "ON"
    assert found["rpl_semi_sync_source_wait_point"] == "AFTER_SYNC"
    assert found["rpl_semi_sync_source_wait_for_replica_count"] == "1"
    assert found["rpl_semi_sync_source_wait_no_replica"] == "ON"
    assert int(found["rpl_semi_sync_source_timeout"]) >= 86_400_000


def test_hosts_clone_only_from_their_own_tier() -> None:
    addresses = sorted(host.address for host in topology_of(SHOP, DATABASE).hosts if host.name in ("db1", "db2", "w1"))
    assert settings_in_mysql(parts_of("db1"))["clone_valid_donor_list"] == f'"{",".join(f"{one}:3306" for one in addresses)}"'


def test_application_that_takes_all_its_connections_leaves_some_to_the_agent() -> None:
    """Under load the agent was refused with "Too many connections", and could neither look nor hand over."""
    found = settings_in_mysql(parts_of("db1"))
    assert (found["max_connections"], found["max_user_connections"]) == ("832", "200")


def test_agent_is_told_the_product() -> None:
    assert json.loads(text_of(parts_of("db1"), "agent.json"))["engine"] == "mysql"


def test_only_the_agent_starts_the_server() -> None:
    (server,) = (unit for unit in parts_of("db1").units if unit.name == "mysql.service")
    assert not server.is_started
    drop_in = server.drop_in or ""
    assert "Restart=no\n" in drop_in
    assert "KillSignal=SIGKILL\n" in drop_in


def test_no_port_but_the_servers_is_open_for_copies() -> None:
    listens = {endpoint.listen.name for endpoint in topology_of(SHOP, DATABASE).endpoints if endpoint.owner.tier == "database"}
    assert listens == {"sql", "role"}


# --- the suite -----------------------------------------------------------------------------------------------------------
def test_stack_with_it_gets_an_image_of_its_own_with_what_it_needs_and_nothing_else() -> None:
    """Incident: the suite had lost a package of a component that the stack did without, and no lab could be made."""
    topology = topology_of(SHOP, DATABASE)
    assert suite_of(topology) == Mysql.suite == "sid"
    packages = set(image_packages(topology))
    assert {"mysql-server", "etcd-server"} <= packages
    assert packages == {name for host in topology.hosts for name in packages_of(topology, host.name)}
    assert not {"mariadb-server", "mariadb-backup", "varnish"} & packages


def test_image_of_all_other_stacks_does_not_know_it() -> None:
    mariadb = Tier("database", "mariadb", ("db1", "db2"), MariadbSettings.model_validate({"witness": "w1"}))
    topology = topology_of(SHOP, mariadb)
    assert suite_of(topology) == c.Component.suite == image.SUITE
    assert image_packages(topology) == all_packages()
    assert "mysql-server" not in all_packages()
    assert "mariadb-server" in all_packages()
    # The name under which it is kept is as it was before there was a second suite.
    assert image.image_path(("b", "a")) == image.image_path(("a", "b"), "trixie") != image.image_path(("a", "b"), "sid")


def test_two_that_exclude_each_other_are_refused() -> None:
    other = Tier("other", "mariadb", ("app1", "app2"), MariadbSettings.model_validate({}))
    with pytest.raises(WrongInput, match=r"mariadb and mysql|mysql and mariadb"):
        suite_of(topology_of(SHOP, DATABASE, other))


def settings_in_mysql(parts: c.Parts) -> dict[str, str]:
    lines = text_of(parts, "zz-nospof.cnf").splitlines()
    pairs = [line.partition(" = ") for line in lines if " = " in line]
    return {key: value for key, _, value in pairs}


# --- real servers --------------------------------------------------------------------------------------------------------
def codes(*tiers: Tier, is_lab: bool) -> set[str]:
    made = stack(*tiers, is_lab=is_lab)
    return {problem.code for problem in findings(made, resolve(made, Allotment()).topology)}


def test_servers_whose_debian_does_not_have_it_are_told() -> None:
    assert "F301" in codes(SHOP, DATABASE, is_lab=False)
    assert "F301" not in codes(SHOP, DATABASE, is_lab=True)
    mariadb = Tier("database", "mariadb", ("db1", "db2"), MariadbSettings.model_validate({"witness": "w1"}))
    assert "F301" not in codes(SHOP, mariadb, is_lab=False)

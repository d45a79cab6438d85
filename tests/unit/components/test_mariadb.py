"""What MariaDB's component says of itself, and what it writes for each host."""

from __future__ import annotations

import json
import re

from tests.unit.stacks import stack as stack_of
from tests.unit.stacks import tier

from nospof import component as c
from nospof.components.mariadb import Mariadb, MariadbSettings
from nospof.resolve import Allotment, component_of, resolve
from nospof.stack.model import Stack, Tier
from nospof.topology import InstanceId

FACTS = {
    "python": "3.13",
    "debian": "13.1",
    "machine": "x86_64",
    "interface": "eth0",
    "prefix_length": 16,
    "max_open_files": 20_000,
    "memory_mib": 24_000,
    "cpus": 2,
}


HOSTS = ("app1:a", "app2:b", "db1:a", "db2:b", "w1:c")
SHOP = tier("shop-app", "application", "app1 app2", "database")


def stack(*tiers: Tier, is_lab: bool = True) -> Stack:
    hosts = HOSTS if is_lab else [f"{host}:192.0.2.{number}" for number, host in enumerate(HOSTS, 10)]
    return stack_of(" ".join(hosts), *tiers)


def database(**settings: object) -> Tier:
    values = MariadbSettings.model_validate({"witness": "w1", **settings})
    return Tier("database", "mariadb", ("db1", "db2"), values)


def parts_of(host: str, tier_of_database: Tier | None = None, *, is_lab: bool = True, memory_mib: int = 24_000) -> c.Parts:
    resolved = resolve(stack(SHOP, tier_of_database or database(), is_lab=is_lab), Allotment())
    assert resolved.problems == ()
    instance = resolved.topology.instance(InstanceId("database", host))
    choices = {name: hosts[0] for name, hosts in resolved.allotment.placed.items()}
    facts = c.Facts(**{**FACTS, "memory_mib": memory_mib})  # type: ignore[arg-type]
    return component_of(instance).parts(c.Context(resolved.topology, instance, facts, choices, {"base/onhost": "f" * 64}))


def text_of(parts: c.Parts, name: str) -> str:
    return next(file.text for file in parts.files if file.path.endswith(name))


def settings_in(parts: c.Parts) -> dict[str, str]:
    lines = text_of(parts, "99-nospof.cnf").splitlines()
    pairs = [line.partition(" = ") for line in lines if " = " in line]
    return {key: value for key, _, value in pairs}


# --- placement and links --------------------------------------------------------------------------------------------------
def test_witness_is_an_instance_of_its_own_rank() -> None:
    topology = resolve(stack(SHOP, database()), Allotment()).topology
    ranks = {instance.id.host: instance.rank for instance in topology.of_tier("database")}
    assert ranks == {"db1": c.Rank.NORMAL, "db2": c.Rank.NORMAL, "w1": c.Rank.WITNESS}


def test_every_pair_of_servers_is_linked_and_callers_go_through_their_router() -> None:
    topology = resolve(stack(SHOP, database()), Allotment()).topology
    pairs = {(link.source.host, link.target.owner.host) for link in topology.links if link.purpose == "replication"}
    assert pairs == {(a, b) for a in ("db1", "db2", "w1") for b in ("db1", "db2", "w1") if a != b}
    called = {(link.target.owner.tier, link.is_local) for link in topology.links_from(InstanceId("shop-app", "app1"))}
    assert called == {("database-router", True)}
    into_db1 = {(str(link.source), link.target.listen.port) for link in topology.into("db1")}
    assert ("database-router/app1", 3306) in into_db1
    assert ("database-router/app1", 8008) in into_db1
    assert ("shop-app/app1", 3306) not in into_db1


def test_primary_replica_needs_two_hosts_and_single_only_one() -> None:
    alone = Tier("database", "mariadb", ("db1",), MariadbSettings.model_validate({}))
    single = MariadbSettings.model_validate({"mode": "single"})
    assert [(o.code, o.key) for o in Mariadb.objections(alone)] == [("S012", "hosts")]
    assert Mariadb.objections(Tier("database", "mariadb", ("db1",), single)) == ()
    pair = Tier("database", "mariadb", ("db1", "db2"), single)
    assert [o.key for o in Mariadb.objections(pair)] == ["mode"]
    assert Mariadb.objections(database()) == ()


# --- what the hosts get ---------------------------------------------------------------------------------------------------
def test_hosts_differ_in_name_address_and_number_only() -> None:
    """Roles are never in a manifest, so that applying cannot undo what happened since."""
    texts = []
    for host, address, number in (("db1", "198.18.1.4", "3"), ("db2", "198.18.1.5", "4")):
        parts = parts_of(host)
        text = "\n".join(f"{file.path}\n{file.text}" for file in parts.files) + repr(
            (parts.units, parts.steps, parts.healthy_when)
        )
        assert f"server_id = {number}\n" in text
        same = text.replace(f"server_id = {number}\n", "server_id = N\n").replace(
            f"bind_address = {address}\n", "bind_address = A\n"
        )
        same = same.replace(f"report_host = {host}\n", "report_host = H\n").replace(f'"host": "{host}"', '"host": "H"')
        same = same.replace(f"https://{host}:8008/", "https://H:8008/").replace(f'"number": {number}', '"number": N')
        same = same.replace(f'"address": "{address}"', '"address": "A"').replace(f"ListenStream={address}:", "ListenStream=A:")
        texts.append(same.replace(f"certificate:database/{host}", "C").replace(f"key:database/{host}", "K"))
    assert texts[0] == texts[1]


def test_every_server_boots_read_only_and_as_nobody() -> None:
    settings = settings_in(parts_of("db1"))
    assert settings["read_only"] == "ON"
    assert settings["skip_slave_start"] == "ON"
    assert not {"rpl_semi_sync_master_enabled", "rpl_semi_sync_slave_enabled"} & set(settings)


def test_applications_that_take_all_their_connections_leave_some_to_replicas_and_agent() -> None:
    """Each host of an application may have as many as the settings say; there is room for four."""
    settings = settings_in(parts_of("db1"))
    assert (settings["max_connections"], settings["max_user_connections"]) == ("832", "200")


def test_a_write_is_on_disk_and_at_a_replica_before_it_is_acknowledged() -> None:
    settings = settings_in(parts_of("db1"))
    wanted = {"sync_binlog": "1", "innodb_flush_log_at_trx_commit": "1", "sync_relay_log": "1", "gtid_strict_mode": "ON"}
    wanted |= {"rpl_semi_sync_master_wait_point": "AFTER_SYNC", "binlog_format": "ROW", "log_slave_updates": "ON"}
    assert {key: settings[key] for key in wanted} == wanted
    assert settings_in(parts_of("db1", database(durability="memory")))["sync_relay_log"] == "0"
    assert settings_in(parts_of("db1", database(durability="memory")))["sync_binlog"] == "1"


def test_nothing_is_taken_from_the_network_without_encryption() -> None:
    settings = settings_in(parts_of("db1"))
    assert settings["require_secure_transport"] == "ON"
    assert settings["bind_address"] == "198.18.1.4"
    key = next(file for file in parts_of("db1").files if file.path == settings["ssl_key"])
    assert (key.user, key.mode) == ("mysql", 0o400)


def test_first_primary_is_the_same_everywhere() -> None:
    told = [json.loads(text_of(parts_of(host), "/agent.json")) for host in ("db1", "db2", "w1")]
    assert {one["first_primary"] for one in told} == {"db1"}


def test_lossless_is_the_default_where_two_copies_acknowledge_and_written_down_otherwise() -> None:
    def mode(**settings: object) -> str:
        told = json.loads(text_of(parts_of("db1", database(**settings)), "/agent.json"))
        return str(told["mode"])

    assert mode() == "lossless"
    assert mode(witness=None) == "available"
    assert mode(failover="available") == "available"


def test_agents_agree_through_etcd_and_a_single_server_needs_none() -> None:
    told = json.loads(text_of(parts_of("db1"), "/agent.json"))
    assert told["etcd"] == [["db1", 2379], ["db2", 2379], ["w1", 2379]]
    single = Tier("database", "mariadb", ("db1",), MariadbSettings.model_validate({"mode": "single"}))
    parts = parts_of("db1", single)
    assert json.loads(text_of(parts, "/agent.json"))["etcd"] == []
    assert not [unit for unit in parts.units if unit.name.endswith("copy.socket")]


def test_a_new_certificate_or_password_restarts_no_server() -> None:
    parts = parts_of("db1")
    for file in parts.files:
        if "mariadb.service" in file.for_units or file.for_units == ("*",):
            assert file.path == "/etc/mysql/mariadb.conf.d/99-nospof.cnf"
    changes = {unit.name: unit.on_change for unit in parts.units}
    assert changes["nospof-database-agent.service"] is changes["nospof-database-roles.service"] is c.OnChange.RELOAD


def test_the_agent_starts_the_server_and_restarts_it_in_an_order_of_its_own() -> None:
    server = next(unit for unit in parts_of("db1").units if unit.name == "mariadb.service")
    assert (server.is_started, server.on_change) == (False, c.OnChange.ASK)
    assert server.ask[-4:] == ("--ask", "restart", "--socket", "/run/nospof/database/agent.sock")


def test_accounts_name_the_callers_and_their_addresses_and_hold_tokens() -> None:
    file = next(file for file in parts_of("db2").files if file.path.endswith("/accounts.json"))
    assert file.mode == 0o600
    accounts = json.loads(re.sub("\x02([^\x03]*)\x03", r"<\1>", file.text))
    assert accounts["applications"] == [
        {
            "user": "shop_app",
            "accepts": "<accepted:database/shop-app| >",
            "from": ["198.18.1.2", "198.18.1.3"],
            "database": "shop_app",
        }
    ]
    assert accounts["replication"]["password"] == "<secret:database/replication>"
    assert accounts["replication"]["from"] == ["198.18.1.4", "198.18.1.5", "198.18.1.6"]


def test_no_secret_is_in_a_command_or_in_a_file_that_others_may_read() -> None:
    parts = parts_of("db1")
    assert "\x02secret" not in repr((parts.units, parts.steps, parts.healthy_when))
    assert [file.path for file in parts.files if "\x02secret" in file.text and file.mode & 0o077] == []


def test_buffer_pool_is_small_where_hosts_share_a_machine() -> None:
    assert settings_in(parts_of("db1"))["innodb_buffer_pool_size"] == "128M"
    assert settings_in(parts_of("db1", is_lab=False))["innodb_buffer_pool_size"] == "12000M"
    assert settings_in(parts_of("db1", memory_mib=100))["innodb_buffer_pool_size"] == "64M"
    assert settings_in(parts_of("db1", database(buffer_pool_mib=300)))["innodb_buffer_pool_size"] == "300M"

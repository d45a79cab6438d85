"""The accounts on the server that takes writes: made, changed and dropped until they are what the stack says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from nospof.onhost import mariadb_accounts as accounts
from nospof.onhost.mariadb_server import Server
from nospof.onhost.mysql_accounts import MYSQL

PASSWORD = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6"
HASH = accounts.native_hash(PASSWORD)
SHOP = accounts.Account("shop_app", "198.18.1.5", (HASH,), "shop_app")
REPLICATION = accounts.Account("nospof_replication", "198.18.1.3", (HASH,))
EMPTY = accounts.Seen(frozenset({"mysql"}), {})


def present(account: accounts.Account) -> accounts.Present:
    place = account.database.replace("_", "\\_")
    return accounts.Present(account.password_hashes, account.encryption, frozenset((place, right) for right in account.rights))


COMPLETE = accounts.Seen(
    frozenset({"mysql", "shop_app"}),
    {("shop_app", "198.18.1.5"): present(SHOP), ("nospof_replication", "198.18.1.3"): present(REPLICATION)},
)


def statements(seen: accounts.Seen, *wanted: accounts.Account) -> list[str]:
    return [statement for change in accounts.changes(wanted, seen) for statement in change.statements]


def test_hash_is_the_servers_own() -> None:
    # SELECT PASSWORD('password') on MariaDB 11.8.6.
    assert accounts.native_hash("password") == "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"


def test_an_application_gets_a_database_and_rights_on_nothing_else() -> None:
    database, user, grant = statements(EMPTY, SHOP)
    assert database == "CREATE DATABASE IF NOT EXISTS `shop_app` CHARACTER SET utf8mb4"
    assert user.startswith("CREATE USER 'shop_app'@'198.18.1.5' IDENTIFIED VIA mysql_native_password USING '*")
    assert user.endswith("REQUIRE SSL")
    # _ alone would stand for any character, and give rights on shopXapp too.
    assert " ON `shop\\_app`.* TO 'shop_app'@'198.18.1.5'" in grant
    assert not {"ALL PRIVILEGES", "SUPER", "READ_ONLY ADMIN", "EVENT", "GRANT OPTION"} & accounts.APPLICATION_RIGHTS


def test_replicas_must_show_a_certificate() -> None:
    user, grant = statements(EMPTY, REPLICATION)
    assert user.endswith("REQUIRE X509")
    assert grant == "GRANT REPLICATION SLAVE ON *.* TO 'nospof_replication'@'198.18.1.3'"


def test_nothing_is_done_twice() -> None:
    assert statements(COMPLETE, SHOP, REPLICATION) == []


def test_a_new_password_changes_the_user_and_nothing_else() -> None:
    (only,) = statements(COMPLETE, replace(SHOP, password_hashes=(accounts.native_hash("x" * 32),)), REPLICATION)
    assert only.startswith("ALTER USER 'shop_app'@'198.18.1.5' IDENTIFIED VIA")


def test_two_passwords_are_taken_while_one_replaces_the_other() -> None:
    other = accounts.native_hash("x" * 32)
    both = replace(SHOP, password_hashes=(HASH, other))
    (only,) = statements(COMPLETE, both, REPLICATION)
    ways = f"mysql_native_password USING '{HASH}' OR mysql_native_password USING '{other}'"
    assert only == f"ALTER USER 'shop_app'@'198.18.1.5' IDENTIFIED VIA {ways} REQUIRE SSL"
    there = replace(COMPLETE, accounts={**COMPLETE.accounts, ("shop_app", "198.18.1.5"): present(both)})
    assert statements(there, both, REPLICATION) == []
    assert statements(there, replace(both, password_hashes=(other, HASH)), REPLICATION) == [], "the order says nothing"
    (only,) = statements(there, replace(SHOP, password_hashes=(other,)), REPLICATION)
    assert only == f"ALTER USER 'shop_app'@'198.18.1.5' IDENTIFIED VIA mysql_native_password USING '{other}' REQUIRE SSL"


def test_passwords_there_are_read_whatever_their_number() -> None:
    # As 11.8.9 tells: the second is in another place than the first.
    class Told:
        def rows(self, statement: str) -> list[dict[str, Any]]:
            if "global_priv" not in statement:
                return []
            user = {"user": "shop_app", "hash": "*A", "encryption": "1"}
            return [{**user, "host": "h1", "others": None}, {**user, "host": "h2", "others": '["*B"]'}]

    seen = accounts.look(cast(Server, Told()), (SHOP,), accounts.MARIADB)
    assert [seen.accounts["shop_app", host].password_hashes for host in ("h1", "h2")] == [("*A",), ("*A", "*B")]


def test_a_user_that_need_not_encrypt_any_more_must_again() -> None:
    seen = {**COMPLETE.accounts, ("shop_app", "198.18.1.5"): replace(present(SHOP), encryption=0)}
    (only,) = statements(replace(COMPLETE, accounts=seen), SHOP, REPLICATION)
    assert only.startswith("ALTER USER")


def test_rights_that_somebody_added_are_taken_back() -> None:
    more = replace(present(SHOP), rights=present(SHOP).rights | {("", "SUPER")})
    revoke, grant = statements(
        replace(COMPLETE, accounts={**COMPLETE.accounts, ("shop_app", "198.18.1.5"): more}), SHOP, REPLICATION
    )
    assert revoke == "REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'shop_app'@'198.18.1.5'"
    assert grant.startswith("GRANT ")


def test_an_address_that_left_the_stack_loses_its_account() -> None:
    seen = {**COMPLETE.accounts, ("shop_app", "198.18.1.99"): present(SHOP)}
    assert statements(replace(COMPLETE, accounts=seen), SHOP, REPLICATION) == ["DROP USER 'shop_app'@'198.18.1.99'"]


def test_no_password_is_sent_said_or_shown() -> None:
    for change in accounts.changes((SHOP, REPLICATION), EMPTY):
        assert PASSWORD not in "".join(change.statements)
        assert HASH not in change.says + repr(change)
    assert HASH not in repr(SHOP)


def write(folder: Path, *users: str, password: str = PASSWORD) -> Path:
    entry = {"accepts": password, "from": ["198.18.1.5"]}
    told = {
        "replication": {"user": "nospof_replication", **entry},
        "applications": [{"user": user, "database": user, **entry} for user in users],
    }
    path = folder / "accounts.json"
    path.write_text(json.dumps(told))
    return path


def test_accounts_are_read_with_hashes_only(tmp_path: Path) -> None:
    found = accounts.read_accounts(write(tmp_path, "shop_app"))
    assert [(account.user, account.database, account.password_hashes) for account in found] == [
        ("nospof_replication", "", (HASH,)),
        ("shop_app", "shop_app", (HASH,)),
    ]


def test_two_passwords_of_a_user_are_read(tmp_path: Path) -> None:
    found = accounts.read_accounts(write(tmp_path, "shop_app", password=f"{PASSWORD} other"))
    assert {account.password_hashes for account in found} == {(HASH, accounts.native_hash("other"))}


def test_no_user_is_made_without_a_password(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no password for nospof_replication"):
        accounts.read_accounts(write(tmp_path, "shop_app", password=""))


def test_who_reads_figures_has_an_account_at_the_socket_that_sees_no_data(tmp_path: Path) -> None:
    path = write(tmp_path)
    told = json.loads(path.read_text())
    told["figures"] = {"user": "nospof_figures", "accepts": PASSWORD, "from": ["localhost"]}
    path.write_text(json.dumps(told))
    for product, right in ((accounts.MARIADB, "SLAVE MONITOR"), (MYSQL, "REPLICATION CLIENT")):
        figures = next(one for one in accounts.read_accounts(path, product) if one.user == "nospof_figures")
        user, grant = [one for change in accounts.changes((figures,), EMPTY, product) for one in change.statements]
        assert user.startswith("CREATE USER 'nospof_figures'@'localhost' IDENTIFIED")
        # A connection over the socket is not encrypted, and need not be.
        assert user.endswith("REQUIRE NONE")
        assert grant == f"GRANT {right} ON *.* TO 'nospof_figures'@'localhost'"
        seen = replace(EMPTY, accounts={("nospof_figures", "localhost"): present(figures)})
        assert accounts.changes((figures,), seen, product) == ()


@pytest.mark.parametrize("user", ["root", "mysql", "sys"])
def test_a_tier_cannot_take_a_name_of_the_servers_own(tmp_path: Path, user: str) -> None:
    with pytest.raises(ValueError, match=user):
        accounts.read_accounts(write(tmp_path, user))


@pytest.mark.parametrize("name", ["a`b", "a b", "a;b", "ä", "a'b", ""])
def test_a_database_name_that_needs_quoting_is_refused(name: str) -> None:
    wanted = (replace(SHOP, user="x", database=name or "'"),)
    with pytest.raises(ValueError, match="not allowed"):
        list(accounts.changes(wanted, EMPTY))


# --- when it acts ---------------------------------------------------------------------------------------------------------
class FakeServer(Server):
    """Read-only or not, replica or not; has no accounts yet, and after `ready_after` looks a role."""

    def __init__(self, *, is_read_only: bool, is_replica: bool, ready_after: int = 0) -> None:
        super().__init__("/nowhere")
        self.is_read_only, self.is_replica, self.ready_after = is_read_only, is_replica, ready_after
        self.changed: list[str] = []

    def rows(self, statement: str) -> list[dict[str, Any]]:
        if statement.startswith("SELECT @@read_only"):
            self.ready_after -= 1
            if self.ready_after == 0:
                raise OSError("not up yet")
            return [{"it": int(self.is_read_only or self.ready_after > 0)}]
        if statement.startswith("SHOW REPLICA"):
            return [{}] if self.is_replica else []
        if statement.startswith(("SELECT", "SHOW")):
            return []
        self.changed.append(statement)
        return []


def test_only_a_server_that_takes_writes_is_changed() -> None:
    replica = FakeServer(is_read_only=True, is_replica=True)
    assert accounts.make(replica, (SHOP,), wait_s=0) == 0
    assert replica.changed == []
    primary = FakeServer(is_read_only=False, is_replica=False)
    assert accounts.make(primary, (SHOP,), wait_s=0) == 0
    assert len(primary.changed) == 3


def test_a_server_without_a_role_is_waited_for_and_then_not_called_done() -> None:
    """Incident in the making: at a first `up` the step runs before the server has become primary."""
    late = FakeServer(is_read_only=False, is_replica=False, ready_after=3)
    assert accounts.make(late, (SHOP,), wait_s=5) == 0
    assert len(late.changed) == 3
    never = FakeServer(is_read_only=True, is_replica=False)
    assert accounts.make(never, (SHOP,), wait_s=0) == 1
    assert accounts.check(never, (SHOP,)) == 1


def test_check_changes_nothing() -> None:
    primary = FakeServer(is_read_only=False, is_replica=False)
    assert accounts.check(primary, (SHOP,)) == 1
    assert primary.changed == []
    assert accounts.check(FakeServer(is_read_only=True, is_replica=True), (SHOP,)) == 0

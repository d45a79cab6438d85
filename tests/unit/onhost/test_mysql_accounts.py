"""The accounts on a MySQL server: as on MariaDB, with MySQL's own form of a password."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nospof.onhost import mariadb_accounts as accounts
from nospof.onhost.mysql_accounts import MYSQL, hashed, sha_crypt

PASSWORD = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6"
EMPTY = accounts.Seen(frozenset({"mysql"}), {})


def read(tmp_path: Path) -> tuple[accounts.Account, ...]:
    entry = {"accepts": PASSWORD, "from": ["198.18.1.5"]}
    told = {
        "replication": {"user": "nospof_replication", **entry},
        "applications": [{"user": "shop", "database": "shop", **entry}],
    }
    (tmp_path / "accounts.json").write_text(json.dumps(told))
    return accounts.read_accounts(tmp_path / "accounts.json", MYSQL)


def test_hash_is_the_servers_own() -> None:
    # Of the password "hashcat", as published with hashcat's mode 7401.
    salt = bytes.fromhex("F9CC98CE08892924F50A213B6BC571A2C11778C5")
    assert sha_crypt(b"hashcat", salt) == "bTy95Y99eAME1dwEkHOA1ndHGBWz.1bxSSRkuTXFGV/"


def test_hash_is_always_the_same_and_of_the_servers_length() -> None:
    assert hashed(PASSWORD) == hashed(PASSWORD) != hashed(PASSWORD[::-1])
    assert len(hashed(PASSWORD)) == len("$A$005$") + 20 + 43


def test_no_password_is_sent(tmp_path: Path) -> None:
    statements = [text for change in accounts.changes(read(tmp_path), EMPTY, MYSQL) for text in change.statements]
    assert any(
        text.startswith("CREATE USER 'shop'@'198.18.1.5' IDENTIFIED WITH caching_sha2_password AS '$A$") for text in statements
    )
    assert PASSWORD not in "".join(statements)


def test_only_replicas_may_clone_and_they_show_a_certificate(tmp_path: Path) -> None:
    statements = [text for change in accounts.changes(read(tmp_path), EMPTY, MYSQL) for text in change.statements]
    assert [text for text in statements if "BACKUP_ADMIN" in text] == [
        "GRANT BACKUP_ADMIN, REPLICATION SLAVE ON *.* TO 'nospof_replication'@'198.18.1.5'"
    ]
    assert [text.endswith("REQUIRE X509") for text in statements if text.startswith("CREATE USER")] == [True, False]


def test_nothing_is_done_twice(tmp_path: Path) -> None:
    wanted = read(tmp_path)
    there = {
        (one.user, one.address): accounts.Present(
            one.password_hashes, one.encryption, frozenset((one.database, right) for right in one.rights)
        )
        for one in wanted
    }
    assert accounts.changes(wanted, accounts.Seen(frozenset({"shop"}), there), MYSQL) == ()


OLD, NEW, FOREIGN = (hashed(word * 32) for word in "onf")


def after(present: tuple[str, ...] | None, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """What a server takes after our statements; at each moment it must take one that is to stay and was there."""
    first, second = present[0] if present else "", present[1] if present and len(present) > 1 else ""
    kept = set(present or ()) & set(wanted)
    for statement in MYSQL.identified("'app'@'h1'", "SSL", wanted, present):
        given = statement.partition(" AS '")[2].partition("'")[0]
        if statement.endswith("DISCARD OLD PASSWORD"):
            second = ""
        elif statement.endswith("RETAIN CURRENT PASSWORD"):
            first, second = given, first
        else:
            assert statement.endswith("REQUIRE SSL")
            assert statement.startswith("CREATE USER" if present is None and not first else "ALTER USER")
            first = given
        assert kept <= {first, second}, statement
    return tuple(filter(None, (first, second)))


@pytest.mark.parametrize("wanted", [(OLD,), (NEW,), (OLD, NEW), (NEW, OLD)])
@pytest.mark.parametrize(
    "present", [None, (OLD,), (NEW,), (OLD, NEW), (NEW, OLD), (FOREIGN,), (FOREIGN, OLD), (OLD, FOREIGN), (FOREIGN, NEW)]
)
def test_whatever_was_taken_before_what_stays_is_taken_all_along(
    present: tuple[str, ...] | None, wanted: tuple[str, ...]
) -> None:
    assert set(after(present, wanted)) == set(wanted)

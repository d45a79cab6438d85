"""Make the accounts that the stack needs, on the server that takes writes; the others get them by replication.

Only hashes of passwords are sent to the server, so that none stands in a binary log, a process list or an error message.

    mariadb_accounts --config ROLE.JSON           wait for a role; if it is primary: create, change, drop what differs
    mariadb_accounts --config ROLE.JSON --check   exit 0 if there is nothing to do here, else 1; changes nothing

Limits: drops the addresses that one of its users has no more, never a database, and no user of a tier that is gone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pymysql

from nospof.onhost.mariadb_server import Server, quoted

WAIT_S = 45.0
NOT_OURS = {"mysql", "root", "sys", "information_schema", "performance_schema", "mariadb.sys", "public"}
# Data and tables of its own database. Not EVENT: events would run on replicas too, or on nobody after a change of roles.
APPLICATION_RIGHTS = frozenset(
    [
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "CREATE",
        "DROP",
        "ALTER",
        "INDEX",
        "REFERENCES",
        "CREATE VIEW",
        "SHOW VIEW",
        "TRIGGER",
        "CREATE TEMPORARY TABLES",
        "LOCK TABLES",
        "EXECUTE",
        "CREATE ROUTINE",
        "ALTER ROUTINE",
    ]
)
REPLICATION_RIGHTS = frozenset({"REPLICATION SLAVE"})
# How far a copy is; counters and settings everybody may read.
FIGURES_RIGHTS = frozenset({"SLAVE MONITOR"})
# mysql.global_priv's numbers for REQUIRE NONE, SSL and X509.
NONE, SSL, X509 = 0, 1, 2
REQUIRED = {NONE: "NONE", SSL: "SSL", X509: "X509"}
SOCKET = "localhost"

log = logging.getLogger("nospof")


def native_hash(password: str) -> str:
    """The server's own form of a password: * and SHA-1 of SHA-1. Safe for what is drawn at random, 32 characters long."""
    once = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(once, usedforsecurity=False).hexdigest().upper()


@dataclass(frozen=True)
class Product:
    """How one database product keeps accounts. `hashed`: a password as it is sent to the server.

    `identified`: the statements that have a user take these passwords and no others, at every moment at least one of those it
    took before that are to stay; given are its name, what it requires, the hashes, and those it has now, None for a new one.
    `users`: the query for user, host, hash, others (more hashes, as a JSON array), encryption, with {names}.
    """

    name: str
    hashed: Callable[[str], str]
    identified: Callable[[str, str, tuple[str, ...], tuple[str, ...] | None], tuple[str, ...]]
    users: str
    replication_rights: frozenset[str] = REPLICATION_RIGHTS
    figures_rights: frozenset[str] = FIGURES_RIGHTS


def identified(who: str, requires: str, hashes: tuple[str, ...], present: tuple[str, ...] | None) -> tuple[str, ...]:
    """One way in for each password, joined by OR. A client whose password is the second is asked once more, and answers.

    Source: https://mariadb.com/docs/server/reference/sql-statements/account-management-sql-statements/create-user
    """
    ways = " OR ".join(f"mysql_native_password USING {quoted(one)}" for one in hashes)
    return (f"{'CREATE' if present is None else 'ALTER'} USER {who} IDENTIFIED VIA {ways} REQUIRE {requires}",)


MARIADB = Product(
    "mariadb",
    native_hash,
    identified,
    "SELECT user, host, JSON_VALUE(priv, '$.authentication_string') AS hash, "
    "JSON_EXTRACT(priv, '$.auth_or[*].authentication_string') AS others, JSON_VALUE(priv, '$.ssl_type') AS encryption "
    "FROM mysql.global_priv WHERE user IN ({names})",
)


def main(argv: list[str], product: Product = MARIADB) -> int:
    """Exit 0 when done or nothing was to be done, 1 when not."""
    parser = argparse.ArgumentParser(prog=f"{product.name}_accounts")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        role = json.loads(arguments.config.read_text())
        accounts = read_accounts(Path(role["accounts_file"]), product)
        return check(Server(), accounts, product) if arguments.check else make(Server(), accounts, product)
    except (OSError, KeyError, ValueError, pymysql.Error) as error:
        log.error("accounts are not made: %s", error)
        return 1


def check(server: Server, accounts: tuple[Account, ...], product: Product = MARIADB) -> int:
    """Exit code 0: nothing to do here. A server without a role yet is not done."""
    is_primary = takes_writes(server)
    if is_primary is None:
        return 1
    return 1 if is_primary and changes(accounts, look(server, accounts, product), product) else 0


def make(server: Server, accounts: tuple[Account, ...], product: Product = MARIADB, wait_s: float = WAIT_S) -> int:
    """Wait for the server to have a role, then make what is missing if it takes writes."""
    until_s = time.monotonic() + wait_s
    while (is_primary := _role_or_none(server)) is None:
        if time.monotonic() > until_s:
            log.error("accounts are not made: the server has no role after %.0f s", wait_s)
            return 1
        time.sleep(0.1)
    if not is_primary:
        return 0
    for change in changes(accounts, look(server, accounts, product), product):
        log.info("%s", change.says)
        for statement in change.statements:
            server.rows(statement)
    return 0


def takes_writes(server: Server) -> bool | None:
    """Whether the server is primary; None while it is neither that nor anybody's replica."""
    if not server.rows("SELECT @@read_only AS it")[0]["it"]:
        return True
    return False if server.rows("SHOW REPLICA STATUS") else None


def _role_or_none(server: Server) -> bool | None:
    try:
        return takes_writes(server)
    except (pymysql.Error, OSError):
        server.forget()
        return None


# --- what there is to be -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, order=True)
class Account:
    """A user at one address. `database` "": `server_rights` on the whole server, and a certificate demanded.

    `password_hashes`: one, or two while passwords change. At "localhost", which is the unix socket, nothing is encrypted.
    """

    user: str
    address: str
    password_hashes: tuple[str, ...] = field(repr=False)
    database: str = ""
    server_rights: frozenset[str] = field(default=REPLICATION_RIGHTS, compare=False)

    @property
    def rights(self) -> frozenset[str]:
        return APPLICATION_RIGHTS if self.database else self.server_rights

    @property
    def encryption(self) -> int:
        if self.address == SOCKET:
            return NONE
        return SSL if self.database else X509


def read_accounts(path: Path, product: Product = MARIADB) -> tuple[Account, ...]:
    """Read accounts.json: {"replication": {user, accepts, from}, "applications": [{user, accepts, from, database}]}.

    `accepts`: the passwords that are taken, separated by a space. Where somebody watches, "figures" is one more, as
    "replication".
    """
    told = json.loads(path.read_text())
    found = []
    figures = [(told["figures"], product.figures_rights)] if "figures" in told else []
    others = [(entry, product.replication_rights) for entry in [told["replication"], *told["applications"]]]
    for entry, server_rights in [*others, *figures]:
        if entry["user"] in NOT_OURS:
            raise ValueError(f"a tier cannot be named {entry['user']}: the server has a user or database of that name")
        hashes, database = tuple(map(product.hashed, entry["accepts"].split())), entry.get("database", "")
        if not hashes:
            raise ValueError(f"no password for {entry['user']}")
        found += [Account(entry["user"], address, hashes, database, server_rights) for address in entry["from"]]
    return tuple(sorted(found))


# --- what there is -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Present:
    """An account on the server. `password_hashes`: what it takes, the one that counts as its present password first."""

    password_hashes: tuple[str, ...] = field(repr=False)
    encryption: int
    rights: frozenset[tuple[str, str]]
    """(database as a pattern, "" = everywhere; right)."""


@dataclass(frozen=True)
class Seen:
    databases: frozenset[str]
    accounts: dict[tuple[str, str], Present]


def look(server: Server, accounts: tuple[Account, ...], product: Product) -> Seen:
    """Read the accounts of our users, at any address, and all databases' names."""
    names = ", ".join(sorted({quoted(account.user) for account in accounts}))
    rights: dict[str, set[tuple[str, str]]] = {}
    for row in server.rows(
        "SELECT grantee AS grantee, '' AS place, privilege_type AS what FROM information_schema.user_privileges UNION ALL "
        "SELECT grantee, table_schema, privilege_type FROM information_schema.schema_privileges"
    ):
        if row["what"] != "USAGE":
            rights.setdefault(row["grantee"], set()).add((row["place"], row["what"]))
    users = server.rows(product.users.format(names=names))
    present = {
        (row["user"], row["host"]): Present(
            (row["hash"] or "", *filter(None, json.loads(row["others"] or "[]"))),
            int(row["encryption"] or 0),
            frozenset(rights.get(f"'{row['user']}'@'{row['host']}'", ())),
        )
        for row in users
    }
    return Seen(frozenset(row["Database"] for row in server.rows("SHOW DATABASES")), present)


# --- what is to be done --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Change:
    says: str
    statements: tuple[str, ...] = field(repr=False)


def changes(accounts: tuple[Account, ...], seen: Seen, product: Product = MARIADB) -> tuple[Change, ...]:
    """Say what makes the server's accounts equal to `accounts`; nothing when they are. Pure."""
    return (*_databases(accounts, seen), *_accounts(accounts, seen, product), *_dropped(accounts, seen))


def _databases(accounts: tuple[Account, ...], seen: Seen) -> Iterator[Change]:
    for name in sorted({account.database for account in accounts if account.database} - seen.databases):
        yield Change(f"creates database {name}", (f"CREATE DATABASE IF NOT EXISTS `{_plain(name)}` CHARACTER SET utf8mb4",))


def _accounts(accounts: tuple[Account, ...], seen: Seen, product: Product) -> Iterator[Change]:
    for account in accounts:
        who = f"{quoted(account.user)}@{quoted(account.address)}"
        present = seen.accounts.get((account.user, account.address))
        requires, hashes = REQUIRED[account.encryption], account.password_hashes
        if present is None:
            made = product.identified(who, requires, hashes, None)
            yield Change(f"creates {account.user} at {account.address}", (*made, _grant(account, who)))
            continue
        if (set(present.password_hashes), present.encryption) != (set(hashes), account.encryption):
            which = "its password" if len(hashes) == 1 else "another password beside its own"
            changed = product.identified(who, requires, hashes, present.password_hashes)
            yield Change(f"gives {account.user} at {account.address} {which}", changed)
        if present.rights != {(_pattern(account.database), right) for right in account.rights}:
            revoke = f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {who}"
            yield Change(f"gives {account.user} at {account.address} its rights", (revoke, _grant(account, who)))


def _dropped(accounts: tuple[Account, ...], seen: Seen) -> Iterator[Change]:
    wanted = {(account.user, account.address) for account in accounts}
    for user, address in sorted(set(seen.accounts) - wanted):
        yield Change(f"drops {user} at {address}", (f"DROP USER {quoted(user)}@{quoted(address)}",))


def _grant(account: Account, who: str) -> str:
    place = f"`{_pattern(_plain(account.database))}`.*" if account.database else "*.*"
    return f"GRANT {', '.join(sorted(account.rights))} ON {place} TO {who}"


def _pattern(database: str) -> str:
    """A database's name as GRANT wants it, where _ would stand for any character."""
    return database.replace("_", "\\_")


def _plain(name: str) -> str:
    if not name.replace("_", "").isalnum() or not name.isascii():
        raise ValueError(f"database name {name!r} has a character that is not allowed here")
    return name

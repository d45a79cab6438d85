"""Make the accounts that the stack needs on a MySQL server that takes writes; as with MariaDB, but for the form of a password.

    mysql_accounts --config AGENT.JSON [--check]

The hash is made here, so that no password stands in a binary log, a process list or an error message.
Source: https://dev.mysql.com/doc/refman/9.7/en/caching-sha2-pluggable-authentication.html; the hash is that of SHA-crypt
(https://www.akkadia.org/drepper/SHA-crypt.txt) with 5000 rounds and a salt of 20 bytes. Two passwords at once:
https://dev.mysql.com/doc/refman/9.7/en/password-management.html#dual-passwords
"""

from __future__ import annotations

import hashlib

from nospof.onhost import mariadb_accounts as accounts
from nospof.onhost.mariadb_server import quoted

SALT_BYTES, ROUNDS = 20, 5000
DIGITS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def main(argv: list[str]) -> int:
    """Exit 0 when done or nothing was to be done, 1 when not."""
    return accounts.main(argv, MYSQL)


def hashed(password: str) -> str:
    """The server's own form of a password.

    The salt follows from the password, so that accounts can be compared: safe for what is drawn at random, 32 characters long.
    """
    salt = hashlib.sha256(b"nospof" + password.encode()).hexdigest()[:SALT_BYTES]
    return f"$A$005${salt}{sha_crypt(password.encode(), salt.encode())}"


def sha_crypt(password: bytes, salt: bytes) -> str:
    """SHA-crypt with SHA-256, without the limit of 16 bytes for the salt."""
    digest = _first(password, salt)
    known = _repeated(hashlib.sha256(password * len(password)).digest(), len(password))
    salted = _repeated(hashlib.sha256(salt * (16 + digest[0])).digest(), len(salt))
    for number in range(ROUNDS):
        is_odd = number % 2
        made = known if is_odd else digest
        made += salted if number % 3 else b""
        made += known if number % 7 else b""
        digest = hashlib.sha256(made + (digest if is_odd else known)).digest()
    return _written(digest)


def _first(password: bytes, salt: bytes) -> bytes:
    second = hashlib.sha256(password + salt + password).digest()
    made = password + salt + _repeated(second, len(password))
    length = len(password)
    while length:
        made += second if length & 1 else password
        length >>= 1
    return hashlib.sha256(made).digest()


def _repeated(digest: bytes, length: int) -> bytes:
    return (digest * (length // len(digest) + 1))[:length]


def _written(digest: bytes) -> str:
    """Three bytes as four digits, in the order of SHA-crypt; the last two bytes as three."""
    text, places = "", (0, 10, 20)
    for _ in range(10):
        text += "".join(_digits(int.from_bytes(bytes(digest[place] for place in places)), 4))
        first, second, third = places
        places = (third + 1, first + 1, second + 1)
    return text + "".join(_digits(int.from_bytes((digest[31], digest[30])), 3))


def _digits(number: int, count: int) -> list[str]:
    return [DIGITS[number >> 6 * place & 63] for place in range(count)]


def identified(who: str, requires: str, hashes: tuple[str, ...], present: tuple[str, ...] | None) -> tuple[str, ...]:
    """Statements after which the user takes these passwords alone: MySQL keeps one more beside the present one, on demand.

    What is set without RETAIN leaves that one as it is, so that one which stays is taken at every moment.
    """
    first = present[0] if present and present[0] in hashes else hashes[0]
    second = next((one for one in hashes if one != first), None)
    statements = [f"{'CREATE' if present is None else 'ALTER'} USER {who} {_as(first)} REQUIRE {requires}"]
    if second is not None:
        statements.append(f"ALTER USER {who} {_as(second)} RETAIN CURRENT PASSWORD")
    elif present and len(present) > 1:
        statements.append(f"ALTER USER {who} DISCARD OLD PASSWORD")
    return tuple(statements)


def _as(password_hash: str) -> str:
    return f"IDENTIFIED WITH caching_sha2_password AS {quoted(password_hash)}"


MYSQL = accounts.Product(
    "mysql",
    hashed,
    identified,
    "SELECT user AS user, host AS host, authentication_string AS hash, "
    "JSON_ARRAY(JSON_EXTRACT(user_attributes, '$.additional_password')) AS others, "
    "CASE ssl_type WHEN 'ANY' THEN 1 WHEN 'X509' THEN 2 ELSE 0 END AS encryption FROM mysql.user WHERE user IN ({names})",
    accounts.REPLICATION_RIGHTS | {"BACKUP_ADMIN"},
    frozenset({"REPLICATION CLIENT"}),
)

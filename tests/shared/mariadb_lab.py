"""MariaDB servers on three real hosts, driven by hand: no agent, no components, only the settings and the unit of ours.

Each server's unix socket is reached through its host's file system, so a test can hold as many sessions as it likes.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import jinja2
import pymysql
import pymysql.cursors
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nospof.apply import trips
from nospof.apply.transport import Finished
from nospof.components.mariadb import texts
from nospof.lab.host import Host
from nospof.lab.lab import Lab, LabHost, LabPlan
from nospof.render.host import all_packages

HOSTS = (LabHost("db1", "a", "198.18.1.1"), LabHost("db2", "b", "198.18.1.2"), LabHost("w1", "c", "198.18.1.3"))
TIER, USER, PASSWORD = "database", "nospof_replication", "Kx7Rq2mNp4Vt9Zs1Bc6Dw8Hf3Jg5Ly0A"
CA, CERTIFICATE, KEY = (f"/etc/nospof/tls/{name}" for name in ("ca.pem", "db.crt", "db.key"))
ACCOUNTS = (f"'{USER}'@'198.18.%' IDENTIFIED BY '{PASSWORD}' REQUIRE X509", "'app'@'localhost' IDENTIFIED BY 'x'")
GRANTS = (f"GRANT REPLICATION SLAVE ON *.* TO '{USER}'@'198.18.%'", "GRANT ALL ON t.* TO 'app'@'localhost'")
TABLES = (
    "CREATE DATABASE t",
    "CREATE TABLE t.a (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(100))",
    "CREATE TABLE t.big (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB)",
)
Row = dict[str, Any]


class MariadbLab:
    """The lab, its servers by name."""

    def __init__(self, name: str = "") -> None:
        self.lab = Lab.open(name or f"test-{secrets.token_hex(3)}")
        self.servers = {host.name: Server(self.lab, host, number) for number, host in enumerate(HOSTS, start=1)}

    def up(self) -> None:
        """Boot the hosts and start their servers, which follow nobody and are read-only."""
        self.lab.up(LabPlan(self.lab.places.lab, HOSTS, all_packages(), ()), lambda *_: None)
        authority = Authority()
        _at_once(lambda server: server.install(authority), self.servers.values())
        first = self["db1"]
        first.sql("SET GLOBAL read_only = OFF", *(f"CREATE USER {who}" for who in ACCOUNTS), *GRANTS, *TABLES)
        first.sql("SET GLOBAL rpl_semi_sync_master_enabled = ON")

    def down(self) -> None:
        self.lab.down()

    def __getitem__(self, name: str) -> Server:
        return self.servers[name]


class Authority:
    """Signs a certificate for each host."""

    def __init__(self) -> None:
        self.key, self.name = ec.generate_private_key(ec.SECP256R1()), _name("test authority")
        constraint = x509.BasicConstraints(ca=True, path_length=None)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        self.certificate = (
            _builder(self.name, self.name, self.key)
            .add_extension(constraint, critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(usage, critical=True)
        )
        self.ca = self.certificate.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, host: str, address: str) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host), x509.IPAddress(ipaddress.ip_address(address))])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        built = _builder(_name(host), self.name, key).add_extension(names, critical=False).add_extension(issuer, critical=False)
        signed = built.sign(self.key, hashes.SHA256())
        plain = serialization.NoEncryption()
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return signed.public_bytes(pem), key.private_bytes(pem, form, plain)


@dataclass
class Server:
    """One host's server."""

    lab: Lab
    host: LabHost
    number: int

    # --- its host ------------------------------------------------------------------------------------------------
    def run(self, *argv: str, stdin: bytes = b"", timeout_s: float = 60.0) -> str:
        """Run a command on the host, which must work; returns what it printed."""
        return self.run_bytes(*argv, stdin=stdin, timeout_s=timeout_s).decode().strip()

    def run_bytes(self, *argv: str, stdin: bytes = b"", timeout_s: float = 60.0) -> bytes:
        outcome = self.lab.run(self.host.name, argv, stdin, timeout_s)
        assert isinstance(outcome, Finished), f"{self.host.name}: {outcome}"
        assert outcome.exit_code == 0, f"{self.host.name}: {' '.join(argv)}: {outcome}"
        return outcome.stdout

    def main_pid(self) -> int:
        """The server's process as systemd knows it, 0 = none."""
        return int(self.run("systemctl", "show", "-P", "MainPID", "mariadb.service"))

    def write(self, path: str, content: bytes | str, mode: str = "644") -> None:
        told = content.encode() if isinstance(content, str) else content
        script = 'mkdir -p "$(dirname "$0")" && cat >"$0" && chmod "$1" "$0"'
        self.run("sh", "-euc", script, path, mode, stdin=told)

    def install(self, authority: Authority) -> None:
        """Give the host its certificate, our settings and our unit, and start the server."""
        certificate, key = authority.issue(self.host.name, self.host.address)
        self.write(CA, authority.ca)
        self.write(CERTIFICATE, certificate)
        self.write(KEY, key, "640")
        self.run("chgrp", "mysql", KEY)
        me = SimpleNamespace(number=self.number, name=self.host.name, address=self.host.address, is_lab=True)
        tls = SimpleNamespace(ca=CA, certificate=CERTIFICATE, key=KEY)
        given = SimpleNamespace(port=3306, max_connections=200, binlog_keep_days=7, durability="disk")
        config = _render(texts.CONFIG, me=me, tls=tls, set=given, connections=232, buffer_pool_mib=64)
        self.write("/etc/mysql/mariadb.conf.d/99-nospof.cnf", config)
        self.write("/etc/systemd/system/mariadb.service.d/nospof.conf", _render(texts.SERVER_DROP_IN, tier=TIER))
        self.run("systemctl", "daemon-reload")
        self.start()
        self.run("sync")  # or the next power cut takes the settings away

    def start(self, role: str = "MASTER") -> None:
        """Start the server as the agent would, but for its number."""
        told = f"/run/nospof/{TIER}/server.env"
        self.write(told, f"NOSPOF_ROLE=--init-rpl-role={role}\n")
        self.run("systemctl", "start", "mariadb.service")
        self.run("rm", told)

    def signal(self, name: str) -> None:
        """Send a signal to the server alone; KILL waits until systemd knows."""
        self.run("systemctl", "kill", "--kill-whom=main", f"--signal={name}", "mariadb.service")
        if name == "KILL":
            wait_until(lambda: self.main_pid() == 0, "end of server")

    def engine(self, *lines: str, timeout_s: float = 60.0) -> Any:
        """Run Python lines with `engine`, the host's MariadbEngine, and return what they leave in `result`, as JSON."""
        self.write("/run/onhost.zip", trips.onhost_zip())
        own = f"ENGINE = {self.host.name!r}, { ({host.name: host.address for host in HOSTS})!r}, {PASSWORD!r}\n"
        program = own + ENGINE_PROGRAM + "\n".join(lines) + LAST
        outcome = self.lab.run(self.host.name, ["python3", "-c", program], b"", timeout_s)
        assert isinstance(outcome, Finished), f"{self.host.name}: {outcome}"
        assert outcome.exit_code == 0, f"{self.host.name}: {lines}: {outcome}\n{self.log()}"
        printed = outcome.stdout.decode().strip()
        return json.loads(printed.splitlines()[-1])

    def log(self) -> str:
        """The last lines of the server's log."""
        return self.run("journalctl", "-u", "mariadb.service", "-n", "40", "--no-pager", "-o", "cat")

    # --- sessions ------------------------------------------------------------------------------------------------
    @property
    def _box(self) -> Host:
        return Host(self.lab.places.host(self.host.name))

    def connect(self, read_timeout_s: float = 30.0, user: str = "root", password: str = "") -> Session:
        """Open a session of its own. Raises pymysql.Error."""
        path = f"/proc/{self._box._init_process()}/root/run/mysqld/mysqld.sock"
        return Session(
            pymysql.connect(
                unix_socket=path,
                user=user,
                password=password,
                autocommit=True,
                ssl_disabled=True,
                connect_timeout=3,
                read_timeout=read_timeout_s,
                cursorclass=pymysql.cursors.DictCursor,
            )
        )

    def sql(self, *statements: str) -> list[Row]:
        """Run statements in a session that ends with them; returns the rows of the last."""
        with self.connect() as session:
            return [session.rows(statement) for statement in statements][-1]

    def one(self, expression: str) -> Any:
        return self.sql(f"SELECT {expression} AS it")[0]["it"]

    def status(self, name: str) -> str:
        return str(self.sql(f"SHOW GLOBAL STATUS LIKE '{name}'")[0]["Value"])

    def replication(self) -> Row:
        rows = self.sql("SHOW REPLICA STATUS")
        return rows[0] if rows else {}

    def processes(self, state: str = "%", command: str = "%") -> list[Row]:
        return self.sql(
            "SELECT id, user, command, state, info, host FROM information_schema.processlist "
            f"WHERE IFNULL(state, '') LIKE '{state}' AND command LIKE '{command}'"
        )

    # --- roles ---------------------------------------------------------------------------------------------------
    def be_primary(self) -> None:
        """Take writes, and wait for voters."""
        self.sql("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL rpl_semi_sync_slave_enabled=OFF")
        self.sql("SET GLOBAL rpl_semi_sync_master_enabled=ON", "SET GLOBAL read_only=OFF")

    def follow(self, other: Server, *, acknowledges: bool = True, extra: str = "") -> None:
        self.sql(
            "STOP SLAVE",
            "SET GLOBAL read_only=ON",
            "SET GLOBAL rpl_semi_sync_master_enabled=OFF",
            f"SET GLOBAL rpl_semi_sync_slave_enabled={'ON' if acknowledges else 'OFF'}",
            f"CHANGE MASTER TO MASTER_HOST='{other.host.address}', MASTER_PORT=3306, MASTER_USER='{USER}', "
            f"MASTER_PASSWORD='{PASSWORD}', MASTER_SSL=1, MASTER_SSL_VERIFY_SERVER_CERT=1, MASTER_SSL_CA='{CA}', "
            f"MASTER_SSL_CERT='{CERTIFICATE}', MASTER_SSL_KEY='{KEY}', MASTER_USE_GTID=slave_pos, "
            f"MASTER_HEARTBEAT_PERIOD=0.2, MASTER_CONNECT_RETRY=1 {extra}",
            "START SLAVE",
        )
        wait_until(lambda: self.replication()["Slave_IO_Running"] == "Yes", f"{self.host.name} receives")


class Session:
    """One connection."""

    def __init__(self, connection: pymysql.Connection[pymysql.cursors.DictCursor]) -> None:
        self.connection, self.id = connection, int(connection.thread_id())  # type: ignore[no-untyped-call]

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        """Be gone, even while a statement runs in the background."""
        with suppress(OSError, AttributeError):  # gone already
            self.connection._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]

    def rows(self, statement: str) -> list[Row]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def begin(self, statement: str) -> Pending:
        """Run a statement in the background."""
        return Pending(lambda: self.rows(statement))


class Pending:
    """Something that runs in the background: whether it ended, how, and after how long."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: Exception | None = None
        self.took_s: float | None = None
        self._act, self._begun_s = act, time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._act()
        except Exception as error:
            self.error = error
        self.took_s = time.monotonic() - self._begun_s

    def ends_within(self, limit_s: float) -> bool:
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    @property
    def is_waiting(self) -> bool:
        return self._thread.is_alive()


def wait_until(holds: Callable[[], object], what: str, limit_s: float = 20.0) -> None:
    """Wait for a condition; a server that does not answer yet does not fulfil it."""
    end, last = time.monotonic() + limit_s, ""
    while time.monotonic() < end:
        try:
            if holds():
                return
        except (pymysql.Error, OSError, KeyError, IndexError, AssertionError) as error:
            last = repr(error)
        time.sleep(0.02)
    raise AssertionError(f"did not happen within {limit_s:g} s: {what} {last}")


def _at_once(act: Callable[[Server], object], servers: Any) -> None:
    pending = [Pending(partial(act, server)) for server in servers]
    for one in pending:
        assert one.ends_within(120)
        if one.error:
            raise one.error


def _render(text: str, **values: object) -> str:
    return jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True).from_string(text).render(**values)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
    )


ENGINE_PROGRAM = """
import json, pathlib, sys, threading, time
sys.path.insert(0, "/run/onhost.zip")
from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.mariadb import MariadbEngine, MariadbPlaces
from nospof.onhost.agent.mariadb_seen import position_of
from nospof.onhost.agent.model import Role
HOST, MEMBERS, PASSWORD = ENGINE
engine = MariadbEngine(MariadbPlaces(
    tier="database", host=HOST, members=MEMBERS, port=3306, copy_port=4444, server_id=1 + sorted(MEMBERS).index(HOST),
    replication_user="nospof_replication", replication_password=PASSWORD,
    ca="/etc/nospof/tls/ca.pem", certificate="/etc/nospof/tls/db.crt", key="/etc/nospof/tls/db.key"))
result = None

def took_ms(act, *args, **names):
    begun = time.monotonic()
    said = act(*args, **names)
    return round(1000 * (time.monotonic() - begun), 1), said

def refused(act, *args, **names):
    try:
        act(*args, **names)
    except EngineError as error:
        return str(error)
    return ""
"""
LAST = "\nprint(json.dumps(result, default=str))"

"""A database host that gets its data from another while that is written to, and what it alone had written, on real hosts."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jinja2
import pytest
from certificates import Authority
from mariadb_lab import HOSTS, PASSWORD, TIER, USER, MariadbLab, Pending, Server, wait_until

from nospof.apply import trips
from nospof.apply.transport import Finished
from nospof.components.mariadb.copy_units import SERVICE, SOCKET

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

PORT, PROGRAMS, WORK = 4444, "/run/onhost.zip", "/var/lib/mysql/.nospof-copy"
ADDRESSES = {host.name: host.address for host in HOSTS}
# More than the server keeps in memory.
DATA_MIB = 80

log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def lab() -> Iterator[MariadbLab]:
    found = MariadbLab()
    try:
        found.up()
        authority = Authority()
        for server in found.servers.values():
            _install(server, authority)
        yield found
    finally:
        found.down()


def _install(server: Server, authority: Authority) -> None:
    """Give the host the donor and its certificates, one of this tier and one of another."""
    name, address = server.host.name, server.host.address
    server.write("/etc/nospof/copy/ca.pem", authority.ca)
    for tier in (TIER, "web"):
        certificate, key = authority.issue(name, tier, address=address)
        server.write(f"/etc/nospof/copy/{tier}.crt", certificate)
        server.write(f"/etc/nospof/copy/{tier}.key", key, "600")
        server.run("chown", "mysql", f"/etc/nospof/copy/{tier}.key")
    own = {"certificate": f"/etc/nospof/copy/{TIER}.crt", "key": f"/etc/nospof/copy/{TIER}.key"}
    told = {"tier": TIER, "host": name, "members": ADDRESSES, "copy_port": PORT, "ca": "/etc/nospof/copy/ca.pem", **own}
    server.write("/etc/nospof/copy/donor.json", json.dumps(told))
    server.write(PROGRAMS, trips.onhost_zip())
    unit = f"nospof-{TIER}-copy"
    values = {"name": unit, "tier": TIER, "address": address, "port": PORT, "config": "/etc/nospof/copy/donor.json"}
    values["program"] = f"/usr/bin/python3 {PROGRAMS} database_donor"
    for kind, text in (("service", SERVICE), ("socket", SOCKET)):
        rendered = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(text).render(**values)
        server.write(f"/etc/systemd/system/{unit}.{kind}", rendered + "\n")
    server.run("systemctl", "daemon-reload")
    server.run("systemctl", "start", f"{unit}.socket")


# --- driving them --------------------------------------------------------------------------------------------------------
CALL = f"""\
import sys, time
sys.path.insert(0, {PROGRAMS!r})
from pathlib import Path
from nospof.onhost.agent.mariadb_copy import *
from nospof.onhost.agent.model import Position
def copy(host, address):
    files = ("/etc/nospof/copy/ca.pem", "/etc/nospof/copy/{TIER}.crt", "/etc/nospof/copy/{TIER}.key")
    copy_from(Places(), Donor(host, address, {PORT}, {TIER!r}, *files), lambda line: print(line, flush=True))
def save(number):
    return save_beyond(Places(), Position((("0", number),)), Path("/var/lib/nospof/saved"))
"""


def call(server: Server, line: str) -> str:
    """Run a line with the functions of mariadb_copy, as the agent would."""
    return server.run("python3", "-c", CALL + line, timeout_s=120)


def copying(donor: Server) -> str:
    return f"copy({donor.host.name!r}, {donor.host.address!r})"


def writable(server: Server) -> None:
    """Make it a primary that waits for nobody."""
    server.sql("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL rpl_semi_sync_master_enabled=OFF", "SET GLOBAL read_only=OFF")


def number(server: Server) -> int:
    """The number of the last transaction in the server's log."""
    return int(str(server.one("@@gtid_binlog_pos") or "0-0-0").split("-")[2])


def caught_up(replica: Server, source: Server) -> None:
    last = source.one("@@gtid_binlog_pos")
    wait_until(lambda: replica.one("@@gtid_slave_pos") == last, f"{replica.host.name} has all", 60)


def checksums(server: Server) -> dict[str, Any]:
    tables = ", ".join(f"shop.{row['TABLE_NAME']}" for row in server.sql(TABLES))
    return {row["Table"]: row["Checksum"] for row in server.sql(f"CHECKSUM TABLE {tables}")}


TABLES = "SELECT TABLE_NAME FROM information_schema.tables WHERE TABLE_SCHEMA = 'shop' ORDER BY TABLE_NAME"


@contextmanager
def written_to(server: Server) -> Iterator[list[float]]:
    """Write all the time; the list gets how long each write took, in seconds."""
    took: list[float] = []
    is_over = threading.Event()

    def write() -> None:
        with server.connect() as session:
            while not is_over.is_set():
                begun_s = time.monotonic()
                session.rows("INSERT INTO shop.entries (x) VALUES (UUID())")
                took.append(time.monotonic() - begun_s)

    writing = Pending(write)
    try:
        yield took
    finally:
        is_over.set()
        assert writing.ends_within(30)
    assert writing.error is None


@pytest.fixture(scope="module")
def filled(lab: MariadbLab) -> MariadbLab:
    """db1 takes writes and has data; nobody follows it."""
    db1 = lab["db1"]
    writable(db1)
    with db1.connect() as session:
        for statement in (
            f"CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT REPLICATION SLAVE ON *.* TO {USER}@'%'",
            "CREATE DATABASE shop",
            "CREATE TABLE shop.entries (id INT AUTO_INCREMENT PRIMARY KEY, x VARCHAR(200))",
            "CREATE TABLE shop.files (id INT AUTO_INCREMENT PRIMARY KEY, b LONGBLOB)",
        ):
            session.rows(statement)
        for _ in range(DATA_MIB):
            session.rows(
                f"INSERT INTO shop.files (b) VALUES ({'CONCAT(' + 'RANDOM_BYTES(1024),' * 1023 + 'RANDOM_BYTES(1024))'})"
            )
    return lab


# --- rules ---------------------------------------------------------------------------------------------------------------
def test_copy_under_load_goes_on_from_its_position_and_may_become_primary(filled: MariadbLab) -> None:
    db1, db2, w1 = filled["db1"], filled["db2"], filled["w1"]
    db2.signal("KILL")
    with written_to(db1) as took:
        wait_until(lambda: len(took) > 10, "writes go on")
        begun_s = time.monotonic()
        call(db2, copying(db1))
        took_s, writes, longest_s = time.monotonic() - begun_s, len(took), max(took)
        db2.start("SLAVE")
        position = db2.one("@@gtid_slave_pos")
        assert position == db2.one("@@gtid_binlog_pos") == db2.one("@@gtid_binlog_state")
        db2.follow(db1, acknowledges=False)
    caught_up(db2, db1)
    assert checksums(db2) == checksums(db1)
    log.info("%d MiB copied in %.1f s; meanwhile %d writes, the longest %.2f s", DATA_MIB, took_s, writes, longest_s)

    # Whoever was copied can lead: the former primary follows it, and so does a copy of it.
    writable(db2)
    db2.sql("INSERT INTO shop.entries (x) VALUES ('by the new primary')")
    w1.signal("KILL")
    call(w1, copying(db2))
    w1.start("SLAVE")
    w1.follow(db2, acknowledges=False)
    db1.follow(db2, acknowledges=False, extra=", MASTER_DEMOTE_TO_SLAVE=1")
    db2.sql("INSERT INTO shop.entries (x) VALUES ('once more')")
    for replica in (db1, w1):
        caught_up(replica, db2)
        assert checksums(replica) == checksums(db2)


@pytest.mark.parametrize(
    "sign",
    ["new-*/ibdata1", "new-*/mariadb_backup_binlog_info", "new-*/binlog.state", "whole", "moving"],
)
def test_copy_killed_at_any_moment_leaves_the_old_or_the_new_data_whole(filled: MariadbLab, sign: str) -> None:
    db1, w1 = filled["db1"], filled["w1"]
    writable(db1)
    w1.signal("KILL")
    script = f'python3 -c "$0" >/dev/null 2>&1 & until [ -e {WORK}/{sign} ]; do kill -0 $! || exit 9; done; kill -9 $!'
    w1.run("sh", "-c", script, CALL + copying(db1), timeout_s=120)
    call(w1, "recover(Places())")
    w1.run("test", "!", "-e", WORK)
    w1.start("SLAVE")
    assert w1.one("(SELECT SUM(LENGTH(b) > 0) FROM shop.files)") == DATA_MIB
    w1.sql("STOP SLAVE", "RESET SLAVE ALL")
    w1.follow(db1, acknowledges=False)
    db1.sql("INSERT INTO shop.entries (x) VALUES ('after the crash')")
    caught_up(w1, db1)
    assert checksums(w1) == checksums(db1)


def test_whoever_is_no_host_of_the_tier_gets_nothing(lab: MariadbLab) -> None:
    url = f"https://db1:{PORT}/copy"
    curl = ("curl", "-sS", "--resolve", f"db1:{PORT}:{ADDRESSES['db1']}", "--cacert", "/etc/nospof/copy/ca.pem")
    stranger = lab.lab.run("w1", [*curl, url])
    assert isinstance(stranger, Finished)
    assert stranger.exit_code != 0
    assert not stranger.stdout
    other = ("--cert", "/etc/nospof/copy/web.crt", "--key", "/etc/nospof/copy/web.key")
    assert lab["w1"].run(*curl, *other, "-w", " %{http_code}", url) == f"this certificate is not of tier {TIER} 403"


def test_what_nobody_acknowledged_is_saved_after_a_crash_and_can_be_replayed(filled: MariadbLab) -> None:
    db1, db2 = filled["db1"], filled["db2"]
    writable(db1)
    if not db2.replication() or db2.replication()["Master_Host"] != db1.host.address:
        db2.follow(db1, acknowledges=True)
    db1.sql("SET GLOBAL rpl_semi_sync_master_enabled=ON")
    wait_until(lambda: db1.status("Rpl_semi_sync_master_clients") == "1", "db2 acknowledges")
    db1.sql("INSERT INTO shop.entries (x) VALUES ('acknowledged')")
    db2.sql("STOP SLAVE IO_THREAD")
    caught_up(db2, db1)
    keeps = number(db2)
    lost = [
        Pending(lambda word=word: db1.sql(f"INSERT INTO shop.entries (x) VALUES ('{word}')")) for word in ("lost-1", "lost-ä")
    ]
    wait_until(lambda: number(db1) == keeps + len(lost) and all(one.is_waiting for one in lost), "writes wait for a voter")
    db1.signal("KILL")

    assert call(db1, f"print(save({keeps}))").splitlines()[-1] == str(len(lost))
    saved = db1.run("sh", "-c", "cat /var/lib/nospof/saved/beyond-*.sql")
    assert call(db1, f"print(save({keeps}))").splitlines()[-1] == str(len(lost))
    assert db1.run("sh", "-c", "ls /var/lib/nospof/saved | wc -l") == "1"

    writable(db2)
    db2.sql("INSERT INTO shop.entries (id, x) VALUES (1000000, 'by the new primary')")
    db2.run("mariadb", stdin=saved.encode())
    assert {row["x"] for row in db2.sql("SELECT x FROM shop.entries WHERE x LIKE 'lost%'")} == {"lost-1", "lost-ä"}
    assert db2.one("@@gtid_binlog_pos") == f"0-{db2.number}-{keeps + 1 + len(lost)}", "it has numbers of its own"

    # The old primary gives up its own, and gets them back as what the new one wrote.
    db1.start("SLAVE")
    db1.follow(db2, acknowledges=False, extra=", MASTER_DEMOTE_TO_SLAVE=1")
    caught_up(db1, db2)
    assert checksums(db1) == checksums(db2)

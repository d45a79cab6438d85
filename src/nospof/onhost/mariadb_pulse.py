"""What the primary does twice a second: write a row, and end its feeds to replicas that have gone dark.

Incident that this avoids, in MariaDB 11.8.6 (measured, docs/decisions/0006-database.md): a replica that lost its power comes
back while its old feed (dump thread) is still there. The primary ends the old one and begins the new one at the same moment,
the thread that receives acknowledgements hears of only one of the two, and from then on every new connection to the primary
hangs until some acknowledgement arrives. So the old feed is ended before the replica can be back, one at a time; and the row,
written over a connection that is always open, brings an acknowledgement.
"""

from __future__ import annotations

import ipaddress
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pymysql

from nospof.onhost.mariadb_server import Server, quoted

EVERY_S = 0.5
# Something is on its way to a replica at any time, heartbeats at least. The kernel repeats it after 0.2 s and after 0.4 s more.
MOST_REPEATS = 2
ESTABLISHED = "01"
NO_SUCH_DATABASE, NO_SUCH_TABLE = 1049, 1146
CREATE = (
    "CREATE DATABASE IF NOT EXISTS nospof",
    "CREATE TABLE IF NOT EXISTS nospof.pulse (id TINYINT PRIMARY KEY, beaten_at TIMESTAMP(3) NOT NULL) ENGINE=InnoDB",
)
BEAT = "REPLACE INTO nospof.pulse VALUES (1, CURRENT_TIMESTAMP(3))"
FEED = "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%' AND host = "

log = logging.getLogger("nospof")


def keep_beating(server: Server, port: int, is_primary: Callable[[], bool], stop: threading.Event) -> None:
    """Beat until `stop`, as long as this host is the primary; `server` must be this thread's own."""
    while not stop.wait(EVERY_S):
        if not is_primary():
            continue
        try:
            end_one_dead_feed(server, dead_peers(Path("/proc/self/net/tcp").read_text(), port))
            beat(server)
        except (pymysql.Error, OSError):
            server.forget()


def beat(server: Server) -> None:
    """Write the row, making its table when it is missing. Raises pymysql.Error."""
    try:
        server.rows(BEAT)
    except pymysql.Error as error:
        if not error.args or error.args[0] not in (NO_SUCH_DATABASE, NO_SUCH_TABLE):
            raise
        for statement in CREATE:
            server.rows(statement)


def end_one_dead_feed(server: Server, peers: list[str]) -> None:
    """End the feed to the first of `peers` ("address:port") that has one; the others have their turn at the next beat."""
    for peer in peers:
        for feed in server.rows(FEED + quoted(peer)):
            log.info("the replica at %s has gone dark: its feed is ended", peer)
            server.rows(f"KILL {int(feed['id'])}")
            return


def dead_peers(table: str, port: int) -> list[str]:
    """Who does not confirm what is sent to them from `port`, as "address:port". Pure; `table` is /proc/net/tcp.

    Source: proc_net_tcp in the kernel's documentation; the column "retrnsmt" counts repeats that nobody confirmed.
    """
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        (_, local_port), (address, peer_port) = (fields[index].split(":") for index in (1, 2))
        if int(local_port, 16) == port and fields[3] == ESTABLISHED and int(fields[6], 16) >= MOST_REPEATS:
            octets = int(address, 16).to_bytes(4, sys.byteorder)
            found.append(f"{ipaddress.IPv4Address(octets)}:{int(peer_port, 16)}")
    return sorted(found)

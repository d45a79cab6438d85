"""Have this host's cache server take the passwords that its files name, without a restart: clients and copies stay connected.

    cache_passwords --folder /etc/nospof/TIER            load them
    cache_passwords --folder /etc/nospof/TIER --check    exit 0 when there is nothing to load

A server that does not run reads its files when it starts, so that there is nothing to do. What its users may do is not looked
at: that changes with a restart only.
Source: https://valkey.io/topics/acl/ (ACL LOAD: all users or none), https://valkey.io/commands/config-set/
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from nospof.onhost.cache_agent import read_config
from nospof.onhost.resp import Connection, Place, Refused, listed, pairs, password_hashes

ASK_S = 2.0

log = logging.getLogger("nospof")


def main(argv: list[str]) -> int:
    """Exit 0 when the server takes them or does not run; 1 when not, with the reason as a line of the log."""
    parser = argparse.ArgumentParser(prog="cache_passwords")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return bring(read_config(arguments.folder / "agent.json").server, arguments.folder, may_change=not arguments.check)
    except Refused as error:
        log.error("the server does not take the agent's password: restart it, and it reads its files anew (%s)", error)
    except (OSError, ValueError, TypeError) as error:
        log.error("passwords: %s: %s", type(error).__name__, error)
    return 1


def bring(place: Place, folder: Path, *, may_change: bool) -> int:
    """Have the server at `place` take what the files in `folder` say; 1 where it does not.

    Raises OSError, ValueError or Refused.
    """
    users, replication = (folder / "users.acl").read_text(), (folder / "replication.conf").read_text()
    try:
        server = Connection(place, None, ASK_S)
    except (FileNotFoundError, ConnectionRefusedError):
        return 0
    with server:
        if password_hashes(listed(server.ask("ACL", "LIST"))) != password_hashes(users.splitlines()):
            if not may_change:
                return 1
            server.ask("ACL", "LOAD")
            log.info("takes the passwords in %s", folder / "users.acl")
        used = replication_password(replication)
        if pairs(server.ask("CONFIG", "GET", "masterauth")).get("masterauth") != used:
            if not may_change:
                return 1
            server.ask("CONFIG", "SET", "masterauth", used)
            log.info("says another password when it follows a primary")
    return 0


def replication_password(text: str) -> str:
    """What `replication.conf` says. Raises ValueError where it says nothing. Pure."""
    for line in text.splitlines():
        if line.startswith("masterauth "):
            return line.removeprefix("masterauth ").strip()
    raise ValueError("replication.conf names no password")

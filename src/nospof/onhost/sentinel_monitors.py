"""Tell this host's Sentinel what to watch, where it does not know yet.

    sentinel_monitors --config FILE            tell it
    sentinel_monitors --config FILE --check    exit 0 when there is nothing to tell
    sentinel_monitors --config FILE --pace     after it has started: tell it how often to look, which it forgets when it ends

What a Sentinel found out, first of all who is primary now, is its own and stays: only what the stack file says is set. One that
knows nothing, because it is new or its disk is, is told what the others say, and the first primary only where nobody knows.
Source: https://valkey.io/topics/sentinel/ ("Reconfiguring Sentinel at runtime").
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nospof.onhost.resp import (
    Connection,
    Place,
    Refused,
    client_context,
    listed,
    pairs,
    password_hash,
    password_hashes,
)

ASK_S, START_S = 2.0, 5.0
QUORUM = 2
TROUBLE = (OSError, ValueError, Refused)

log = logging.getLogger("nospof")


def main(argv: list[str]) -> int:
    """Exit 0 when the Sentinel watches what it should; 1 when not, with the reason as a line of the log."""
    parser = argparse.ArgumentParser(prog="sentinel_monitors")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--pace", action="store_true")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        config = read_config(arguments.config)
        if arguments.pace:
            pace(config)
            return 0
        with config.connected(config.host) as own:
            commands = list(wanting(config, own))
            if arguments.check:
                for what, _ in commands:
                    log.error("not yet: %s", what)
                return 1 if commands else 0
            for what, words in commands:
                log.info("%s", what)
                own.ask(*words)
    except TROUBLE as error:
        log.error("Sentinel: %s: %s", type(error).__name__, error)
        return 1
    return 0


# --- what it is told -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Tier:
    """What is watched. `first`: the address of the first primary of all."""

    name: str
    port: int
    first: str
    auth_user: str
    auth_pass: str
    down_after_ms: int
    failover_ms: int

    @property
    def options(self) -> dict[str, str]:
        """As SENTINEL SET takes them, and as the Sentinel tells or keeps them."""
        return {
            "down-after-milliseconds": str(self.down_after_ms),
            "failover-timeout": str(self.failover_ms),
            "parallel-syncs": "10",
            "auth-user": self.auth_user,
            "auth-pass": self.auth_pass,
        }


@dataclass(frozen=True)
class Config:
    """`sentinels`: by host, the address; this one's is among them.

    `password`: what is said to Sentinels; `accepts`: what they take, separated by a space.
    """

    host: str
    sentinels: Mapping[str, str]
    port: int
    password: str
    accepts: str
    state_file: str
    tiers: tuple[Tier, ...]
    ca: str
    certificate: str
    key: str

    def connected(self, host: str) -> Connection:
        """A connection to the Sentinel of `host`. Raises OSError, ValueError or Refused."""
        place = Place(host, self.sentinels[host], self.port, password=self.password)
        return Connection(place, client_context(self.ca, self.certificate, self.key), ASK_S)


def read_config(path: Path) -> Config:
    """Read what the component wrote. Raises OSError, TypeError, KeyError or ValueError."""
    told = json.loads(path.read_text())
    return Config(**{**told, "tiers": tuple(Tier(**tier) for tier in told["tiers"])})


# --- how often it looks ----------------------------------------------------------------------------------------------------
def pace(config: Config) -> None:
    """Have it look often enough for the shortest time in which one of its tiers wants a lost primary found.

    By itself it pings each second, so that a frozen primary is noticed up to a second later than it should be, asks the others
    once a second, and hears of a new copy after ten. Raises OSError, ValueError or Refused when it is not there after START_S.
    """
    shortest_ms = min((tier.down_after_ms for tier in config.tiers), default=1000)
    periods = {"ping-period": shortest_ms // 4, "ask-period": shortest_ms // 4, "info-period": 2000}
    end_s = time.monotonic() + START_S
    while True:
        try:
            with config.connected(config.host) as own:
                own.ask("SENTINEL", "DEBUG", *(word for pair in periods.items() for word in pair))
            return
        except OSError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.05)


# --- what is wanting -----------------------------------------------------------------------------------------------------
Command = tuple[str, tuple[str | int, ...]]
"""What it does, in words without secrets, and the command."""


def wanting(config: Config, own: Connection) -> Iterator[Command]:
    """What the Sentinel must be told. Raises as `Connection.ask`."""
    told = own.ask("SENTINEL", "MASTERS")
    known = {fields.get("name", ""): fields for fields in map(pairs, told if isinstance(told, list) else [])}
    own_file = Path(config.state_file).read_text()
    kept, wanted = kept_options(own_file), {password_hash(password) for password in config.accepts.split()}
    if taken(listed(own.ask("ACL", "LIST"))) != wanted or taken(own_file.splitlines()) != wanted:
        # What its own file says of its users wins over `requirepass` when it starts.
        rules = ("resetpass", *(f">{password}" for password in config.accepts.split()))
        yield "take the present passwords", ("ACL", "SETUSER", "default", *rules)
        yield "keep them", ("SENTINEL", "FLUSHCONFIG")
    for tier in config.tiers:
        if tier.name not in known:
            address = primary_of_others(config, tier) or tier.first
            yield f"watch {tier.name}, whose primary is {address}", monitor(tier, address)
        for name, value in tier.options.items():
            if known.get(tier.name, {}).get(name, kept.get((name, tier.name))) != value:
                yield f"set {name} of {tier.name}", ("SENTINEL", "SET", tier.name, name, value)
    for name in sorted(known.keys() - {tier.name for tier in config.tiers}):
        yield f"no longer watch {name}", ("SENTINEL", "REMOVE", name)


def monitor(tier: Tier, address: str) -> tuple[str | int, ...]:
    return ("SENTINEL", "MONITOR", tier.name, address, tier.port, QUORUM)


def taken(lines: Iterable[str]) -> frozenset[str]:
    """The hashes of the passwords that the one user of a Sentinel may have, from lines as its own file has them. Pure."""
    return password_hashes(lines).get("default", frozenset())


def kept_options(text: str) -> dict[tuple[str, str], str]:
    """By option and tier, what the Sentinel's own file holds. Pure."""
    words = [line.split() for line in text.splitlines()]
    return {(line[1], line[2]): line[3].strip('"') for line in words if len(line) == 4 and line[0] == "sentinel"}


def primary_of_others(config: Config, tier: Tier) -> str:
    """Whom the other Sentinels name, in the newest configuration that any of them has; "" where nobody knows."""
    found: list[tuple[int, str]] = []
    for host in sorted(config.sentinels.keys() - {config.host}):
        try:
            with config.connected(host) as other:
                fields = pairs(other.ask("SENTINEL", "MASTER", tier.name))
                found.append((int(fields["config-epoch"]), fields["ip"]))
        except (*TROUBLE, KeyError) as error:
            log.info("%s does not tell of %s: %s", host, tier.name, error)
    return max(found, default=(0, ""))[1]

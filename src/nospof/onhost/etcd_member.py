"""One voter of etcd on its own host: how it may begin, and whether it is well.

    etcd_member --config MEMBER.JSON start     before etcd is started without any data: write how it is to begin
    etcd_member --config MEMBER.JSON health    exit 0 while it is as well as it can be

A voter whose data is gone must not begin anew under its old name: it would vote again on what it has voted on before. So
when any of the others knows of a cluster, one without data is made a new member of that; only when all others say that there
is none does it begin a cluster. One that the others began with and never met begins as they did: of five voters, three are a
cluster before the last is there, and that would not take in a new member while one of its own is missing. Voters that are no
longer placed lose their vote to the one that takes their place.

Limits: two voters that have lost their data at once are nothing etcd can heal, and nothing is done then; whose address changed
is not recognised. Source: https://etcd.io/docs/v3.5/op-guide/runtime-configuration/ ("Replace a failed machine").
"""

from __future__ import annotations

import argparse
import http.client
import json
import logging
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nospof.onhost.etcd import Etcd, EtcdError, Member

# etcd takes a new member only when the others have been connected for 5 s.
JOIN_S = 40.0
# A host that is busy, or begins to run just now, answers within so long.
SILENT_S = 10.0
ASK_S = 1.0
CALL_S = 3.0

log = logging.getLogger("nospof")


def main(argv: list[str]) -> int:
    """Exit 0 when etcd may start, or is well; 1 when not, with the reason as a line of the log."""
    parser = argparse.ArgumentParser(prog="etcd_member")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("question", choices=("start", "health"))
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    voter = read_voter(arguments.config)
    ask = PeerPort(voter).knows
    if arguments.question == "health":
        complaint = unhealthy(voter, ask)
        if complaint:
            log.error("%s", complaint)
        return 1 if complaint else 0
    try:
        voter.start_file.write_text(begun(voter, ask, Cluster(voter).join))
    except (CannotBegin, OSError) as error:
        log.error("etcd is not started: %s", error)
        return 1
    return 0


class CannotBegin(Exception):
    """It is not known, or not possible, how this voter is to begin."""


class Silence(CannotBegin):
    """Somebody who would have to be asked gives no answer."""


class Knows(Enum):
    """What a voter says of the cluster on the port where its peers call it."""

    CLUSTER = "cluster"
    """It was part of a majority once."""
    NONE = "none"
    """It runs and never was."""
    NOT_RUNNING = "not running"
    """Its host is there and nothing listens."""
    SILENT = "silent"


@dataclass(frozen=True)
class Voter:
    """This voter and all that are placed, itself among them, by host: {"db1": "198.18.1.6"}."""

    host: str
    members: Mapping[str, str]
    client_port: int
    peer_port: int
    ca: str
    certificate: str
    key: str
    start_file: Path

    @property
    def others(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in self.members if name != self.host))

    def peer_url(self, host: str) -> str:
        return f"https://{self.members[host]}:{self.peer_port}"


def read_voter(path: Path) -> Voter:
    """Read what components/etcd.py wrote; KeyError or ValueError if it is something else."""
    told = json.loads(path.read_text())
    return Voter(**{**told, "start_file": Path(told["start_file"])})


# --- is it well? ---------------------------------------------------------------------------------------------------------
def unhealthy(voter: Voter, ask: Callable[[str], Knows]) -> str:
    """Why a voter that just gave no answer from the majority is not well; "": it runs and can have no majority yet."""
    own = ask(voter.host)
    if own is Knows.CLUSTER:
        return "no majority of the voters answers"
    if own is not Knows.NONE:
        return f"etcd does not answer its peers on {voter.host}: {own.value}"
    running = 1 + sum(ask(other) in (Knows.NONE, Knows.CLUSTER) for other in voter.others)
    if running > len(voter.members) // 2:
        return f"{running} of {len(voter.members)} voters run and have not agreed on a leader yet"
    return ""


# --- how does it begin? --------------------------------------------------------------------------------------------------
def begun(voter: Voter, ask: Callable[[str], Knows], join: Callable[[tuple[str, ...]], str], wait_s: float = SILENT_S) -> str:
    """The same as `beginning`, but who is silent is asked again for `wait_s` seconds. Raises CannotBegin."""
    end_s = time.monotonic() + wait_s
    while True:
        try:
            return beginning(voter, ask, join)
        except Silence:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.2)


def beginning(voter: Voter, ask: Callable[[str], Knows], join: Callable[[tuple[str, ...]], str]) -> str:
    """The variables etcd is to start with; `join` makes this voter a member of the cluster that some know, and returns them.

    Raises CannotBegin where nobody knows of a cluster and somebody is silent.
    """
    known = {other: ask(other) for other in voter.others}
    knowing = tuple(other for other, knows in known.items() if knows is Knows.CLUSTER)
    if knowing:
        return join(knowing)
    silent = [other for other, knows in known.items() if knows is Knows.SILENT]
    if silent:
        raise Silence(f"{' and '.join(silent)} may have a cluster already, and do not answer")
    return variables({name: voter.peer_url(name) for name in voter.members}, "new")


def variables(urls: Mapping[str, str], state: str) -> str:
    """Write etcd's variables for its members' addresses and whether there is a cluster ("existing") or not ("new")."""
    cluster = ",".join(f"{name}={url}" for name, url in sorted(urls.items()))
    return f"ETCD_INITIAL_CLUSTER={cluster}\nETCD_INITIAL_CLUSTER_STATE={state}\n"


@dataclass(frozen=True)
class Cluster:
    """The cluster that others have."""

    voter: Voter
    wait_s: float = JOIN_S

    def join(self, through: tuple[str, ...]) -> str:
        """Make this voter a member, in place of itself or of one that is gone; asked again until it works or time is up."""
        voter = self.voter
        endpoints = [(voter.members[host], voter.client_port) for host in through]
        etcd = Etcd(endpoints, voter.ca, voter.certificate, voter.key, timeout_s=CALL_S)
        end_s = time.monotonic() + self.wait_s
        while True:
            try:
                return self._join(etcd)
            except EtcdError as error:
                if time.monotonic() > end_s:
                    raise CannotBegin(f"the others do not take it in: {error}") from error
                time.sleep(0.2)

    def _join(self, etcd: Etcd) -> str:
        """One try. Looks first: an earlier try may have come half of the way, or all of it without an answer."""
        mine = self.voter.peer_url(self.voter.host)
        # Not agreed: between this voter's admission to a cluster of one and its start there is no majority to agree.
        members = etcd.members(is_agreed=False)
        if not any(mine in member.peer_urls and not member.name for member in members):
            agreed = etcd.members()
            if is_awaited(self.voter, agreed):
                return variables({name: self.voter.peer_url(name) for name in self.voter.members}, "new")
            leaving = replaced(self.voter, agreed)
            if leaving is not None:
                log.info("%s loses its vote", leaving.name or leaving.peer_urls)
                etcd.remove_member(leaving.id)
            etcd.add_member(mine)
            log.info("%s is a new voter", self.voter.host)
            members = etcd.members(is_agreed=False)
        if not any(mine in member.peer_urls and not member.name for member in members):
            raise EtcdError("the one that was asked has not heard of it yet")
        return variables(_urls(self.voter, members), "existing")


def is_awaited(voter: Voter, members: tuple[Member, ...]) -> bool:
    """Whether the cluster was begun with exactly the placed voters, and has never met this one. Pure."""
    placed = {voter.peer_url(host) for host in voter.members}
    mine = [member for member in members if voter.peer_url(voter.host) in member.peer_urls]
    is_as_begun = {url for member in members for url in member.peer_urls} == placed and all(one.name for one in members)
    return is_as_begun and len(mine) == 1 and not mine[0].is_met


def replaced(voter: Voter, members: tuple[Member, ...]) -> Member | None:
    """The member whose vote this new voter takes: itself of before, else one that is not placed any more. Pure."""
    placed = {voter.peer_url(host) for host in voter.members}
    mine = [member for member in members if voter.peer_url(voter.host) in member.peer_urls]
    gone = [member for member in members if not placed & set(member.peer_urls)]
    if mine:
        return mine[0]
    return gone[0] if gone and len(members) >= len(voter.members) else None


def _urls(voter: Voter, members: tuple[Member, ...]) -> dict[str, str]:
    """By name, the address of each member; one that was never started has no name yet but the one that was planned."""
    planned = {voter.peer_url(host): host for host in voter.members}
    return {member.name or planned.get(member.peer_urls[0], f"member-{member.id}"): member.peer_urls[0] for member in members}


@dataclass(frozen=True)
class PeerPort:
    """The port on which voters call each other: it answers also without a majority, which the clients' port does not."""

    voter: Voter

    def knows(self, host: str) -> Knows:
        """Ask what the voter on `host` knows of the cluster."""
        context = ssl.create_default_context(cafile=self.voter.ca)
        context.load_cert_chain(self.voter.certificate, self.voter.key)
        address = self.voter.members[host]
        connection = http.client.HTTPSConnection(address, self.voter.peer_port, timeout=ASK_S, context=context)
        try:
            connection.request("GET", "/version")
            told = json.loads(connection.getresponse().read())
            return Knows.NONE if told["etcdcluster"] == "not_decided" else Knows.CLUSTER
        except ConnectionRefusedError:
            return Knows.NOT_RUNNING
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            return Knows.SILENT
        finally:
            connection.close()

"""Lead this host's HAProxy to the database server that takes the writes, as soon as the database hosts tell of a change.

One long poll to each of them; `nospof.onhost.database_routing` decides; HAProxy is told through its admin socket.

    database_router --config FILE                        run until SIGTERM
    database_router --config FILE --write-state STATE    write the file that HAProxy starts or reloads with
    database_router --config FILE --let-go               leave HAProxy to its own checks, after this program ended

How it works together with HAProxy's checks of `/primary` and `/replica`. A server gets new connections if this program let it
in (`set server state ready`) and the checks agree: one of the two can say yes alone no more than the other. `health up|down`
alone would not do: the next check of an old primary, which does not know yet that it was replaced, would raise it again; nor
would `agent up|down`, where a check that was asked before a promotion and answered after it puts the new primary down. In
`maint` nothing is checked, and a server that comes out of it counts as good until its checks fail. So a dead primary goes
within two seconds though this program is frozen. When it ended, in whatever way, systemd runs `--let-go`, and from then on the
checks alone decide, as they do from the start where it never ran. A frozen one is ended by systemd's watchdog.
`set maxconn frontend NAME 0` leaves new connections in the kernel's queue, from which they are taken when it is raised; where
that is full (`somaxconn`, 4096), a client's system tries again after one second.
Source: https://docs.haproxy.org/3.0/management.html#9.3 (set server, set maxconn frontend), HAProxy's src/server_state.c.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from nospof.onhost import database_routing as routing
from nospof.onhost.database_routing import Actual, Document, Give, Group, Heard, Remembered, Wanted
from nospof.onhost.file_watch import FileWatch
from nospof.onhost.threads import run_beside
from nospof.onhost.watchdog import tell_systemd

# With FRESH_S: a host that went dark is noticed after this and half a second more.
WAIT_MS = 400
CONNECT_S, ANSWER_S, ADMIN_S = 1.0, 1.0, 1.0
PAUSES_S = (0.05, 0.5)
# After a start whoever is heard until then counts.
SETTLE_S = 1.0
LOOK_EVERY_S = 1.0
# A new process of HAProxy answers some time after its number is written: until then it is asked often.
NEW_PROCESS_S, LOOK_OFTEN_S = 1.0, 0.02
LATE_S = 0.2

log = logging.getLogger("nospof")


def main(argv: list[str]) -> int:
    """Run until told to stop, or do one of the two errands."""
    parser = argparse.ArgumentParser(prog="database_router")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--write-state", type=Path)
    parser.add_argument("--let-go", action="store_true")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        config = read_config(arguments.config)
        if arguments.write_state:
            replace_file(arguments.write_state, starting_state(config, read_memory(config)))
        elif arguments.let_go:
            let_go(config)
        else:
            run(config)
    except (OSError, KeyError, TypeError, ValueError) as error:
        log.error("cannot run: %s: %s", type(error).__name__, error)
        return 1
    return 0


# --- what it is told -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Server:
    """A database host; HAProxy's servers are named after it."""

    host: str
    address: str
    port: int
    role_port: int


@dataclass(frozen=True)
class Tier:
    """A tier that is reached through this host's HAProxy. `read`: None where only writes are routed.

    `hold_s`: new connections wait at most so long for a primary.
    """

    name: str
    hold_s: float
    servers: tuple[Server, ...]
    write: Group
    read: Group | None

    @property
    def groups(self) -> tuple[Group, ...]:
        return (self.write, self.read) if self.read else (self.write,)


@dataclass(frozen=True)
class Config:
    """`pid_file`: HAProxy's, written anew at each start and reload. `memory_file`: ours."""

    ca: str
    admin_socket: str
    pid_file: str
    memory_file: str
    tiers: tuple[Tier, ...]


def read_config(path: Path) -> Config:
    """Read the file. Raises OSError, KeyError, TypeError or ValueError if it is missing or wrong."""
    told = json.loads(path.read_text())
    return Config(**{**told, "tiers": tuple(_tier(tier) for tier in told["tiers"])})


def _tier(told: Mapping[str, object]) -> Tier:
    servers, write, read = told["servers"], told["write"], told["read"]
    if not isinstance(servers, list) or not isinstance(write, dict) or not isinstance(read, dict | None):
        raise TypeError("a tier has servers, write and read")
    return Tier(
        str(told["name"]),
        float(str(told["hold_s"])),
        tuple(Server(**server) for server in servers),
        Group(**write),
        Group(**read) if read else None,
    )


# --- what it remembers ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Memory:
    """What outlives the program, in a file. `ready`: (backend, server) that were let in; None = the checks decide alone."""

    terms: Mapping[str, int]
    ready: frozenset[tuple[str, str]] | None = None


def read_memory(config: Config) -> Memory:
    """Read it; a file that is missing or torn is no memory."""
    try:
        told = json.loads(Path(config.memory_file).read_text())
        ready = None if told["ready"] is None else frozenset((str(backend), str(server)) for backend, server in told["ready"])
        return Memory({str(tier): int(term) for tier, term in told["terms"].items()}, ready)
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return Memory({})


def write_memory(config: Config, memory: Memory) -> None:
    ready = None if memory.ready is None else sorted(memory.ready)
    replace_file(Path(config.memory_file), json.dumps({"terms": dict(memory.terms), "ready": ready}) + "\n")


def starting_state(config: Config, memory: Memory) -> str:
    """Return the state HAProxy begins with: as it was led last, else nobody is good until a check says so.

    Without this file it would take every server for good until a check failed. Addresses and ports are of the present
    configuration, since HAProxy believes this file more than that. Fields: management.html, "show servers state". Pure.
    """
    lines = ["1"]
    for tier in config.tiers:
        for group in tier.groups:
            for number, server in enumerate(tier.servers, 1):
                is_led = memory.ready is not None
                is_good = memory.ready is not None and (group.backend, server.host) in memory.ready
                state, admin = 2 if is_good else 0, routing.FORCED_MAINT if is_led and not is_good else 0
                lines.append(
                    f"1 {group.backend} {number} {server.host} {server.address} {state} {admin} 1 1 0 1 0 {state} 6 0 0 0 - "
                    f"{server.port} - 0 {server.role_port} - - 0"
                )
    return "\n".join(lines) + "\n"


def replace_file(path: Path, text: str) -> None:
    """Write it whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)


# --- HAProxy --------------------------------------------------------------------------------------------------------------
class Refused(Exception):
    """HAProxy did not do what it was told."""


def ask(config: Config, lines: list[str]) -> str:
    """Tell HAProxy all `lines` in one go and return its answer. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(ADMIN_S)
        admin.connect(config.admin_socket)
        admin.sendall(";".join(lines).encode() + b"\n")
        pieces = []
        while piece := admin.recv(65536):
            pieces.append(piece)
    return b"".join(pieces).decode(errors="replace")


def tell(config: Config, lines: list[str]) -> None:
    """Have HAProxy do `lines`. Raises OSError, or Refused with what it said; it says nothing where all is well."""
    if said := ask(config, lines).strip():
        raise Refused(" ".join(said.split())[:200])


def look(config: Config) -> Actual:
    """Ask HAProxy how it is. Raises OSError or ValueError."""
    text = ask(config, ["show servers state", "show stat -1 1 -1"])
    return Actual(routing.parse_servers(text), routing.parse_frontends(text))


def let_go(config: Config) -> None:
    """Leave HAProxy to its own checks; one that does not run needs nothing. Raises OSError if it did not hear it."""
    memory = read_memory(config)
    write_memory(config, Memory(memory.terms))
    if not Path(config.admin_socket).exists():
        return
    with contextlib.suppress(ConnectionRefusedError):
        for tier in config.tiers:
            tell(config, routing.freeing(_part(look(config), tier), tier.groups))
        log.info("HAProxy is left to its own checks")


def _part(actual: Actual, tier: Tier) -> Actual:
    backends = {group.backend for group in tier.groups}
    return Actual({key: give for key, give in actual.servers.items() if key[0] in backends}, actual.frontends)


# --- hearing --------------------------------------------------------------------------------------------------------------
class Inbox:
    """What was heard last of each host; whoever waits is woken by news."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, str], Heard] = {}
        self._changed = threading.Condition()
        self._is_news = False

    def put(self, tier: str, host: str, document: Document) -> None:
        """Keep what a host said just now. Only what differs is news."""
        with self._changed:
            last = self._heard.get((tier, host))
            self._heard[tier, host] = Heard(document, time.monotonic())
            if last is None or last.document != document or time.monotonic() - last.at_s > routing.FRESH_S:
                self._wake()

    def poke(self) -> None:
        """Wake whoever waits."""
        with self._changed:
            self._wake()

    def wait(self, timeout_s: float) -> None:
        """Return at the next news, at latest after `timeout_s`.

        If it is returned from much too late, the program was frozen, and so heard nothing: no fault of the hosts.
        """
        until_s = time.monotonic() + timeout_s
        with self._changed:
            self._changed.wait_for(lambda: self._is_news, timeout_s)
            self._is_news = False
            late_s = time.monotonic() - until_s
            if late_s > LATE_S:
                log.info("was held up for %.1f s", late_s)
                self._heard = {
                    key: excused
                    for key, item in self._heard.items()
                    for excused in routing.excused({"": item}, late_s).values()
                }

    def of(self, tier: Tier) -> dict[str, Heard]:
        with self._changed:
            return {host: item for (name, host), item in self._heard.items() if name == tier.name}

    def _wake(self) -> None:
        self._is_news = True
        self._changed.notify_all()


class Ear:
    """Keeps one long poll to one database host."""

    def __init__(self, tier: str, server: Server, context: ssl.SSLContext, inbox: Inbox) -> None:
        self._tier, self._server, self._context, self._inbox = tier, server, context, inbox
        self._said = ""

    def listen(self) -> None:
        """Listen for ever."""
        pause_s = PAUSES_S[0]
        while True:
            try:
                with self._connection() as connection:
                    version = -1
                    while True:
                        document = self._ask(connection, version)
                        version, pause_s = document.version, PAUSES_S[0]
                        self._inbox.put(self._tier, self._server.host, document)
                        self._say("")
            except (OSError, ValueError) as error:
                self._say(f"{type(error).__name__}: {error}")
                time.sleep(pause_s)
                pause_s = min(PAUSES_S[1], pause_s * 2)

    def _connection(self) -> ssl.SSLSocket:
        plain = socket.create_connection((self._server.address, self._server.role_port), CONNECT_S)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._context.wrap_socket(plain, server_hostname=self._server.host)
        except BaseException:
            plain.close()
            raise

    def _ask(self, connection: ssl.SSLSocket, version: int) -> Document:
        """Return what the host says, once it is another version. Raises OSError or ValueError."""
        path = "/roles" if version < 0 else f"/roles?after={version}&wait_ms={WAIT_MS}"
        connection.settimeout(WAIT_MS / 1000 + ANSWER_S)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._server.host}\r\n\r\n".encode())
        return routing.parse_document(read_answer(connection), self._tier, self._server.host)

    def _say(self, problem: str) -> None:
        if problem != self._said:
            self._said = problem
            log.info("%s: %s: %s", self._tier, self._server.host, f"not heard: {problem}" if problem else "is heard again")


def read_answer(connection: socket.socket) -> bytes:
    """Read one HTTP answer and return its body. Raises ValueError if it is not a short 200 of known length, OSError."""
    end_s = time.monotonic() + (connection.gettimeout() or ANSWER_S)
    text = b""
    while b"\r\n\r\n" not in text:
        text += _piece(connection, end_s, len(text))
    head, _, body = text.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if status.split(" ")[1:2] != ["200"]:
        raise ValueError(f"answers {status!r:.60}")
    length = int(headers.get("content-length", ""))
    if not 0 <= length <= routing.MAX_DOCUMENT:
        raise ValueError(f"answers with {length} bytes")
    while len(body) < length:
        body += _piece(connection, end_s, len(head) + len(body))
    if len(body) > length:
        raise ValueError("says more than it was asked")
    return body


def _piece(connection: socket.socket, end_s: float, size: int) -> bytes:
    if size > 2 * routing.MAX_DOCUMENT:
        raise ValueError("says too much")
    connection.settimeout(max(0.001, end_s - time.monotonic()))
    piece = connection.recv(16384)
    if not piece:
        raise ConnectionResetError("closed the connection")
    return piece


# --- leading --------------------------------------------------------------------------------------------------------------
class Lead:
    """Decides for one tier and tells HAProxy. `ready`: (backend, server) that are let in, None = it did not decide yet."""

    def __init__(self, config: Config, tier: Tier, inbox: Inbox, term: int, now_s: float) -> None:
        self._config, self.tier, self._inbox = config, tier, inbox
        self.remembered = Remembered(term=term)
        self.ready: frozenset[tuple[str, str]] | None = None
        self._waits_until_s = now_s + SETTLE_S
        self._said = ""

    def step(self, actual: Actual, now_s: float) -> tuple[Actual, float]:
        """Decide, and have HAProxy be as decided; return how it is then, and when to look again. Raises OSError, Refused."""
        heard, hosts = self._inbox.of(self.tier), tuple(server.host for server in self.tier.servers)
        if now_s < self._waits_until_s and len(heard) < len(hosts):
            return actual, self._waits_until_s
        self._waits_until_s = 0.0
        wanted, self.remembered = routing.decide(hosts, heard, self.remembered, now_s, hold_s=self.tier.hold_s)
        self._explain(wanted)
        lines, changed = routing.commands(wanted, actual, self.tier.write, self.tier.read)
        if lines:
            tell(self._config, lines)
            log.info("%s: told HAProxy: %s", self.tier.name, "; ".join(lines))
        if wanted.servers:
            self.ready = frozenset(key for key in self._keys() if changed.servers.get(key) is Give.ALL)
        return changed, wanted.look_again_s

    def _keys(self) -> Iterator[tuple[str, str]]:
        return ((group.backend, server.host) for group in self.tier.groups for server in self.tier.servers)

    def _explain(self, wanted: Wanted) -> None:
        says = f"{wanted.writer or 'nobody'} takes the writes"
        says += ", new connections wait" if wanted.pauses_writes else ""
        if says != self._said:
            self._said = says
            log.info("%s: %s: %s", self.tier.name, says, wanted.why)


def run(config: Config) -> NoReturn:
    """Lead HAProxy until SIGTERM."""
    inbox = Inbox()
    context = client_context(config.ca)
    threading.stack_size(256 * 1024)
    for tier in config.tiers:
        for server in tier.servers:
            run_beside(Ear(tier.name, server, context, inbox).listen, name=server.host)
    pulse = Pulse(config, inbox)
    run_beside(pulse.watch)
    leader = Leader(config, inbox, pulse)
    while True:
        inbox.wait(leader.step())
        tell_systemd("WATCHDOG=1")


def client_context(ca: str) -> ssl.SSLContext:
    """Return what verifies a host's certificate and its name."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Python 3.13 demands fields of a certificate that neither OpenSSL, HAProxy nor MariaDB miss.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class Pulse:
    """Notices that HAProxy has a new process, which has forgotten what the last one was told."""

    def __init__(self, config: Config, inbox: Inbox) -> None:
        self._watch, self._inbox = FileWatch(Path(config.pid_file)), inbox
        self.begun_s = time.monotonic()

    def watch(self) -> None:
        while True:
            if self._watch.wait(60.0):
                self.begun_s = time.monotonic()
                self._inbox.poke()


class Leader:
    """Leads all tiers, sees to it that HAProxy stays as it was told, and keeps the memory."""

    def __init__(self, config: Config, inbox: Inbox, pulse: Pulse) -> None:
        self._config, self._pulse = config, pulse
        self._memory = read_memory(config)
        now_s = time.monotonic()
        self._leads = [Lead(config, tier, inbox, self._memory.terms.get(tier.name, 0), now_s) for tier in config.tiers]
        self._actual: Actual | None = None
        self._looked_s = -routing.NEVER
        self._problem = ""

    def step(self) -> float:
        """Look, decide and tell; return for how many seconds there is nothing more to do."""
        now_s = time.monotonic()
        every_s = LOOK_OFTEN_S if now_s - self._pulse.begun_s < NEW_PROCESS_S else LOOK_EVERY_S
        try:
            if self._actual is None or now_s - self._looked_s >= every_s or self._pulse.begun_s > self._looked_s:
                self._actual = look(self._config)
                self._looked_s = now_s
            next_s = now_s + every_s
            for lead in self._leads:
                self._actual, again_s = lead.step(self._actual, now_s)
                next_s = min(next_s, again_s)
            self._say("")
            self._keep()
            return max(0.0, next_s - time.monotonic()) + 0.001
        except (OSError, ValueError, Refused) as error:
            # It may have done half of it.
            self._actual = None
            self._say(f"{type(error).__name__}: {error}")
            return PAUSES_S[0]

    def _keep(self) -> None:
        terms = {**self._memory.terms, **{lead.tier.name: lead.remembered.term for lead in self._leads}}
        ready = [lead.ready for lead in self._leads if lead.ready is not None]
        memory = Memory(terms, frozenset().union(*ready) if len(ready) == len(self._leads) else None)
        if memory != self._memory:
            write_memory(self._config, memory)
            self._memory = memory

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            log.info("HAProxy %s", f"does not obey: {problem}" if problem else "obeys again")

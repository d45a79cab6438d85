"""Give this host's MariaDB server the role that was chosen for it, and tell the role to whoever asks.

A loop looks at the server ten times a second, brings it nearer to its role (`next_actions`, pure) and writes down what may be
told. A small HTTPS server answers from that note alone, and only until the note's time is over: a server or a loop that hangs
turns every answer into 503, never into an old "yes".

    mariadb_role --config FILE                run; SIGHUP reads configuration and certificates again

Limits: roles are static, as the file with the first primary says. Nobody is promoted here.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import signal
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pymysql

from nospof.onhost.mariadb_pulse import keep_beating
from nospof.onhost.mariadb_server import Observed, Server, Source, quoted, was_refused

LOOK_EVERY_S = 0.1
PAUSES_S = (0.5, 5.0)
# Ten looks: a busy host misses some, a server that hangs misses all.
NOTE_VALID_S = 1.0
# An error that comes back after START REPLICA came back within one second in tests.
SETTLE_S = 1.5
ACCESS_DENIED = 1045
# The files that say whom a replica follows, or what it received, cannot be read: it follows nobody.
TORN = (29, 1201, 1872)

log = logging.getLogger("nospof")


def main(argv: list[str]) -> int:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(prog="mariadb_role")
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return run(arguments.config)
    except (OSError, KeyError, ValueError) as error:
        log.error("cannot run: %s: %s", type(error).__name__, error)
        return 1


# --- what it is told -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Config:
    """The host's place in its tier, from role.json, the accounts file and the seed."""

    tier: str
    host: str
    is_witness: bool
    members: Mapping[str, str]
    """Address of each host of the tier."""
    port: int
    role_port: int
    read_lag_limit_s: float
    first_primary: str
    replication_user: str
    replication_password: str = field(repr=False)
    ca: str
    certificate: str
    key: str

    @property
    def is_primary(self) -> bool:
        return self.host == self.first_primary


def read_config(path: Path) -> Config:
    """Read role.json and the two files it names. Raises OSError or KeyError, ValueError if one is missing or wrong."""
    told = json.loads(path.read_text())
    first_primary = Path(told["first_primary_file"]).read_text().strip()
    account = json.loads(Path(told["accounts_file"]).read_text())["replication"]
    if first_primary not in told["members"]:
        raise ValueError(f"{told['first_primary_file']} names {first_primary}, which is no host of tier {told['tier']}")
    return Config(
        tier=told["tier"],
        host=told["host"],
        is_witness=told["is_witness"],
        members=told["members"],
        port=told["port"],
        role_port=told["role_port"],
        read_lag_limit_s=told["read_lag_limit_s"],
        first_primary=first_primary,
        replication_user=account["user"],
        replication_password=account["password"],
        ca=told["ca"],
        certificate=told["certificate"],
        key=told["key"],
    )


# --- what is to be done --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Action:
    """A step towards the role: what it says in the log, and its SQL. No statements: only a person can act."""

    says: str
    statements: tuple[str, ...] = field(default=(), repr=False)


def next_actions(observed: Observed, config: Config) -> tuple[Action, ...]:
    """Say what brings the server nearer to its role; nothing when it is there. Pure."""
    return tuple(_primary_actions(observed, config) if config.is_primary else _replica_actions(observed, config))


def _primary_actions(observed: Observed, config: Config) -> list[Action]:
    if observed.source is not None:
        return [
            Action(f"stays read-only: is to be primary, but is a replica of {observed.source.address}; decide which is right")
        ]
    actions = []
    if observed.acknowledges:
        actions.append(Action("stops acknowledging", ("SET GLOBAL rpl_semi_sync_slave_enabled = OFF",)))
    has_replicas = len(config.members) > 1
    if not observed.waits_for_voters and has_replicas:
        actions.append(Action("waits for a replica with every write", ("SET GLOBAL rpl_semi_sync_master_enabled = ON",)))
    if observed.waits_for_voters and not has_replicas:
        actions.append(Action("waits for nobody, there is no replica", ("SET GLOBAL rpl_semi_sync_master_enabled = OFF",)))
    if observed.is_read_only:
        actions.append(Action("takes writes: is primary", ("SET GLOBAL read_only = OFF",)))
    return actions


def _replica_actions(observed: Observed, config: Config) -> list[Action]:
    actions = []
    if not observed.is_read_only:
        actions.append(Action("takes no more writes: is no primary", ("SET GLOBAL read_only = ON",)))
    if observed.waits_for_voters:
        actions.append(Action("stops waiting for replicas", ("SET GLOBAL rpl_semi_sync_master_enabled = OFF",)))
    source = observed.source
    if source is None and observed.gtid_binlog_pos and not observed.gtid_slave_pos:
        return [
            *actions,
            Action(f"follows nobody: has writes of its own ({observed.gtid_binlog_pos}); its data must be replaced"),
        ]
    if not observed.acknowledges:
        stop = ("STOP REPLICA IO_THREAD",) if source and source.is_asking else ()
        actions.append(Action("acknowledges writes", (*stop, "SET GLOBAL rpl_semi_sync_slave_enabled = ON")))
    if source is None or not _follows(source, config):
        actions.append(Action(f"follows {config.first_primary}", _follow(config)))
    elif source.receive_errno == ACCESS_DENIED and not source.is_receiving:
        actions.append(Action("was refused, tries its present password", _follow(config)))
    elif not (source.is_asking and source.is_applying) or not observed.acknowledges:
        why = source.receive_error if not source.is_asking else source.apply_error
        actions.append(Action("starts replication" + (f" again after: {why}" if why else ""), ("START REPLICA",)))
    return actions


def _follows(source: Source, config: Config) -> bool:
    wanted = (config.members[config.first_primary], config.port, config.replication_user, config.ca, True, True)
    return wanted == (source.address, source.port, source.user, source.ca, source.is_verified, source.uses_gtid)


def _follow(config: Config) -> tuple[str, ...]:
    change = (
        f"CHANGE MASTER TO MASTER_HOST = {quoted(config.members[config.first_primary])}, MASTER_PORT = {config.port}, "
        f"MASTER_USER = {quoted(config.replication_user)}, MASTER_PASSWORD = {quoted(config.replication_password)}, "
        f"MASTER_SSL = 1, MASTER_SSL_VERIFY_SERVER_CERT = 1, MASTER_SSL_CA = {quoted(config.ca)}, "
        f"MASTER_SSL_CERT = {quoted(config.certificate)}, MASTER_SSL_KEY = {quoted(config.key)}, "
        "MASTER_USE_GTID = slave_pos, MASTER_HEARTBEAT_PERIOD = 0.2, MASTER_CONNECT_RETRY = 1"
    )
    # RESET clears files that a power cut left torn, with which CHANGE MASTER fails for ever. It forgets what was received but
    # not applied, which the primary still has as long as nobody else takes its place.
    return ("STOP ALL REPLICAS", "RESET REPLICA ALL", change, "START REPLICA")


# --- what is told --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Note:
    """What may be told of the server until `valid_until_s`."""

    valid_until_s: float
    answers: Mapping[str, bool]
    """Path → whether it answers 200."""
    says: str
    details: Mapping[str, object]
    is_starting: bool = False
    """Replication runs, but not for long enough to be believed."""


def note_of(observed: Observed, config: Config, *, seen_at_s: float, cut_off_s: float, running_s: float) -> Note:
    """Judge what was seen. Pure.

    `cut_off_s`: for how long a replica has heard nothing of its primary, 0 = it hears it. `running_s`: for how long both its
    threads have run; one that just began may stop at the error it had before, and says it is not behind until it read anything.
    """
    source = observed.source
    is_primary = config.is_primary and not observed.is_read_only and source is None
    is_replica = not config.is_primary and observed.is_read_only and source is not None and _follows(source, config)
    lag_s = None if source is None or not is_replica else max(source.lag_s or 0.0, cut_off_s)
    is_running = is_replica and source is not None and source.is_asking and source.is_applying
    is_settled = is_running and running_s >= SETTLE_S
    is_near = is_settled and lag_s is not None and lag_s <= config.read_lag_limit_s
    is_fed = is_settled and source is not None and source.is_receiving
    role = "primary" if is_primary else "replica" if is_replica else "none"
    if is_primary or is_fed:
        says = role
    elif is_settled:
        says = f"{role}, cut off from its primary"
    else:
        says = f"{role}, starting" if is_running else f"{role}, not settled"
    details: dict[str, object] = {
        "role": role,
        "is_witness": config.is_witness,
        "lag_s": None if lag_s is None or math.isinf(lag_s) else round(lag_s, 1),
        "gtid": observed.gtid_binlog_pos if is_primary else observed.gtid_slave_pos,
        "semi_sync": "on" if observed.is_semi_sync else "off",
        "voters": observed.voters,
        "error": "" if source is None else source.receive_error or source.apply_error,
    }
    answers = {
        "/": True,
        "/primary": is_primary,
        "/replica": is_near and not config.is_witness,
        "/health": is_primary or is_fed,
    }
    return Note(seen_at_s + NOTE_VALID_S, answers, says, details, is_running and not is_settled)


UNKNOWN = Note(0.0, {}, "nothing is known yet", {})


def down_note(why: str, seen_at_s: float) -> Note:
    """Say that the server does not answer. Pure."""
    return Note(seen_at_s + NOTE_VALID_S, {"/": False}, f"server does not answer: {why}", {"role": "none", "error": why})


def answer(path: str, note: Note, now_s: float) -> tuple[int, str]:
    """Answer a request: status and text. A note whose time is over answers 503 whatever it says. Pure."""
    if now_s > note.valid_until_s:
        return 503, f"unknown: last look too old ({note.says})\n"
    if path not in ("/", "/primary", "/replica", "/health"):
        return 404, "ask for /, /primary, /replica or /health\n"
    text = json.dumps({**note.details, "says": note.says}) if path == "/" else note.says
    return (200 if note.answers.get(path) else 503), text + "\n"


# --- the loop ------------------------------------------------------------------------------------------------------------
class Keeper:
    """Looks, notes and acts; `note` is what the HTTPS server reads."""

    def __init__(self, server: Server, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self.server, self.config, self.clock = server, config, clock
        self.note = UNKNOWN
        self.must_load_certificates = True
        self._heard_at_s, self._began_at_s = -math.inf, clock()
        self._said: tuple[str, ...] = ()
        self._is_torn = False
        self._act_from_s, self._pause_s = 0.0, 0.0

    def step(self) -> None:
        """Look once, note it, act if something is to be done."""
        begun_s = self.clock()
        try:
            observed = self.server.look()
            if observed.source is None or observed.source.is_receiving:
                self._heard_at_s = begun_s
            if observed.source is None or not (observed.source.is_asking and observed.source.is_applying):
                self._began_at_s = begun_s
            cut_off_s, running_s = begun_s - self._heard_at_s, begun_s - self._began_at_s
            self.note = note_of(observed, self.config, seen_at_s=begun_s, cut_off_s=cut_off_s, running_s=running_s)
            wanted = replace(observed, source=None) if self._is_torn else observed
            self._act(next_actions(wanted, self.config), begun_s)
        except (pymysql.Error, OSError) as error:
            self.server.forget()
            why = str(error.args[-1]) if error.args else type(error).__name__
            self.note = down_note(why, begun_s)
            self._say((f"server does not answer: {why}",))

    def is_primary_now(self) -> bool:
        """Whether the last look, not too long ago, saw the server take writes as primary."""
        return answer("/primary", self.note, self.clock())[0] == 200

    def _act(self, actions: tuple[Action, ...], now_s: float) -> None:
        if self.must_load_certificates:
            # LOCAL, else it would be a write of this server's own.
            self.server.rows("FLUSH LOCAL SSL")
            self.must_load_certificates = False
        if not actions:
            if not self.note.is_starting:
                self._say((f"is {self.note.says}",))
                self._pause_s = 0.0
            return
        if now_s < self._act_from_s:
            return
        self._say(tuple(action.says for action in actions))
        # What did not help at once is tried again ever more slowly.
        self._pause_s = min(PAUSES_S[1], self._pause_s * 2 or PAUSES_S[0])
        self._act_from_s = now_s + self._pause_s
        try:
            for statement in (statement for action in actions for statement in action.statements):
                self.server.rows(statement)
            self._is_torn = False
        except pymysql.Error as error:
            if not was_refused(error):
                raise
            self._is_torn = error.args[0] in TORN
            self._say((f"could not: {error.args[-1]}",))

    def _say(self, lines: tuple[str, ...]) -> None:
        if lines != self._said:
            self._said = lines
            for line in lines:
                log.info("%s: %s", self.config.host, line)


def run(path: Path) -> int:
    """Keep the role until SIGTERM."""
    stop, reload = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: reload.set())
    keeper = Keeper(Server(), read_config(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keeper.config.certificate, keeper.config.key)
    with Door(keeper, context) as door:
        threading.Thread(target=door.serve_forever, daemon=True).start()
        pulse = (Server(), keeper.config.port, keeper.is_primary_now, stop)
        threading.Thread(target=keep_beating, args=pulse, daemon=True).start()
        while not stop.is_set():
            if reload.is_set():
                reload.clear()
                keeper.config, keeper.must_load_certificates = read_config(path), True
                context.load_cert_chain(keeper.config.certificate, keeper.config.key)
                if door.place != _place(keeper.config):
                    return 0  # systemd starts it again, at its new place
            begun_s = time.monotonic()
            keeper.step()
            stop.wait(max(0.0, begun_s + LOOK_EVERY_S - time.monotonic()))
    return 0


def _place(config: Config) -> tuple[str, int]:
    return config.members[config.host], config.role_port


# --- the HTTPS server ----------------------------------------------------------------------------------------------------
class Door(socketserver.ThreadingTCPServer):
    """One thread and one second per request; HTTP/1.0, GET only, nothing in a request is obeyed but its path."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, keeper: Keeper, context: ssl.SSLContext) -> None:
        self.keeper, self.context, self.place = keeper, context, _place(keeper.config)
        super().__init__(self.place, Caller)

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers that hang up or speak no TLS are their own affair."""


class Caller(socketserver.BaseRequestHandler):
    server: Door

    def handle(self) -> None:
        plain: socket.socket = self.request
        plain.settimeout(1.0)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.server.context.wrap_socket(plain, server_side=True) as caller:
            request = b""
            while b"\r\n\r\n" not in request and len(request) < 4096:
                piece = caller.recv(4096)
                if not piece:
                    return
                request += piece
            path = (request.split(b" ", 2)[1:2] or [b""])[0].split(b"?")[0].decode("latin-1")
            keeper = self.server.keeper
            status, text = answer(path, keeper.note, keeper.clock())
            word = {200: "OK", 404: "Not Found"}.get(status, "Service Unavailable")
            head = f"HTTP/1.0 {status} {word}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n"
            caller.sendall((head + text).encode())

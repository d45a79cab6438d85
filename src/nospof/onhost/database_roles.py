"""Tell the role of this host's database server to whoever asks: the routers of the applications, their HAProxy, people.

What is told is the note that the agent beside it writes; this is a process of its own so that an agent's crash is no outage. A
note whose time is over turns every answer into 503. One exception: while the database process that the note names still lives,
its roles are told on. A replica's for five seconds, in which the agent starts again: then nobody knows how far behind it is. A
primary's for as long as it lives: without its agent it goes on acknowledging, so its voters replace it only when it ends, and
where it was replaced all the same, routers hear of a higher term and believe that.

    database_roles --config FILE              run; SIGHUP reads configuration and certificates again

Nothing in a request changes anything. Threads, since they need 4 MiB less than asyncio; each client has a few seconds for each
step, each address some connections, and a long poll is the only thing that may last.
Limits: of two versions it knows only whether they differ, so a client that asks with an old one is answered at once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import signal
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from nospof.onhost.file_watch import FileWatch
from nospof.onhost.threads import run_beside

# How long a replica's role is told without an agent, while the database lives.
GRACE_S = 5.0
# How often the database process is looked at then.
LOOK_EVERY_S = 0.1
HANDSHAKE_S, REQUEST_S, ANSWER_S = 1.0, 2.0, 2.0
MAX_WAIT_MS = 10_000
MAX_REQUEST, MAX_NOTE = 4096, 1 << 20
MAX_CONNECTIONS, MAX_PER_ADDRESS = 256, 32
ROLES = ("primary", "replica", "none")

log = logging.getLogger("nospof")


def main(argv: list[str]) -> int:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(prog="database_roles")
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return run(arguments.config)
    except (OSError, KeyError, TypeError, ValueError) as error:
        log.error("cannot run: %s: %s", type(error).__name__, error)
        return 1


# --- what it is told -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Config:
    tier: str
    host: str
    address: str
    role_port: int
    note_file: str
    certificate: str
    key: str


def read_config(path: Path) -> Config:
    """Read the file. Raises OSError, TypeError or ValueError if it is missing or wrong."""
    return Config(**json.loads(path.read_text()))


@dataclass(frozen=True)
class Note:
    """What the agent last wrote; `written_at` is of the monotonic clock, which all processes of a host share."""

    version: int
    term: int
    revision: int
    role: str
    takes_writes: bool
    fit_for_reads: bool
    is_moving: bool
    is_healthy: bool
    says: str
    written_at: float
    valid_for_s: float
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def valid_until_s(self) -> float:
        return self.written_at + self.valid_for_s

    @property
    def pid(self) -> int | None:
        """The database process."""
        pid = self.details.get("pid")
        return pid if type(pid) is int else None


NOTHING = Note(0, 0, 0, "none", False, False, False, False, "nothing is known yet", 0.0, 0.0)
KINDS: Mapping[str, tuple[type, ...]] = {
    "version": (int,),
    "term": (int,),
    "revision": (int,),
    "role": (str,),
    "takes_writes": (bool,),
    "fit_for_reads": (bool,),
    "is_moving": (bool,),
    "is_healthy": (bool,),
    "says": (str,),
    "written_at": (int, float),
    "valid_for_s": (int, float),
    "details": (dict,),
}


def parse_note(text: bytes, config: Config) -> Note:
    """Read a note strictly. Raises ValueError if it is none, or another host's or tier's."""
    told = json.loads(text)
    if not isinstance(told, dict):
        raise ValueError("is no object")
    for name, kinds in KINDS.items():
        if type(told.get(name)) not in kinds:
            raise ValueError(f"{name} is {told.get(name)!r:.40}")
    if told["role"] not in ROLES:
        raise ValueError(f"role is {told['role']!r:.40}")
    if (told.get("host"), told.get("tier")) != (config.host, config.tier):
        raise ValueError(f"is of {told.get('host')!r:.40} in {told.get('tier')!r:.40}")
    return Note(**{name: told[name] for name in KINDS})


# --- what is told of it --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Told:
    """What is told at one moment. `is_stale`: the note's time is over, so nothing is claimed but its term."""

    note: Note
    is_stale: bool

    @property
    def version(self) -> int:
        """Another number than the note's once it is stale, so that who waits for a change hears of that."""
        return self.note.version + 1 if self.is_stale else self.note.version

    def roles(self, config: Config) -> dict[str, object]:
        """The document for the routers."""
        note = self.note
        return {
            "version": self.version,
            "host": config.host,
            "tier": config.tier,
            "term": note.term,
            "revision": note.revision,
            "role": "none" if self.is_stale else note.role,
            "takes_writes": note.takes_writes and not self.is_stale,
            "fit_for_reads": note.fit_for_reads and not self.is_stale,
            "is_moving": note.is_moving and not self.is_stale,
            "is_stale": self.is_stale,
        }


def told_of(note: Note, now_s: float, *, is_alive: bool) -> Told:
    """Judge whether `note` still holds; `is_alive`: its database process is there. Pure.

    A note from the future was written before the clock began anew, and is stale.
    """
    grace_s = 0.0
    if is_alive:
        grace_s = math.inf if note.takes_writes else GRACE_S
    is_valid = note.written_at <= now_s + 1.0 and now_s <= note.valid_until_s + grace_s
    return Told(note, is_stale=not is_valid)


def answer(path: str, told: Told, config: Config) -> tuple[int, str]:
    """Answer the short questions: status and text. Pure."""
    note = told.note
    if path == "/roles":
        return 200, json.dumps(told.roles(config)) + "\n"
    answers = {
        "/": True,
        # In a handover it takes none for a moment: no reason for a check to end its sessions, since it may be undone.
        "/primary": note.role == "primary" and (note.takes_writes or note.is_moving),
        "/replica": note.role == "replica" and note.fit_for_reads,
        "/health": note.is_healthy,
    }
    if path not in answers:
        return 404, "ask for /, /primary, /replica, /health or /roles\n"
    if told.is_stale:
        return 503, f"unknown: last note too old ({note.says})\n"
    details = {**note.details, "says": note.says, "is_healthy": note.is_healthy, **told.roles(config)}
    text = json.dumps(details) if path == "/" else note.says
    return (200 if answers[path] else 503), text + "\n"


def is_alive(pid: int | None) -> bool:
    """Whether this process is there, and not only its entry."""
    if pid is None:
        return False
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] not in (["Z"], ["X"], [])


class Board:
    """What is told now. One thread keeps it up to date; those that wait for a change are woken."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._note = NOTHING
        self._changed = threading.Condition()
        self._problem = ""
        self.read()

    def now(self) -> Told:
        """What holds at this moment, whether or not anybody noticed."""
        now_s = time.monotonic()
        note = self._note
        return told_of(note, now_s, is_alive=now_s > note.valid_until_s and is_alive(note.pid))

    def after(self, version: int, wait_s: float) -> Told:
        """Return what is told as soon as it is another version, at latest after `wait_s` seconds."""
        end_s = time.monotonic() + wait_s
        with self._changed:
            while (told := self.now()).version == version and (left_s := end_s - time.monotonic()) > 0:
                self._changed.wait(left_s)
        return told

    def keep(self) -> None:
        """Read each new note, and notice when the last one is too old. For ever."""
        watch = FileWatch(Path(self.config.note_file))
        version = None
        while True:
            self.read()
            told = self.now()
            if told.version != version:
                version = told.version
                with self._changed:
                    self._changed.notify_all()
            watch.wait(self._look_again_s(told))

    def read(self) -> None:
        """Read the note; one that is missing or wrong leaves the last, until that is too old."""
        try:
            with Path(self.config.note_file).open("rb") as file:
                self._note = parse_note(file.read(MAX_NOTE), self.config)
            self._say("")
        except (OSError, ValueError, RecursionError) as error:
            self._say(f"no note: {error}")

    def _look_again_s(self, told: Told) -> float:
        left_s = told.note.valid_until_s - time.monotonic()
        if left_s > 0:
            return left_s + 0.001
        return 1.0 if told.is_stale else LOOK_EVERY_S

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            log.info("%s: %s", self.config.host, problem or "reads its notes")


# --- the HTTPS server ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Request:
    path: str
    query: Mapping[str, str]
    is_get: bool
    is_last: bool
    """The connection ends after it."""


def parse_request(text: bytes) -> Request:
    """Read a request's head. Raises ValueError if it is none."""
    first, *lines = text.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    target, _, protocol = rest.partition(" ")
    if not target.startswith("/") or not protocol.startswith("HTTP/1."):
        raise ValueError("no request")
    headers = {name.strip().lower(): value.strip().lower() for name, _, value in (line.partition(":") for line in lines)}
    # A body would be taken for the next request.
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    is_last = has_body or protocol != "HTTP/1.1" or "close" in headers.get("connection", "")
    path, _, query = target.partition("?")
    return Request(path, dict(parse_qsl(query, max_num_fields=8)), method == "GET", is_last)


class Door:
    """Accepts callers: a thread each, and no more of them than it can carry."""

    def __init__(self, board: Board, context: ssl.SSLContext) -> None:
        self.board, self.context = board, context
        self._callers: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._is_closed = False
        self.listener = socket.create_server((board.config.address, board.config.role_port), backlog=128)
        threading.stack_size(256 * 1024)

    def serve(self) -> None:
        """Accept until the listener is closed."""
        while True:
            try:
                plain, (address, _) = self.listener.accept()
            except OSError as error:
                if self._is_closed:
                    return
                log.error("cannot accept: %s", error)
                time.sleep(0.1)
                continue
            if self._takes(address):
                threading.Thread(target=self._serve_one, args=(plain, address), daemon=True).start()
            else:
                plain.close()

    def close(self) -> None:
        self._is_closed = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _takes(self, address: str) -> bool:
        with self._lock:
            if self._callers.total() >= MAX_CONNECTIONS or self._callers[address] >= MAX_PER_ADDRESS:
                return False
            self._callers[address] += 1
            return True

    def _serve_one(self, plain: socket.socket, address: str) -> None:
        try:
            plain.settimeout(HANDSHAKE_S)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.context.wrap_socket(plain, server_side=True) as caller:
                for request in requests(caller):
                    status, text = self._answer(request)
                    caller.settimeout(ANSWER_S)
                    caller.sendall(response(status, text, is_last=request.is_last))
        except (OSError, ValueError):
            pass  # Callers that hang up, are too slow or speak no TLS are their own affair.
        finally:
            plain.close()
            with self._lock:
                self._callers[address] -= 1
                self._callers += Counter()  # forgets addresses without connections

    def _answer(self, request: Request) -> tuple[int, str]:
        if not request.is_get:
            return 405, "only GET\n"
        told = self.board.now()
        if request.path == "/roles" and "after" in request.query:
            try:
                after, wait_ms = int(request.query["after"]), int(request.query.get("wait_ms", "0"))
            except ValueError:
                return 400, "after and wait_ms are whole numbers\n"
            told = self.board.after(after, min(max(wait_ms, 0), MAX_WAIT_MS) / 1000)
        return answer(request.path, told, self.board.config)


def requests(caller: ssl.SSLSocket) -> Iterator[Request]:
    """Yield one connection's requests. Raises OSError or ValueError for one that is slow, or sends nonsense or too much."""
    held = b""
    while True:
        end_s = time.monotonic() + REQUEST_S
        while b"\r\n\r\n" not in held:
            caller.settimeout(max(0.001, end_s - time.monotonic()))
            piece = caller.recv(MAX_REQUEST)
            if not piece:
                return
            held += piece
            if len(held) > MAX_REQUEST or time.monotonic() > end_s:
                raise ValueError("too long")
        head, _, held = held.partition(b"\r\n\r\n")
        request = parse_request(head)
        yield request
        if request.is_last:
            return


WORDS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


def response(status: int, text: str, *, is_last: bool) -> bytes:
    body = text.encode()
    head = f"HTTP/1.1 {status} {WORDS[status]}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + (b"Connection: close\r\n\r\n" if is_last else b"\r\n") + body


def run(path: Path) -> int:
    """Serve until SIGTERM, or until the configuration changed, after which systemd starts it again."""
    told = {signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, told)  # in the threads too: they are waited for below
    config = read_config(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(config.certificate, config.key)
    board = Board(config)
    door = Door(board, context)
    run_beside(board.keep)
    run_beside(door.serve)
    while signal.sigwait(told) == signal.SIGHUP and read_config(path) == config:
        context.load_cert_chain(config.certificate, config.key)
        log.info("%s: read its certificate again", config.host)
    door.close()
    return 0

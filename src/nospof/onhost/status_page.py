"""Make the status page: ask every host of the stack again and again, and show what is known to whoever has the password.

    status_page --config FILE        run; SIGHUP reads configuration, password and certificates again

Asking and showing have nothing to do with each other: a page is made from what is known at that moment, and no question waits
for another one. Nothing in a request changes anything. One thread (asyncio): a hundred hosts are a hundred small questions.

What is asked is plain HTTP inside of the stack, as for everybody who watches (docs/decisions/0017-monitoring.md); the page
itself is HTTPS only, and answers nothing but its own health without the password.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hmac
import json
import logging
import signal
import ssl
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nospof.onhost.page import changes, show
from nospof.onhost.page.config import Config, Counting, Host, read_config
from nospof.onhost.page.figures import Figures, parse
from nospof.onhost.page.judge import picture
from nospof.onhost.page.seen import MOST_EVENTS, Board, Drill, Event, Now

# A host that is there answers within milliseconds; on a busy one it may take longer, and nobody waits for it.
ASK_S = 2.0
MOST_BYTES = 4 << 20
HANDSHAKE_S, REQUEST_S, ANSWER_S, IDLE_S = 3.0, 5.0, 5.0, 20.0
MOST_HEAD, MOST_CALLERS = 16_384, 128
# Whoever tries passwords gets one answer a second from each connection.
REFUSED_S = 1.0
MOST_DRILLS = 20

log = logging.getLogger("nospof")


def main(argv: list[str]) -> int:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(prog="status_page")
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return asyncio.run(run(arguments.config))
    except (OSError, KeyError, TypeError, ValueError) as error:
        log.error("cannot run: %s: %s", type(error).__name__, error)
        return 1


async def run(path: Path) -> int:
    """Serve until SIGTERM, or until the configuration changed, after which systemd starts it again."""
    config = read_config(path)
    page = Page(config)
    told: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, told.put_nowait, number)
    context = server_context(config)
    # asyncio reports each handshake that fails, as those of checks that only connect.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    server = await asyncio.start_server(
        page.serve, config.address, config.port, ssl=context, ssl_handshake_timeout=HANDSHAKE_S, limit=MOST_HEAD
    )
    looking = [asyncio.create_task(work) for work in (page.look(), page.keep())]
    ended = asyncio.create_task(_until_told(told, path, config, context, page))
    await asyncio.wait([ended, *looking], return_when=asyncio.FIRST_COMPLETED)
    server.close()
    for task in looking:
        if task.done():
            task.result()  # a defect ends the program, so that systemd starts it again
        task.cancel()
    page.save()
    return 0


async def _until_told(
    told: asyncio.Queue[signal.Signals], path: Path, config: Config, context: ssl.SSLContext, page: Page
) -> None:
    while await told.get() == signal.SIGHUP and read_config(path) == config:
        context.load_cert_chain(config.certificate, config.key)
        page.read_password()
        log.info("%s: read certificate and password again", config.me)


def server_context(config: Config) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(config.certificate, config.key)
    return context


# --- asking --------------------------------------------------------------------------------------------------------------
async def fetch(url: str) -> str:
    """GET `url`, which is plain HTTP. Raises OSError or ValueError with words for people."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 16)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        head = f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/plain\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        answer = bytearray()
        while piece := await reader.read(1 << 16):
            answer += piece
            if len(answer) > MOST_BYTES:
                raise ValueError("it says far too much")
    finally:
        writer.close()
    return body_of(bytes(answer))


def body_of(answer: bytes) -> str:
    """The text of a whole answer. Raises ValueError where it is not 200, or cut off in its middle."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or words[1] != "200":
        raise ValueError(f"it answers {' '.join(words[1:]) or 'nothing'}"[:80])
    headers = {name.strip().lower(): value.strip().lower() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = _joined(body)
    elif len(body) < int(headers.get("content-length", 0)):
        raise ValueError("its answer is cut off")
    return body.decode(errors="replace")


def _joined(chunks: bytes) -> bytes:
    """A body that comes in chunks, each with its size before it (RFC 9112, section 7.1)."""
    found = bytearray()
    while True:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size.partition(b";")[0] or b"-1", 16)
        if length == 0:
            return bytes(found)
        if length < 0 or len(rest) < length + 2:
            raise ValueError("its answer is cut off")
        found += rest[:length]
        chunks = rest[length + 2 :]


def why_not(error: BaseException) -> str:
    """Why a question was not answered, in words for people."""
    if isinstance(error, TimeoutError):
        return f"no answer within {ASK_S:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "its figures' port is closed"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


class Page:
    """What is known, who asks for it, and who may see it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.board = Board(config, now())
        self._standing: Mapping[str, changes.State] = {}
        self._passwords: tuple[bytes, ...] = ()
        self._callers = 0
        self._uncounted: dict[str, str] = {}
        self._saved: tuple[Event, ...] = ()
        self._drills_changed = -1
        self.read_password()
        self.board.events.extend(read_events(Path(config.state_file)))
        self._saved = tuple(self.board.events)

    def read_password(self) -> None:
        """Separated by a space: two while the stack's passwords change."""
        self._passwords = tuple(Path(self.config.password_file).read_bytes().split())

    async def look(self) -> None:
        """Ask everybody, each at its own pace: one that does not answer delays nobody else. For ever."""
        hosts = [self._every(self._host, host) for host in self.config.hosts]
        counting = [self._every(self._count, where) for where in self.config.counting]
        async with asyncio.TaskGroup() as group:
            for work in [*hosts, *counting]:
                group.create_task(work)

    async def _every(self, ask: Any, of: Any) -> None:
        while True:
            begun_s = time.monotonic()
            await ask(of)
            await asyncio.sleep(max(0.2, self.config.every_s - (time.monotonic() - begun_s)))

    async def _host(self, host: Host) -> None:
        try:
            figures = await _figures(host.ask)
        except (OSError, ValueError) as error:
            self.board.missed(host.name, why_not(error))
        else:
            self.board.heard(host.name, figures, now())

    async def _count(self, where: Counting) -> None:
        why = ""
        try:
            figures = await _figures(where.ask)
        except (OSError, ValueError) as error:
            why = why_not(error)  # who is late is counted next time, over a longer while
        else:
            self.board.counted(where, figures, now())
        if self._uncounted.get(where.host, "") != why:
            self._uncounted[where.host] = why
            log.info("%s: %s", where.ask, why or "is read")

    async def keep(self) -> None:
        """Notice what changed, and keep it on disk. For ever."""
        while True:
            await asyncio.sleep(self.config.every_s)
            moment = now()
            self.board.tick(moment)
            self._read_drills()
            standing = changes.standing(picture(self.config, self.board.seen(moment)))
            self.board.events.extend(changes.events(self._standing, standing, moment.at))
            # What is not known now is compared with what it was when it last was known.
            self._standing = {**self._standing, **standing}
            self.save()

    def save(self) -> None:
        """Keep the events, where there are new ones. A full disk keeps nobody from looking."""
        events = tuple(self.board.events)
        if events == self._saved:
            return
        path = Path(self.config.state_file)
        with contextlib.suppress(OSError):
            new = path.with_suffix(".new")
            new.write_text(json.dumps([asdict(event) for event in events]) + "\n")
            new.replace(path)
            self._saved = events

    def _read_drills(self) -> None:
        path = Path(self.config.drills_file)
        with contextlib.suppress(OSError):
            changed = path.stat().st_mtime_ns
            if changed != self._drills_changed:
                self._drills_changed = changed
                self.board.drills = read_drills(path.read_text(errors="replace"))

    # --- showing -----------------------------------------------------------------------------------------------------
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        self._callers += 1
        try:
            if self._callers <= MOST_CALLERS:
                await self._requests(reader, writer)
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # Callers that hang up, are too slow or send nonsense are their own affair.
        finally:
            self._callers -= 1
            writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wait_s = REQUEST_S
        while True:
            async with asyncio.timeout(wait_s):
                head = await reader.readuntil(b"\r\n\r\n")
            request = parse_request(head)
            answer = self.answer(request)
            if answer.status == 401:
                await asyncio.sleep(REFUSED_S)
            writer.write(response(answer, request))
            async with asyncio.timeout(ANSWER_S):
                await writer.drain()
            if request.is_last:
                return
            wait_s = IDLE_S

    def answer(self, request: Request) -> Answer:
        """What `request` gets."""
        path = self.config.path
        if request.method not in ("GET", "HEAD"):
            return Answer(405, "Only GET and HEAD.\n", more=(("Allow", "GET, HEAD"),))
        if request.path == f"{path}health":
            return Answer(200, "well\n")
        if request.headers.get("x-forwarded-proto", "https") != "https":
            return Answer(403, "Only over HTTPS: the password would be read on the way.\n")
        if not self._is_known(request.headers.get("authorization", "")):
            return Answer(
                401,
                "The user's name and the password are needed.\n",
                more=(("WWW-Authenticate", f'Basic realm="{self._realm}", charset="UTF-8"'),),
            )
        if request.path == path.rstrip("/") and path != "/":
            return Answer(308, "", more=(("Location", path),))
        if request.path == path:
            return Answer(200, show.to_html(self._picture()), "text/html; charset=utf-8")
        if request.path == f"{path}status.json":
            return Answer(200, json.dumps(show.to_json(self._picture()), indent=1) + "\n", "application/json")
        return Answer(404, f"There is {path} and {path}status.json.\n")

    @property
    def _realm(self) -> str:
        return f"{self.config.stack} status"

    def _picture(self) -> Any:
        return picture(self.config, self.board.seen(now()))

    def _is_known(self, authorization: str) -> bool:
        """Whether the right name and password came with it, in a time that does not tell how nearly."""
        kind, _, told = authorization.partition(" ")
        try:
            given = base64.b64decode(told.strip(), validate=True) if kind.lower() == "basic" else b""
        except ValueError:
            return False
        expected = [self.config.user.encode() + b":" + password for password in self._passwords]
        return any(hmac.compare_digest(given, one) for one in expected)


async def _figures(url: str) -> Figures:
    async with asyncio.timeout(ASK_S):  # wait_for() may lose a cancellation before Python 3.12.
        return parse(await fetch(url))


def now() -> Now:
    return Now(time.monotonic(), time.time())


# --- HTTP ----------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    is_last: bool
    """The connection ends after it."""


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    kind: str = "text/plain; charset=utf-8"
    more: tuple[tuple[str, str], ...] = ()


def parse_request(head: bytes) -> Request:
    """Read a request's head. Raises ValueError if it is none."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[1].startswith("/") or not words[2].startswith("HTTP/1."):
        raise ValueError("no request")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    # A body would be taken for the next request.
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    is_last = has_body or words[2] != "HTTP/1.1" or "close" in headers.get("connection", "").lower()
    return Request(words[0], words[1].partition("?")[0], headers, is_last)


WORDS = {
    200: "OK",
    308: "Permanent Redirect",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
}
ALWAYS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", show.POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)


def response(answer: Answer, request: Request) -> bytes:
    body = answer.text.encode()
    ends = (("Connection", "close"),) if request.is_last else ()
    lines = [("Content-Type", answer.kind), ("Content-Length", str(len(body))), *ALWAYS, *answer.more, *ends]
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"HTTP/1.1 {answer.status} {WORDS[answer.status]}\r\n{head}\r\n".encode() + (
        b"" if request.method == "HEAD" else body
    )


# --- what is kept --------------------------------------------------------------------------------------------------------
def read_events(path: Path) -> list[Event]:
    """The events that an earlier process kept; none where there are none, or they cannot be read."""
    try:
        return [Event(float(one["at"]), str(one["level"]), str(one["what"])) for one in json.loads(path.read_text())][
            -MOST_EVENTS:
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def read_drills(text: str) -> tuple[Drill, ...]:
    """The drills of a file with a line of JSON for each, the newest first; lines that are none are left out."""
    found = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = json.loads(line)
            found.append(Drill(float(told["at"]), str(told["level"]), str(told["name"]), str(told["says"])))
    return tuple(sorted(found, key=lambda drill: -drill.at)[:MOST_DRILLS])

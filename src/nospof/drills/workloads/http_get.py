"""HTTP requests at fixed times, whatever the answers do (open loop), and what is to be read from their history.

With a `body` they are POSTs; each writes a token of its own, and may be read back at once.

The load is a process of its own: `python -m nospof.drills.workloads.http_get --help`. It writes one JSON line per request, with
times of CLOCK_MONOTONIC, which all processes of one machine share: they compare with what `Lab.power_off` returns.

Latency counts from the moment at which a request was meant to begin. A load that waits for answers would send less while the
site is slow, and so hide the very time it is to measure (coordinated omission).

Outcomes: `ok`, the whole of an answer of status 200 to 399 came; `failed`, another answer came, or the request was not sent;
`unknown`, it was sent and no whole answer came. A visitor likes neither of the last two: here both are *bad*.

With several addresses each request goes to the next, as visitors do who find them all in DNS; browsers that try another one
when the first does not answer are better off.

Limits: HTTP/1.1, IPv4, no redirects, answers up to 4 MiB. A request on a kept connection that ends before the answer begins is
bad, although browsers send it again on a new one (RFC 9112, 9.3.1), unless `sends_again`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

MOST_REQUESTS = 1_000_000
# Sockets of one process, well below the usual limit of 1024 open files. What finds none free is not sent, which is bad.
MOST_IN_FLIGHT = 800
MOST_HEADER_BYTES = 64 * 1024
MOST_BODY_BYTES = 4 * 1024 * 1024
GOOD = range(200, 400)
STARTS_WITHIN_S = 15.0
# X-App-Server: web1, X-Load-Balancer: lb1
SERVER_HEADER = re.compile(r"x-([a-z-]+)-server|x-(load-balancer)")


class Outcome(StrEnum):
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


# --- what happened ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Request:
    """One request; all times in seconds of CLOCK_MONOTONIC."""

    intended: float
    """When it was meant to begin."""
    ended: float
    """When the whole answer was there, or hope was given up."""
    outcome: Outcome
    sent: float | None = None
    """When it was written to a connection; None: never."""
    status: int | None = None
    why: str = ""
    servers: dict[str, str] = field(default_factory=dict)
    """Who answered, by tier, as the answer itself says: {"app": "web1"}."""
    token: str = ""
    """What it wrote; "" for one that only asked."""
    read_back: int | None = None
    """Status of the answer when the token was asked for right after the write; None: not asked, or no answer."""
    address: str = ""
    """Where it was sent; "" where it was not."""

    @property
    def is_good(self) -> bool:
        return self.outcome is Outcome.OK

    @property
    def answered(self) -> float | None:
        """When its answer was there; None when none came."""
        return self.ended if self.status is not None and self.outcome is not Outcome.UNKNOWN else None

    @property
    def latency_s(self) -> float:
        """From the intended begin to the end of a good answer; infinite for what had none."""
        return self.ended - self.intended if self.is_good else math.inf


@dataclass(frozen=True)
class Gap:
    """A time without a good answer."""

    began: float
    length_s: float


@dataclass(frozen=True)
class History:
    """All requests of one load, in the order of their intended begin. Every function is pure."""

    requests: tuple[Request, ...]
    most_late_s: float = 0.0
    """The longest that a request began after its intended time: how far machine and load themselves were behind."""

    @classmethod
    def of(cls, requests: Iterable[Request], most_late_s: float = 0.0) -> History:
        return cls(tuple(sorted(requests, key=lambda request: request.intended)), most_late_s)

    @property
    def bad(self) -> tuple[Request, ...]:
        return tuple(request for request in self.requests if not request.is_good)

    def between(self, begin: float, end: float = math.inf) -> History:
        """The requests meant to begin from `begin` on and before `end`."""
        return replace(self, requests=tuple(request for request in self.requests if begin <= request.intended < end))

    def in_flight(self, at: float) -> History:
        """The requests that had begun at that moment and had not ended."""
        return replace(self, requests=tuple(request for request in self.requests if request.intended < at < request.ended))

    def longest_gap(self, begin: float = -math.inf, end: float = math.inf) -> Gap:
        """The longest time without a good answer, of gaps that end after `begin` and begin before `end`.

        The first and the last begin count as if something good had happened there, so that a site which never came back has
        a gap as long as the load went on. What hung on after the last begin is no gap. Length 0 for an empty history. Of
        several addresses the worst counts: who was given that one is not helped by the others.
        """
        gaps = [one._longest_gap(begin, end) for one in self.by_address().values()]
        return max(gaps, key=lambda gap: gap.length_s, default=Gap(0.0, 0.0))

    def by_address(self) -> dict[str, History]:
        """The requests to each address; what was not sent is of all of them."""
        addresses = sorted({request.address for request in self.requests} - {""}) or [""]
        return {
            address: replace(self, requests=tuple(one for one in self.requests if one.address in ("", address)))
            for address in addresses
        }

    def _longest_gap(self, begin: float, end: float) -> Gap:
        if not self.requests:
            return Gap(0.0, 0.0)
        good = (request.ended for request in self.requests if request.is_good)
        moments = sorted((self.requests[0].intended, *good))
        moments.append(max(moments[-1], self.requests[-1].intended))
        gaps = (Gap(before, after - before) for before, after in pairwise(moments) if after > begin and before < end)
        return max(gaps, key=lambda gap: gap.length_s, default=Gap(0.0, 0.0))

    def latency_s(self, share: float) -> float:
        """The latency that `share` (0 to 1) of the requests did not exceed; 1 is the maximum; NaN without requests."""
        latencies = sorted(request.latency_s for request in self.requests)
        return latencies[max(0, math.ceil(share * len(latencies)) - 1)] if latencies else math.nan

    def longest_wait_s(self, since: float) -> float:
        """How long after `since` the last of the requests ended, well or not; 0 when all had."""
        return max((request.ended - since for request in self.requests), default=0.0)

    def servers(self, tier: str) -> Counter[str]:
        """How many good answers each server of `tier` had a part in."""
        return Counter(request.servers[tier] for request in self.requests if request.is_good and tier in request.servers)

    def reasons(self) -> Counter[str]:
        """Why requests were bad, and how often; of several addresses also where."""
        is_told = len(self.by_address()) > 1
        return Counter(f"{one.why} at {one.address}" if is_told and one.address else one.why for one in self.bad)


def read_history(path: Path) -> History:
    """Read what a load has written. Requests that were due and of which nothing is written count as not sent.

    Raises ValueError when the load did not end by itself: what it would have seen is unknown.
    """
    lines = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    if not lines or "intended_count" not in lines[-1]:
        raise ValueError(f"the load that wrote {path} did not come to its end")
    due = {index: lines[0]["first"] + index * lines[0]["interval_s"] for index in range(lines[-1]["intended_count"])}
    found = {line["index"]: read_request(line) for line in lines[1:-1]}
    missing = {i: Request(at, lines[-1]["at"], Outcome.FAILED, why="not sent") for i, at in due.items() if i not in found}
    return History.of((found | missing).values(), lines[-1]["most_late_s"])


def read_request(line: dict[str, Any]) -> Request:
    """One request, as a line of the file tells of it."""
    told = {key: value for key, value in line.items() if key != "index"}
    return Request(**told | {"outcome": Outcome(line["outcome"])})


# --- the load, as others start it ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Load:
    """What to ask, how often, how long."""

    addresses: tuple[str, ...]
    name: str
    """For the Host header and, without `tls_name`, for TLS (SNI, and the name in the certificate)."""
    ca_file: Path | None
    """None: plain HTTP."""
    port: int = 443
    path: str = "/"
    rate: float = 100.0
    seconds: float = 60.0
    """The load ends by itself after this time."""
    connections: int = 0
    """0: each request has a new connection. Else so many are kept open and used in turn, shared among the addresses."""
    sends_again: bool = False
    """Whether a kept connection that ends before the answer begins is replaced by a new one, once, as browsers do."""
    timeout_s: float = 10.0
    servers_in_body: str = ""
    """A regular expression with two groups, tier and server, found in the body any number of times."""
    body: str = ""
    """What is written, as JSON; {token} in it is another word in each request. "": GET."""
    read_back: str = ""
    """Path that is asked for once a write was acknowledged, with {token}; "": none."""
    reads_back_each: int = 1
    """Of so many writes one is asked for."""
    tokens: str = ""
    """What the tokens begin with."""
    certificate: Path | None = None
    """To be shown to a server that asks who calls; `key` is its private key."""
    key: Path | None = None
    tls_name: str = ""

    def argv(self, output: Path) -> list[str]:
        options = {"path": self.path, "rate": self.rate, "seconds": self.seconds, "connections": self.connections}
        options |= {"timeout-s": self.timeout_s, "servers-in-body": self.servers_in_body}
        options |= {"body": self.body, "read-back": self.read_back, "tokens": self.tokens}
        options |= {"reads-back-each": self.reads_back_each}
        files = {"ca-file": self.ca_file, "certificate": self.certificate, "key": self.key}
        options |= {"tls-name": self.tls_name} if self.tls_name else {}
        options |= {option: path for option, path in files.items() if path}
        arguments = [f"--{option}={value}" for option, value in options.items()] + ["--sends-again"] * self.sends_again
        # -I: nothing of the caller's folder or environment is imported instead of what is meant.
        return [
            sys.executable,
            "-I",
            "-m",
            __name__,
            ",".join(self.addresses),
            str(self.port),
            self.name,
            str(output),
            *arguments,
        ]


@dataclass
class Running:
    """A load that runs."""

    process: subprocess.Popen[bytes]
    output: Path
    load: Load

    def finish(self) -> History:
        """Begin no more requests, wait for those in flight, and return all. Raises ValueError if it crashed or does not end."""
        self.process.terminate()
        try:
            # A write that took its time may be read back.
            self.process.wait(2 * self.load.timeout_s + 5)
        except subprocess.TimeoutExpired:
            raise ValueError(f"the load that writes {self.output} does not end") from None
        return read_history(self.output)


@contextlib.contextmanager
def running(load: Load, output: Path, wrap: Callable[[Sequence[str]], list[str]] = list) -> Iterator[Running]:
    """Start `load`, yield once its first request has ended, and leave no process behind.

    `wrap` makes the argv run elsewhere: `lambda argv: lab.network_argv("client", argv)`. Raises TimeoutError if nothing ended.
    """
    # In a session of its own, so that Ctrl-C ends who asked for it, who then ends this.
    with subprocess.Popen(wrap(load.argv(output)), start_new_session=True) as process:
        try:
            _wait_for_lines(output, 2, process)
            yield Running(process, output, load)
        finally:
            process.kill()


def _wait_for_lines(path: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)
    if not path.exists() or path.read_bytes().count(b"\n") < count:
        raise TimeoutError(f"the load began nothing within {STARTS_WITHIN_S:g} s, exit code {process.poll()}")


# --- the load itself -------------------------------------------------------------------------------------------------
class _Broken(Exception):
    """The connection ended, or what came is not an answer."""


@dataclass
class _Connection:
    pool: _Pool
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_reused: bool = False

    @property
    def is_usable(self) -> bool:
        return not (self.reader.at_eof() or self.writer.is_closing())


@dataclass
class _Pool:
    """The connections to one address, of which `most` are kept."""

    address: str
    most: int
    idle: deque[_Connection] = field(default_factory=deque)
    open_count: int = 0


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    keeps_open: bool


@dataclass
class _Attempt:
    """What is known so far of a request that is under way."""

    sent: float | None = None
    has_answer_begun: bool = False

    def reason(self, error: Exception) -> str:
        phase = "half an answer" if self.has_answer_begun else "no connection" if self.sent is None else "no answer"
        what = str(error) if isinstance(error, _Broken) else type(error).__name__
        return f"{phase}: {what}"


class _Client:
    """Sends requests, and keeps connections if it is to."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.tls = ssl.create_default_context(cafile=str(load.ca_file)) if load.ca_file else None
        if self.tls and load.certificate:
            self.tls.load_cert_chain(load.certificate, load.key)
        self.in_body = re.compile(load.servers_in_body) if load.servers_in_body else None
        kept = math.ceil(load.connections / len(load.addresses))
        self.pools = [_Pool(address, kept) for address in load.addresses]

    async def ask(self, index: int, intended: float) -> Request:
        """Ask once; whatever happens, it is in the result."""
        token = f"{self.load.tokens}{index}" if self.load.body else ""
        pool = self.pools[index % len(self.pools)]
        request = await self._request(pool, intended, self._text(self.load.path, self.load.body, token))
        if request.is_good and self.load.read_back and index % self.load.reads_back_each == 0:
            read = await self._request(pool, time.monotonic(), self._text(self.load.read_back, "", token))
            request = replace(request, read_back=read.status)
        return replace(request, token=token, address=pool.address)

    def _text(self, path: str, body: str, token: str) -> bytes:
        """The whole request, with {token} filled in."""
        method, content = ("POST" if body else "GET"), body.replace("{token}", token).encode()
        kept = "keep-alive" if self.load.connections else "close"
        lines = [f"{method} {path.replace('{token}', token)} HTTP/1.1", f"Host: {self.load.name}", "User-Agent: nospof-drill"]
        lines += ["Accept: */*", f"Connection: {kept}"]
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"] * bool(body)
        return "\r\n".join([*lines, "", ""]).encode() + content

    async def _request(self, pool: _Pool, intended: float, text: bytes) -> Request:
        attempt = _Attempt()
        try:
            async with asyncio.timeout(self.load.timeout_s):
                answer = await self._ask(pool, attempt, text)
        except (OSError, EOFError, _Broken, asyncio.LimitOverrunError) as error:
            outcome = Outcome.FAILED if attempt.sent is None else Outcome.UNKNOWN
            return Request(intended, time.monotonic(), outcome, attempt.sent, None, attempt.reason(error))
        is_good = answer.status in GOOD
        outcome, why = (Outcome.OK, "") if is_good else (Outcome.FAILED, f"status {answer.status}")
        return Request(intended, time.monotonic(), outcome, attempt.sent, answer.status, why, self._servers(answer))

    async def _ask(self, pool: _Pool, attempt: _Attempt, text: bytes) -> _Answer:
        connection = await self._connection(pool)
        try:
            return await self._exchange(connection, attempt, text)
        except (OSError, EOFError) as error:
            may_repeat = self.load.sends_again and connection.is_reused and not attempt.has_answer_begun
            if not may_repeat or isinstance(error, TimeoutError):
                raise
        return await self._exchange(await self._open(pool), attempt, text)

    async def _exchange(self, connection: _Connection, attempt: _Attempt, text: bytes) -> _Answer:
        is_kept = False
        try:
            attempt.sent = time.monotonic()
            connection.writer.write(text)
            answer = await _read_answer(connection.reader, attempt)
            is_kept = bool(self.load.connections) and answer.keeps_open
            return answer
        finally:
            if is_kept:
                connection.is_reused = True
                connection.pool.idle.append(connection)
            else:
                self._close(connection)

    async def _connection(self, pool: _Pool) -> _Connection:
        """One that is kept and idle, the longest idle first, once there are as many as there should be; else a new one."""
        while pool.idle and not pool.idle[0].is_usable:
            self._close(pool.idle.popleft())
        is_full = pool.open_count >= pool.most
        return pool.idle.popleft() if pool.idle and is_full else await self._open(pool)

    async def _open(self, pool: _Pool) -> _Connection:
        load, name = self.load, (self.load.tls_name or self.load.name) if self.tls else None
        end_s = 1.0 if self.tls else None
        pool.open_count += 1
        try:
            opened = await asyncio.open_connection(
                pool.address, load.port, limit=MOST_HEADER_BYTES, ssl=self.tls, server_hostname=name, ssl_shutdown_timeout=end_s
            )
        except BaseException:
            pool.open_count -= 1
            raise
        return _Connection(pool, *opened)

    def _close(self, connection: _Connection) -> None:
        connection.pool.open_count -= 1
        connection.writer.close()

    def _servers(self, answer: _Answer) -> dict[str, str]:
        named = ((SERVER_HEADER.fullmatch(name), value) for name, value in answer.headers)
        servers = {found[1] or found[2]: value for found, value in named if found}
        if self.in_body:
            servers |= dict(self.in_body.findall(answer.body.decode(errors="replace")))
        return servers


async def _read_answer(reader: asyncio.StreamReader, attempt: _Attempt) -> _Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    attempt.has_answer_begun = True
    first, *lines = head.rstrip().split("\r\n")
    found = re.match(r"HTTP/1\.([01]) ([1-5]\d\d)\b", first)
    if not found:
        raise _Broken("not an answer of HTTP/1.1")
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    by_name = dict(headers)
    body, is_delimited = await _read_body(reader, int(found[2]), by_name)
    keeps_open = is_delimited and found[1] == "1" and by_name.get("connection", "").lower() != "close"
    return _Answer(int(found[2]), headers, body, keeps_open)


async def _read_body(reader: asyncio.StreamReader, status: int, headers: dict[str, str]) -> tuple[bytes, bool]:
    """Return the body, and whether its end was marked by anything but the end of the connection."""
    if status in (204, 304):
        return b"", True
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _read_chunks(reader), True
    if "content-length" in headers:
        return await reader.readexactly(_size(headers["content-length"], 10)), True
    body = b""
    while piece := await reader.read(MOST_HEADER_BYTES):
        body += piece
        _size(str(len(body)), 10)
    return body, False


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := _size((await reader.readuntil(b"\r\n")).split(b";")[0].decode("latin-1"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
        _size(str(len(body)), 10)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return body


def _size(text: str, base: int) -> int:
    try:
        size = int(text, base)
    except ValueError:
        raise _Broken(f"{text!r} is not a length") from None
    if not 0 <= size <= MOST_BODY_BYTES:
        raise _Broken(f"the answer has more than {MOST_BODY_BYTES} bytes")
    return size


async def send(load: Load, stream: TextIO) -> None:
    """Begin a request at each of the fixed times, write each down when it has ended, and end when all have."""
    client, tasks, stop = _Client(load), set[asyncio.Task[None]](), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    first, interval_s, index = time.monotonic() + 0.05, 1 / load.rate, 0
    _write(stream, {"first": first, "interval_s": interval_s})
    count, most_late_s = min(MOST_REQUESTS, math.ceil(load.seconds * load.rate)), 0.0
    # Nobody reads what is seen after the death of whoever asked for it.
    parent = os.getppid()

    async def one(index: int, intended: float) -> None:
        _write(stream, {"index": index} | asdict(await client.ask(index, intended)))

    while index < count and os.getppid() == parent and not await _is_set_before(stop, first + index * interval_s):
        most_late_s = max(most_late_s, time.monotonic() - (first + index * interval_s))
        if len(tasks) < MOST_IN_FLIGHT:
            task = asyncio.create_task(one(index, first + index * interval_s))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        index += 1
    if tasks:
        await asyncio.wait(tasks)
    _write(stream, {"intended_count": index, "at": time.monotonic(), "most_late_s": most_late_s})


async def _is_set_before(event: asyncio.Event, moment: float) -> bool:
    """Wait until `moment`, or until the event."""
    if (left := moment - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), left)
    return event.is_set()


def _write(stream: TextIO, line: dict[str, object]) -> None:
    stream.write(json.dumps(line) + "\n")
    stream.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description="Send requests at fixed times and write down what became of each.")
    parser.add_argument("addresses", type=lambda text: tuple(text.split(",")), help="IPv4 address to connect to, or A,B,…")
    parser.add_argument("port", type=int)
    parser.add_argument("name", help="host name that is asked for and verified")
    parser.add_argument("output", type=Path, help="file for the JSON lines")
    parser.add_argument("--ca-file", type=Path, help="certificates to verify the server by; without it: plain HTTP")
    parser.add_argument("--certificate", type=Path, help="shown to a server that asks who calls")
    parser.add_argument("--key", type=Path, help="private key of that certificate")
    parser.add_argument("--tls-name", default="", help="name that is verified, where it is another one")
    parser.add_argument("--path", default=Load.path)
    parser.add_argument("--rate", type=float, default=Load.rate, help="requests per second")
    parser.add_argument("--seconds", type=float, default=Load.seconds, help="end after this time; SIGTERM ends sooner")
    parser.add_argument("--connections", type=int, default=0, help="connections to keep and use in turn; 0: one per request")
    parser.add_argument("--sends-again", action="store_true", help="on a new connection, when a kept one was at its end")
    parser.add_argument("--timeout-s", type=float, default=Load.timeout_s, help="per request")
    parser.add_argument("--servers-in-body", default="", help="regular expression with two groups: tier, server")
    parser.add_argument("--body", default="", help="POST this JSON instead of asking; {token} is another word in each")
    parser.add_argument("--read-back", default="", help="path with {token} to ask for after each good POST")
    parser.add_argument("--reads-back-each", type=int, default=1, help="of so many POSTs one is asked for")
    parser.add_argument("--tokens", default="", help="what the tokens begin with")
    options = vars(parser.parse_args())
    # On a busy machine the load must not be what is late.
    with contextlib.suppress(PermissionError):
        os.nice(-5)
    with options.pop("output").open("w") as stream:
        asyncio.run(send(Load(**options), stream))


if __name__ == "__main__":
    main()

"""Receiving a copy of another host's server (`onhost/database_donor.py`): every wait is bounded, and half is never whole."""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.programs import last_lines
from nospof.onhost.copy_stream import MIB, Kind, Torn, check_whole, names_of, read_frame


@dataclass(frozen=True)
class Donor:
    """The host that gives a copy, and what proves that we are one of its tier."""

    host: str
    address: str
    port: int
    tier: str
    ca: str
    certificate: str
    key: str


@dataclass(frozen=True)
class Limits:
    """How long each wait lasts at most, and how much more than announced is taken."""

    silence_s: float = 30.0
    """Nothing comes from the donor, who says each five seconds that it is alive, or nothing can be written here."""
    slowest_mib_s: float = 0.5
    """A copy and its preparation take no longer than at this rate, and ten minutes."""
    grace_s: float = 600.0
    program_s: float = 600.0
    """For mariadb-install-db, the server that writes its position, and mariadb-binlog."""
    growth: float = 0.1
    """Room for what is written meanwhile and for preparing, as a share of the data, and `slack_mib` more."""
    slack_mib: int = 256

    def of_size(self, size: int) -> float:
        """How long a copy of so many bytes may take, in seconds."""
        return self.grace_s + size / (self.slowest_mib_s * MIB)

    def most(self, size: int) -> int:
        """How much room a copy of so many bytes needs."""
        return int(size * (1 + self.growth)) + self.slack_mib * MIB


DEFAULTS = Limits()


# --- asking the donor ----------------------------------------------------------------------------------------------------
class _Connection(http.client.HTTPSConnection):
    """To the donor's address, by its name; its certificate must be one of our tier too."""

    def __init__(self, donor: Donor, limits: Limits) -> None:
        super().__init__(donor.host, donor.port, timeout=limits.silence_s)
        self._donor = donor
        self._context_of_donor = ssl.create_default_context(cafile=donor.ca)
        self._context_of_donor.load_cert_chain(donor.certificate, donor.key)

    def connect(self) -> None:
        plain = socket.create_connection((self._donor.address, self._donor.port), self.timeout)
        secured = self._context_of_donor.wrap_socket(plain, server_hostname=self._donor.host)
        self.sock = secured
        if self._donor.tier not in names_of(secured.getpeercert()):
            raise EngineError(f"{self._donor.host} answered with a certificate that is not of tier {self._donor.tier}")


@contextmanager
def _answer(donor: Donor, path: str, limits: Limits) -> Iterator[http.client.HTTPResponse]:
    """Ask the donor; the answer is 200. Raises EngineError for whatever goes wrong while it is read."""
    connection = None
    try:
        connection = _Connection(donor, limits)
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise EngineError(f"{donor.host} gives no copy: {answer.read(1000).decode(errors='replace').strip()}")
        yield answer
    except TimeoutError:
        raise EngineError(f"{donor.host} sent nothing for {limits.silence_s:g} s") from None
    except (OSError, http.client.HTTPException, Torn) as error:
        raise EngineError(f"the copy from {donor.host} failed: {error}") from error
    finally:
        if connection is not None:
            connection.close()


def size_of(donor: Donor, limits: Limits) -> int:
    """Ask the donor how many bytes a copy takes, about. Raises EngineError."""
    with _answer(donor, "/size", limits) as answer:
        try:
            size = json.loads(answer.read(10_000))["data_bytes"]
        except (ValueError, LookupError, TypeError) as error:
            raise EngineError(f"{donor.host} did not say how much it has: {error!r}") from error
    if not isinstance(size, int) or size < 0:
        raise EngineError(f"{donor.host} says that it has {size!r} bytes")
    return size


# --- receiving -----------------------------------------------------------------------------------------------------------
def receive(donor: Donor, new: Path, size: int, progress: Callable[[str], None], limits: Limits) -> int:
    """Unpack the donor's copy into the folder `new` and return the stream's length. It was whole, else EngineError.

    `size` is what the donor said; a stream much longer is given up, before it fills the disk.
    """
    with _answer(donor, "/copy", limits) as answer, tempfile.TemporaryFile() as errors:
        argv = ["mbstream", "-x", "-C", str(new)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=errors, stderr=errors, umask=0o077) as unpacking:
            try:
                received = _feed(unpacking, answer.read, Meter(size, progress), limits)
                _end(unpacking, limits)
            except BrokenPipeError:
                raise EngineError(f"mbstream ended: {last_lines(errors)}") from None
            finally:
                unpacking.kill()
        if unpacking.returncode != 0:
            raise EngineError(f"mbstream failed: {last_lines(errors)}")
    return received


def _feed(unpacking: subprocess.Popen[bytes], read: Callable[[int], bytes], meter: Meter, limits: Limits) -> int:
    if unpacking.stdin is None:
        raise TypeError("started without a way in")
    into, most = unpacking.stdin.fileno(), limits.most(meter.size)
    until_s = time.monotonic() + limits.of_size(most)
    os.set_blocking(into, False)
    received = 0
    while True:
        kind, content = read_frame(read)
        if kind is Kind.WHOLE:
            check_whole(content, received)
            return received
        if kind is Kind.FAILED:
            raise Torn(content.decode(errors="replace"))
        received += len(content)
        if received > most:
            raise Torn(f"more came than was announced and its growth: {received} bytes")
        if time.monotonic() > until_s:
            raise Torn(f"too slow: {received} bytes in {limits.of_size(most):.0f} s")
        _write(into, content, limits.silence_s)
        meter.show(received)


def _write(into: int, content: bytes, limit_s: float) -> None:
    left = memoryview(content)
    while left:
        if not select.select([], [into], [], limit_s)[1]:
            raise Torn(f"mbstream took nothing for {limit_s:g} s")
        left = left[os.write(into, left) :]


def _end(unpacking: subprocess.Popen[bytes], limits: Limits) -> None:
    if unpacking.stdin is not None:
        unpacking.stdin.close()
    try:
        unpacking.wait(limits.silence_s)
    except subprocess.TimeoutExpired:
        raise Torn(f"mbstream did not end within {limits.silence_s:g} s") from None


@dataclass
class Meter:
    """Says about once a second how far a copy is. `clock` gives seconds."""

    size: int
    progress: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _begun_s: float = field(init=False)
    _shown_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._begun_s = self._shown_s = self.clock()

    def show(self, received: int) -> None:
        now_s = self.clock()
        if now_s - self._shown_s < 1.0:
            return
        self._shown_s = now_s
        rate = received / (now_s - self._begun_s)
        left_s = max(0, self.size - received) / max(rate, 1.0)
        left = f"about {left_s:.0f} s left" if received < self.size else "nearly all"
        self.progress(f"{gib(received)} of {gib(self.size)} GiB, {rate / MIB:.0f} MiB/s, {left}")


def gib(size: float) -> str:
    """Write a number of bytes in GiB; small ones with more digits."""
    return f"{size / (1 << 30):.1f}" if size >= 1 << 30 else f"{size / (1 << 30):.3f}"

"""What MySQL's binary log has, read from its files: how far it goes, and its transactions beyond a position.

Needed because the server does not tell: a transaction that waits for a voter is in the log and on its way to replicas, but in
`gtid_executed` only once it is committed. Each transaction begins with an event that says how long the whole is, so that its
rows are never read, nor need they be readable: most are compressed, and that length is what the log has of them. Limits: no
encrypted logs, and no tagged numbers, which no account of ours may use.
Source: https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Gtid__event.html
"""

from __future__ import annotations

import mmap
import struct
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nospof.onhost.agent.mariadb_log import HEADER, MAGIC, LogFile, Torn, Transaction, files
from nospof.onhost.agent.model import Position
from nospof.onhost.agent.mysql_gtids import Gtids, of_position

GTID = 33
HAS_TWO_TIMES = 1 << 55
# Flags, UUID, number, kind of the two numbers that follow, these, and a time of seven bytes.
BODY = struct.Struct("<B16sqBqq")


@dataclass(frozen=True)
class Logged:
    """A transaction that begins at `start`; `stop` is behind its last byte, whether it is there or not."""

    source: str
    number: int
    epoch_s: int
    start: int
    stop: int


class LogEnd:
    """How far the log of the running server goes: only what was added since the last call is read. For several threads."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._file: Path | None = None
        self._at = 0
        self._last: Logged | None = None
        self._lock = threading.Lock()

    def read(self) -> Logged | None:
        """The last transaction that is in the log, whole or not; None before the first. Raises OSError, and Torn never."""
        with self._lock:
            known = files(self._folder, self._name)
            if self._file not in known:
                # The newest may have been begun just now, with transactions at the end of the one before that still wait.
                self._file, self._at = (known[-2] if len(known) > 1 else known[0] if known else None), 0
            for file in known[known.index(self._file) :] if self._file else ():
                if file != self._file:
                    self._file, self._at = file, 0
                self._read_on(file)
            return self._last

    def _read_on(self, file: Path) -> None:
        try:
            for one in _transactions(_mapped(file), self._at):
                self._at, self._last = one.stop, one
        except Torn:
            pass  # its end is being written


def beyond(folder: Path, name: str, keeps: Position) -> tuple[LogFile, ...]:
    """Find what the stopped server's log has beyond `keeps`: one part for each run of such transactions.

    A transaction that is not whole was never told to anybody, and the server itself cuts it off; the part says so.
    """
    kept, found = of_position(keeps), list[LogFile]()
    for path in files(folder, name):
        found += _parts(path, kept)
    return tuple(found)


def _parts(path: Path, kept: Gtids) -> list[LogFile]:
    parts: list[list[Transaction]] = []
    log, end, torn = _mapped(path), 0, ""
    try:
        for one in _transactions(log, 0):
            if one.stop > len(log):
                raise Torn(f"transaction {one.number} is not whole")
            if kept.holds(one.source, one.number):
                continue
            if not parts or end != one.start:
                parts.append([])
            parts[-1].append(Transaction(0, one.number, one.epoch_s, one.start, one.stop))
            end = one.stop
    except Torn as error:
        torn = str(error)
    found = [LogFile(path, tuple(part)) for part in parts]
    return [*found, LogFile(path, (), torn)] if torn else found


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if file.seek(0, 2) else memoryview(b"")


def _transactions(log: memoryview, at: int) -> Iterator[Logged]:
    """Go through the transactions from `at`, where one begins; 0 = the file's begin. Raises Torn where it cannot be read on."""
    if not at and log[: len(MAGIC)] != MAGIC:
        raise Torn("it does not begin like a binary log")
    at = at or len(MAGIC)
    while at < len(log):
        if len(log) - at < HEADER.size:
            raise Torn(f"it ends inside an event at {at}")
        epoch_s, kind, _, length, _, _ = HEADER.unpack_from(log, at)
        if length <= HEADER.size or at + length > len(log):
            raise Torn(f"it ends inside an event at {at}")
        if kind != GTID:
            at += length
            continue
        one = _logged(log[at + HEADER.size : at + length], epoch_s, at)
        yield one
        at = one.stop


def _logged(body: memoryview, epoch_s: int, start: int) -> Logged:
    try:
        _, source, number, _, _, _ = BODY.unpack_from(body)
        at = BODY.size + 7
        if int.from_bytes(body[BODY.size : at], "little") & HAS_TWO_TIMES:
            at += 7
        length = _packed(body, at)
    except (struct.error, IndexError) as error:
        raise Torn(f"the event at {start} cannot be understood") from error
    if length <= HEADER.size:
        raise Torn(f"the transaction at {start} has no length")
    return Logged(str(uuid.UUID(bytes=bytes(source))), number, epoch_s, start, start + length)


def _packed(body: memoryview, at: int) -> int:
    """MySQL's integer of variable length."""
    first = body[at]
    size = {252: 2, 253: 3, 254: 8}.get(first, 0)
    return int.from_bytes(body[at + 1 : at + 1 + size], "little") if size else first

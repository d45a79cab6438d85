"""What a stopped server's binary log has beyond a position, read from its files.

The files are read here, and not only given to mariadb-binlog, because a log that was not closed (kill -9, a power cut) may end
in the middle of an event: mariadb-binlog then prints half a transaction and exits with 0. What counts as whole is decided here.
Limits: one replication domain, in which numbers grow (gtid_strict_mode); no encrypted binary logs.
Source: https://mariadb.com/docs/server/reference/clientserver-protocol/replication-protocol (events, headers, checksums).
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nospof.onhost.agent.model import Position

MAGIC = b"\xfebin"
# Time, kind, server, length, end, flags.
HEADER = struct.Struct("<IBIIIH")
QUERY, FORMAT, XID, XA_PREPARE, GTID, GTID_LIST, QUERY_COMPRESSED = 2, 15, 16, 38, 162, 163, 165
CHECKSUM_LENGTH = 4
IS_ONE_STATEMENT = 1
"""Flag of a transaction without BEGIN and COMMIT, such as CREATE TABLE."""


@dataclass(frozen=True)
class Transaction:
    """A whole transaction: its number, when it was written (seconds since the epoch), and where in its file."""

    domain: int
    number: int
    epoch_s: int
    start: int
    stop: int


@dataclass(frozen=True)
class LogFile:
    """One file of the log. `torn`: why its end could not be read; "" = it ends well."""

    path: Path
    transactions: tuple[Transaction, ...]
    torn: str = ""


def beyond(folder: Path, name: str, keeps: Position) -> tuple[LogFile, ...]:
    """Find what the log called `name` has beyond `keeps`: its last files, with only the transactions that are beyond.

    A file without any is among them only if it is torn. Raises OSError.
    """
    known = dict(keeps.numbers)
    found: list[LogFile] = []
    for path in reversed(files(folder, name)):
        log = _mapped(path)
        read = _read(path, log)
        found.insert(0, LogFile(path, tuple(one for one in read.transactions if _is_beyond(one, known)), read.torn))
        begins_at = _begins_at(log)
        if begins_at is not None and keeps.numbers and all(number <= known.get(key, 0) for key, number in begins_at.items()):
            break  # all older ones are within what is kept
    return tuple(file for file in found if file.transactions or file.torn)


def files(folder: Path, name: str) -> list[Path]:
    """All files of the log, oldest first; those that the index does not have any more are older than what anybody asks for."""
    found = [path for path in folder.glob(f"{name}.*") if path.suffix[1:].isdigit()]
    return sorted(found, key=lambda path: int(path.suffix[1:]))


def _is_beyond(one: Transaction, known: Mapping[str, int]) -> bool:
    return one.number > known.get(str(one.domain), 0)


# --- events --------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Event:
    kind: int
    epoch_s: int
    start: int
    stop: int
    body: memoryview
    """Without header and checksum."""


class Torn(Exception):
    """Here the file cannot be read any further."""


def _mapped(path: Path) -> memoryview:
    """The file's bytes, without reading them all at once; an empty file cannot be mapped."""
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _events(log: memoryview) -> Iterator[Event]:
    """Go through the events. Raises Torn at the first that is not whole."""
    if log[: len(MAGIC)] != MAGIC:
        raise Torn("it does not begin like a binary log")
    at, has_checksums = len(MAGIC), False
    while at < len(log):
        if len(log) - at < HEADER.size:
            raise Torn(f"it ends inside an event at {at}")
        epoch_s, kind, _, length, _, _ = HEADER.unpack_from(log, at)
        if length < HEADER.size + CHECKSUM_LENGTH or at + length > len(log):
            raise Torn(f"it ends inside an event at {at}")
        event = log[at : at + length]
        if kind == FORMAT:
            # One byte before its own checksum tells whether the others have one.
            has_checksums = event[-CHECKSUM_LENGTH - 1] == 1
        elif has_checksums and zlib.crc32(event[:-CHECKSUM_LENGTH]) != struct.unpack("<I", event[-CHECKSUM_LENGTH:])[0]:
            raise Torn(f"the event at {at} has a wrong checksum")
        end = len(event) - (CHECKSUM_LENGTH if has_checksums else 0)
        yield Event(kind, epoch_s, at, at + length, event[HEADER.size : end])
        at += length


def _begins_at(log: memoryview) -> dict[str, int] | None:
    """Read what had been written before this file: domain → number; None if that cannot be read."""
    try:
        for event in _events(log):
            if event.kind == GTID_LIST:
                return _gtid_list(event.body)
            if event.kind == GTID:
                return None
    except (Torn, struct.error):
        pass
    return None


def _gtid_list(body: memoryview) -> dict[str, int]:
    count = struct.unpack_from("<I", body)[0] & 0x0FFFFFFF
    found: dict[str, int] = {}
    for entry in range(count):
        domain, _, number = struct.unpack_from("<IIQ", body, 4 + 16 * entry)
        found[str(domain)] = max(number, found.get(str(domain), 0))
    return found


# --- transactions --------------------------------------------------------------------------------------------------------
@dataclass
class _Begun:
    domain: int
    number: int
    epoch_s: int
    start: int
    is_one_statement: bool

    def ended(self, stop: int) -> Transaction:
        return Transaction(self.domain, self.number, self.epoch_s, self.start, stop)


def _read(path: Path, log: memoryview) -> LogFile:
    found: list[Transaction] = []
    begun: _Begun | None = None
    torn = ""
    try:
        for event in _events(log):
            if event.kind == GTID:
                number, domain, flags = struct.unpack_from("<QIB", event.body)
                begun = _Begun(domain, number, event.epoch_s, event.start, bool(flags & IS_ONE_STATEMENT))
            elif begun is not None and _ends(event, begun):
                found.append(begun.ended(event.stop))
                begun = None
    except (Torn, struct.error) as error:
        torn = str(error)
    if begun is not None:
        torn = f"transaction {begun.number} is not whole" + (f": {torn}" if torn else "")
    return LogFile(path, tuple(found), torn)


def _ends(event: Event, begun: _Begun) -> bool:
    if event.kind in (XID, XA_PREPARE):
        return True
    if event.kind not in (QUERY, QUERY_COMPRESSED):
        return False
    return begun.is_one_statement or (event.kind == QUERY and _statement(event.body) in (b"COMMIT", b"ROLLBACK"))


def _statement(body: memoryview) -> bytes:
    """The text of a query: behind 13 bytes of its own header, its variables, and the database's name with a zero."""
    database_length, _, variables_length = struct.unpack_from("<BHH", body, 8)
    return bytes(body[13 + variables_length + database_length + 1 :])

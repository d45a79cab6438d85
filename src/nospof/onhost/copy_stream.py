"""The stream of a database's copy between two hosts: frames, so that what ends too early is never taken for whole.

A frame is its kind (one byte), the length of what follows (four bytes, big-endian) and that. After the frames of data comes
exactly one WHOLE with the number of bytes sent, or one FAILED with the reason. WAIT says only that the donor is alive.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from enum import Enum

MIB = 1 << 20
PIECE = 1 << 18
_HEAD, _TOTAL = struct.Struct("!cI"), struct.Struct("!Q")


class Kind(Enum):
    DATA = b"D"
    WAIT = b"W"
    WHOLE = b"E"
    FAILED = b"F"


class Torn(Exception):
    """The stream ended early, or says something else than it should."""


def names_of(certificate: Mapping[str, object] | None) -> frozenset[str]:
    """The names in a certificate, as ssl reads one that it verified."""
    names = (certificate or {}).get("subjectAltName", ())
    return frozenset(value for kind, value in names if kind == "DNS") if isinstance(names, tuple) else frozenset()


def frame(kind: Kind, content: bytes = b"") -> bytes:
    return _HEAD.pack(kind.value, len(content)) + content


def whole(total: int) -> bytes:
    """The last frame of a copy of `total` bytes."""
    return frame(Kind.WHOLE, _TOTAL.pack(total))


def read_frame(read: Callable[[int], bytes]) -> tuple[Kind, bytes]:
    """Read one frame; `read(n)` gives n bytes, fewer only at the end. Raises Torn."""
    head = read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise Torn("the connection ended before the copy was whole")
    letter, length = _HEAD.unpack(head)
    try:
        kind = Kind(letter)
    except ValueError:
        raise Torn("what came is no copy of a database") from None
    if length > PIECE:
        raise Torn(f"a piece of {length} bytes was announced, more than any donor sends")
    content = read(length)
    if len(content) < length:
        raise Torn("the connection ended before the copy was whole")
    return kind, content


def check_whole(content: bytes, received: int) -> None:
    """Compare what the last frame says with what was received. Raises Torn."""
    said = _TOTAL.unpack(content)[0] if len(content) == _TOTAL.size else -1
    if said != received:
        raise Torn(f"{received} bytes were received, and {said} were sent")

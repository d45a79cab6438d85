"""When a certificate ends, read from its file without any library but Python's own.

Only the way to `notAfter` is walked: Certificate, TBSCertificate, then the fourth or fifth field, `validity`.
Source: RFC 5280, section 4.1; X.690, section 8.1 (lengths); a two-digit year below 50 is of this century (RFC 5280, 4.1.2.5.1).
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

SEQUENCE, VERSION, UTC_TIME, GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


def ends_at(path: Path) -> float:
    """Seconds since the epoch at which the first certificate in the PEM file ends. Raises OSError or ValueError."""
    text = path.read_text()
    first = text[text.index("-----BEGIN CERTIFICATE-----") :].split("-----END CERTIFICATE-----")[0]
    return _not_after(ssl.PEM_cert_to_DER_cert(f"{first}-----END CERTIFICATE-----\n"))


def _not_after(der: bytes) -> float:
    certificate, _ = _read(der, SEQUENCE)
    rest, _ = _read(certificate, SEQUENCE)
    if rest[:1] == bytes([VERSION]):
        _, rest = _read(rest)
    for _ in ("serial number", "signature algorithm", "issuer"):
        _, rest = _read(rest)
    validity, _ = _read(rest, SEQUENCE)
    _, last = _read(validity)
    text, _ = _read(last)
    return _time(last[0], text.decode("ascii"))


def _read(der: bytes, kind: int | None = None) -> tuple[bytes, bytes]:
    """The content of the first value in `der`, and what follows it."""
    if len(der) < 2 or (kind is not None and der[0] != kind):
        raise ValueError("is no certificate")
    length, begin = der[1], 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[2:begin])
    if begin + length > len(der):
        raise ValueError("is cut off")
    return der[begin : begin + length], der[begin + length :]


def _time(kind: int, text: str) -> float:
    if kind == UTC_TIME:
        text = ("20" if int(text[:2]) < 50 else "19") + text
    elif kind != GENERALIZED_TIME:
        raise ValueError("has no end")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()

"""Certificates of a stack's own CA, as sealing makes them, for tests that need no stack."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Files:
    """Where a certificate lies, and its CA's."""

    ca: str
    certificate: str
    key: str


class Authority:
    """Signs certificates. Python 3.13 wants the identifiers of both keys in them, as real ones have."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = _builder("test authority", "test authority", self._key)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        signed = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.ca = signed.public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: str, address: str = "127.0.0.1") -> tuple[bytes, bytes]:
        """A certificate for these names and its key, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        told = [*map(x509.DNSName, names), x509.IPAddress(ipaddress.ip_address(address))]
        builder = _builder(names[0], "test authority", key)
        builder = builder.add_extension(x509.SubjectAlternativeName(told), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        signed = builder.add_extension(authority, critical=False).sign(self._key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return signed.public_bytes(pem), key.private_bytes(pem, form, plain)

    def files(self, folder: Path, *names: str) -> Files:
        """The same as files."""
        stem = "-".join(names)
        found = Files(*(str(folder / name) for name in ("ca.pem", f"{stem}.crt", f"{stem}.key")))
        certificate, key = self.issue(*names)
        for path, content in ((found.ca, self.ca), (found.certificate, certificate), (found.key, key)):
            Path(path).write_bytes(content)
        return found


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )

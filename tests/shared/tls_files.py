"""Certificates for tests that speak TLS: files in a folder, signed by an authority of its own."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class TlsFiles:
    ca: str
    certificate: str
    key: str


def tls_files(folder: Path, host: str, address: str = "127.0.0.1") -> TlsFiles:
    """Make an authority and a certificate of `host` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {host}")])
    names = x509.SubjectAlternativeName([x509.DNSName(host), x509.IPAddress(ip_address(address))])
    ca = _builder(issuer, issuer, authority).add_extension(x509.BasicConstraints(True, None), critical=True)
    certificate = _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), issuer, key).add_extension(names, False)
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    found = TlsFiles(*(str(folder / name) for name in ("ca.pem", "host.crt", "host.key")))
    Path(found.ca).write_bytes(ca.sign(authority, hashes.SHA256()).public_bytes(pem))
    Path(found.certificate).write_bytes(certificate.sign(authority, hashes.SHA256()).public_bytes(pem))
    Path(found.key).write_bytes(plain)
    return found


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
    )

"""Keys and certificates as PEM texts: made, signed, looked at. Nothing is kept here.

Imported where it is needed only: the library behind it takes longer to load than most commands take to work.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nospof.render.certificates import CertificateRequest


@dataclass(frozen=True)
class Life:
    """From `begins` for `days`; clocks of hosts and browsers may lag behind this machine's by some minutes."""

    begins: datetime.datetime
    days: int


@dataclass(frozen=True)
class Authority:
    """A CA: its certificate and its private key."""

    certificate: str
    key: str


def new_key() -> str:
    """A private key, P-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    encoding, format_ = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, format_, serialization.NoEncryption()).decode()


def new_authority(common_name: str, key_pem: str, life: Life) -> str:
    """The certificate of a CA that signs hosts' certificates only, and nobody's CA."""
    key = _key(key_pem)
    name = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "nospof"), x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    )
    builder = _builder(name, name, key.public_key(), life)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return _signed(builder.add_extension(_key_usage(signs_certificates=True), critical=True), key)


def issued(common_name: str, request: CertificateRequest, key_pem: str, authority: Authority, life: Life) -> str:
    """A certificate for the names and addresses of `request`, to serve and to call with."""
    issuer, ca_key = x509.load_pem_x509_certificate(authority.certificate.encode()), _key(authority.key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = _builder(subject, issuer.subject, _key(key_pem).public_key(), life)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(_alternative_names(request)), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return _signed(builder.add_extension(identifier, critical=False), ca_key)


def is_due(pem: str, request: CertificateRequest, ca_certificate: str, now: datetime.datetime) -> bool:
    """Whether it is to be made anew: for other names, by another CA, or because a third of its life is left."""
    known = x509.load_pem_x509_certificate(pem.encode())
    names = known.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if set(names) != set(_alternative_names(request)):
        return True
    if known.issuer != x509.load_pem_x509_certificate(ca_certificate.encode()).subject:
        return True
    life = known.not_valid_after_utc - known.not_valid_before_utc
    return known.not_valid_after_utc - now < life / 3


def _builder(subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, life: Life) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(life.begins - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(life.begins + datetime.timedelta(days=life.days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _alternative_names(request: CertificateRequest) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in request.names]
    return names + [x509.IPAddress(ipaddress.ip_address(address)) for address in request.addresses]


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> str:
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _key(pem: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not a key of ours: another kind than elliptic curve")
    return key

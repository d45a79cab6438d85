from __future__ import annotations

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from nospof.apply.seal import NOT_YET, Vault
from nospof.apply.state import State
from nospof.component import token
from nospof.stack.marks import Rank
from nospof.topology import OUTSIDE, Endpoint, Host, InstanceId, Link, Listen, Protocol, Tls, Topology, Vip

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
LB1, LB2, DB1 = InstanceId("lb", "h1"), InstanceId("lb", "h2"), InstanceId("database", "h3")


def topology(*, domain: str = "shop.example.com") -> Topology:
    hosts = tuple(Host(f"h{number}", "a", f"198.18.1.{number}", number) for number in (1, 2, 3))
    entries = [Endpoint(owner, Rank.NORMAL, Listen("https", Protocol.HTTP, 443, tls=Tls.SERVER)) for owner in (LB1, LB2)]
    links = tuple(Link(OUTSIDE, entry, "visit", True, False) for entry in entries)
    return Topology("shop", domain, hosts, (), tuple(entries), links, vips=(Vip("lb", "198.18.0.1", 1, "lb", ("one",)),))


def vault(tmp_path: Path, *, is_reading: bool = False, now: datetime.datetime = NOW, of: Topology | None = None) -> Vault:
    state = State(tmp_path / "stack.yaml")
    state.begin("shop")
    return Vault(state, of or topology(), is_reading, lambda: now)


def parsed(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def names(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def test_secret_is_made_once_and_is_the_same_for_the_next_run(tmp_path: Path) -> None:
    first = vault(tmp_path).secret("database/app")
    assert len(first) == 32
    assert first.isalnum()
    assert vault(tmp_path).secret("database/app") == first
    assert vault(tmp_path).secret("database/other") != first


def test_tokens_are_filled_in_and_nothing_else_is_touched(tmp_path: Path) -> None:
    sealed = vault(tmp_path)
    text = f"user={token('secret', 'database/app')} x=\\x02"
    assert sealed.fill(text) == f"user={sealed.secret('database/app')} x=\\x02"


def test_token_of_unknown_kind_is_an_error_and_never_reaches_a_host(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        vault(tmp_path).fill(token("sekret", "x"))


def test_everything_kept_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    sealed = vault(tmp_path)
    sealed.secret("a/b")
    sealed.certificate("lb/h1")
    for path in [tmp_path / ".nospof", *(tmp_path / ".nospof").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_reading_makes_nothing(tmp_path: Path) -> None:
    reading = vault(tmp_path, is_reading=True)
    before = sorted((tmp_path / ".nospof").rglob("*"))
    assert (
        reading.fill(token("secret", "a") + token("certificate", "lb/h1") + token("key", "lb/h1") + token("ca")) == NOT_YET * 4
    )
    assert sorted((tmp_path / ".nospof").rglob("*")) == before


def test_certificate_is_signed_by_the_stacks_ca_for_all_names_it_is_called_by(tmp_path: Path) -> None:
    sealed = vault(tmp_path)
    certificate, issuer = parsed(sealed.certificate("lb/h1")), parsed(sealed.ca())
    certificate.verify_directly_issued_by(issuer)
    assert names(certificate) == {"h1", "lb", "shop.example.com", "shop.localhost", "198.18.1.1", "198.18.0.1"}
    assert names(parsed(sealed.certificate("database/h3"))) == {"h3", "database", "198.18.1.3"}


def test_key_belongs_to_its_certificate(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    sealed = vault(tmp_path)
    key = load_pem_private_key(sealed.key("lb/h1").encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == parsed(sealed.certificate("lb/h1")).public_key()


def test_ca_may_sign_no_other_ca(tmp_path: Path) -> None:
    constraints = parsed(vault(tmp_path).ca()).extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)


def test_certificates_of_a_pair_never_end_in_the_same_week(tmp_path: Path) -> None:
    sealed = vault(tmp_path)
    ends = [parsed(sealed.certificate(name)).not_valid_after_utc for name in ("lb/h1", "lb/h2")]
    assert abs(ends[0] - ends[1]) > datetime.timedelta(days=7)


def test_certificate_is_the_same_until_a_third_of_its_life_is_left(tmp_path: Path) -> None:
    first = vault(tmp_path).certificate("lb/h1")
    life = parsed(first).not_valid_after_utc - NOW
    assert vault(tmp_path, now=NOW + life * 0.6).certificate("lb/h1") == first
    renewed = vault(tmp_path, now=NOW + life * 0.7).certificate("lb/h1")
    assert parsed(renewed).serial_number != parsed(first).serial_number


def test_ended_certificate_is_that_of_the_instance_and_is_kept_nowhere(tmp_path: Path) -> None:
    sealed = vault(tmp_path)
    valid = parsed(sealed.certificate("lb/h1"))
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    ended = parsed(vault(tmp_path, is_reading=True).ended_certificate("lb/h1"))
    ended.verify_directly_issued_by(parsed(sealed.ca()))
    assert ended.not_valid_after_utc < NOW
    assert (ended.public_key(), names(ended)) == (valid.public_key(), names(valid))
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_certificate_is_made_anew_when_a_name_changed(tmp_path: Path) -> None:
    first = vault(tmp_path).certificate("lb/h1")
    again = vault(tmp_path, of=topology(domain="new.example.com")).certificate("lb/h1")
    assert "new.example.com" in names(parsed(again))
    assert parsed(again).public_key() == parsed(first).public_key()

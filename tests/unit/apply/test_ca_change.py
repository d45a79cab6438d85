"""Another CA: at every moment, also of an interruption, each host believes whoever its callers and servers are issued by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nospof.apply import ca_change
from nospof.apply.ca_change import CaStep, under_way
from nospof.apply.seal import Vault
from nospof.apply.state import State
from nospof.component import token
from nospof.stack.marks import Rank
from nospof.topology import Endpoint, Host, InstanceId, Listen, Protocol, Tls, Topology

HOST = Host("h1", "a", "198.18.1.1", 1)
ENDPOINT = Endpoint(InstanceId("lb", "h1"), Rank.NORMAL, Listen("https", Protocol.HTTP, 443, tls=Tls.SERVER))
TOPOLOGY = Topology("shop", "shop.example.com", (HOST,), (), (ENDPOINT,), ())


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "stack.yaml")
    state.begin("shop")
    vault(state).certificate("lb/h1")
    return state


def vault(state: State) -> Vault:
    """As another run would have it: what was read before is not remembered."""
    return Vault(state, TOPOLOGY, is_reading=False)


def parsed(pem: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem.encode())


def believed(state: State) -> list[x509.Certificate]:
    return parsed(vault(state).fill(token("ca")))


def is_believed(certificate: x509.Certificate, cas: list[x509.Certificate]) -> bool:
    for ca in cas:
        if ca.subject == certificate.issuer:
            certificate.verify_directly_issued_by(ca)
            return True
    return False


def public(pem: str) -> bytes:
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_both_are_believed_while_anything_is_issued_by_either(state: State) -> None:
    old_certificate, old_key = vault(state).certificate("lb/h1"), vault(state).key("lb/h1")
    old_ca = vault(state).ca()

    ca_change.begin(vault(state))
    assert under_way(state) is CaStep.TRUST
    assert vault(state).certificate("lb/h1") == old_certificate, "nothing is issued anew yet"
    assert len(believed(state)) == 2
    assert is_believed(parsed(old_certificate)[0], believed(state))

    ca_change.issue_by_next(state)
    assert under_way(state) is CaStep.ISSUE
    new_certificate = vault(state).certificate("lb/h1")
    assert vault(state).ca() != old_ca
    assert vault(state).key("lb/h1") != old_key
    assert is_believed(parsed(new_certificate)[0], parsed(vault(state).ca()))
    assert is_believed(parsed(old_certificate)[0], believed(state)), "hosts that are not changed yet go on being believed"

    ca_change.forget_before(state)
    assert under_way(state) is CaStep.FORGET, "until no host believes the old one, the next run goes on here"
    assert believed(state) == parsed(vault(state).ca())
    assert vault(state).certificate("lb/h1") == new_certificate
    assert not is_believed(parsed(old_certificate)[0], believed(state))

    ca_change.end(state)
    assert under_way(state) is None


def test_two_changes_on_one_day_have_cas_of_different_names(state: State) -> None:
    names = []
    for _ in range(2):
        ca_change.begin(vault(state))
        ca_change.issue_by_next(state)
        ca_change.forget_before(state)
        ca_change.end(state)
        names.append(parsed(vault(state).ca())[0].subject)
    assert names[0] != names[1]


class Died(Exception):
    """As kill -9 between two operations on files."""


def test_interrupted_between_any_two_files_it_goes_on(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    ca_change.begin(vault(state))
    write, unlink = State.write, Path.unlink
    left = 0

    def counted(operation: Callable[..., None]) -> Callable[..., None]:
        def either(*words: object, **options: object) -> None:
            nonlocal left
            if left == 0:
                raise Died
            left -= 1
            operation(*words, **options)

        return either

    for survives in range(20):
        left = survives
        with monkeypatch.context() as patched:
            patched.setattr(State, "write", counted(write))
            patched.setattr(Path, "unlink", counted(unlink))
            try:
                ca_change.issue_by_next(state)
            except Died:
                pass
            else:
                break
        ca_change.settle(state)
        certificate = parsed(vault(state).certificate("lb/h1"))[0]
        assert is_believed(certificate, believed(state)), survives
        ca = parsed(vault(state).ca())[0].public_key()
        der = ca.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        assert public((state.folder / "certificates/ca.key").read_text()) == der, survives
        if under_way(state) is CaStep.ISSUE:
            ca_change.forget_before(state)
            ca_change.end(state)
            ca_change.begin(vault(state))
    else:
        pytest.fail("it never came to its end")
    assert survives > 4

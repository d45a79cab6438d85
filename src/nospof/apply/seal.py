"""Filling in secrets, certificates and keys on the way out.

Each is made once, kept under .nospof/ readable by its owner only, and asked for by name. Internal certificates live for
years and a pair's never end in the same week; one is made anew when its names changed or a third of its life is left.
"""

from __future__ import annotations

import datetime
import re
import secrets
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from nospof.apply import password_change
from nospof.apply.password_change import PasswordChange, secret_file
from nospof.apply.state import State
from nospof.render.certificates import CertificateRequest, certificate_request
from nospof.topology import InstanceId, Topology

ALPHABET = string.ascii_letters + string.digits
SECRET_LENGTH = 32
CA_DAYS = 20 * 365
INTERNAL_DAYS = 5 * 365
# Apple's and Mozilla's limit for what browsers accept; ours are signed by a private CA, but a habit worth keeping.
PUBLIC_DAYS = 397
# Hosts' certificates end at least this many days apart, so that one forgotten week never takes a whole pair.
DAYS_APART = 9
HOSTS_APART = 20
TOKEN = re.compile("\x02([a-z]+):([^\x03]*)\x03")
NOT_YET = "(made by `nospof up`)"
CA, CA_KEY = "certificates/ca.crt", "certificates/ca.key"
NEXT_CA, NEXT_CA_KEY, CA_BEFORE = "certificates/ca-next.crt", "certificates/ca-next.key", "certificates/ca-before.crt"

Clock = Callable[[], datetime.datetime]


def utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass
class Vault:
    """The secrets and certificates of one stack. `is_reading`: makes nothing; what is not there yet reads as NOT_YET."""

    state: State
    topology: Topology
    is_reading: bool
    clock: Clock = utc_now
    _texts: dict[str, str] = field(default_factory=dict)
    accepted_names: set[str] = field(default_factory=set)
    """Of what was filled in so far, the secrets of which a server can take two at once."""

    def fill(self, text: str) -> str:
        """Replace every token in `text`. KeyError for a token of no known kind."""
        return TOKEN.sub(lambda found: self._stands_for(found.group(1), found.group(2)), text)

    def _stands_for(self, kind: str, name: str) -> str:
        if kind == "ca":
            return self.trusted()
        kinds = {"secret": self.secret, "accepted": self._accepted, "certificate": self.certificate, "key": self.key}
        return kinds[kind](name)

    def secret(self, name: str) -> str:
        """The secret called `name`, e.g. "database/app": 32 characters of [A-Za-z0-9]."""
        kept = self._kept_secret(name)
        return self._password_change.used(name, kept) if self._password_change else kept

    def _accepted(self, told: str) -> str:
        name, _, between = told.partition("|")
        self.accepted_names.add(name)
        kept = self._kept_secret(name)
        return between.join(self._password_change.accepted(name, kept) if self._password_change else (kept,))

    def _kept_secret(self, name: str) -> str:
        return self._kept(secret_file(name), _new_secret).strip()

    @cached_property
    def _password_change(self) -> PasswordChange | None:
        return password_change.under_way(self.state)

    def prepare_next_passwords(self, names: Iterable[str]) -> None:
        """Make the passwords that are to come, for those of `names` that are there. Nobody takes them yet."""
        kept = sorted(name for name in names if self._read(secret_file(name)))
        password_change.begin(self.state, {name: _new_secret().strip() for name in kept})

    def ca(self) -> str:
        """The certificate of the stack's CA, PEM."""
        self._kept(CA_KEY, _new_key)
        return self._kept(CA, self._new_ca)

    def trusted(self) -> str:
        """The certificates of all CAs that hosts believe, PEM: the stack's, and while it is replaced the other one too."""
        others = (self._read(name) for name in (NEXT_CA, CA_BEFORE))
        return "".join(dict.fromkeys((self.ca(), *others)))

    def prepare_next_ca(self) -> None:
        """Make the CA that is to come. It issues nothing yet."""
        key = self._keep(NEXT_CA_KEY, _new_key())
        self._keep(NEXT_CA, self._ca_of(key, f" {self.clock():%Y-%m-%d} {secrets.token_hex(2)}"))

    def certificate(self, instance: str) -> str:
        """Certificate of `instance` ("tier/host"), PEM, followed by nothing: everybody who checks it has the CA."""
        self.key(instance)
        request = self._request(instance)
        name = f"certificates/{instance.replace('/', '@')}.crt"
        known = self._read(name)
        if known and (self.is_reading or not self._is_due(known, request)):
            return known
        if self.is_reading:
            return NOT_YET
        return self._keep(name, self._issue(instance, request))

    def key(self, instance: str) -> str:
        """Private key of `instance`, PEM."""
        return self._kept(f"certificates/{instance.replace('/', '@')}.key", _new_key)

    def ended_certificate(self, instance: str) -> str:
        """What `certificate` would be on the day after its end, had nobody renewed it. Kept nowhere."""
        then = self.clock() - datetime.timedelta(days=INTERNAL_DAYS + 1)
        past = replace(self, clock=lambda: then)
        return past._issue(instance, self._request(instance))

    # --- keeping -----------------------------------------------------------------------------------------------------
    def _kept(self, name: str, make: Callable[[], str]) -> str:
        known = self._read(name)
        if known:
            return known
        return NOT_YET if self.is_reading else self._keep(name, make())

    def _read(self, name: str) -> str:
        if name not in self._texts:
            try:
                self._texts[name] = (self.state.folder / name).read_text()
            except FileNotFoundError:
                return ""
        return self._texts[name]

    def _keep(self, name: str, text: str) -> str:
        self.state.write(name, text)
        self._texts[name] = text
        return text

    # --- issuing -----------------------------------------------------------------------------------------------------
    def _request(self, instance: str) -> CertificateRequest:
        tier, _, host = instance.partition("/")
        return certificate_request(self.topology, InstanceId(tier, host))

    def _is_due(self, pem: str, request: CertificateRequest) -> bool:
        from nospof.apply import certificates

        return certificates.is_due(pem, request, self.ca(), self.clock())

    def _new_ca(self) -> str:
        return self._ca_of(self._read(CA_KEY))

    def _ca_of(self, key: str, more: str = "") -> str:
        """`more`: what tells it from the one before, since an issuer is known by its name."""
        from nospof.apply.certificates import Life, new_authority

        # 64 characters at most; stack names have up to 40.
        name = f"CA of {self.topology.stack} {self.state.stack_id[:6]}"[:48] + more
        return new_authority(name, key, Life(self.clock(), CA_DAYS))

    def _issue(self, instance: str, request: CertificateRequest) -> str:
        from nospof.apply.certificates import Authority, Life, issued

        number = self.topology.host(request.instance.host).number
        days = (PUBLIC_DAYS if request.is_public else INTERNAL_DAYS) - DAYS_APART * (number % HOSTS_APART)
        authority = Authority(self.ca(), self._read(CA_KEY))
        return issued(instance[:64], request, self.key(instance), authority, Life(self.clock(), days))


def _new_key() -> str:
    from nospof.apply.certificates import new_key

    return new_key()


def _new_secret() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH)) + "\n"

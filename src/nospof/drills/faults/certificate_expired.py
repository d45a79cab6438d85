"""An instance's certificate has ended, since nobody renewed it: whoever verifies it refuses to talk to the instance."""

from collections.abc import Mapping

from cryptography import x509

from nospof.apply.seal import Vault, utc_now
from nospof.drills.fault import Evidence, Fault, Ground, Target
from nospof.drills.spoilt_file import restore, restored, spoil
from nospof.drills.unit_processes import read_again


class CertificateExpired(Fault):
    name = "certificate-expired"
    about = "The certificate of the instance has ended, and the instance has read it again."
    breaks = Target.INSTANCE
    at_most = True

    @property
    def _file(self) -> str:
        return f"/etc/nospof/tls/{self.instance.tier}.crt"

    def unavailable(self, ground: Ground) -> str:
        has = ground.sh(self.instance.host, f"if [ -e {self._file} ]; then echo yes; fi")
        return "" if has else f"{self.target} has no certificate of its own"

    def inject(self, ground: Ground) -> None:
        vault = Vault(ground.deployment.state, ground.topology, is_reading=True)
        ended = vault.ended_certificate(self.target)
        ground.sh(self.instance.host, spoil(self._file, ended.encode()) + read_again(ground.units(self.instance)))

    def injected(self, ground: Ground) -> Evidence:
        pem = ground.sh(self.instance.host, f"cat {self._file}")
        ends = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
        return Evidence(ends < utc_now(), f"it ends at {ends:%Y-%m-%d %H:%M}")

    def undo(self, ground: Ground) -> Mapping[str, str]:
        return {self.instance.host: restore(self._file, then=read_again(ground.units(self.instance)))}

    def healed(self, ground: Ground) -> Evidence:
        return restored(ground, self.instance.host, self._file)

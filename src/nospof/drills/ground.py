"""Where a drill happens: the deployed stack, its hosts, and who has which role there at this moment."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nospof.apply.transport import Finished, Outcome
from nospof.deployment import Deployment, Status
from nospof.errors import Uncertain, WrongInput
from nospof.lab.lab import Lab
from nospof.topology import InstanceId, Topology

ROLES = ("primary", "replica", "holder")
RECEIPT = "/var/lib/nospof/receipt.json"
# A host under a fault may need longer than one that is well.
ON_HOST_S = 20.0
# What was asked so short a time ago is not asked again.
JUST_S = 5.0
# Two seconds are promised to people who wait for `nospof status`; on a busy machine a host that is well may need longer.
PATIENT_S = 10.0


@dataclass(frozen=True)
class Ground:
    """The stack that is drilled. What is read here is read anew each time, but for the receipts of hosts."""

    deployment: Deployment
    _receipts: dict[str, dict[str, Any]] = field(default_factory=dict, compare=False, repr=False)
    _looked: list[tuple[float, Status]] = field(default_factory=list, compare=False, repr=False)

    @property
    def topology(self) -> Topology:
        return self.deployment.topology

    @property
    def lab(self) -> Lab:
        return self.deployment.lab

    def status(self) -> Status:
        """How everything is. It costs every host a fifth of a second of work: asked all the time, more than all visitors."""
        self._looked[:] = [(time.monotonic(), self.deployment.status(PATIENT_S))]
        return self._looked[-1][1]

    def recent_status(self) -> Status:
        """The same, as it was a moment ago where it was just asked."""
        is_recent = self._looked and time.monotonic() - self._looked[-1][0] <= JUST_S
        return self._looked[-1][1] if is_recent else self.status()

    # --- on a host -----------------------------------------------------------------------------------------------------
    def run(self, host: str, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = ON_HOST_S) -> Outcome:
        return self.deployment.hosts.run(host, argv, stdin, timeout_s)

    def sh(self, host: str, script: str, timeout_s: float = ON_HOST_S) -> str:
        """Run a shell script on `host`; returns what it printed. Raises Uncertain where it did not end well."""
        ended = self.run(host, ["sh", "-eu", "-s"], script.encode(), timeout_s)
        if isinstance(ended, Finished) and ended.exit_code == 0:
            return ended.stdout.decode(errors="replace")
        said = ended.stderr.decode(errors="replace").strip() if isinstance(ended, Finished) else ended.reason
        raise Uncertain(f"host {host}: a command of the drill did not end well", why=said[-400:])

    def units(self, instance: InstanceId) -> tuple[str, ...]:
        """The units of `instance` that systemd starts, in that order, as its host was told to have them."""
        return tuple(self._receipt(instance)["units"])

    def all_units(self, instance: InstanceId) -> tuple[str, ...]:
        """Also those that another unit of it starts, such as a database server that belongs to its agent."""
        return (*self.units(instance), *self._receipt(instance)["other_units"])

    def configurations(self, instance: InstanceId) -> tuple[str, ...]:
        """The files of `instance` that its program has a checker for."""
        return tuple(self._receipt(instance)["configurations"])

    def is_healthy(self, instance: InstanceId) -> bool:
        """Whether `instance` answers as its host would see it."""
        probes = [shlex.join(probe) for probe in self._receipt(instance)["probes"]]
        said = self.sh(instance.host, f"if {' && '.join(probes or ['true'])}; then echo well; fi 2>&1")
        return said.endswith("well\n")

    def _receipt(self, instance: InstanceId) -> dict[str, Any]:
        if instance.host not in self._receipts:
            self._receipts[instance.host] = json.loads(self.sh(instance.host, f"cat {RECEIPT}"))["instances"]
        entry: dict[str, Any] = self._receipts[instance.host][str(instance)]
        return entry

    # --- who -------------------------------------------------------------------------------------------------------------
    def resolve(self, target: str) -> str:
        """The name of the host that "primary", "replica" or "holder" means now; anything else is a name already.

        "primary of TIER" where there are several tiers; "TIER/primary" is that host's instance. Raises WrongInput where the
        stack has no such role, Uncertain where nobody or more than one has it.
        """
        of_tier, _, word = target.rpartition("/")
        if of_tier and word in ROLES:
            return f"{of_tier}/{self.resolve(f'{word} of {of_tier}')}"
        role, _, tier = target.partition(" of ")
        if role in ("primary", "replica"):
            return self._database_host(role, self.deployment.database_tier(tier))
        if role == "holder":
            return self._holder(tier)
        return target

    def _database_host(self, role: str, tier: str) -> str:
        database = self.deployment.database(tier)
        found = [view.host for view in database.hosts if view.role == role and not view.is_witness]
        return _the_one(found if role == "primary" else found[:1], f"{role} of {tier}")

    def _holder(self, name: str) -> str:
        holders = self.deployment.status().holders
        names = [name] if name else sorted(holders)
        if len(names) != 1 or names[0] not in holders:
            raise WrongInput("name the VIP whose holder is meant", fix=f"one of: {', '.join(sorted(holders)) or '(none)'}")
        return _the_one(list(holders[names[0]]), f"holder of {names[0]}")


def _the_one(found: list[str], what: str) -> str:
    if len(found) != 1:
        raise Uncertain(f"there is no one {what} at this moment: {', '.join(found) or 'nobody'}", fix="nospof status")
    return found[0]

"""All that a fault file imports: what a fault says of itself, and how it breaks something and puts it right again.

A fault is a class whose fields are its target and its parameters. A subclass registers itself under its `name`; nothing else
names one. It is a value: what is written to disk before it is injected is enough for any later process to heal it.

Rules that the engine leans on: `heal` may run twice, and before, during or after `inject`, and then takes nothing away that the
fault did not bring; `injected` and `healed` look at the thing itself, never at what was told to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nospof.analysis.paths import HostPath
from nospof.analysis.structure import Kind, Part
from nospof.drills.ground import Ground
from nospof.errors import WrongInput
from nospof.lab.lab import HostState
from nospof.topology import InstanceId, Topology

__all__ = ["Evidence", "Fault", "Field", "Ground", "HostPath", "HostState", "Kind", "Part", "Target", "Topology", "fault_of"]


class Target(Enum):
    """What kind of thing is broken, and how it is named."""

    INSTANCE = "instance"
    """TIER/HOST"""
    HOST = "host"
    ZONE = "zone"


@dataclass(frozen=True)
class Evidence:
    """What was seen when it was looked whether something is so."""

    is_so: bool
    says: str


class Fault(BaseModel):
    """One way to break one thing. Parameters are fields with a description and a safe default."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kinds: ClassVar[dict[str, type[Fault]]] = {}
    name: ClassVar[str]
    about: ClassVar[str]
    """What happens, in one sentence, as somebody sees it who stands beside it."""
    breaks: ClassVar[Target]
    lasts: ClassVar[bool] = True
    """Whether it holds until it is healed; else it is over at once, and what it broke comes back by itself."""
    at_most: ClassVar[bool] = False
    """Whether `lost` is the most it can take away: what outlives that outlives the fault, of the rest nothing is said."""
    comes_back_s: ClassVar[float] = 30.0
    """Within so long after healing the target itself is as before; what others need then is another matter."""
    is_inside: ClassVar[bool] = False
    """Whether it is made by commands on the host itself, so that any host can have it; else only a lab's."""
    makes_say: ClassVar[tuple[str, ...]] = ()
    """Regular expressions of what sounds like damage and is nothing but what it has its target say."""
    is_loss: ClassVar[bool] = False
    """Whether it is the way in which proofs lose such a target, cleanly and for as long as they want."""

    target: str

    def __init_subclass__(cls) -> None:
        if "name" not in vars(cls):
            return  # what several faults share
        if cls.name in Fault.kinds:
            raise TypeError(f"two faults are named {cls.name}")
        Fault.kinds[cls.name] = cls

    def __str__(self) -> str:
        return f"{self.name} {self.target}"

    # --- what it is ------------------------------------------------------------------------------------------------------
    def lost(self, topology: Topology) -> frozenset[Part] | None:
        """The parts that count as lost while it holds; none: something restarts by itself. None: nobody can tell.

        Unless a fault says something else, it takes its target away.
        """
        return self.touches(topology) if self.lasts else frozenset()

    def touches(self, topology: Topology) -> frozenset[Part]:
        """The parts that others must do without for a moment at least."""
        kind = {Target.INSTANCE: Kind.PROCESS, Target.HOST: Kind.HOST, Target.ZONE: Kind.ZONE}[self.breaks]
        return frozenset({Part(kind, self.target)})

    def severs(self, topology: Topology) -> HostPath | None:
        """The path that it cuts while both hosts live, and all that it does. None: it does something else."""
        return None

    def hosts(self, topology: Topology) -> tuple[str, ...]:
        """The hosts on which something is done."""
        if self.breaks is Target.ZONE:
            return tuple(host.name for host in topology.hosts if host.zone == self.target)
        return (self.instance.host if self.breaks is Target.INSTANCE else self.target,)

    @property
    def instance(self) -> InstanceId:
        tier, _, host = self.target.partition("/")
        return InstanceId(tier, host)

    @property
    def mark(self) -> str:
        """A word of its own, the same in every process, to name what belongs to this fault and to no other."""
        digest = hashlib.sha256(json.dumps(self.plain(), sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{digest[:8]}"

    def unavailable(self, ground: Ground) -> str:
        """Why it cannot be made here; "" where it can."""
        if self.breaks is Target.INSTANCE and not ground.all_units(self.instance):
            return f"nothing of its own runs for {self.target}"
        can = self.is_inside or ground.deployment.is_lab
        return "" if can else "it is made from outside the host, which only a lab allows"

    # --- what it does ----------------------------------------------------------------------------------------------------
    def undo(self, ground: Ground) -> Mapping[str, str]:
        """By host, the shell script with which the host heals itself if nobody else does; none where it cannot."""
        return {}

    def inject(self, ground: Ground) -> None:
        """Break it. Raises Uncertain where a host did not do as told."""
        raise NotImplementedError

    def injected(self, ground: Ground) -> Evidence:
        """Look whether it is broken."""
        raise NotImplementedError

    def heal(self, ground: Ground) -> None:
        """Put it right; unless a fault does something else, by the scripts with which the hosts would."""
        for host, script in self.undo(ground).items():
            ground.sh(host, script)

    def healed(self, ground: Ground) -> Evidence:
        """Look whether nothing of the fault is left."""
        raise NotImplementedError

    # --- as text ---------------------------------------------------------------------------------------------------------
    def plain(self) -> dict[str, Any]:
        """As JSON, for `fault_of`."""
        return {"fault": self.name, **self.model_dump(mode="json")}


def fault_of(plain: Mapping[str, Any], topology: Topology) -> Fault:
    """The fault that `plain` describes: {"fault": "host-off", "target": "db1"}. Raises WrongInput saying what is wrong."""
    name = str(plain.get("fault", ""))
    kind = Fault.kinds.get(name)
    if kind is None:
        raise WrongInput(f"there is no fault {name}", fix=f"one of: {', '.join(sorted(Fault.kinds))}")
    try:
        found = kind.model_validate({key: value for key, value in plain.items() if key != "fault"})
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise WrongInput(f"fault {name}: {where}: {first['msg']}", fix=_parameters(kind)) from None
    known = targets(kind, topology)
    if found.target not in known:
        raise WrongInput(f"there is no {kind.breaks.value} {found.target}", fix=f"one of: {', '.join(known)}")
    hosts = {host.name for host in topology.hosts}
    if strange := sorted(set(found.hosts(topology)) - hosts):
        raise WrongInput(f"there is no host {', '.join(strange)}", fix=f"one of: {', '.join(sorted(hosts))}")
    return found


def targets(kind: type[Fault], topology: Topology) -> tuple[str, ...]:
    """What `kind` can break in this stack, sorted."""
    names: Iterable[str] = {
        Target.INSTANCE: (str(instance.id) for instance in topology.instances),
        Target.HOST: (host.name for host in topology.hosts),
        Target.ZONE: {host.zone for host in topology.hosts},
    }[kind.breaks]
    return tuple(sorted(names))


def _parameters(kind: type[Fault]) -> str:
    told = [f"{name}: {field.description}" for name, field in kind.model_fields.items() if name != "target"]
    return "; ".join(told) or f"{kind.name} has no parameters"

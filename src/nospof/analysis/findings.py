"""Everything `check` finds in a stack that is right as a file: allowed, but unsafe. Pure."""

from __future__ import annotations

from nospof.analysis.losses import loss_findings, single_points
from nospof.analysis.packages import package_findings
from nospof.analysis.redundancy import redundancy_findings
from nospof.analysis.security import security_findings
from nospof.analysis.structure import structure
from nospof.stack.model import Stack
from nospof.stack.problems import Problem, in_order
from nospof.topology import Topology


def findings(stack: Stack, topology: Topology) -> tuple[Problem, ...]:
    """All findings about `stack`, whose topology is `topology`, in the order of the file. Codes: nospof.analysis.codes."""
    made = structure(topology)
    spofs = single_points(topology, made)
    losses = loss_findings(stack, topology, made, spofs)
    tiers = redundancy_findings(stack, topology, spofs)
    return in_order([*security_findings(stack, topology), *losses, *tiers, *package_findings(stack)])

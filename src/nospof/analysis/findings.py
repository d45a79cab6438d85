"""Everything `check` finds in a stack that is right as a file: allowed, but unsafe. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from nospof.analysis.backup import backup_findings
from nospof.analysis.capacity import capacity_findings
from nospof.analysis.cautions import caution_findings
from nospof.analysis.losses import loss_findings, single_points
from nospof.analysis.measured import Measured
from nospof.analysis.packages import package_findings
from nospof.analysis.redundancy import redundancy_findings, voter_findings
from nospof.analysis.remedies import Remedy, remedy
from nospof.analysis.security import security_findings
from nospof.analysis.stand_ins import stand_in_findings
from nospof.analysis.structure import Part, structure
from nospof.analysis.takeovers import Takeovers
from nospof.resolve import Allotment
from nospof.stack.model import Stack
from nospof.stack.problems import Problem, in_order
from nospof.topology import Topology

# A remedy is looked for by trying: for so many parts at most, which is more than anybody reads.
MOST_REMEDIES = 12
NOTHING_ALLOTTED = Allotment()


def findings(
    stack: Stack,
    topology: Topology,
    allotment: Allotment = NOTHING_ALLOTTED,
    measured: Measured | None = None,
    now: float = 0.0,
    takeovers: Takeovers | None = None,
) -> tuple[Problem, ...]:
    """All findings about `stack`, which gave `topology`, in the order of the file. Codes: nospof.analysis.codes.

    `allotment`: what an earlier `up` has placed for good, and what no fix can therefore have elsewhere. `measured`: what
    `nospof measure` found; `now`, in seconds since the epoch, says how old that is. `takeovers`: what `nospof prove` saw
    of others taking over.
    """
    made = structure(topology)
    spofs = single_points(topology, made)
    remedies = {part: remedy(stack, topology, allotment, part, goals) for part, goals in [*spofs.items()][:MOST_REMEDIES]}
    return in_order(
        [
            *security_findings(stack, topology),
            *caution_findings(stack, topology),
            *backup_findings(stack, topology),
            *loss_findings(stack, topology, made, spofs, remedies, takeovers),
            *_not_ended(redundancy_findings(stack, topology, allotment), remedies, allotment),
            *voter_findings(stack, topology),
            *capacity_findings(stack, topology, measured, now),
            *stand_in_findings(stack, topology, measured),
            *package_findings(stack),
        ]
    )


def _not_ended(found: Iterable[Problem], remedies: Mapping[Part, Remedy | None], allotment: Allotment) -> Iterator[Problem]:
    """Those of `found` that no remedy of something worse ends: the same is not said twice."""
    after = [redundancy_findings(one.stack, one.topology, allotment) for one in remedies.values() if one is not None]
    left = [{(problem.code, problem.path) for problem in problems} for problems in after]
    return (problem for problem in found if all((problem.code, problem.path) in codes for codes in left))

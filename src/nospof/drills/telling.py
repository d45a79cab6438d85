"""What a drill came to, left as a line on the hosts of those who show it: results stay with the controlling machine otherwise.

Who hears of it says so in its component (`hears_of_drills`). A host that does not answer misses it: nothing is decided by it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from nospof.drills.ground import Ground
from nospof.drills.outcome import Level, troubles, verdict
from nospof.drills.phrases import goal_words, printable, seconds
from nospof.drills.result import DrillResult, Proof
from nospof.resolve import component_of

MOST_KEPT = 20
TELL_S = 5.0
LEVELS = {Level.BAD: "bad", Level.WEAK: "weak", Level.OPEN: "open", Level.GOOD: "good"}
# The new file is whole before it takes the old one's place.
ADD = """umask 022; mkdir -p "${1%/*}"; { tail -n "$2" "$1" 2>/dev/null || :; cat; } > "$1.new"; mv "$1.new" "$1" """


@dataclass(frozen=True)
class Told:
    """One line. `at`: seconds since the epoch; `level`: good, weak, open, bad."""

    at: float
    level: str
    name: str
    says: str


def of_drill(result: DrillResult) -> Told:
    """What is told of one drill: how it ended, and how long each promise was not kept. Pure."""
    wrong = troubles(result)
    outages = [
        f"{goal_words(goal.goal)}: {seconds(goal.outage_s)} without a good answer"
        for goal in result.goals
        if goal.outage_s is not None
    ]
    said = [result.conclusion.value, *(claim.says for claim in wrong[:1]), *outages]
    level = wrong[0].level if wrong else Level.GOOD
    return Told(result.begun_at, LEVELS[level], printable(result.name), printable("; ".join(said)))


def of_proof(proof: Proof) -> Told:
    """What is told of a whole proof. Pure."""
    claim = verdict(proof)
    return Told(proof.ended_at, LEVELS[claim.level], "proof", printable(f"{claim.figure}: {claim.says}"))


def tell(ground: Ground, told: Sequence[Told]) -> None:
    """Leave these lines, the oldest first, wherever somebody hears of drills."""
    lines = "".join(json.dumps(asdict(one)) + "\n" for one in told[-MOST_KEPT:]).encode()
    for instance in ground.topology.instances:
        path = component_of(instance).hears_of_drills
        if path and lines:
            kept = str(MOST_KEPT - min(MOST_KEPT, len(told)))
            ground.run(instance.id.host, ("sh", "-euc", ADD, "sh", path, kept), lines, TELL_S)

"""What a proof does not say. Pure."""

from __future__ import annotations

from nospof.drills.phrases import listed, number
from nospof.drills.report.markup import Html, join, listing, tag
from nospof.drills.result import Proof

LAB = """The lab is not your data centre: its hosts share one machine and its kernel; disks, networks, power and heat are
not yours. Times were measured on: {machine}."""
OTHER_WAYS = """What breaks in another way (a disk that answers wrongly, a clock that jumps, a network that loses some
packets) may end otherwise."""
LOAD = """Up means: up for the visitors of the drills, with their few requests a second. How the stack bears your load is
another question."""
MORE = "More losses at once than the tables above show were not looked at."
SHARED = """What no stack file can double is not in it: your name servers, your provider, an administrator's mistake, a bad
release on all hosts, a break-in."""
CHANGES = "It holds for the stack file and the versions below. When one of them changes, prove it again."


def limits(proof: Proof) -> Html:
    machine = LAB.format(machine=proof.machine or "a machine that is not named")
    said = [machine, f"{_ways(proof)} {OTHER_WAYS}", LOAD, MORE, _unproven(proof), SHARED, CHANGES]
    return join([tag("p", "So that nobody relies on what was never looked at:"), listing(said)])


def _ways(proof: Proof) -> str:
    kinds = sorted({str(fault.get("fault", "")) for drill in proof.drills for fault in drill.faults})
    return f"Only these ways to break were tried: {listed(kinds, 'and', most=40)}." if kinds else "Nothing was broken."


def _unproven(proof: Proof) -> str:
    if proof.unproven:
        return f"{number(len(proof.unproven))} of {number(len(proof.combinations))} combinations are unproven: nobody knows."
    return "No combination is left that was to be settled; those that follow from others do so only as the sentences above say."

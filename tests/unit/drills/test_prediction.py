"""What is foretold of a drill: of a fault that may take less away than its target, only what holds in any case."""

from __future__ import annotations

import pytest
from tests.unit.stacks import NOTHING_ALLOTTED, example

from nospof.analysis.structure import structure
from nospof.drills import faults as _all_faults  # noqa: F401 - makes them known
from nospof.drills.fault import fault_of
from nospof.drills.prediction import State, forecasts
from nospof.resolve import resolve

TOPOLOGY = resolve(example(), NOTHING_ALLOTTED).topology
MADE = structure(TOPOLOGY).of_visitors()


@pytest.mark.parametrize(
    ("faults", "foretold"),
    [
        ([("host-off", "lb1")], State.UP),
        ([("host-off", "lb1"), ("host-off", "lb2")], State.DOWN),
        ([("disk-full", "lb1")], State.UP),
        ([("disk-full", "lb1"), ("host-off", "lb2")], State.UNKNOWN),
        ([("disk-full", "lb1"), ("host-off", "lb1"), ("host-off", "lb2")], State.DOWN),
        ([("packet-loss", "lb1")], State.UNKNOWN),
        ([("replica-lag", "database/db2")], State.UP),
    ],
)
def test_what_may_take_less_away_is_foretold_up_or_not_at_all(faults: list[tuple[str, str]], foretold: State) -> None:
    made = [fault_of({"fault": name, "target": target}, TOPOLOGY) for name, target in faults]
    assert {forecast.state for forecast in forecasts(TOPOLOGY, MADE, made)} == {foretold}

"""What `nospof status` says beside the state of the stack."""

from __future__ import annotations

import json
from pathlib import Path

from nospof.apply.state import State
from nospof.cli.status import unhealed_lines


def test_fault_of_a_drill_that_is_not_healed_is_told(tmp_path: Path) -> None:
    state = State(tmp_path / "stack.yaml")
    assert unhealed_lines(state) == []
    record = {"id": "ab", "fault": {"fault": "host-off", "target": "db1"}, "armed_at": 0.0, "within_s": 60.0}
    state.write("drills/unhealed/ab.json", json.dumps(record))
    first, fix = unhealed_lines(state)
    assert first.startswith("broken by a drill, and not healed yet: host-off db1, since ")
    assert "nospof drill --heal" in fix

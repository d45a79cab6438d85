"""What counts among the lines of hosts' journals."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.stacks import NOTHING_ALLOTTED, example

from nospof.drills import host_lines
from nospof.drills.checkers.log_patterns import LogPatterns
from nospof.resolve import resolve

TSDB = "lb1 prometheus[53]: ts=2026-11-29T22:45:54.051Z caller=db.go:960 level=warn component=tsdb msg="
MENDED = [
    f'1.1 {TSDB}"Encountered WAL read error, attempting repair" err="read records: corruption in segment 00000002 at 17"',
    f'1.2 {TSDB}"Starting corruption repair" segment=2 offset=17',
    f'1.3 {TSDB}"Deleting all segments newer than corrupted segment" segment=2',
    f'1.4 {TSDB}"Rewrite corrupted segment" segment=2',
]
DAMAGE = [f'1.5 {TSDB}"Failed to repair corrupted WAL"', "1.6 db1 mariadbd[9]: InnoDB: page 4 is corrupt"]


def seen(monkeypatch: pytest.MonkeyPatch, *left_out: str) -> Any:
    stack = example()
    made = resolve(replace(stack, tiers=tuple(tier for tier in stack.tiers if tier.name not in left_out)), NOTHING_ALLOTTED)
    monkeypatch.setattr(host_lines, "look", lambda *_: {"lb1": [*MENDED, *DAMAGE], "db1": None, "w1": []})
    ground: Any = SimpleNamespace(topology=made.topology)
    return LogPatterns().look(ground)


def test_what_prometheus_cuts_off_after_a_power_cut_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(monkeypatch) == {"lb1": DAMAGE, "db1": None, "w1": []}


def test_where_nobody_is_known_to_mend_itself_all_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(monkeypatch, "monitoring")["lb1"] == [*MENDED, *DAMAGE]

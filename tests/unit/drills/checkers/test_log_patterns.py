"""What counts among the lines of hosts' journals."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.stacks import NOTHING_ALLOTTED, example

from nospof.drills import faults as _all_faults  # noqa: F401
from nospof.drills import host_lines
from nospof.drills.checkers.log_patterns import LogPatterns
from nospof.drills.fault import Fault
from nospof.drills.record import Record
from nospof.drills.verdict import Result
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


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("web1: 2.0 web1 gunicorn[7]: Traceback (most recent call last):", Result.PASS),
        ("web1: 2.0 web1 gunicorn[7]: segfault", Result.FAIL),
        ("db1: 2.0 db1 gunicorn[7]: Traceback (most recent call last):", Result.FAIL),
    ],
)
def test_what_a_fault_has_its_target_say_is_no_damage_there(line: str, result: Result) -> None:
    """Incident: a random drill failed because the application said, of a release without it, that it was not there."""
    host, _, said = line.partition(": ")
    fault = Fault.kinds["bad-release"](target="app/web1")
    excused = tuple((fault.instance.host, say) for say in fault.makes_say)
    collected: dict[str, tuple[Any, Any]] = {LogPatterns.name: ({"web1": [], "db1": []}, {"web1": [], "db1": [], host: [said]})}
    record = Record((), 1.0, 2.0, 3.0, 3.0, None, excused=excused, collected=collected)

    verdict = LogPatterns().judge(record)
    assert verdict is not None
    assert verdict.result is result

"""When a drill begins once more."""

from __future__ import annotations

from unittest import mock

import pytest

from nospof.drills import engine
from nospof.drills.result import DrillResult


@pytest.mark.parametrize(
    ("are_untried", "tries"),
    [([False], 1), ([True, False], 2), ([True, True], 2)],
    ids=["visitors were answered", "answered once the machine was at rest", "never answered"],
)
def test_drill_begins_once_more_only_where_nothing_was_broken(are_untried: list[bool], tries: int) -> None:
    results = [DrillResult(number=1, name="nothing", faults=(), begun_at=float(at)) for at in range(len(are_untried))]
    runs = [
        mock.Mock(run=mock.Mock(return_value=result), is_untried=is_untried)
        for result, is_untried in zip(results, are_untried, strict=True)
    ]
    said: list[str] = []
    with mock.patch.object(engine, "_Run", side_effect=runs), mock.patch.object(engine, "forecasts", return_value=()):
        result = engine.run(mock.Mock(say=said.append), engine.Drill("nothing", ()))
    assert (result.begun_at, result.tries) == (results[-1].begun_at, tries)
    assert len(said) == len(runs) - 1

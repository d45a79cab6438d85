"""A verdict is green only when everything was seen and everything was right."""

from __future__ import annotations

import pytest

from nospof.drills.verdict import Result, failed, passed, unknown, worst


def test_unknown_is_not_green() -> None:
    assert not unknown("saw nothing").is_pass
    assert worst([passed("a"), unknown("b")]) is Result.UNKNOWN


def test_failure_outweighs_everything() -> None:
    assert worst([passed("a"), failed("b", ["x"]), unknown("c")]) is Result.FAIL


def test_no_verdict_at_all_is_unknown() -> None:
    assert worst([]) is Result.UNKNOWN


def test_failure_counts_all_and_names_some() -> None:
    verdict = failed("lost", [f"t{number}" for number in range(9)])
    assert verdict.count == 9
    assert str(verdict) == "fail: lost (t0, t1, t2, t3, t4)"


def test_failure_without_anything_wrong_is_a_defect_of_the_checker() -> None:
    with pytest.raises(ValueError, match="nothing is wrong"):
        failed("lost", [])

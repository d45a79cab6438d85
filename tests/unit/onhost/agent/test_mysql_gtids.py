"""Sets of transactions as positions: what is not there is never taken for being there."""

from __future__ import annotations

import pytest

from nospof.onhost.agent.model import BEGINNING, Position
from nospof.onhost.agent.mysql_gtids import Gtids, gtids, of_position

A, B = "c2fd0ba5-e58c-11f1-918b-0200c6120101", "9d5682cf-e58d-11f1-9f3b-0200c6120102"


def test_position_has_the_highest_number_of_each_server() -> None:
    assert gtids(f"{A}:1-17,\n{B}:1").position == Position(((B, 1), (A, 17)))
    assert gtids("").position == BEGINNING


def test_hole_is_not_covered_however_high_the_numbers_are() -> None:
    whole, holed = gtids(f"{A}:1-9").position, gtids(f"{A}:1-5:7-12").position
    assert not holed.covers(whole)
    assert not gtids(f"{A}:7-12").position.covers(gtids(f"{A}:1").position)
    assert holed.covers(gtids(f"{A}:1-4").position)


def test_nothing_covers_a_hole_but_what_has_the_same_one() -> None:
    holed = gtids(f"{A}:1-5:7-9").position
    assert gtids(f"{A}:1-5:7-12").position.covers(holed)
    assert not gtids(f"{A}:1-6").position.covers(holed)


@pytest.mark.parametrize("text", ["", f"{A}:1-17", f"{B}:1-1,{A}:1-5:7-9", f"{A}:3-3", f"{A}:tag:1-5:8-9"])
def test_position_gives_the_set_back(text: str) -> None:
    assert of_position(gtids(text).position) == gtids(text)


def test_set_is_written_as_the_server_reads_it() -> None:
    assert str(gtids(f"{A}:1-5:7,\n{B}:3")) == f"{B}:3-3,{A}:1-5:7-7"


def test_two_sets_together_have_what_is_in_either() -> None:
    assert gtids(f"{A}:1-5").with_these(gtids(f"{A}:6-9,{B}:1")) == gtids(f"{A}:1-9,{B}:1")
    assert gtids(f"{A}:1-5").with_these(gtids(f"{A}:7-9")) == gtids(f"{A}:1-5:7-9")


def test_what_waits_in_the_log_is_added_behind_what_is_executed() -> None:
    assert gtids(f"{A}:1-5").up_to(A, 7) == gtids(f"{A}:1-7")
    assert gtids(f"{A}:1-5").up_to(A, 4) == gtids(f"{A}:1-5")
    assert Gtids().up_to(A, 2) == gtids(f"{A}:1-2")
    # A hole stays one: nobody knows what became of it.
    assert gtids(f"{A}:1-5:7-9").up_to(A, 10) == gtids(f"{A}:1-5:7-10")


def test_set_knows_what_it_holds() -> None:
    found = gtids(f"{A}:1-5:7-9")
    assert found.holds(A, 7)
    assert not found.holds(A, 6)
    assert not found.holds(B, 1)
    assert found.without_source(A) == Gtids()

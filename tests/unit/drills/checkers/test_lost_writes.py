"""What was acknowledged is on every node, and what is on a node was asked for once."""

from __future__ import annotations

import random

import pytest
from sql_histories import history

from nospof.drills.checkers import Copies, Copy
from nospof.drills.checkers.lost_writes import lost_writes
from nospof.drills.checkers.phantoms import phantoms
from nospof.drills.verdict import Result


def copies(**tokens: str | None) -> Copies:
    """`db1="a b"`; None: could not be read."""
    return {node: None if said is None else Copy(tuple(said.split())) for node, said in tokens.items()}


# --- lost ------------------------------------------------------------------------------------------------------------
def test_acknowledged_write_on_every_node_is_not_lost() -> None:
    assert lost_writes(history("a", "b"), copies(db1="a b", db2="b a", w1="a b")).is_pass


def test_acknowledged_write_on_no_node_is_lost() -> None:
    verdict = lost_writes(history("a", "b"), copies(db1="a", db2="a"))
    assert (verdict.result, verdict.count) == (Result.FAIL, 1)
    assert verdict.examples == ("b not on db1, db2",)


def test_acknowledged_write_that_one_node_lacks_is_lost() -> None:
    assert lost_writes(history("a"), copies(db1="a", db2="a", w1="")).examples == ("a not on w1",)


def test_write_that_was_not_acknowledged_may_be_there_or_not() -> None:
    seen = history("a", failed=("b",), unknown=("c", "d"))
    assert lost_writes(seen, copies(db1="a c", db2="a c")).is_pass


def test_node_that_could_not_be_read_makes_it_unknown() -> None:
    verdict = lost_writes(history("a"), copies(db1="a", db2=None))
    assert (verdict.result, verdict.reason) == (Result.UNKNOWN, "could not read db2")


def test_loss_on_the_nodes_that_were_read_is_not_excused_by_one_that_was_not() -> None:
    assert lost_writes(history("a", "b"), copies(db1="a", db2=None)).result is Result.FAIL


@pytest.mark.parametrize("tokens", [{}, {"db1": None}])
def test_nothing_read_is_unknown(tokens: dict[str, None]) -> None:
    assert lost_writes(history("a"), copies(**tokens)).result is Result.UNKNOWN


def test_nothing_acknowledged_is_unknown() -> None:
    assert lost_writes(history(failed=("a",), unknown=("b",)), copies(db1="b")).result is Result.UNKNOWN


def test_every_single_loss_among_many_is_found() -> None:
    tokens = [f"t{number}" for number in range(300)]
    for lost in random.Random(1).sample(tokens, 20):
        kept = " ".join(token for token in tokens if token != lost)
        verdict = lost_writes(history(*tokens), copies(db1=" ".join(tokens), db2=kept))
        assert verdict.examples == (f"{lost} not on db2",)


# --- phantoms --------------------------------------------------------------------------------------------------------
def test_acknowledged_and_unknown_writes_are_no_phantoms() -> None:
    assert phantoms(history("a", failed=("b",), unknown=("c", "d")), copies(db1="a c", db2="a c")).is_pass


def test_token_that_is_there_twice_is_a_phantom() -> None:
    assert phantoms(history("a"), copies(db1="a", db2="a a")).examples == ("a 2 times on db2",)


def test_write_of_unknown_outcome_that_is_there_twice_is_a_phantom() -> None:
    assert phantoms(history(unknown=("a",)), copies(db1="a a")).result is Result.FAIL


def test_write_that_had_failed_and_is_there_is_a_phantom() -> None:
    assert phantoms(history("a", failed=("b",)), copies(db1="a", db2="a b")).examples == ("b on db2 had failed",)


def test_token_that_nobody_sent_is_a_phantom() -> None:
    assert phantoms(history("a"), copies(db1="a x")).examples == ("x on db1 was sent by nobody",)


def test_phantoms_of_a_node_that_could_not_be_read_are_unknown() -> None:
    assert phantoms(history("a"), copies(db1="a", db2=None)).result is Result.UNKNOWN
    assert phantoms(history("a"), copies(db1="a a", db2=None)).result is Result.FAIL


def test_phantoms_where_nothing_was_written_are_unknown() -> None:
    assert phantoms(history(), copies(db1="")).result is Result.UNKNOWN

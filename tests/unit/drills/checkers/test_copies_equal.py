"""All nodes hold the same, and what was settled stays as it was."""

from __future__ import annotations

from nospof.drills.checkers import Copy
from nospof.drills.checkers.copies_equal import copies_equal
from nospof.drills.verdict import Result


def test_same_rows_and_checksums_are_equal() -> None:
    assert copies_equal({"db1": Copy(("a", "b"), {"t": 1}), "db2": Copy(("b", "a"), {"t": 1})}).is_pass


def test_row_that_one_node_lacks_makes_them_unequal() -> None:
    verdict = copies_equal({"db1": Copy(("a", "b")), "db2": Copy(("a",))})
    assert verdict.examples == ("db2 has 0 rows that db1 lacks, and lacks 1 of its rows",)


def test_same_token_twice_is_another_copy() -> None:
    assert copies_equal({"db1": Copy(("a",)), "db2": Copy(("a", "a"))}).result is Result.FAIL


def test_other_content_of_the_same_rows_is_seen_by_the_checksum() -> None:
    verdict = copies_equal({"db1": Copy(("a",), {"t": 1}), "db2": Copy(("a",), {"t": 2})})
    assert verdict.examples == ("t differs between db1 and db2",)


def test_table_that_one_node_lacks_makes_them_unequal() -> None:
    assert copies_equal({"db1": Copy((), {"t": 1}), "db2": Copy(())}).result is Result.FAIL
    assert copies_equal({"db1": Copy(()), "db2": Copy((), {"t": 1})}).result is Result.FAIL


def test_old_table_that_changed_everywhere_is_found() -> None:
    same = {"db1": Copy((), {"old": 7}), "db2": Copy((), {"old": 7})}
    assert copies_equal(same, {"old": 7}).is_pass
    assert copies_equal(same, {"old": 8}).count == 2


def test_old_table_that_is_gone_everywhere_is_found() -> None:
    assert copies_equal({"db1": Copy(()), "db2": Copy(())}, {"old": 8}).result is Result.FAIL


def test_node_that_could_not_be_read_makes_it_unknown() -> None:
    assert copies_equal({"db1": Copy(("a",)), "db2": Copy(("a",)), "w1": None}).result is Result.UNKNOWN
    assert copies_equal({"db1": Copy(("a",)), "db2": Copy(("b",)), "w1": None}).result is Result.FAIL


def test_single_copy_is_unknown() -> None:
    assert copies_equal({"db1": Copy(("a",))}).result is Result.UNKNOWN
    assert copies_equal({}).result is Result.UNKNOWN

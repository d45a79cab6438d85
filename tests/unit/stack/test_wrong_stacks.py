"""Every file in tests/data/wrong-stacks is told wrong in exactly the words of the .txt beside it.

After a change of words: `NOSPOF_REWRITE=1 pytest tests/unit/stack`, then read the difference as the user would.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel

from nospof.stack.codes import CODES
from nospof.stack.load import load
from nospof.stack.problems import Severity, StackProblems

WRONG = Path(__file__).parents[2] / "data" / "wrong-stacks"
FILES = sorted(WRONG.glob("*.yaml"))
NOT_IN_A_FILE = {"S001", "S012"}
"""S001: there is no file to put there; S012: components raise it."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_wrong_stack_is_told_in_these_words(
    file: Path, kinds: Mapping[str, type[BaseModel]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(WRONG)

    with pytest.raises(StackProblems) as raised:
        load(Path(file.name), kinds)

    expected = file.with_suffix(".txt")
    if "NOSPOF_REWRITE" in os.environ:
        expected.write_text(f"{raised.value}\n", encoding="utf-8")
    assert f"{raised.value}\n" == expected.read_text(encoding="utf-8")
    assert raised.value.exit_code == 2


def test_each_code_is_in_the_table_and_tried(kinds: Mapping[str, type[BaseModel]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(WRONG)
    tried = set()
    for file in FILES:
        with pytest.raises(StackProblems) as raised:
            load(Path(file.name), kinds)
        tried |= {problem.code for problem in raised.value.problems}
        assert any(problem.severity is Severity.ERROR for problem in raised.value.problems)

    assert tried == set(CODES) - NOT_IN_A_FILE


def test_no_text_is_left_of_a_file_that_is_gone() -> None:
    assert {file.stem for file in WRONG.glob("*.txt")} == {file.stem for file in FILES}

"""Telling stack, host and command apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from nospof.cli.stack_argument import split


@pytest.mark.parametrize(
    ("words", "stack", "host", "command"),
    [
        (("lb1",), "stack.yaml", "lb1", ()),
        (("lb1", "--", "ip", "a"), "stack.yaml", "lb1", ("ip", "a")),
        (("lb1", "ip", "-4", "a"), "stack.yaml", "lb1", ("ip", "-4", "a")),
        ((".", "lb1"), ".", "lb1", ()),
        (("other.yaml", "lb1", "--", "true"), "other.yaml", "lb1", ("true",)),
        (("no/such/folder", "lb1"), "no/such/folder", "lb1", ()),
        (("other.yml",), "other.yml", "", ()),
    ],
)
def test_words(words: tuple[str, ...], stack: str, host: str, command: tuple[str, ...]) -> None:
    assert split(words) == (Path(stack), host, command)

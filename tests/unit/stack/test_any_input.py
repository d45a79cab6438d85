"""Whatever the file contains, it loads or is told wrong: never anything else, and always in the same words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from nospof.stack.load import load
from nospof.stack.problems import Severity, StackProblems

TOKENS = [
    ": ",
    ":",
    "- ",
    "\n",
    "\n  ",
    "\t",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "'",
    '"',
    "&a ",
    "*a",
    "!x ",
    "!!int ",
    "<<: ",
    "|",
    ">",
]
TOKENS += [
    "#",
    "%",
    "@",
    "? ",
    "---\n",
    "...\n",
    "null",
    "~",
    "on",
    "1.5",
    "1e999",
    "99999999999999999999",
    "\x00",
    "\u2028",
    "é",
]
TOKENS += ["\\ud800", "name", "hosts", "tiers", "to: ", "web", "web1", "spare: web1", "address: ", "10.0.0.1", "::1", "zone"]

texts = st.one_of(
    st.text(max_size=8), st.sampled_from(["web1", "web", "mariadb", "", ".", "\ud800".encode("utf-8", "replace").decode()])
)
values: st.SearchStrategy[object] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


def outcome(content: bytes, folder: Path, kinds: Mapping[str, type[BaseModel]]) -> str:
    file = folder / "any.yaml"
    file.write_bytes(content)
    try:
        return repr(load(file, kinds))
    except StackProblems as raised:
        problems = raised
    assert all(problem.what and problem.file for problem in problems.problems)
    assert any(problem.severity is Severity.ERROR for problem in problems.problems)
    return str(problems)


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes(content: bytes, folder: Path, kinds: Mapping[str, type[BaseModel]]) -> None:
    assert outcome(content, folder, kinds) == outcome(content, folder, kinds)


@settings(max_examples=150, deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(0, 20), st.one_of(st.sampled_from(TOKENS), st.text(max_size=4))),
        min_size=1,
        max_size=4,
    )
)
def test_any_edit_of_the_text(
    edits: list[tuple[int, int, str]], example: str, folder: Path, kinds: Mapping[str, type[BaseModel]]
) -> None:
    text = example
    for place, length, token in edits:
        start = place % (len(text) + 1)
        text = text[:start] + token + text[start + length :]

    content = text.encode("utf-8", "surrogatepass")

    assert outcome(content, folder, kinds) == outcome(content, folder, kinds)


PATHS = [("name",), ("domain",), ("hosts",), ("hosts", "lb1"), ("hosts", "lb1", "zone"), ("hosts", "lb1", "address")]
PATHS += [("tiers",), ("tiers", "web"), ("vip",), ("admin",), ("egress",), ("firewall",), ("options",), ("options", "nginx")]
PATHS += [("tiers", "web", key) for key in ("component", "hosts", "to", "spare", "keepalive")]
PATHS += [("tiers", "app", key) for key in ("source", "module", "workers", "timeout_s", "sites")]
PATHS += [("tiers", "database", key) for key in ("witness", "version", "nothing")]


@settings(max_examples=120, deadline=None)
@given(changes=st.lists(st.tuples(st.sampled_from(PATHS), values), min_size=1, max_size=3))
def test_any_value_anywhere(
    changes: list[tuple[tuple[str, ...], object]], folder: Path, kinds: Mapping[str, type[BaseModel]]
) -> None:
    stack: dict[str, object] = {
        "name": "shop",
        "domain": "shop.example.com",
        "hosts": {"lb1": {"zone": "a"}, "web1": {"zone": "a"}},
        "tiers": {
            "web": {"component": "nginx", "hosts": "web1", "to": "app"},
            "app": {"component": "gunicorn", "hosts": ["web1"], "source": "app", "module": "a:b", "to": "database"},
            "database": {"component": "mariadb", "hosts": ["lb1"]},
        },
        "options": {},
    }
    for path, value in changes:
        here = stack
        for step in path[:-1]:
            below = here.get(step)
            here = below if isinstance(below, dict) else {}
        here[path[-1]] = value

    content = json.dumps(stack, ensure_ascii=False).encode("utf-8", "replace")

    assert outcome(content, folder, kinds) == outcome(content, folder, kinds)

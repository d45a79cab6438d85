"""YAML's own syntax errors in plain sentences: what stands wrong, and what people mostly meant."""

from __future__ import annotations

import re

from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from nospof.stack.problems import Problem
from nospof.stack.words import listed, quoted

_KEY_WITHOUT_SPACE = re.compile(r"""^\s*(?:- )?[A-Za-z][\w-]*:[^\s/]""")
_HAS_KEY = re.compile(r":(\s|$)")


def explain_syntax(file: str, text: str, marked: MarkedYAMLError | None, error: Exception) -> Problem:
    """Make one problem of what ruamel.yaml raised; `marked` is `error` where that knows line and column."""
    lines = text.splitlines()
    line, column = _place(text, marked, error)
    opened = marked.context_mark.line + 1 if marked and marked.context_mark else line
    reason = str(marked.problem if marked else error)
    what, fix, at = _translate(reason, str(marked.context if marked else ""), lines, line, opened)
    if isinstance(error, ReaderError):
        what, fix = (
            f"a character that cannot be seen stands here: U+{_code_point(error):04X}",
            "delete it and type the text again",
        )
    if at != line:
        mark = marked.context_mark if marked else None
        line, column = at, mark.column + 1 if mark and at == opened else _indent(lines, at) + 1
    return Problem("S003", "", line, column, what, fix=fix, file=file)


def _translate(reason: str, context: str, lines: list[str], line: int, opened: int) -> tuple[str, str, int]:
    """What is wrong, what to do, and the line where to do it."""
    here, before = _line(lines, line), _line_before(lines, line)
    if "'\\t'" in reason or (here[: len(here) - len(here.lstrip())].count("\t")):
        return "a tab stands here, and YAML is indented by spaces only", "replace each tab by two spaces", line
    if "end of stream" in reason and "quoted" in context:
        return f"the quote that opens in line {opened} is never closed", "write the closing quote", opened
    if "quoted" in context and "escape" in reason:
        fix = "write \\\\ for a backslash, or use single quotes: '…'"
        return "a backslash in double quotes has a meaning of its own, and this one has none", fix, line
    if "quoted" in context:
        return f"the quote that opens in line {opened} is never closed", "write the closing quote", opened
    if reason.startswith("expected ',' or"):
        return _bracket(reason, here, line, opened)
    if "mapping values are not allowed" in reason or "could not find expected ':'" in reason:
        return _colon(lines, here, before, line)
    if "found undefined alias" in reason:
        return f"{reason.removeprefix('found ')}: no &name comes before it", "put quotes around text that begins with *", line
    if "that cannot start any token" in reason:
        char = reason.split("'")[1]
        return f"a value cannot begin with {quoted(char)}", "put quotes around the value", line
    if "another document" in reason:
        return "a second document begins here, and a stack file has one", "remove the line --- or ...", line
    if "expected <block end>" in reason:
        return _misplaced(lines, before, line, opened)
    if "expected the node content" in reason:
        return (
            f"a bracket or comma stands here that nothing opened: {quoted(here.strip())}",
            "remove it, or open it before",
            line,
        )
    return f"this is not YAML: {reason}" if reason else "this is not YAML", "", line


def _bracket(reason: str, here: str, line: int, opened: int) -> tuple[str, str, int]:
    bracket = "]" if "]" in reason else "}"
    if opened == line:
        what = f"a comma, or the closing {bracket}, is missing in this line"
        return what, f"write a comma between the entries and {bracket} after the last", line
    opening = "[" if bracket == "]" else "{"
    fix = f"write {bracket} where it ends, or the comma that is missing in it"
    return f"the {opening} that opens in line {opened} is not closed when line {line} begins", fix, opened


def _colon(lines: list[str], here: str, before: int, line: int) -> tuple[str, str, int]:
    for number in (line, before):
        if _KEY_WITHOUT_SPACE.match(_line(lines, number)):
            key, _, value = _line(lines, number).strip().partition(":")
            return "a space is missing after the colon", f"write {key}: {value}", number
    if before and not _HAS_KEY.search(_line(lines, before)) and _HAS_KEY.search(here):
        text = _line(lines, before).strip()
        return f"the line {quoted(text)} has no colon, so it is no key with a value", "write KEY: VALUE", before
    if len(_HAS_KEY.findall(here)) > 1:
        key, _, value = here.strip().partition(": ")
        fix = f"put quotes around the value: {key}: {quoted(value)}"
        return "two colons in one line: what follows the first is a value already", fix, line
    if before and _indent(lines, line) > _indent(lines, before):
        fix = f"begin it below the key of line {before}, or leave the value of that line empty"
        return f"this line is indented below line {before}, which has a value already", fix, line
    return "a colon stands where no key can be", "put quotes around text that contains a colon and a space", line


def _misplaced(lines: list[str], before: int, line: int, opened: int) -> tuple[str, str, int]:
    if re.search(r""":\s+(['"]).*?\1\s*\S""", _line(lines, line)):
        return "text follows after the closing quote", "put the whole value into one pair of quotes", line
    others = [f"line {one} (column {_indent(lines, one) + 1})" for one in sorted({before, opened} - {0, line})]
    what = f"this line begins in column {_indent(lines, line) + 1}, which does not fit {listed(others, last='or')}"
    return what, "keys that belong together begin in the same column", line


def _place(text: str, marked: MarkedYAMLError | None, error: Exception) -> tuple[int, int]:
    mark = (marked.problem_mark or marked.context_mark) if marked else None
    if mark is not None:
        return mark.line + 1, mark.column + 1
    position = error.position if isinstance(error, ReaderError) and isinstance(error.position, int) else 0
    before = text[:position]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _code_point(error: ReaderError) -> int:
    return ord(error.character) if isinstance(error.character, str) else int(error.character)


def _line(lines: list[str], number: int) -> str:
    return lines[number - 1] if 0 < number <= len(lines) else ""


def _line_before(lines: list[str], number: int) -> int:
    """The number of the line before that is neither empty nor a comment; 0 = there is none."""
    for earlier in range(min(number, len(lines)) - 1, 0, -1):
        if lines[earlier - 1].strip() and not lines[earlier - 1].lstrip().startswith("#"):
            return earlier
    return 0


def _indent(lines: list[str], number: int) -> int:
    text = _line(lines, number)
    return len(text) - len(text.lstrip())

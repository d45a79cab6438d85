"""What is wrong with a stack file, where, why it matters and how it is mended; and all of it in one exception.

Format: DESIGN.md, section 5. A path is dotted: "tiers.web.hosts", list items "tiers.web.hosts.0".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from nospof.errors import WrongInput
from nospof.stack.words import printable, show

if TYPE_CHECKING:
    from nospof.stack.model import Stack

_MOST_SHOWN = 50
# More than a person mends before trying again; the count at the end still tells them all.


class Severity(Enum):
    """How bad a problem is; the order is that of the exit codes."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong at one place of the file.

    `line` and `column` count from 1; line 0 = the file as a whole. `file` is as the user typed it, `value` what stands there.
    """

    code: str
    path: str
    line: int
    column: int
    what: str
    why: str = ""
    fix: str = ""
    severity: Severity = Severity.ERROR
    file: str = ""
    value: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        subject = f"{self.path}: {self.value}" if self.value else self.path
        lines = [f"{self.severity.value}[{self.code}] {place}" + (f"  {subject}" if subject else ""), f"  {self.what}"]
        lines += [f"  {label}: {text}" for label, text in (("why", self.why), ("fix", self.fix)) if text]
        return "\n".join(printable(line) for line in lines)


class StackProblems(WrongInput):
    """The stack file is wrong; `problems` has everything that was found, warnings too, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__(f"{_count(self.problems)}; nothing was touched.")

    def __str__(self) -> str:
        shown = [str(problem) for problem in self.problems[:_MOST_SHOWN]]
        if len(self.problems) > _MOST_SHOWN:
            shown.append(f"… and {len(self.problems) - _MOST_SHOWN} more.")
        return "\n\n".join([*shown, self.what])


class Problems:
    """Collects the problems of one file, and knows where each path stands."""

    def __init__(self, file: str, positions: Mapping[str, tuple[int, int]], values: Mapping[str, object]) -> None:
        self.file, self.positions, self.values = file, positions, values
        self.found: list[Problem] = []
        self.unreadable: set[str] = set()
        """Paths that were not understood: nothing more is said of what stands there."""

    def add(
        self, code: str, path: str, what: str, *, why: str = "", fix: str = "", severity: Severity = Severity.ERROR
    ) -> None:
        """Note a problem at `path`, or at its nearest parent that stands in the file."""
        if path in self.unreadable:
            return
        self.found.append(_at(self.file, self.positions, self.values, Problem(code, path, 0, 0, what, why, fix, severity)))

    @property
    def has_errors(self) -> bool:
        """Whether there is anything worse than a warning."""
        return any(problem.severity is Severity.ERROR for problem in self.found)


def problem_at(
    stack: Stack, code: str, path: str, what: str, why: str = "", fix: str = "", severity: Severity = Severity.ERROR
) -> Problem:
    """Make a Problem of a stack that was loaded, with file, line, column and value of `path` or of its nearest parent."""
    return _at(str(stack.file), stack.positions, stack.values, Problem(code, path, 0, 0, what, why, fix, severity))


@dataclass(frozen=True)
class Reference:
    """A name that stands in the file, and where."""

    path: str
    name: str


def references(value: object, path: str) -> list[Reference]:
    """The names in a value that is one name or a list of names; what is no text is left out."""
    if isinstance(value, str):
        return [Reference(path, value)]
    items = enumerate(value) if isinstance(value, list) else ()
    return [Reference(f"{path}.{place}", item) for place, item in items if isinstance(item, str)]


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems in the order of the file."""
    return tuple(sorted(problems, key=lambda one: (one.line, one.column, one.code, one.path, one.what)))


def worst_first(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Errors, then warnings, then notes: what is to be acted on comes first, the rest stays in its order."""
    severities = list(Severity)
    return tuple(sorted(problems, key=lambda one: severities.index(one.severity)))


def _at(file: str, positions: Mapping[str, tuple[int, int]], values: Mapping[str, object], problem: Problem) -> Problem:
    value = values.get(problem.path)
    is_shown = value is not None and not isinstance(value, dict)
    line, column = _nearest(positions, problem.path)
    return Problem(
        problem.code,
        problem.path,
        line,
        column,
        problem.what,
        problem.why,
        problem.fix,
        problem.severity,
        file,
        show(value) if is_shown else "",
    )


def _nearest(positions: Mapping[str, tuple[int, int]], path: str) -> tuple[int, int]:
    while path not in positions and path:
        path = path.rpartition(".")[0]
    return positions.get(path, (1, 1))


def _count(problems: Iterable[Problem]) -> str:
    counts = dict.fromkeys(Severity, 0)
    for problem in problems:
        counts[problem.severity] += 1
    parts = [f"{n} {severity.value}{'s' if n > 1 else ''}" for severity, n in counts.items() if n]
    return " and ".join(parts)

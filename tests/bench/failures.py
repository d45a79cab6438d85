# ruff: noqa: T201 - what is printed is the result
"""Everything that can happen to a database, once: how long writes stopped, what clients saw, and what the checkers say.

As root: `PYTHONPATH=tests/shared .venv/bin/python tests/bench/failures.py [WORDS...]` runs all faults, or those with one of
WORDS in their names (tests/shared/database_failures.py lists them), and prints the table for docs/benchmarks.md. What does not
heal is told with the agents' last words, and the rest goes on in a new lab.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from database_drill import AGENT, Drilled, drilled
from database_failures import FAILURES, Failure
from failing_database import FailingDatabase

from nospof.apply.transport import Finished
from nospof.drills.verdict import Result

HEAD = (
    "what happens",
    "writes stopped for",
    "writes failed, unknown",
    "new connections failed, slowest",
    "redundant after",
    "verdict",
)


def main(words: Sequence[str]) -> int:
    chosen = [failure for failure in FAILURES if not words or any(word in failure.name for word in words)]
    found: list[tuple[Failure, Drilled | str]] = []
    for failure, result in run(chosen):
        found.append((failure, result))
        print(f"{len(found)}/{len(chosen)} {result}", file=sys.stderr, flush=True)
    print("\n".join(table(found)))
    return 0 if all(isinstance(result, Drilled) and failure.is_as_expected(result) for failure, result in found) else 1


def run(failures: Sequence[Failure]) -> Iterator[tuple[Failure, Drilled | str]]:
    """Try each, in one lab as long as it heals."""
    left = list(enumerate(failures))
    while left:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nospof-bench-")))
            database = stack.enter_context(FailingDatabase.brought_up(folder / "stack"))
            while left:
                number, failure = left.pop(0)
                try:
                    yield failure, drilled(database, failure.name, failure.fault, f"drill_{number}")
                except (AssertionError, TimeoutError, ValueError, OSError, KeyError, IndexError, StopIteration) as error:
                    yield failure, f"{failure.name}: {type(error).__name__}: {error}\n{last_words(database)}"
                    break


def last_words(database: FailingDatabase) -> str:
    """What the agents said last."""
    journal = ["journalctl", "--no-pager", "--lines=25", "--output=short-unix", f"--unit={AGENT}"]
    said = []
    for node in database.nodes:
        ended = database.lab.run(node, journal)
        lines = ended.stdout.decode(errors="replace").splitlines() if isinstance(ended, Finished) else [str(ended)]
        said += [f"{node} {line}" for line in lines]
    return "\n".join(said)


def table(found: Sequence[tuple[Failure, Drilled | str]]) -> Iterator[str]:
    """The result in Markdown."""
    yield "| " + " | ".join(HEAD) + " |"
    yield "|" + "---|" * len(HEAD)
    for failure, result in found:
        cells = row(failure, result) if isinstance(result, Drilled) else ("did not heal", "", "", "", "**fail**")
        yield f"| {failure.name} | " + " | ".join(cells) + " |"


def row(failure: Failure, result: Drilled) -> tuple[str, ...]:
    wrong = [f"{check} {verdict.result}" for check, verdict in result.verdicts.items() if verdict.result is not Result.PASS]
    said = ", ".join(wrong) or "pass"
    return (
        f"{result.gap_s:.2f} s",
        f"{result.failed}, {result.unknown}",
        f"{result.connects_failed}, {result.connect_slowest_s:.1f} s",
        f"{result.redundant_s:.1f} s",
        said if failure.is_as_expected(result) else f"**{said}**",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

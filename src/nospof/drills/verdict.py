"""What a checker says: pass, fail or unknown, and why. A checker that saw too little says unknown, which is not green."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

MOST_EXAMPLES = 5


class Result(StrEnum):
    PASS = "pass"  # noqa: S105 - no password
    UNKNOWN = "unknown"
    FAIL = "fail"


@dataclass(frozen=True)
class Verdict:
    """`count`: how many things are wrong; `examples`: some of them. A fail has a count above 0, the others have 0."""

    result: Result
    reason: str
    count: int = 0
    examples: tuple[str, ...] = ()

    @property
    def is_pass(self) -> bool:
        return self.result is Result.PASS

    def __str__(self) -> str:
        examples = f" ({', '.join(self.examples)})" if self.examples else ""
        return f"{self.result}: {self.reason}{examples}"


def passed(reason: str) -> Verdict:
    return Verdict(Result.PASS, reason)


def unknown(reason: str) -> Verdict:
    return Verdict(Result.UNKNOWN, reason)


def failed(reason: str, wrong: Iterable[str]) -> Verdict:
    """Fail for each of `wrong`, of which there must be at least one; the first few are kept as examples."""
    found = sorted(wrong)
    if not found:
        raise ValueError(f"nothing is wrong, and yet: {reason}")
    return Verdict(Result.FAIL, reason, len(found), tuple(found[:MOST_EXAMPLES]))


def worst(verdicts: Iterable[Verdict]) -> Result:
    """Fail if any failed, else unknown if any is unknown or there is none, else pass."""
    results = {verdict.result for verdict in verdicts}
    if Result.FAIL in results:
        return Result.FAIL
    return Result.PASS if results == {Result.PASS} else Result.UNKNOWN


def worst_of(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The first of the worst kind; None of none."""
    return next((one for one in verdicts if one.result is worst(verdicts)), None)

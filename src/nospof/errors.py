"""The errors a user sees: what happened, why it matters, what to do now — and the exit code that goes with each.

NospofError          70   a defect of nospof's own, unless a subclass says otherwise
├── WrongInput        2   the stack file or the call is wrong
├── Failed            1   something was tried and did not succeed; nothing is lost
├── Uncertain         3   a host did not answer: what happened is unknown
└── NotHealed         4   a fault was made and could not be taken back
"""

from __future__ import annotations


class NospofError(Exception):
    """Says what went wrong in one line; `why`, `fix` and `detail` (log lines) follow it on the screen."""

    exit_code = 70

    def __init__(self, what: str, *, why: str = "", fix: str = "", detail: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.fix, self.detail = what, why, fix, detail

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"  {label}: {text}" for label, text in (("why", self.why), ("fix", self.fix)) if text]
        lines += [f"  | {line}" for line in self.detail.splitlines()]
        return "\n".join(lines)


class WrongInput(NospofError):
    """The stack file or the command line is wrong; nothing was touched."""

    exit_code = 2


class Failed(NospofError):
    """Something was tried and did not succeed; what was there before still is."""

    exit_code = 1


class Uncertain(NospofError):
    """A host did not answer, so nobody knows what happened there."""

    exit_code = 3


class NotHealed(NospofError):
    """A fault was made and could not be taken back."""

    exit_code = 4

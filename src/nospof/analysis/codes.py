"""Every F-code: what is allowed, but unsafe. The reference page of the docs is made from this table.

Codes are never given to something else later: people search for them. F1xx security and what cannot be seen, F2xx what one
failure takes away, F3xx what the servers lack. S-codes (the file contradicts itself) are in nospof.stack.codes.
"""

from __future__ import annotations

from dataclasses import dataclass

from nospof.stack.model import Stack
from nospof.stack.problems import Problem, Severity, problem_at


@dataclass(frozen=True)
class Code:
    """How bad a finding is, and what it means in one sentence."""

    severity: Severity
    meaning: str


CODES: dict[str, Code] = {
    "F101": Code(Severity.WARNING, "The firewall is off."),
    "F102": Code(Severity.WARNING, "Visitors are served without HTTPS."),
    "F103": Code(Severity.NOTE, "Nothing watches the stack."),
    "F104": Code(Severity.NOTE, "The stack is reached over IPv4 only."),
    "F201": Code(Severity.WARNING, "A tier has a single host."),
    "F202": Code(Severity.WARNING, "All hosts of a tier are in one zone."),
    "F203": Code(Severity.WARNING, "The copies of the data are not in three zones."),
    "F204": Code(Severity.WARNING, "The voters are not in three zones."),
    "F205": Code(Severity.WARNING, "When the primary is lost, nothing takes over for it."),
    "F210": Code(Severity.WARNING, "A single host takes a goal down: a single point of failure."),
    "F211": Code(Severity.WARNING, "A single zone takes a goal down, though none of its hosts alone does."),
    "F212": Code(Severity.NOTE, "Two losses at once take a goal down."),
    "F213": Code(Severity.NOTE, "What the stack rests on and no stack file can double."),
    "F214": Code(Severity.NOTE, "How much of the year the goals hold, and what that rests on."),
    "F301": Code(Severity.WARNING, "Debian's present release does not have the packages of a component."),
}


def finding(stack: Stack, code: str, path: str, what: str, *, why: str, fix: str) -> Problem:
    """A finding with the severity of its code, at `path` of the stack file or its nearest parent."""
    return problem_at(stack, code, path, what, why, fix, CODES[code].severity)

"""Every F-code: what is allowed, but unsafe. The reference page of the docs is made from this table.

Codes are never given to something else later: people search for them. F1xx security and what cannot be seen, F2xx what one
failure takes away, F3xx what the servers lack. F205 is no longer said: F210 tells of a primary that nothing takes over for.
S-codes (the file contradicts itself) are in nospof.stack.codes.
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
    "F105": Code(Severity.WARNING, "SSH is open to the whole world."),
    "F106": Code(Severity.WARNING, "Users' data crosses the network unencrypted."),
    "F107": Code(Severity.WARNING, "A protection that is on by default is switched off."),
    "F108": Code(Severity.NOTE, "Visitors' browsers do not trust the certificate."),
    "F110": Code(Severity.WARNING, "Alerts go nowhere."),
    "F111": Code(Severity.NOTE, "Nobody outside would notice that alerts do not arrive any more."),
    "F201": Code(Severity.WARNING, "A tier has a single host."),
    "F202": Code(Severity.WARNING, "All hosts of a tier are in one zone."),
    "F203": Code(Severity.WARNING, "The copies of the data are not in three zones."),
    "F204": Code(Severity.WARNING, "The voters are not in three zones."),
    "F206": Code(Severity.WARNING, "There are fewer than three voters, so that none may be lost."),
    "F207": Code(Severity.WARNING, "An acknowledged write can be lost."),
    "F208": Code(Severity.WARNING, "A tier's health depends on what it calls."),
    "F210": Code(Severity.WARNING, "A single host takes a goal down: a single point of failure."),
    "F211": Code(Severity.WARNING, "A single zone takes a goal down, though none of its hosts alone does."),
    "F212": Code(Severity.NOTE, "Two losses at once take a goal down."),
    "F213": Code(Severity.NOTE, "What the stack rests on and no stack file can double."),
    "F214": Code(Severity.NOTE, "How much of the year the goals hold, and what that rests on."),
    "F215": Code(Severity.NOTE, "Nothing backs the data up."),
    "F216": Code(Severity.NOTE, "A cut between two hosts that both live takes a goal down, or nobody knows what it does."),
    "F217": Code(Severity.NOTE, "Writes are acknowledged before any copy has them: those of the last moment can be lost."),
    "F218": Code(Severity.WARNING, "Files that an application writes stay on the host that took them."),
    "F220": Code(Severity.WARNING, "What is left of a tier without one host does not carry the peak."),
    "F221": Code(Severity.WARNING, "What is left of a tier without one zone does not carry the peak."),
    "F222": Code(Severity.WARNING, "The stack was measured, and as a whole does not carry the peak."),
    "F223": Code(Severity.NOTE, "Whether what is left carries the peak is unknown."),
    "F224": Code(Severity.NOTE, "The measured capacity is old, or of another stack."),
    "F225": Code(Severity.NOTE, "The peak is carried without any one host or zone, and what that rests on."),
    "F226": Code(Severity.NOTE, "A spare of several tiers may have to carry them all at once, and perhaps cannot."),
    "F301": Code(Severity.WARNING, "Debian's present release does not have the packages of a component."),
}


def finding(stack: Stack, code: str, path: str, what: str, *, why: str, fix: str) -> Problem:
    """A finding with the severity of its code, at `path` of the stack file or its nearest parent."""
    return problem_at(stack, code, path, what, why, fix, CODES[code].severity)

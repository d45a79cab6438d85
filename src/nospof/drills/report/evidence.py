"""With what it was found, so that somebody else can find the same: versions, times, hashes. Pure."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from nospof.drills.outcome import Level, is_foretold_in_time
from nospof.drills.phrases import counted, seconds
from nospof.drills.report.markup import Html, fold, join, sign, table, tag
from nospof.drills.result import Proof


def evidence(proof: Proof) -> Html:
    rows: list[tuple[str, str]] = [
        ("stack file, sha256 of what follows from it", _hash(proof.stack_sha256)),
        ("predictions, sha256", _hash(proof.foretold_sha256)),
        ("predictions written down", join([when(proof.foretold_at), " ", _foretold_in_time(proof)])),
        ("drills", f"{when(proof.began_at)} to {when(proof.ended_at)} ({seconds(proof.ended_at - proof.began_at)})"),
        ("machine", proof.machine),
        ("nospof", proof.nospof),
    ]
    packages = [(name, version) for name, version in sorted(proof.packages.items())]
    return join([
        table(("what", "value"), rows),
        fold(f"{counted(len(packages), 'package')} on the hosts", table(("package", "version"), packages)) if packages else "",
        _diagram(proof),
    ])  # fmt: skip


def when(at: float) -> str:
    """Seconds since the epoch as a date, in UTC."""
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "unknown"


def _hash(digest: str) -> Html:
    return tag("code", digest)


def _foretold_in_time(proof: Proof) -> Html:
    if not proof.drills:
        return Html()
    if is_foretold_in_time(proof):
        return sign(Level.GOOD, "before the first drill")
    return sign(Level.BAD, "after the first drill, so that they prove nothing")


def _diagram(proof: Proof) -> Html:
    """As a picture, in which nothing is run and nothing is loaded, whatever stands in the file."""
    if not proof.diagram_svg.lstrip().startswith("<svg"):
        return Html()
    encoded = base64.b64encode(proof.diagram_svg.encode(errors="replace")).decode()
    about = f"Diagram of {proof.stack}: its hosts and who calls whom"
    picture = tag("img", src=f"data:image/svg+xml;base64,{encoded}", alt=about)
    return tag("figure", picture, class_="diagram", tabindex=0)

"""All that a checker file imports: what a checker says of itself, what it looks up on the hosts, and how it judges.

A subclass registers itself under its `name`. What it looks up is kept as JSON with the drill, so that the same verdict can be
reached again from what was kept; `judge` is pure.
"""

from __future__ import annotations

from typing import Any, ClassVar

from nospof.drills.ground import Ground
from nospof.drills.record import Record
from nospof.drills.verdict import Verdict, failed, passed, unknown

__all__ = ["Checker", "Ground", "Record", "Verdict", "failed", "passed", "unknown"]


class Checker:
    """One promise that a drill holds the stack to."""

    kinds: ClassVar[dict[str, type[Checker]]] = {}
    name: ClassVar[str]
    about: ClassVar[str]
    """The promise, in one sentence."""

    def __init_subclass__(cls) -> None:
        if cls.name in Checker.kinds:
            raise TypeError(f"two checkers are named {cls.name}")
        Checker.kinds[cls.name] = cls

    def look(self, ground: Ground) -> Any:
        """What must be known before the fault and after healing, as JSON; looked up both times."""
        return None

    def judge(self, record: Record) -> Verdict | None:
        """The verdict; None where the stack has nothing of the kind."""
        raise NotImplementedError

"""How much an analysis may cost: it ends with a clear error instead of taking the whole memory of the machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from nospof.errors import Uncertain

# A node and what is remembered of it take some 400 bytes (measured on edf9203), so this is about 3 GiB.
MOST_NODES = 8_000_000


def never() -> bool:
    """No limit of time."""
    return False


class TooExpensive(Uncertain):
    """The answer exists, but the budget was spent before it was found: it is unknown."""


@dataclass(frozen=True)
class Budget:
    """At most `nodes` nodes and remembered results in one diagram; no work goes on once `is_late()` says so.

    The clock belongs to whoever makes the budget: nothing here reads one.
    """

    nodes: int = MOST_NODES
    is_late: Callable[[], bool] = never

    def check(self, used: int) -> None:
        """Raise TooExpensive when `used` nodes and remembered results are too many, or when it is late."""
        if used > self.nodes:
            raise TooExpensive(
                f"more than {self.nodes} nodes are needed, which is what this analysis may use",
                why="the decision diagram of this tree is too large under every order of its events that was tried",
                fix="allow more, if there is memory for it: 400 bytes per node",
            )
        if self.is_late():
            raise TooExpensive("the time for this analysis is over before it was finished", fix="allow more time")

    def at_most(self, nodes: int) -> Budget:
        """The same, with `nodes` nodes if that is less."""
        return replace(self, nodes=min(nodes, self.nodes))

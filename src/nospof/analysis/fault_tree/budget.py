"""How much an analysis may cost: it ends with a clear error instead of taking the whole memory of the machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from nospof.errors import Uncertain

# Measured on edf9203: a node or remembered result takes that much, so the default ends at about 3 GiB.
BYTES_PER_NODE = 200
MOST_NODES = 16_000_000


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
            raise self.exceeded()
        if self.is_late():
            raise TooExpensive("the time for this analysis was over before it was finished", fix="allow more time")

    def exceeded(self) -> TooExpensive:
        """The error for work that needs more nodes than there may be."""
        return TooExpensive(
            f"this analysis needs more than the {self.nodes} nodes it may use",
            why="under every order of its events that was tried the diagram of this tree, or of its cut sets, is larger",
            fix=f"allow more nodes, if there is memory for them: each takes some {BYTES_PER_NODE} bytes",
        )

    def at_most(self, nodes: int) -> Budget:
        """The same, with `nodes` nodes if that is less."""
        return replace(self, nodes=min(nodes, self.nodes))

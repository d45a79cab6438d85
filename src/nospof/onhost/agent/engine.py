"""What the agent asks of a database product: one adapter for each implements this, and nothing else knows the product.

Every call is bounded in time. What the server refuses or does not answer raises EngineError; whether it happened is seen at the
next look. Two threads use an engine: one looks, one acts; each has connections of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from nospof.onhost.agent.model import BEGINNING, Position, Role, Server


class EngineError(Exception):
    """The server refused, did not answer in time, or a program it needs failed; the text is for the log."""


class Engine(Protocol):
    """One local database server."""

    # --- looking -------------------------------------------------------------------------------------------------
    def pid(self) -> int | None:
        """The main process, None when there is none. Cheap: no connection to the server."""

    def look(self) -> Server:
        """See everything of `Server` but `incarnation`, which the agent keeps. Raises EngineError with no answer within 1 s."""

    def heard(self) -> object:
        """Something that differs whenever anything came from the primary since the last call, heartbeats included; cheap."""

    def questions(self) -> tuple[int, int]:
        """How many statements clients have sent since the server started, and how many this engine ever sent.

        A thread of its own asks.
        """

    def has_data(self) -> bool:
        """Whether there is a data directory to start with. Cheap."""

    # --- starting and ending -------------------------------------------------------------------------------------
    def start(self, role: Role) -> None:
        """Start the server read-only, with no replication running, and wait until it answers (bounded by minutes: recovery)."""

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""

    # --- as a replica --------------------------------------------------------------------------------------------
    def stop_receiving(self) -> None:
        """Stop the receiving thread only. Nothing more can arrive then, not even by a statement of an earlier connection."""

    def resume_receiving(self) -> None:
        """Start the receiving thread only."""

    def follow(self, node: str, *, acknowledges: bool, may_forget: bool, goes_ahead: bool = False) -> None:
        """Stop replicating, take changes from `node` by GTID, acknowledge or not, start. The former primary follows so too.

        Unless it `may_forget`, raises EngineError, having changed nothing, when what was received is not applied yet. With
        `goes_ahead` also, receiving no more, when `node` does not soon have all that is here.
        """

    def acknowledge(self, *, on: bool) -> None:
        """Switch acknowledging and connect anew, without stopping the applying thread."""

    # --- as the primary ------------------------------------------------------------------------------------------
    def be_primary(self, *, waits_for_voters: bool, takes_writes: bool) -> None:
        """Follow nobody, acknowledge nothing; then wait for voters or not, take writes or not, in the safe order."""

    def freeze(self, within_s: float) -> bool:
        """Take no more writes; False, with everything as before, when that could not be had within `within_s`."""

    def may_hand_over(self) -> str:
        """Say why the primary cannot pass its role on just now (a long transaction, a table change, a backup); "" = it can."""

    def barrier(self) -> Position:
        """Wait until all commits that began have ended, and say what is written then."""

    def end_feeds(self, nodes: frozenset[str]) -> None:
        """End what is sent to these replicas."""

    def beat(self) -> None:
        """Write a row over a connection that stays open; returns when it is acknowledged, however long that takes.

        A thread of its own calls it. Raises EngineError when the connection ends.
        """

    def ask_replicas(self) -> None:
        """Learn how far those are that are fed from here, for `feeds` of the next look. A thread of its own calls it."""

    def ask_replica(self, node: str) -> None:
        """The same of one, as soon as it has all that is written here, within 0.4 s. Raises EngineError if it is not fed."""

    def release(self, received: Position) -> int:
        """Let those clients go that wait for writes which are all within `received`; returns how many."""

    # --- coming back ---------------------------------------------------------------------------------------------
    def save_beyond(self, keeps: Position, into: Path) -> int:
        """With the server stopped: write what its log has beyond `keeps` as SQL into the folder; returns their number."""

    def copy_from(self, node: str, progress: Callable[[str], None]) -> None:
        """Replace all data by a copy of `node`'s: the server is stopped before and after, and afterwards knows its position."""

    def first_data(self) -> None:
        """Make an empty data directory, where there is none."""


def positions(numbers: Mapping[str, int], writer: str = "") -> Position:
    """Make a position; sources without a number are left out."""
    return (
        Position(tuple(sorted((source, number) for source, number in numbers.items() if number)), writer)
        if numbers
        else BEGINNING
    )

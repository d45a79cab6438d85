"""The agent's values as JSON, for etcd: what is not understood is refused, never guessed."""

from __future__ import annotations

import dataclasses
import json
from enum import Enum
from typing import Any

from nospof.onhost.agent.model import (
    BEGINNING,
    Cause,
    Cluster,
    Election,
    Handover,
    Position,
    Promotion,
    Report,
    Sync,
    Vote,
)


class Misunderstood(Exception):
    """The text is not what one of our agents writes."""


def write_cluster(cluster: Cluster) -> str:
    """Write all but the revision, which is the key's own."""
    told = _plain(cluster)
    del told["revision"]
    return json.dumps(told, sort_keys=True)


def read_cluster(text: str, revision: int) -> Cluster:
    """Raises Misunderstood."""
    try:
        told = json.loads(text)
        election, handover = told["election"], told["handover"]
        return Cluster(
            revision=revision,
            term=int(told["term"]),
            primary=str(told["primary"]),
            sync=Sync(told["sync"]),
            voters=_strings(told["voters"]),
            is_new=bool(told["is_new"]),
            primary_down=bool(told["primary_down"]),
            election=None if election is None else Election(election["by"], Cause(election["cause"]), election["why"]),
            handover=None if handover is None else Handover(handover["to"], handover["id"]),
            last=_promotion(told["last"]),
            claimed_by=str(told["claimed_by"]),
            deposed={node: _position(position) or BEGINNING for node, position in told["deposed"].items()},
            removed={node: int(revision) for node, revision in told["removed"].items()},
            paused_until=float(told["paused_until"]),
            paused_by=str(told["paused_by"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Misunderstood(f"the cluster's state cannot be read: {type(error).__name__} {error}") from error


def write_vote(vote: Vote, revision: int) -> str:
    """Write a vote with the revision that it is for."""
    return json.dumps({**_plain(vote), "revision": revision}, sort_keys=True)


def read_vote(text: str) -> tuple[int, Vote]:
    """Return the revision and the vote. Raises Misunderstood."""
    try:
        told = json.loads(text)
        received, applied = _position(told["received"]), _position(told["applied"])
        vote = Vote(told["node"], told["incarnation"], received or BEGINNING, applied or BEGINNING, told["refusal"])
        return int(told["revision"]), vote
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Misunderstood(f"a vote cannot be read: {type(error).__name__} {error}") from error


def write_report(report: Report) -> str:
    return json.dumps(_plain(report), sort_keys=True)


def read_report(text: str) -> Report:
    """Raises Misunderstood."""
    try:
        told = json.loads(text)
        return Report(
            node=str(told["node"]),
            incarnation=str(told["incarnation"]),
            revision=int(told["revision"]),
            acknowledges=bool(told["acknowledges"]),
            is_fit_to_vote=bool(told["is_fit_to_vote"]),
            received=_position(told["received"]) or BEGINNING,
            says=str(told["says"]),
            goes_ahead_to=str(told.get("goes_ahead_to", "")),  # agents of an earlier version go nowhere
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Misunderstood(f"a report cannot be read: {type(error).__name__} {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value


def _position(told: Any) -> Position | None:
    if told is None:
        return None
    return Position(tuple((str(source), int(number)) for source, number in told["numbers"]), str(told["writer"]))


def _promotion(told: Any) -> Promotion:
    return Promotion(told["origin"], _position(told["position"]) or BEGINNING, Cause(told["cause"]), told["why"])


def _strings(told: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in told.items()}

"""What the router program decides from what the database hosts tell it, and what HAProxy is to be told. Pure.

The writes go to the host whose own fresh document claims them in the highest term ever heard of: an old primary that does not
know yet that it was replaced claims a lower one. While nobody claims them, or a handover is under way, new connections wait
instead of being refused, but never for ever. What was not heard lately is avoided, but only what says no itself loses its open
sessions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

# A host is asked to answer at least every 0.4 s (WAIT_MS of the program), so that a busy one may be as late again.
FRESH_S = 0.8
# The agents undo a handover that took longer.
HANDOVER_S = 1.5
# HAProxy 3.0.11 forgets a session that is ended while it is still connecting to its server: its client waits for ever. So a
# server's sessions end only this long after it was given its last new connection: where its host answers, and where it may be
# dark (HAProxy's `timeout connect`).
CONNECTED_S, DARK_CONNECTED_S = 0.1, 0.6
MAX_NUMBER = 1 << 53
MAX_DOCUMENT = 16 * 1024
NEVER = float("inf")


# --- what is heard --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Document:
    """What a host tells of itself."""

    version: int
    term: int
    revision: int
    role: str
    takes_writes: bool
    fit_for_reads: bool
    is_moving: bool

    @property
    def claims_writes(self) -> bool:
        return self.role == "primary" and self.takes_writes


KINDS: Mapping[str, type] = {
    "version": int,
    "term": int,
    "revision": int,
    "role": str,
    "takes_writes": bool,
    "fit_for_reads": bool,
    "is_moving": bool,
}


def parse_document(text: bytes, tier: str, host: str) -> Document:
    """Read a document strictly. Raises ValueError if it is none, or not of this host of this tier."""
    try:
        told = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(told, dict):
        raise ValueError("is no object")
    for name, kind in KINDS.items():
        value = told.get(name)
        if type(value) is not kind or (isinstance(value, int) and not 0 <= value < MAX_NUMBER):
            raise ValueError(f"{name} is {value!r:.40}")
    if (told.get("tier"), told.get("host")) != (tier, host):
        raise ValueError(f"is of {told.get('host')!r:.40} in {told.get('tier')!r:.40}")
    return Document(**{name: told[name] for name in KINDS})


@dataclass(frozen=True)
class Heard:
    """The last document of a host, and when it came (seconds of the monotonic clock)."""

    document: Document
    at_s: float


# --- the decision ---------------------------------------------------------------------------------------------------------
class Give(Enum):
    """What a server is given, in HAProxy's words for its administrative state."""

    ALL = "ready"
    """New connections, while HAProxy's own checks agree."""
    NO_NEW = "drain"
    """No new connections; open ones go on, while the checks agree."""
    NOTHING = "maint"
    """Nothing; its open sessions end."""


@dataclass(frozen=True)
class Remembered:
    """What one decision leaves to the next. `term`: the highest ever heard of, which outlives the program."""

    term: int = 0
    writer: str | None = None
    readers: frozenset[str] = frozenset()
    without_writer_since_s: float | None = None
    moving_since_s: float | None = None
    open_to: frozenset[tuple[str, bool]] = frozenset()
    """(host, whether for writes) that get new connections now."""
    closed_at_s: Mapping[tuple[str, bool], float] = field(default_factory=dict)
    """Since when the others get none."""


@dataclass(frozen=True)
class Wanted:
    """How HAProxy is to be. `servers`: (host, whether for writes) → what it is given; who is not in it stays as it is."""

    writer: str | None = None
    servers: Mapping[tuple[str, bool], Give] = field(default_factory=dict)
    pauses_writes: bool = False
    pauses_reads: bool = False
    why: str = ""
    look_again_s: float = NEVER
    """When time alone may change the decision."""


def decide(
    hosts: tuple[str, ...], heard: Mapping[str, Heard], remembered: Remembered, now_s: float, *, hold_s: float
) -> tuple[Wanted, Remembered]:
    """Say who writes, who reads and whether new connections wait; `hold_s`: at most so long without a primary."""
    term = max([remembered.term, *(item.document.term for item in heard.values())])
    fresh = {host: item.document for host, item in heard.items() if host in hosts and now_s - item.at_s <= FRESH_S}
    claimant = _claimant(fresh, term, remembered.writer)
    is_moving = any(document.is_moving and document.term == term for document in fresh.values())
    remembered = replace(
        remembered,
        term=term,
        without_writer_since_s=None if claimant else _since(remembered.without_writer_since_s, now_s),
        moving_since_s=_since(remembered.moving_since_s, now_s) if is_moving else None,
    )
    ends_s = _pause_ends_s(remembered, hold_s)
    is_paused = now_s < ends_s
    # Whoever had the writes keeps his open sessions until there is a successor, or nobody waits for one any more.
    writer = claimant or (remembered.writer if is_paused or not fresh else None)
    readers = _readers(fresh, remembered.readers, claimant)
    keys = [(host, for_writes) for host in hosts for for_writes in (True, False)]
    closed_at_s = {key: now_s if key in remembered.open_to else remembered.closed_at_s.get(key, now_s) for key in keys}
    ends_at_s = {key: at_s + (CONNECTED_S if key[0] in fresh else DARK_CONNECTED_S) for key, at_s in closed_at_s.items()}
    servers: dict[tuple[str, bool], Give] = {}
    # Who hears nobody knows nothing: HAProxy's own checks decide alone.
    for host, for_writes in keys if fresh else ():
        if for_writes and is_paused and not writer:
            continue  # This program began in a pause: whoever has the writes may be about to go on.
        is_avoided = now_s < ends_at_s[host, for_writes] or (not for_writes and host in remembered.readers - fresh.keys())
        is_in = host == writer if for_writes else host in readers
        servers[host, for_writes] = Give.ALL if is_in else Give.NO_NEW if is_avoided else Give.NOTHING
    leaving = [ends_at_s[key] for key, give in servers.items() if give is Give.NO_NEW]
    # Reads that fall back to the primary are among its new connections, but wait with the writes.
    is_open = {key for key, give in servers.items() if give is Give.ALL and not (key[1] and is_paused)}
    remembered = replace(
        remembered,
        writer=writer,
        readers=readers | (remembered.readers - fresh.keys()),
        open_to=frozenset(is_open) if fresh else remembered.open_to,
        closed_at_s=closed_at_s,
    )
    wanted = Wanted(
        writer=writer,
        servers=servers,
        pauses_writes=is_paused,
        pauses_reads=is_paused and not readers,
        why=_why(fresh, term, claimant, is_moving=is_moving, ends_s=ends_s, now_s=now_s),
        look_again_s=min(_ahead(now_s, [ends_s, *leaving, *(item.at_s + FRESH_S for item in heard.values())])),
    )
    return wanted, remembered


def excused(heard: Mapping[str, Heard], late_s: float) -> dict[str, Heard]:
    """Return `heard` as if the clock had stood still for `late_s` seconds: a frozen program could not have heard anything."""
    return {host: replace(item, at_s=item.at_s + late_s) for host, item in heard.items()}


def _claimant(fresh: Mapping[str, Document], term: int, present: str | None) -> str | None:
    claims = [(document.revision, host == present, host) for host, document in fresh.items() if _is_claim(document, term)]
    return max(claims)[2] if claims else None


def _is_claim(document: Document, term: int) -> bool:
    return document.claims_writes and document.term == term


def _since(before_s: float | None, now_s: float) -> float:
    return now_s if before_s is None else before_s


def _pause_ends_s(remembered: Remembered, hold_s: float) -> float:
    """Return when a pause ends that may be under way; the past, if there is none."""
    if remembered.without_writer_since_s is not None:
        return remembered.without_writer_since_s + hold_s
    return -NEVER if remembered.moving_since_s is None else remembered.moving_since_s + HANDOVER_S


def _readers(fresh: Mapping[str, Document], before: frozenset[str], claimant: str | None) -> frozenset[str]:
    fit = frozenset(host for host, document in fresh.items() if document.fit_for_reads and document.role == "replica")
    if fit or claimant:
        return fit
    # The last replica is being promoted: it goes on answering reads until it is the primary, who then does.
    return frozenset(host for host, document in fresh.items() if host in before and document.is_moving)


def _ahead(now_s: float, times: list[float]) -> Iterator[float]:
    yield NEVER
    yield from (time_s for time_s in times if time_s > now_s)


def _why(
    fresh: Mapping[str, Document], term: int, claimant: str | None, *, is_moving: bool, ends_s: float, now_s: float
) -> str:
    if claimant:
        says = f"{claimant} is primary in term {term}, revision {fresh[claimant].revision}"
        return says + (", its role is about to move" if is_moving else "")
    if not fresh:
        return "no database host is heard"
    old = sorted(f"{host} of term {document.term}" for host, document in fresh.items() if document.claims_writes)
    says = f"nobody takes writes in term {term}" + (f", only {', '.join(old)}" if old else "")
    return says + ("" if now_s < ends_s else ", for too long to wait")


# --- what HAProxy is to be told -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Group:
    """A backend and the frontends that lead to it first, with the connections each takes."""

    backend: str
    frontends: Mapping[str, int]


@dataclass(frozen=True)
class Actual:
    """How HAProxy is: (backend, server) → what it is given, frontend → the connections it takes."""

    servers: Mapping[tuple[str, str], Give]
    frontends: Mapping[str, int]


def commands(wanted: Wanted, actual: Actual, write: Group, read: Group | None) -> tuple[list[str], Actual]:
    """Return what makes `actual` as wanted, to be told in one go, and what it is then.

    New connections wait while the writes go from one server to another. In the read group whoever comes is let in before
    whoever goes. `health up`: a check that was asked before the role changed counts no more.
    """
    servers, frontends = dict(actual.servers), dict(actual.frontends)
    before, after = [], []
    for group, is_paused in ((write, wanted.pauses_writes), (read, wanted.pauses_reads)):
        for name, most in group.frontends.items() if group else ():
            if is_paused and frontends.get(name) != 0:
                before.append(f"set maxconn frontend {name} 0")
            elif not is_paused and frontends.get(name) != most:
                after.append(f"set maxconn frontend {name} {most}")
            frontends[name] = 0 if is_paused else most
    reads = _changes(read.backend, False, wanted, servers) if read else []
    writes = _changes(write.backend, True, wanted, servers)
    if not wanted.pauses_writes and any(line.endswith(" ready") for line in writes):
        before += [f"set maxconn frontend {name} 0" for name in write.frontends if actual.frontends.get(name) != 0]
        after += [
            line for name, most in write.frontends.items() if (line := f"set maxconn frontend {name} {most}") not in after
        ]
    health = f"set server {write.backend}/{wanted.writer} health up"
    if wanted.writer and after and not wanted.pauses_writes and health not in writes:
        writes.append(health)
    # Reads that fall back to the primary find it before the last replica goes.
    lets_in = [line for line in reads if line.endswith((" ready", " up"))]
    return [*before, *lets_in, *writes, *(line for line in reads if line not in lets_in), *after], Actual(servers, frontends)


def _changes(backend: str, is_write: bool, wanted: Wanted, servers: dict[tuple[str, str], Give]) -> list[str]:
    raised, lowered = [], []
    for (host, for_writes), give in sorted(wanted.servers.items(), key=lambda item: item[0]):
        key = backend, host
        present = servers.get(key)
        # `drain` would let in who is out.
        if for_writes is not is_write or present is give or (present is Give.NOTHING and give is Give.NO_NEW):
            continue
        servers[key] = give
        if give is Give.ALL:
            raised += [f"set server {backend}/{host} state ready", f"set server {backend}/{host} health up"]
        else:
            lowered.append(f"set server {backend}/{host} state {give.value}")
            lowered += [f"shutdown sessions server {backend}/{host}"] if give is Give.NOTHING else []
    # A connection that was taken before the pause finds one of the two in any case.
    return raised + lowered


def freeing(actual: Actual, groups: tuple[Group, ...]) -> list[str]:
    """Return what leaves HAProxy to its own checks: nothing waits, and who was kept out is let in by the first check only."""
    every = [(name, most) for group in groups for name, most in group.frontends.items()]
    freed = sorted(key for key, give in actual.servers.items() if give is not Give.ALL)
    lines = [f"set maxconn frontend {name} 0" for name, _ in every] if freed else []
    for backend, server in freed:
        lines += [f"set server {backend}/{server} state ready", f"set server {backend}/{server} health down"]
    return lines + [f"set maxconn frontend {name} {most}" for name, most in every]


FORCED_MAINT, FORCED_DRAIN = 0x01, 0x08


def parse_servers(text: str) -> dict[tuple[str, str], Give]:
    """Read HAProxy's answer to `show servers state`."""
    found = {}
    for fields in (line.split() for line in text.splitlines()):
        if len(fields) > 18 and fields[0].isdigit():
            admin = int(fields[6])
            found[fields[1], fields[3]] = (
                Give.NOTHING if admin & FORCED_MAINT else Give.NO_NEW if admin & FORCED_DRAIN else Give.ALL
            )
    return found


def parse_frontends(text: str) -> dict[str, int]:
    """Read the limits of connections in HAProxy's answer to `show stat`."""
    rows = (line.split(",") for line in text.splitlines() if not line.startswith("#"))
    return {row[0]: int(row[6]) for row in rows if len(row) > 6 and row[1] == "FRONTEND" and row[6].isdigit()}

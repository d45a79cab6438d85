"""What the page has heard: of each host when, and what it said then; how much visitors ask; what changed.

A host that does not answer keeps what it said last, with its age, and hides nobody else. Clocks of other hosts are not
believed: how old a figure is, is counted from when it was seen to change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from nospof.onhost.page.config import Config, Counting
from nospof.onhost.page.figures import Figures

# One answer that is late on a busy host is no dark host.
LATE_S = 5.0
MOST_POINTS = 150
MOST_EVENTS = 100


@dataclass(frozen=True)
class Now:
    """One moment on both clocks: `mono_s` counts, `at` is seconds since the epoch, to be shown."""

    mono_s: float
    at: float


@dataclass(frozen=True)
class HostSeen:
    """`answered`: when it last did, None: never. `why`: what the last question came to where it failed.

    `told_s`: when what it measures was last seen to be new, on the monotonic clock.
    """

    answered: Now | None = None
    why: str = ""
    figures: Figures = field(default_factory=Figures)
    told_s: float = 0.0

    def answers(self, now: Now) -> bool:
        """Whether it counts as there."""
        return self.answered is not None and now.mono_s - self.answered.mono_s <= LATE_S

    def is_measured(self, now: Now) -> bool:
        """Whether what it tells of its parts is no older than it must be."""
        every_s = self.figures.one("nospof_measured_every_seconds")
        return every_s is not None and now.mono_s - self.told_s <= 3 * every_s + 5


@dataclass(frozen=True)
class Rate:
    """Requests a second of visitors, and how many of them failed."""

    per_s: float
    failed_per_s: float


@dataclass(frozen=True)
class Event:
    """Something that changed. `level`: good, weak, bad."""

    at: float
    level: str
    what: str


@dataclass(frozen=True)
class Drill:
    """What became of a drill, as the controlling machine left it here. `level`: good, weak, bad, open."""

    at: float
    level: str
    name: str
    says: str


@dataclass(frozen=True)
class Seen:
    """All of it at one moment."""

    now: Now
    started: Now
    hosts: Mapping[str, HostSeen]
    rates: Mapping[tuple[str, str], Rate]
    """By tier and host, of those that count now."""
    course: tuple[tuple[float, float, float], ...] = ()
    """Seconds since the epoch, requests a second, failed ones: the last minutes."""
    events: tuple[Event, ...] = ()
    """The newest first."""
    drills: tuple[Drill, ...] = ()


@dataclass
class _Counted:
    mono_s: float
    total: float
    failed: float
    rate: Rate | None = None


class Board:
    """Keeps what was heard. For one thread."""

    def __init__(self, config: Config, started: Now) -> None:
        self.config, self.started = config, started
        self.events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self.drills: tuple[Drill, ...] = ()
        self._hosts = {host.name: HostSeen() for host in config.hosts}
        self._counted: dict[tuple[str, str], _Counted] = {}
        self._course: deque[tuple[float, float, float]] = deque(maxlen=MOST_POINTS)

    def heard(self, host: str, figures: Figures, now: Now) -> None:
        """`host` told these figures."""
        before = self._hosts[host]
        name = "nospof_measured_at_seconds"
        is_new = before.figures.one(name) != figures.one(name) or before.answered is None
        self._hosts[host] = HostSeen(now, "", figures, now.mono_s if is_new else before.told_s)

    def missed(self, host: str, why: str) -> None:
        """`host` gave no answer."""
        before = self._hosts[host]
        self._hosts[host] = HostSeen(before.answered, why, before.figures, before.told_s)

    def counted(self, where: Counting, figures: Figures, now: Now) -> None:
        """It was told how much visitors have asked so far."""
        series = [one for one in figures.all(where.figure) if one.has(where.labels)]
        total = sum(one.value for one in series)
        failed = sum(one.value for one in series if one.has(where.failed))
        before = self._counted.get(_place(where))
        self._counted[_place(where)] = _Counted(now.mono_s, total, failed, _rate(before, now.mono_s, total, failed))

    def tick(self, now: Now) -> None:
        """Note how much is asked now."""
        rates = self._rates(now).values()
        if rates:
            self._course.append((now.at, sum(one.per_s for one in rates), sum(one.failed_per_s for one in rates)))

    def seen(self, now: Now) -> Seen:
        events = tuple(reversed(self.events))
        return Seen(now, self.started, dict(self._hosts), self._rates(now), tuple(self._course), events, self.drills)

    def _rates(self, now: Now) -> dict[tuple[str, str], Rate]:
        """Those of whoever has told it lately: an answer that is late makes the time longer over which the next is counted."""
        told = {place: one for place, one in self._counted.items() if now.mono_s - one.mono_s <= LATE_S}
        return {place: one.rate for place, one in told.items() if one.rate}


def _place(where: Counting) -> tuple[str, str]:
    return where.tier, where.host


def _rate(before: _Counted | None, mono_s: float, total: float, failed: float) -> Rate | None:
    """None at the first look, and where whoever counts began anew."""
    if before is None or total < before.total or failed < before.failed or mono_s <= before.mono_s:
        return None
    elapsed_s = mono_s - before.mono_s
    return Rate((total - before.total) / elapsed_s, (failed - before.failed) / elapsed_s)

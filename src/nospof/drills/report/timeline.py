"""A drill as a drawing: requests, answer times and who answered, with the fault and the healing behind them. Pure.

It is as wide as the page: places along the time are shares of its width, texts and heights are not, so that it is read on a
phone as well. What is good goes up and what is bad goes down, so that nothing rests on colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

from nospof.drills.judging import BIN_S, JUDGED_AFTER_S
from nospof.drills.phrases import goal_words, number, seconds
from nospof.drills.report.markup import Html, join, tag, text
from nospof.drills.result import Bin, DrillResult, GoalSeen, Moment

# Bars narrower than this share of the width are drawn together; what is bad is added up, and the slowest stays.
MOST_COLUMNS = 240
WIDE = 1000
UP, DOWN, LATENCY, ROLE, CAPTION, MARKS, AXIS = 36.0, 24.0, 40.0, 18.0, 20.0, 24.0, 22.0
GAP = 8.0
# Answer times from 1 ms to 10 s, each step ten times the last.
FASTEST, SLOWEST = -3, 1
MARK_WIDTH = 6.0
STEPS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
MOST_TICKS = 8


@dataclass(frozen=True)
class Axis:
    """Time along the drawing. `zero_s`: what is called 0, the fault."""

    zero_s: float
    end_s: float

    def percent(self, at_s: float) -> float:
        """Where a moment is, 0 to 100."""
        return round(100 * min(1.0, max(0.0, at_s / self.end_s)), 2) if math.isfinite(at_s) else 0.0

    def told(self, at_s: float) -> str:
        """The moment as people say it: so long after the fault."""
        since = at_s - self.zero_s
        return f"{'+' if since > 0 else ''}{seconds(since)}" if abs(since) >= 0.005 else "0 s"


@dataclass(frozen=True)
class Column:
    at_s: float
    to_s: float
    good: int
    bad: int
    slowest_s: float


Share = Callable[[Column], float]
"""How high a bar is, 0 to 1."""


def timeline(result: DrillResult) -> Html:
    """The drawing with its legend and its events; nothing where nobody asked and nothing happened."""
    axis = _axis(result)
    if axis is None:
        return Html()
    marks = _marks(result.moments, axis)
    rows: list[Html] = []
    y = MARKS if marks else GAP
    for goal in result.goals:
        if goal.bins:
            drawn, y = _requests(goal, axis, y)
            rows += drawn
    drawn, y = _roles(result, axis, y)
    rows += drawn
    height = y + AXIS
    spoken = " ".join(words for _, words in _spoken(result, axis))
    about = f"Requests over time. {spoken or 'No fault was begun.'}"
    drawing = tag(
        "svg",
        tag("title", about),
        *_bands(result, axis, y),
        *rows,
        *_marked(marks, axis, y),
        *_ticks(axis, y),
        class_="time",
        width="100%",
        height=height,
        role="img",
    )
    return tag("figure", drawing, tag("figcaption", *_legend(result, axis), _events(chain(*marks), axis)), class_="timeline")


# --- time ------------------------------------------------------------------------------------------------------------
def _axis(result: DrillResult) -> Axis | None:
    ends = [result.ended_s, result.redundant_s, result.healed_s, result.healing_s, result.held_s, result.fault_s]
    ends += [moment.at_s for moment in result.moments] + [one.to_s for one in result.served]
    ends += [one.at_s + BIN_S for goal in result.goals for one in goal.bins]
    found = [end for end in ends if end is not None and math.isfinite(end)]
    end = max(found, default=0.0)
    zero = result.fault_s if result.fault_s is not None and math.isfinite(result.fault_s) else 0.0
    return Axis(zero, end) if end > 0 else None


def _ticks(axis: Axis, y: float) -> Iterator[Html]:
    step = next((step for step in STEPS_S if axis.end_s / step <= MOST_TICKS), axis.end_s / MOST_TICKS)
    yield tag("line", x1=0, x2="100%", y1=y, y2=y, class_="base")
    first = math.ceil(max(-axis.zero_s, -axis.end_s) / step)
    for place in range(first, first + 2 * MOST_TICKS):
        at_s = axis.zero_s + place * step
        if 0 <= at_s <= axis.end_s:
            percent = axis.percent(at_s)
            anchor = "start" if percent < 3 else "end" if percent > 97 else "middle"
            sign = "+" if place > 0 else "−" if place < 0 else ""
            yield tag("line", x1=f"{percent}%", x2=f"{percent}%", y1=y, y2=y + 4, class_="base")
            yield _label(f"{percent}%", y + 16, f"{sign}{abs(place) * step:g} s", anchor)


def _bands(result: DrillResult, axis: Axis, height: float) -> Iterator[Html]:
    """The fault while it is in force, then the time until all is back."""
    for begin, end, kind in _spans(result):
        left, right = axis.percent(begin), axis.percent(end if end is not None else axis.end_s)
        yield tag("rect", x=f"{left}%", y=0, width=f"{max(0.3, right - left):.2f}%", height=height, class_=f"band {kind}")
        yield tag("line", x1=f"{left}%", x2=f"{left}%", y1=0, y2=height, class_=f"edge {kind}")


def _spans(result: DrillResult) -> Iterator[tuple[float, float | None, str]]:
    if result.fault_s is not None:
        yield result.fault_s, result.healing_s, "fault"
    if result.healing_s is not None:
        yield result.healing_s, result.redundant_s, "healing"


# --- requests --------------------------------------------------------------------------------------------------------
def _requests(goal: GoalSeen, axis: Axis, y: float) -> tuple[list[Html], float]:
    """The bars of one goal from `y` on, and where they end."""
    columns = list(_columns(goal.bins))
    peak = max(max(column.good, column.bad) for column in columns) or 1
    worst = max(column.bad for column in columns)
    down = max(6.0, DOWN * worst / peak)
    base = y + CAPTION + UP
    ground = base + down + CAPTION + LATENCY
    width_s = columns[0].to_s - columns[0].at_s
    return [
        _label("0", y + 14, f"{goal_words(goal.goal)} ▲, not ▼", strong=True),
        _label("100%", y + 14, f"{number(peak)} in {width_s:.1f} s", "end", kind="small"),
        _plot(y + CAPTION, UP, _path(columns, axis, lambda column: column.good / peak, UP, UP), "good"),
        tag("line", x1=0, x2="100%", y1=base, y2=base, class_="base"),
        _plot(base, down, _path(columns, axis, lambda column: column.bad / peak, DOWN, 0, is_down=True), "bad"),
        _label("0", base + down + 14, "slowest good answer"),
        *_scale(ground),
        _plot(ground - LATENCY, LATENCY, _path(columns, axis, _slowness, LATENCY, LATENCY), "slow"),
        tag("line", x1=0, x2="100%", y1=ground, y2=ground, class_="base"),
    ], ground + GAP


def _columns(bins: Sequence[Bin]) -> Iterator[Column]:
    size = math.ceil(len(bins) / MOST_COLUMNS)
    for begin in range(0, len(bins), size):
        group = bins[begin : begin + size]
        good, bad = sum(max(0, one.good) for one in group), sum(max(0, one.bad) for one in group)
        slowest = max((one.slowest_s for one in group if math.isfinite(one.slowest_s)), default=0.0)
        yield Column(group[0].at_s, group[-1].at_s + BIN_S, good, bad, slowest)


def _slowness(column: Column) -> float:
    """How high a bar is for the slowest answer, 0 to 1; what is fast is still seen."""
    if column.slowest_s <= 0:
        return 0.0
    return min(1.0, max(0.05, (math.log10(column.slowest_s) - FASTEST) / (SLOWEST - FASTEST)))


def _scale(ground: float) -> Iterator[Html]:
    for power, words in ((-2, "10 ms"), (-1, ""), (0, "1 s")):
        y = ground - LATENCY * (power - FASTEST) / (SLOWEST - FASTEST)
        yield tag("line", x1=0, x2="100%", y1=y, y2=y, class_="grid")
        yield _label("100%", y - 1.5, words, "end", kind="small") if words else Html()


def _path(columns: Iterable[Column], axis: Axis, share: Share, full: float, base: float, *, is_down: bool = False) -> str:
    """Bars side by side; those of one height are one, which keeps the page small."""
    pieces = []
    heights = [(column, round(full * share(column), 1)) for column in columns]
    for height, group in groupby(heights, key=lambda pair: pair[1]):
        if height:
            own = [column for column, _ in group]
            left, right = axis.percent(own[0].at_s) * 10, axis.percent(own[-1].to_s) * 10
            pieces.append(f"M{left:.4g} {base:g}V{base + height if is_down else base - height:.4g}H{right:.4g}V{base:g}Z")
    return "".join(pieces)


def _plot(y: float, height: float, path: str, kind: str) -> Html:
    """A path whose width is stretched to that of the page."""
    if not path:
        return Html()
    inner = tag("path", d=path, class_=kind)
    box = f"0 0 {WIDE} {height:g}"
    return tag("svg", inner, x=0, y=y, width="100%", height=height, viewBox=box, preserveAspectRatio="none")


# --- who answered, and what happened ---------------------------------------------------------------------------------
def _roles(result: DrillResult, axis: Axis, y: float) -> tuple[list[Html], float]:
    """Who of each tier answered, and when."""
    drawn: list[Html] = []
    for tier, spans in groupby(sorted(result.served, key=lambda one: (one.tier, one.server)), key=lambda one: one.tier):
        drawn.append(_label("0", y + 14, f"{tier}: who answered", strong=True))
        y += CAPTION
        for server, own in groupby(spans, key=lambda one: one.server):
            for one in own:
                left, right = axis.percent(one.from_s), axis.percent(one.to_s)
                width = f"{max(0.4, right - left):.2f}%"
                drawn.append(tag("rect", x=f"{left}%", y=y + 1, width=width, height=ROLE - 3, rx=3, class_="role"))
            drawn.append(_label("4", y + 13, server))
            y += ROLE
    return drawn, y + GAP


def _marks(moments: Sequence[Moment], axis: Axis) -> list[list[Moment]]:
    """The moments in groups, in turn; what is so close that its numbers would not fit shares a mark."""
    groups: list[list[Moment]] = []
    for moment in sorted(moments, key=lambda moment: moment.at_s):
        if groups and axis.percent(moment.at_s) - axis.percent(groups[-1][0].at_s) < MARK_WIDTH:
            groups[-1].append(moment)
        else:
            groups.append([moment])
    return groups


def _marked(marks: Sequence[Sequence[Moment]], axis: Axis, height: float) -> Iterator[Html]:
    count = 0
    for group in marks:
        first, count = count + 1, count + len(group)
        for moment in group:
            at = f"{axis.percent(moment.at_s)}%"
            yield tag("line", x1=at, x2=at, y1=MARKS - 4, y2=height, class_="moment")
        # Half of a mark must not be outside.
        x = f"{min(97.0, max(3.0, axis.percent(group[0].at_s))):g}%"
        yield tag("ellipse", cx=x, cy=11, rx=9 if len(group) == 1 else 15, ry=9, class_="mark")
        yield _label(x, 15, str(first) if len(group) == 1 else f"{first}–{count}", "middle", kind="in-mark")


def _events(moments: Iterable[Moment], axis: Axis) -> Html:
    items = [tag("li", tag("b", axis.told(moment.at_s)), f" {moment.kind}: {moment.what}") for moment in moments]
    return tag("ol", *items, class_="events") if items else Html()


def _legend(result: DrillResult, axis: Axis) -> list[Html]:
    said = [
        join([tag("span", class_=f"swatch {kind}", aria_hidden="true"), f" {words} "]) for kind, words in _spoken(result, axis)
    ]
    if result.held_s is not None and result.healing_s is not None and result.healing_s > result.held_s + JUDGED_AFTER_S:
        said.append(text(f"Up or down is judged from {axis.told(result.held_s + JUDGED_AFTER_S)} until the healing."))
    return [tag("p", *said, class_="legend")] if said else []


def _swatch(kind: str) -> Html:
    return tag("span", class_=f"swatch {kind}", aria_hidden="true")


def _spoken(result: DrillResult, axis: Axis) -> Iterator[tuple[str, str]]:
    """The kind of each band, and what it is in words."""
    names = {"fault": "fault in force", "healing": "healing, until all is as before"}
    for begin, end, kind in _spans(result):
        until = axis.told(end) if end is not None else "the end, which was not reached"
        yield kind, f"{names[kind]}: {axis.told(begin)} to {until}."


def _label(x: str, y: float, words: str, anchor: str = "start", *, strong: bool = False, kind: str | None = None) -> Html:
    side = None if anchor == "start" else anchor
    return tag("text", words, x=x, y=round(y, 1), text_anchor=side, font_weight="600" if strong else None, class_=kind)

"""One drill as a section: what was broken, what visitors saw, who took over, what the checkers say. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nospof.drills.outcome import Level, troubles
from nospof.drills.phrases import counted, goal_words, number, seconds, sentence
from nospof.drills.report.evidence import when
from nospof.drills.report.markup import Html, fold, join, listing, sign, table, tag
from nospof.drills.report.summary import CONCLUSIONS
from nospof.drills.report.timeline import timeline
from nospof.drills.result import Agreement, Check, DrillResult, GoalSeen, Taken

AGREEMENTS = {
    Agreement.AGREES: (Level.GOOD, "as foretold"),
    Agreement.OPTIMISTIC: (
        Level.BAD,
        "wrong: foretold up, and it was down. Something is needed that the topology does not have.",
    ),
    Agreement.PESSIMISTIC: (Level.BAD, "wrong: foretold down, and it was up"),
    Agreement.TIMING_OFF: (Level.WEAK, "up as foretold, but away for longer than foretold"),
    Agreement.UNKNOWN: (Level.OPEN, "nobody knows"),
}
STATES = {"up": "▲ up", "down": "▼ down", "unknown": "? unknown"}
CHECKS = {"pass": (Level.GOOD, "pass"), "fail": (Level.BAD, "fail")}
PHASES = {
    "asked": "the handover is asked for",
    "froze": "the old primary takes no more writes",
    "voted": "the voters have told what they hold",
    "promoted": "it is made primary",
    "writable": "it takes writes",
}


def notes_on_drawings() -> Html:
    """How a drill's drawing is read, said once."""
    return fold(
        "How to read the drawings",
        tag(
            "p",
            "Time runs from left to right; 0 is when the fault began. Each promise has bars: upwards the requests that got a "
            "good answer, downwards those that did not; at the right stands how many the highest bar means. Below it, how long "
            "the slowest good answer took: each line is ten times the one under it. The bars with names show who answered. "
            "Numbers in circles are explained below.",
        ),
        kind="notes",
    )


def drill_section(result: DrillResult, last: int, *, is_open: bool = False) -> Html:
    """A drill of a proof that has `last` of them, to be opened and closed. What is not well is opened."""
    _, meaning = CONCLUSIONS[result.conclusion]
    level = min((one.level for one in troubles(result)), default=Level.GOOD)
    heading = join([
        tag("span", f"{result.number}/{last}", class_="place"),
        " ",
        tag("b", result.name),
        " ",
        sign(level, result.conclusion.value),
        *(tag("span", _short(goal), class_="short") for goal in result.goals),
    ])  # fmt: skip
    # A link to something inside opens it; one to the section itself would not.
    conclusion = tag("p", sign(level, f"{result.conclusion.value}:"), f" {meaning}.")
    body = tag("div", conclusion, *course(result), id=f"drill-{result.number}", class_="course")
    return fold(heading, body, is_open=is_open, kind="drill")


def course(result: DrillResult) -> list[Html]:
    """All that is known of one drill, from top to bottom."""
    tries = f"It was tried {result.tries} times; this is the last." if result.tries > 1 else ""
    return [
        tag("p", tries) if tries else Html(),
        listing((join([sign(one.level, f"{one.figure}: "), one.says]) for one in troubles(result)), "plain"),
        tag("h3", "What was broken"),
        listing(_faults(result)),
        timeline(result),
        *_goals(result.goals),
        *_takeovers(result.taken),
        *_checks(result.checks),
        _evidence(result),
    ]


def _short(goal: GoalSeen) -> str:
    gap = f", gap {seconds(goal.outage_s)}" if goal.outage_s is not None and goal.seen != "down" else ""
    return f"{goal.goal}: {STATES.get(goal.seen, goal.seen)}{gap}"


def _faults(result: DrillResult) -> Iterator[Html]:
    for place, fault in enumerate(result.faults):
        at_s = fault.get("at_s")
        later = f", {seconds(at_s)} later" if isinstance(at_s, int | float) and at_s > 0 else ""
        others = ", ".join(f"{key} {value}" for key, value in sorted(fault.items()) if key not in ("fault", "target", "at_s"))
        says = result.says[place] if place < len(result.says) else ""
        what = tag("b", f"{fault.get('fault', '')} {fault.get('target', '')}")
        yield join([what, f" ({others})" if others else "", f"{later}: {says}" if says else later])


# --- promises --------------------------------------------------------------------------------------------------------
def _goals(goals: Sequence[GoalSeen]) -> Iterator[Html]:
    if not goals:
        return
    yield tag("h3", "What was foretold, what was seen")
    cells = {"foretold": _foretold, "seen": _seen, "longest gap": _gap, "requests": _requests, "good answers": _speed}
    rows: list[tuple[str, ...]] = [(name, *map(cell, goals)) for name, cell in cells.items()]
    rows.append(("prediction", *(sign(*AGREEMENTS[goal.agreement]) for goal in goals)))
    yield table(("", *(goal_words(goal.goal) for goal in goals)), rows, "goals")
    for goal in goals:
        if goal.why:
            yield tag("p", f"Why it was foretold that {goal_words(goal.goal)} or not: {' ← '.join(goal.why)}", class_="why")
        if goal.note:
            yield tag("p", sign(Level.OPEN, f"{goal_words(goal.goal)}: {goal.note}"))


def _foretold(goal: GoalSeen) -> str:
    most = f", no gap above {seconds(goal.predicted_outage_s)}" if goal.predicted_outage_s is not None else ""
    return f"{STATES.get(goal.predicted, goal.predicted)}{most}"


def _seen(goal: GoalSeen) -> str:
    return STATES.get(goal.seen, goal.seen)


def _gap(goal: GoalSeen) -> str:
    return "unknown" if goal.outage_s is None else f"{seconds(goal.outage_s)} ± {seconds(goal.outage_error_s)}"


def _requests(goal: GoalSeen) -> str:
    reasons = ", ".join(f"{number(count)} × {why}" for why, count in goal.reasons.items())
    return f"{number(goal.asked)}, of which {number(goal.bad)} without a good answer{': ' if reasons else ''}{reasons}"


def _speed(goal: GoalSeen) -> str:
    if goal.p50_s is None or goal.p99_s is None:
        return "none"
    return f"half within {seconds(goal.p50_s)}, 99 of 100 within {seconds(goal.p99_s)}"


# --- takeovers, checks, evidence -------------------------------------------------------------------------------------
def _takeovers(taken: Sequence[Taken]) -> Iterator[Html]:
    for one in taken:
        yield tag("h3", f"{one.to} takes over {one.tier} from {one.origin}")
        yield tag("p", f"Why: {one.why} ({one.cause}).")
        if one.ms:
            total = sum(one.ms.values())
            rows = [(PHASES.get(name, name), f"{number(ms)} ms", _bar(ms, total)) for name, ms in one.ms.items()]
            yield table(("until", "took", ""), [*rows, ("in all", f"{number(total)} ms", "")], "phases")


def _bar(part: int, whole: int) -> Html:
    share = 100 * max(0, part) / whole if whole > 0 else 0
    return tag("span", style=f"width:{min(100, share):.1f}%", class_="bar", aria_hidden="true")


def _checks(checks: Sequence[Check]) -> Iterator[Html]:
    if checks:
        ordered = sorted(checks, key=lambda check: CHECKS.get(check.result, (Level.OPEN, ""))[0])
        yield tag("h3", "What was checked")
        yield listing(map(_check, ordered), "plain checks")


def _check(check: Check) -> Html:
    level, word = CHECKS.get(check.result, (Level.OPEN, check.result))
    examples = f" E.g. {'; '.join(check.examples)}." if check.examples else ""
    reason = tag("span", f"{sentence(check.reason)}{examples}", class_="muted")
    return join([sign(level, word), " ", tag("b", check.name), f": {check.about} ", reason])


def _evidence(result: DrillResult) -> Html:
    files = [(name, tag("code", digest)) for name, digest in sorted(result.evidence.items())]
    late = f"The visitors' own process was late by {seconds(result.most_late_s)} at most; no time here is more exact than that."
    return fold(
        f"Evidence: {counted(len(files), 'file')}",
        tag("p", f"Begun {when(result.begun_at)}. {late}"),
        table(("file", "sha256"), files) if files else "",
        kind="notes",
    )

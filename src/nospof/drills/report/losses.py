"""Which losses the stack outlives: the table of combinations, foretold beside seen, and what settles each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from nospof.drills.outcome import Level
from nospof.drills.phrases import counted, goal_words
from nospof.drills.report.markup import Html, fold, join, sign, table, tag
from nospof.drills.result import Combination, Proof

MOST_OPEN = 40
NAMES = {1: "One is lost", 2: "Two are lost at once", 3: "Three are lost at once"}


def losses(proof: Proof) -> Html:
    """The table, in parts by how much is lost at once; what is wrong or unproven stands first in each."""
    if not proof.combinations:
        return tag("p", "Nothing was to be settled.")
    goals = list(dict.fromkeys(goal for one in proof.combinations for goal in one.predicted))
    ordered = sorted(proof.combinations, key=_order)
    parts = [_part(count, list(group), goals) for count, group in groupby(ordered, key=lambda one: len(one.parts))]
    return join([_explanation(), *parts])


def _explanation() -> Html:
    return tag(
        "p",
        "Each row is one combination of losses. ▲ up or ▼ down is what was seen; ",
        sign(Level.GOOD, "as foretold"),
        " or ",
        sign(Level.BAD, "not as foretold"),
        " tells whether that was expected. Down as foretold is a right prediction, and still down.",
    )


def _part(count: int, combinations: Sequence[Combination], goals: Sequence[str]) -> Html:
    unproven = sum(one.settled == "unproven" for one in combinations)
    wrong = sum(one.is_wrong for one in combinations)
    rest = "".join(f", {found} {what}" for found, what in ((wrong, "not as foretold"), (unproven, "unproven")) if found)
    title = f"{NAMES.get(count, f'{count} are lost at once')}: {counted(len(combinations), 'combination')}{rest}"
    rows = [(_parts(one), *(_goal(one, goal) for goal in goals), _settled(one)) for one in combinations]
    head = ("lost", *map(goal_words, goals), "known by")
    return fold(title, table(head, rows, "losses"), is_open=len(combinations) <= MOST_OPEN or bool(wrong + unproven))


def _order(one: Combination) -> tuple[int, int, tuple[str, ...]]:
    return len(one.parts), 0 if one.is_wrong else 1 if one.settled == "unproven" else 2, one.parts


def _parts(one: Combination) -> Html:
    return join((tag("span", part, class_="part") for part in one.parts), " + ")


def _goal(one: Combination, goal: str) -> Html:
    predicted, seen = one.predicted.get(goal, "unknown"), one.seen.get(goal, "unknown")
    if seen == "unknown":
        return sign(Level.OPEN, f"unknown, foretold {predicted}")
    state = tag("span", {"up": "▲ up", "down": "▼ down"}.get(seen, seen), class_="state down" if seen == "down" else "state")
    if seen == predicted:
        return join([state, " ", sign(Level.GOOD, "as foretold")])
    return join([state, " ", sign(Level.BAD if predicted != "unknown" else Level.OPEN, f"foretold {predicted}")])


def _settled(one: Combination) -> Html:
    return join([*_how(one), f" {one.why}" if one.why else ""])


def _how(one: Combination) -> Iterator[str]:
    if one.settled == "unproven":
        yield sign(Level.OPEN, "unproven:" if one.why else "unproven")
        return
    yield {"drilled": "tried in ", "implied": "follows from "}.get(one.settled, f"{one.settled} ")
    yield "drill " if len(one.by) == 1 else "drills "
    yield join((tag("a", str(number), href=f"#drill-{number}") for number in one.by), ", ")

"""What the drills measured, and what that makes of a year: assumed beside measured. Pure."""

from __future__ import annotations

from nospof.drills.phrases import goal_words as words
from nospof.drills.phrases import minutes, number, seconds, share_of_year
from nospof.drills.report.markup import Html, join, table, tag
from nospof.drills.result import GoalAvailability, Measured, Proof


def figures(proof: Proof) -> Html:
    """Coverage, times and minutes of a year."""
    measured = _measured(proof.measured) if proof.measured else tag("p", "Nothing was measured: no drill ended in a takeover.")
    return join([tag("h3", "Taking over"), measured, tag("h3", "In a year"), *_year(proof.availability)])


def _measured(found: Measured) -> Html:
    low, high = (f"{100 * share:.1f} %" for share in (found.coverage_low, found.coverage_high))
    return join([
        tag(
            "p",
            f"After {number(found.successes)} of {number(found.tries)} losses the others took over as they should. So few "
            "tries do not say 100 %: with 95 % certainty the true share, the ",
            tag("em", "coverage"),
            f", lies between {low} and {high} (Clopper-Pearson). More drills narrow that.",
        ),
        tag("p", f"It took {seconds(found.took_p50_s)} in the middle (median) and {seconds(found.took_max_s)} at the longest."),
    ])  # fmt: skip


def _year(availability: tuple[GoalAvailability, ...]) -> list[Html]:
    if not availability:
        return [tag("p", "Not worked out.")]
    head = ("promise", "not kept, as assumed", "not kept, as measured")
    return [tag("p", SOURCES), table(head, map(_row, availability))]


def _row(one: GoalAvailability) -> tuple[str, ...]:
    return words(one.goal), _figure(one.assumed_min), join([_figure(one.low_min), tag("br"), "to ", _figure(one.high_min)])


def _figure(away_min: float) -> Html:
    return join([tag("span", minutes(away_min), class_="part"), f" a year: kept {share_of_year(away_min)}"])


SOURCES = """How often hosts and programs are lost is assumed everywhere: no lab can measure that. How surely others take
over, the coverage, is assumed in the second column and measured in the third, from the best to the worst that so many
drills allow. How fast they do is the components' own figure in the second, and in the third the shortest and the longest
that these drills showed."""

"""The pages: what stands on them, and in which order. Pure; the same value gives the same bytes."""

from __future__ import annotations

from nospof.drills.outcome import in_trouble
from nospof.drills.report.drill import course, drill_section, notes_on_drawings
from nospof.drills.report.evidence import evidence
from nospof.drills.report.figures import figures
from nospof.drills.report.limits import limits
from nospof.drills.report.losses import losses
from nospof.drills.report.markup import Html, join, listing, tag
from nospof.drills.report.style import STYLE
from nospof.drills.report.summary import drill_summary, summary
from nospof.drills.result import DrillResult, Proof

CONTENTS = {
    "what": "What was done",
    "losses": "What happens when it is lost",
    "drills": "The drills, one by one",
    "figures": "How often, how long",
    "limits": "What is not covered",
    "evidence": "Evidence",
}

STORY = """nospof took one file that describes {stack} ({domain}) and built it from real programs on hosts of a lab. Then
visitors read pages and wrote entries without a pause, while one part after another was broken on purpose: that is a drill.
Before the first drill nospof wrote down what it expects of each; what really happened stands beside it here."""
WORDS = {
    "up, down": "Whether visitors get what they ask for from ten seconds after the loss on, while it lasts.",
    "gap": "The longest time in which nobody got a good answer: the while until others had taken over.",
    "host, zone, process": "What can be lost: a server; a room or rack that servers share; one program on one server.",
    "tried": "A drill did exactly this.",
    "follows": "No drill did this, but one with more losses stayed up, or one with fewer went down.",
}


def report(proof: Proof) -> str:
    """Write a whole proof as a page."""
    links = (tag("li", tag("a", title, href=f"#{name}")) for name, title in CONTENTS.items())
    last = max((drill.number for drill in proof.drills), default=0)
    opened = in_trouble(proof)
    drills = (drill_section(drill, last, is_open=drill in opened) for drill in proof.drills)
    return _page(
        f"{proof.stack}: proof by drills",
        summary(proof),
        tag("nav", tag("ol", *links), aria_label="Contents"),
        tag(
            "main",
            _section("what", _what_was_done(proof)),
            _section("losses", losses(proof)),
            _section("drills", notes_on_drawings(), *drills),
            _section("figures", figures(proof)),
            _section("limits", limits(proof)),
            _section("evidence", evidence(proof)),
        ),
    )


def drill_report(result: DrillResult, stack_name: str) -> str:
    """Write a single drill as a page."""
    title = f"{stack_name}: drill {result.name}"
    return _page(title, drill_summary(result, stack_name), tag("main", notes_on_drawings(), *course(result)))


def _section(name: str, *content: str) -> Html:
    return tag("section", tag("h2", CONTENTS[name], id=name), *content)


def _what_was_done(proof: Proof) -> Html:
    assumptions = proof.assumptions or ("Nothing is stated.",)
    return join([
        tag("p", STORY.format(stack=proof.stack, domain=proof.domain)),
        tag("p", f"What was to be settled: {proof.extent}") if proof.extent else "",
        tag("dl", *(part for word, meaning in WORDS.items() for part in (tag("dt", word), tag("dd", meaning)))),
        tag("h3", "What this takes for granted"),
        tag("p", "Not all combinations were tried; these sentences lead from those that were to the others:"),
        listing(assumptions),
    ])  # fmt: skip


def _page(title: str, *content: str) -> str:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    body = tag("body", tag("header", tag("h1", title)), *content)
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"

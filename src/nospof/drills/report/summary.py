"""What one reads in ten seconds: the verdict, its figures, and what is to be looked at. Pure."""

from __future__ import annotations

from nospof.drills.outcome import Claim, Level, claims, in_trouble, next_steps, troubles, verdict
from nospof.drills.phrases import counted, listed, sentence
from nospof.drills.report.markup import Html, join, listing, sign, tag
from nospof.drills.result import Conclusion, DrillResult, Proof

LEVELS = {Level.BAD: "bad", Level.WEAK: "weak", Level.OPEN: "open", Level.GOOD: "good"}
CONCLUSIONS = {
    Conclusion.NOT_HEALED: (Level.BAD, "something is still broken"),
    Conclusion.FAILED: (Level.BAD, "a promise was broken"),
    Conclusion.WRONG: (Level.BAD, "it is not as foretold"),
    Conclusion.INVALID: (Level.OPEN, "it says nothing"),
    Conclusion.UNKNOWN: (Level.OPEN, "not all of it can be said"),
    Conclusion.PASSED: (Level.GOOD, "all promises were kept"),
}


def summary(proof: Proof) -> Html:
    """The top of a proof's page."""
    return tag(
        "section",
        _banner(verdict(proof)),
        tag("ul", *(_card(claim) for claim in claims(proof)), class_="cards"),
        _to_look_at(proof),
        tag("h2", "What to do now"),
        listing(sentence(step) for step in next_steps(proof)),
        aria_label="Summary",
    )


def drill_summary(result: DrillResult, stack_name: str) -> Html:
    """The top of a single drill's page."""
    level, meaning = CONCLUSIONS[result.conclusion]
    about = f"{meaning}. Something of {stack_name} was broken on purpose while visitors read and wrote."
    return tag("section", _banner(Claim(level, sentence(result.conclusion.value).rstrip("."), about)), aria_label="Summary")


def _banner(claim: Claim) -> Html:
    return tag("p", sign(claim.level, claim.figure + ":"), " ", claim.says, class_=f"banner {LEVELS[claim.level]}")


def _card(claim: Claim) -> Html:
    return tag("li", tag("strong", sign(claim.level, claim.figure)), " ", tag("span", claim.says), class_=LEVELS[claim.level])


def _to_look_at(proof: Proof) -> Html:
    """Failed drills, wrong and unproven combinations, each with a link to where it is told."""
    items = [_trouble(drill) for drill in in_trouble(proof)]
    for level, found, what in ((Level.BAD, proof.wrong, "not as foretold"), (Level.OPEN, proof.unproven, "unproven")):
        if found:
            names = listed((" + ".join(one.parts) for one in found), "and", most=6)
            link = tag("a", counted(len(found), "combination"), href="#losses")
            items.append(join([sign(level, f"{what}: "), link, f": {names}"]))
    return join([tag("h2", "Look at these"), listing(items, "plain")]) if items else Html()


def _trouble(drill: DrillResult) -> Html:
    about = troubles(drill)
    link = tag("a", f"drill {drill.number}, {drill.name}", href=f"#drill-{drill.number}")
    more = f"; and {counted(len(about) - 1, 'other thing')}" if len(about) > 1 else ""
    return join([sign(about[0].level, f"{about[0].figure}:"), " ", link, f": {about[0].says}{more}"])

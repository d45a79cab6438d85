"""The outputs of proofs and drills: whole, escaped, honest, and never in the way of a run that has just ended."""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from sample_proof import drill, good_proof, mixed_proof

from nospof.drills.junit import junit
from nospof.drills.outcome import Level, claims, next_steps, verdict
from nospof.drills.phrases import printable, seconds, share_of_year
from nospof.drills.report import drill_report, report
from nospof.drills.result import Agreement, Bin, Check, Combination, Conclusion, DrillResult, GoalSeen, Moment, Proof, Served
from nospof.drills.words import campaign_sentences, line, sentences, summary

MOST_BYTES = 3_000_000
DOCTYPE = "<!DOCTYPE html>\n"


# --- arbitrary proofs ------------------------------------------------------------------------------------------------
def values(kind: type[BaseModel], **fields: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Values of a model of ours, with `fields` instead of what the types alone would give."""
    return st.builds(kind, **fields)


TEXT = st.text(max_size=12)
COUNT = st.integers(-3, 10**9)
STATE = st.sampled_from(["up", "down", "unknown", "<b>"])
GOAL = st.sampled_from(["serve", "write", "observe", "g<o>al"])
GOALS = values(
    GoalSeen,
    goal=GOAL,
    predicted=STATE,
    seen=STATE,
    asked=COUNT,
    bad=COUNT,
    reasons=st.dictionaries(TEXT, COUNT, max_size=2),
    bins=st.lists(values(Bin, good=COUNT, bad=COUNT), max_size=6).map(tuple),
)
CHECKS = values(Check, result=st.sampled_from(["pass", "fail", "unknown", "&"]), count=COUNT)
DRILLS = values(
    DrillResult,
    number=st.integers(-1, 99),
    faults=st.lists(st.dictionaries(TEXT, TEXT | st.floats() | st.none(), max_size=3), max_size=2).map(tuple),
    goals=st.lists(GOALS, max_size=2).map(tuple),
    checks=st.lists(CHECKS, max_size=2).map(tuple),
    moments=st.lists(values(Moment), max_size=4).map(tuple),
    served=st.lists(values(Served, tier=TEXT), max_size=3).map(tuple),
)
PROOFS = values(
    Proof,
    packages=st.dictionaries(TEXT, TEXT, max_size=2),
    drills=st.lists(DRILLS, max_size=3).map(tuple),
    combinations=st.lists(
        values(Combination, predicted=st.dictionaries(GOAL, STATE), seen=st.dictionaries(GOAL, STATE)), max_size=3
    ).map(tuple),
    acknowledged=COUNT,
    lost=COUNT,
)


@settings(max_examples=25, deadline=None)
@given(PROOFS)
def test_any_proof_has_a_well_formed_page_with_every_drill(proof: Proof) -> None:
    page = report(proof)

    ElementTree.fromstring(page.removeprefix(DOCTYPE))
    for one in proof.drills:
        assert f"<b>{escape(printable(one.name))}</b>" in page
        ElementTree.fromstring(drill_report(one, proof.stack).removeprefix(DOCTYPE))


@settings(max_examples=25, deadline=None)
@given(PROOFS)
def test_any_proof_is_junit_with_a_case_for_every_drill_and_what_is_unproven(proof: Proof) -> None:
    root = ElementTree.fromstring(junit(proof))

    names = [case.get("name") for case in root.iter("testcase")]
    assert names[: len(proof.drills)] == [printable(one.name) for one in proof.drills]
    assert len(names) == len(proof.drills) + len(proof.unproven)


@settings(max_examples=25, deadline=None)
@given(PROOFS)
def test_any_proof_can_be_said_in_lines(proof: Proof) -> None:
    assert summary(proof)
    for one in proof.drills:
        assert "\n" not in line(one, len(proof.drills))
        assert sentences(one)


# --- the page --------------------------------------------------------------------------------------------------------
class Reader(HTMLParser):
    """Collects the ids of a page, and where its links lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.ids += [said["id"] or ""] if "id" in said else []
        self.links += [said["href"] or ""] if "href" in said else []


def test_page_needs_nothing_from_elsewhere_and_its_links_lead_somewhere() -> None:
    page = report(mixed_proof().model_copy(update={"diagram_svg": "<svg><script>alert(1)</script></svg>"}))
    reader = Reader(page)

    assert "<script" not in page
    assert page.count('src="data:image/svg+xml;base64,') == 1
    assert re.findall(r'src="(?!data:image/svg\+xml;base64,)', page) == []
    assert not re.search(r"url\(|@import|<link|<iframe|https?://", page)
    assert {link.removeprefix("#") for link in reader.links} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))


def test_names_with_markup_are_text() -> None:
    bad = "<img src=x onerror=alert(1)>\x00\"'&"
    one = drill(1, "host-off db1").model_copy(update={"name": bad, "says": (bad,), "invalid": bad, "evidence": {bad: bad}})
    proof = good_proof().model_copy(update={"stack": bad, "drills": (one,), "extent": bad, "machine": bad})

    assert "<img" not in report(proof) + drill_report(one, bad)
    assert bad.partition("\x00")[0] in {
        case.get("name", "").partition("�")[0] for case in ElementTree.fromstring(junit(proof))[0]
    }


def test_page_of_sixty_long_drills_is_small() -> None:
    one = mixed_proof().drills[3]
    goals = tuple(goal.model_copy(update={"bins": _noisy_bins(900)}) for goal in one.goals)
    drills = tuple(one.model_copy(update={"number": number, "goals": goals}) for number in range(60))

    assert len(report(good_proof().model_copy(update={"drills": drills})).encode()) < MOST_BYTES


def _noisy_bins(count: int) -> tuple[Bin, ...]:
    return tuple(Bin(at_s=place / 5, good=place % 11, bad=place % 7, slowest_s=(place % 13) / 50) for place in range(count))


def test_one_bad_request_in_a_long_drill_is_still_drawn() -> None:
    bins = tuple(Bin(at_s=place / 5, good=10, bad=int(place == 777), slowest_s=0.01) for place in range(2000))
    one = drill(1, "host-off db1")
    page = drill_report(one.model_copy(update={"goals": (one.goals[0].model_copy(update={"bins": bins}),)}), "shop")

    assert page.count('class="bad"') == 1
    assert drill_report(drill(1, "host-off w1"), "shop").count('class="bad"') == 0


def test_what_is_not_well_is_open_and_the_rest_closed() -> None:
    page = report(mixed_proof())

    opened = {int(number) for number in re.findall(r'<details open="" class="drill"><summary><span class="place">(\d+)/', page)}
    assert opened == {2, 4, 6, 7, 9, 10, 11, 12}


# --- honesty ---------------------------------------------------------------------------------------------------------
def test_good_proof_says_so_in_the_words_everybody_asks_for() -> None:
    proof = good_proof()

    assert verdict(proof).says == "no single host, zone or process takes shop down."
    assert {claim.level for claim in claims(proof)} == {Level.GOOD}
    assert "0 of 184 221 acknowledged writes lost" in printable(summary(proof)).replace("\xa0", " ")
    assert next_steps(proof) == ["nothing; prove it again when the stack file has changed"]


def test_samples_have_every_conclusion_and_every_agreement() -> None:
    drills = mixed_proof().drills

    assert {one.conclusion for one in drills} == set(Conclusion)
    assert {goal.agreement for one in drills for goal in one.goals} == set(Agreement)


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({"lost": 1}, Level.BAD),
        ({"acknowledged": 0}, Level.OPEN),
        ({"combinations": ()}, Level.OPEN),
        ({"drills": ()}, Level.OPEN),
        ({"foretold_at": 9e9}, Level.BAD),
        ({"combinations": (Combination(parts=("host a",), predicted={}, seen={}, settled="drilled"),)}, Level.OPEN),
    ],
    ids=["lost", "nothing written", "nothing to settle", "no drill", "foretold afterwards", "no goal"],
)
def test_a_proof_that_lacks_something_is_not_called_proven(change: dict[str, object], level: Level) -> None:
    said = verdict(good_proof().model_copy(update=change))

    assert (said.level, said.figure != "Proven") == (level, True)


def test_predicted_single_point_of_failure_is_a_weak_spot_and_not_called_good() -> None:
    down = Combination(parts=("host db1",), predicted={"write": "down"}, seen={"write": "down"}, settled="drilled", by=(1,))
    proof = good_proof()
    proof = proof.model_copy(update={"combinations": (down, *proof.combinations[1:])})

    assert verdict(proof).level is Level.WEAK
    assert "With host db1 alone lost, writes fail." in summary(proof)


def test_a_drill_that_outlives_what_is_foretold_of_the_worst_case_speaks_against_nothing() -> None:
    proof = good_proof()
    worst = proof.drills[18]
    write = worst.goals[1].model_copy(update={"seen": "up", "agreement": Agreement.PESSIMISTIC})
    lucky = worst.model_copy(update={"number": 21, "name": "with db1 led", "goals": (worst.goals[0], write)})
    pairs = tuple(one.model_copy(update={"by": (19, 21)}) if one.by == (19,) else one for one in proof.combinations)
    whole = proof.model_copy(update={"drills": (*proof.drills, lucky), "combinations": pairs})
    alone = proof.model_copy(update={"drills": (*proof.drills, lucky)})

    assert verdict(whole).level is Level.GOOD
    assert "1 went better than foretold of the worst case" in summary(whole)
    assert [suite.get("failures") for suite in ElementTree.fromstring(junit(whole))] == ["0", "0"]
    assert verdict(alone).level is Level.BAD


def test_summary_says_first_what_is_worst_and_last_what_to_do() -> None:
    lines = summary(mixed_proof()).split("\n")

    assert lines[0].startswith("✗ Not proven")
    assert any(one.startswith("unproven: ") for one in lines)
    assert any(one.startswith("now: heal what is left broken: nospof drill --heal") for one in lines)
    assert len(lines) < 25


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1, "agrees"),
        (2, "timing off"),
        (4, "failed: 2 of 642"),
        (6, "prediction wrong"),
        (9, "unknown"),
        (10, "invalid"),
        (11, "not healed"),
    ],
)
def test_line_of_a_drill_ends_with_what_it_comes_to(number: int, words: str) -> None:
    assert f"  {words}" in line(mixed_proof().drills[number - 1], 20)


def test_line_has_state_gap_and_limit_of_each_goal() -> None:
    said = line(drill(12, "host-off db1"), 54)
    assert said == f" 12/54  {'host-off db1':<32}  serve up 0.02 s (≤ 4.0)   write up 1.21 s (≤ 4.0)   agrees"


# --- junit -----------------------------------------------------------------------------------------------------------
def test_junit_has_failures_errors_and_what_is_skipped() -> None:
    root = ElementTree.fromstring(junit(mixed_proof()))
    drills, unproven = root

    assert [drills.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["20", "3", "4", "0"]
    assert [unproven.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["6", "0", "0", "6"]
    by_kind = {kind: [case.get("name") for case in drills if case.find(kind) is not None] for kind in ("failure", "error")}
    assert by_kind["failure"] == ["host-off lb2", "host-off web1", "host-off web2"]
    assert by_kind["error"] == ["zone-off b", "zone-off c", "process-stop app/web1", "process-stop app/web2"]


def test_junit_has_the_attributes_that_its_readers_ask_for() -> None:
    root = ElementTree.fromstring(junit(mixed_proof()))

    assert root.tag == "testsuites"
    assert set(root.attrib) == {"name", "tests", "failures", "errors", "time"}
    for suite in root:
        assert set(suite.attrib) == {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
        for case in suite.iter("testcase"):
            assert set(case.attrib) == {"classname", "name", "time"}
            assert re.fullmatch(r"\d+\.\d{3}", case.attrib["time"])
    assert root[0][1].attrib["time"] == "19.400"


# --- phrases ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0042, "4 ms"), (0.42, "0.42 s"), (12.34, "12.3 s"), (179.9, "3 min 0 s"), (-1.5, "−1.50 s"), (None, "unknown")],
)
def test_times_are_said_for_people(value: float | None, said: str) -> None:
    assert seconds(value) == said


@pytest.mark.parametrize(
    ("away_min", "said"),
    [
        (92.4, "99.982 % (3.8 nines)"),
        (5259.6, "99.0 % (2.0 nines)"),
        (0.0, "99.99999990 % (over 9.0 nines)"),
        (-1.0, "unknown"),
    ],
)
def test_share_of_a_year_is_never_rounded_up_to_all_of_it(away_min: float, said: str) -> None:
    assert share_of_year(away_min) == said


def test_campaign_says_what_it_lost_and_in_which_drills_something_was_wrong() -> None:
    said = campaign_sentences(mixed_proof().drills)
    assert f"{len(mixed_proof().drills)} drills: " in said[0]
    assert said[0].endswith(" acknowledged writes lost")
    assert "; 2 of " in said[0]
    assert "optimistic: drill 6" in said
    assert "timing off: drill 2" in said
    assert "lost writes failed: drill 4" in said
    assert campaign_sentences([]) == ["0 drills: none; 0 of 0 acknowledged writes lost", "predictions: none"]
    assert campaign_sentences(good_proof().drills)[2:] == []

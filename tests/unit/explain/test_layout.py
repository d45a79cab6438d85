from __future__ import annotations

from functools import cache
from itertools import combinations, pairwise

import pytest
from tests.unit.explain.random_stacks import random_topology
from tests.unit.stacks import NOTHING_ALLOTTED, example, stack, tier, topology

from nospof.analysis.findings import findings
from nospof.explain.layout import layout
from nospof.explain.measure import cut, text_width
from nospof.explain.shapes import Box, Drawing, Style
from nospof.explain.weak import WeakSpots, weak_spots
from nospof.resolve import resolve
from nospof.topology import InstanceId

SEEDS = range(24)
EVERYTHING_WEAK = ("serve", "write")


@cache
def drawing(seed: int) -> Drawing:
    made = random_topology(seed)
    weak = {host.name: EVERYTHING_WEAK for host in made.hosts[::3]}
    return layout(made, WeakSpots(weak, {made.hosts[0].zone: EVERYTHING_WEAK}))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_two_hosts_overlap_and_each_is_within_its_zone(seed: int) -> None:
    made = drawing(seed)
    zones = {area.zone: area.box for area in made.areas}

    assert not any(one.box.overlaps(other.box) for one, other in combinations(made.hosts, 2))
    assert not any(one.overlaps(other) for one, other in combinations(zones.values(), 2))
    for group in made.groups:
        assert all(zones[host.host.zone].contains(group.box) and group.box.contains(host.box) for host in group.hosts)
    assert not any(one.box.overlaps(other.box) for one, other in combinations(made.groups, 2))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_text_leaves_its_box_or_lies_upon_another(seed: int) -> None:
    made = drawing(seed)

    for box, texts in [(host.box, host.texts) for host in made.hosts] + [(pill.box, pill.texts) for pill in made.pills]:
        assert all(box.contains(text.box) for text in texts)
        assert not any(one.box.overlaps(other.box) for one, other in combinations(texts, 2))
    for area in made.areas:
        assert area.box.contains(area.label.box)
    chips = [wire.chip for wire in made.wires if wire.chip is not None]
    assert all(chip.box.contains(text.box) for chip in chips for text in chip.texts)
    assert not any(one.box.overlaps(other.box) for one, other in combinations(chips, 2))
    assert not any(chip.box.overlaps(group.box) for chip in chips for group in made.groups)
    paper = Box(0, 0, made.width, made.height)
    assert all(paper.contains(text.box) for text in (*made.head, *made.notes))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_wire_crosses_a_host_and_no_two_run_upon_each_other(seed: int) -> None:
    made = drawing(seed)
    strips = [
        (number, _strip(a, b)) for number, wire in enumerate(made.wires) for line in wire.lines for a, b in pairwise(line)
    ]

    for _, strip in strips:
        assert not any(strip.overlaps(group.box) for group in made.groups)
        assert strip.x >= 0
        assert strip.right <= made.width
    for (one, first), (other, second) in combinations(strips, 2):
        is_parallel = (first.width < 1) == (second.width < 1)
        assert one == other or not is_parallel or not first.overlaps(second), (made.wires[one].title, made.wires[other].title)


def _strip(start: tuple[float, float], end: tuple[float, float]) -> Box:
    """A line as a box of nearly no width, a little shorter, so that it may touch what it leads to."""
    left, right = sorted((start[0], end[0]))
    top, bottom = sorted((start[1], end[1]))
    if bottom - top > right - left:
        return Box(left - 0.1, top + 0.2, 0.2, max(0.0, bottom - top - 0.4))
    return Box(left + 0.2, top - 0.1, max(0.0, right - left - 0.4), 0.2)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_link_is_in_a_wire_in_a_box_or_below_the_picture(seed: int) -> None:
    made = random_topology(seed)
    drawn = layout(made)
    wired = {link for wire in drawn.wires for link in wire.links}
    below = " ".join(text.words for text in drawn.notes)

    assert {host.host for host in drawn.hosts} == set(made.hosts)
    for link in made.links:
        if link.target.listen.speaks.value == "metrics":
            assert f"{link.source.tier} measures" in below
            assert link.target.owner.tier in below
        elif not link.is_local:
            assert link in wired, str(link)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_instance_stands_in_its_host(seed: int) -> None:
    made = random_topology(seed)
    texts = {host.host.name: [text.words for text in host.texts] for host in layout(made).hosts}

    for instance in made.instances:
        assert {instance.id.tier, f"+ {instance.id.tier}"} & set(texts[instance.id.host])


def test_hosts_of_a_row_stand_at_one_height_and_zones_beside_each_other() -> None:
    drawn = layout(resolve(example(), NOTHING_ALLOTTED).topology)
    boxes = {host.host.name: host.box for host in drawn.hosts}

    assert boxes["web1"].y == boxes["web2"].y > boxes["lb1"].bottom
    assert boxes["db1"].y == boxes["db2"].y == boxes["w1"].y
    assert boxes["lb1"].x == boxes["web1"].x == boxes["db1"].x < boxes["db2"].x < boxes["w1"].x


def test_witness_of_a_small_stack_stands_beside_the_others() -> None:
    tiers = (
        tier("web", "web", "n1 n2", "app"),
        tier("app", "application", "n1 n2", "db"),
        tier("db", "database", "n1 n2", witness="n3"),
    )
    drawn = layout(topology("n1:a n2:b n3:c", *tiers))

    assert len({host.box.y for host in drawn.hosts}) == 1


def test_call_that_needs_its_answer_is_never_drawn_as_among_themselves() -> None:
    tiers = tier("lb", "balancer", "n1 n2", "web"), tier("web", "web", "n1 n2")
    drawn = layout(topology("n1:a n2:b", *tiers))

    assert {wire.title: wire.style for wire in drawn.wires}["lb → web: HTTPS 8443 mutual TLS"] is Style.CALL


def test_single_host_is_marked_with_what_its_loss_stops() -> None:
    whole = stack("lb1:a web1:a web2:b", tier("lb", "balancer", "lb1", "web"), tier("web", "web", "web1 web2"))
    made = resolve(whole, NOTHING_ALLOTTED).topology
    weak = weak_spots(made, findings(whole, made))

    assert weak.hosts == {"lb1": ("serve", "write")}
    assert weak.instances == {InstanceId("lb", "lb1"): ("serve", "write")}
    marked = [text.words for host in layout(made, weak).hosts for text in host.texts if "SPOF" in text.words]
    assert marked == ["▲ SPOF: serve, write"]


def test_zone_that_has_all_of_a_tier_is_marked() -> None:
    whole = stack("web1:a web2:a x:b", tier("web", "web", "web1 web2"), tier("other", "cache", "x"))
    made = resolve(whole, NOTHING_ALLOTTED).topology

    weak = weak_spots(made, findings(whole, made))
    assert dict(weak.zones) == {"a": ("the work of web",), "b": ("the work of other",)}


def test_text_is_cut_to_the_width_there_is() -> None:
    assert cut("web1", 12, 100) == "web1"
    assert text_width(cut("W" * 50, 12, 100), 12) <= 100
    assert cut("W" * 50, 12, 100).endswith("…")

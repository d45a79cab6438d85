"""What a server of a cache of shards is to do next, from what it sees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations

import pytest

from nospof.onhost import cache_cluster_plan as plans
from nospof.onhost.cache_cluster_plan import SLOTS, Command, Node, Place, Plan, TakeSlots, View, nodes_of

A, B, C, D = "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"
THREE = Plan((A, B, C), 1, 17000)
FOUR = Plan((A, B, C, D), 1, 17000)


def name(place: Place) -> str:
    return f"{place[0]}/{place[1]}"


def node(
    place: Place, slots: Iterable[int] = (), primary: str = "", flags: str = "", mark: str = THREE.mark, id_: str = ""
) -> Node:
    told = frozenset(flags.split()) | {"slave" if primary else "master"}
    is_linked = "fail" not in told
    return Node(
        id_ or name(place), place[0], 7000 + place[1], 17000 + place[1], mark, told, primary, is_linked, frozenset(slots)
    )


def settled(plan: Plan = THREE) -> dict[Place, Node]:
    """All as the plan says."""
    return {
        place: node(place, plan.first_slots(place), mark=plan.mark)
        if place == plan.home_of(place)
        else node(place, primary=name(plan.home_of(place)), mark=plan.mark)
        for place in plan.places
    }


def view(me: Place, nodes: Iterable[Node], plan: Plan = THREE, *, is_ok: bool = True, is_in_step: bool = True) -> View:
    seen = tuple(replace(one, flags=one.flags | {"myself"}) if one.id == name(me) else one for one in nodes)
    return View(me, plan, seen, is_ok, is_in_step)


def commands(nodes: dict[Place, Node], plan: Plan = THREE) -> dict[Place, Command | TakeSlots]:
    """What each server that is well is told to do."""
    found = {}
    for place, one in nodes.items():
        if one.is_well and place in plan.places and (told := plans.next_command(view(place, nodes.values(), plan))) is not None:
            found[place] = told
    return found


def words(told: Command | TakeSlots | None) -> str:
    return " ".join(told.words) if isinstance(told, Command) else str(told)


# --- the plan ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("hosts", range(3, 9))
def test_shards_cover_all_slots_once(hosts: int) -> None:
    plan = Plan(tuple(f"10.0.0.{n}" for n in range(hosts)), 1, 17000)
    slots = [slot for address in plan.ring for slot in plan.first_slots((address, 0))]

    assert sorted(slots) == list(range(SLOTS))
    assert max(map(plan.share, [(a, 0) for a in plan.ring])) - min(map(plan.share, [(a, 0) for a in plan.ring])) <= 1


@pytest.mark.parametrize("hosts", range(3, 10))
def test_no_shard_is_lost_before_the_majority_is(hosts: int) -> None:
    """The rule for copies, from which check says what a cache outlives."""
    copies = (hosts - 1) // 2
    plan = Plan(tuple(f"10.0.0.{n}" for n in range(hosts)), copies, 17000)

    for lost in combinations(plan.ring, copies):
        for address in plan.ring:
            assert any(place[0] not in lost for place in plan.shard((address, 0)))


def test_each_place_holds_one_shard_and_no_host_one_twice() -> None:
    for plan in (THREE, FOUR, Plan((A, B, C, D, "10.0.0.5"), 2, 17000)):
        for address in plan.ring:
            shard = plan.shard((address, 0))
            assert len(shard) == plan.copies + 1
            assert len({place[0] for place in shard}) == len(shard)
            assert shard[0] == (address, 0)


def test_mark_differs_with_the_plan() -> None:
    assert len({THREE.mark, FOUR.mark, replace(THREE, copies=2).mark, replace(THREE, ring=(A, C, B)).mark}) == 4


# --- reading -------------------------------------------------------------------------------------------------------------
TOLD = """\
73f0 10.0.0.3:7000@17000,plan-8500 master - 0 1796035450004 5 connected 10923-16383
bc2d 10.0.0.1:0@17000 myself,master - 0 0 4 connected 0-5461 5470 [7->-73f0] [8-<-73f0]
28c7 10.0.0.2:7001@17001,,shard-id=d62f,tls-port=7101 slave,fail? bc2d 0 1796035449789 4 disconnected
9999 :0@0 master,noaddr - 0 0 0 disconnected
vars currentEpoch 6 lastVoteEpoch 0
"""


def test_answer_is_read() -> None:
    third, first, copy, gone = nodes_of(TOLD)

    assert (third.id, third.address, third.bus_port, third.mark, third.primary) == ("73f0", C, 17000, "plan-8500", "")
    assert third.slots == frozenset(range(10923, 16384))
    assert first.slots == frozenset([*range(5462), 5470])
    assert first.is_well
    # Asked over a socket, a server does not say where others are asked; its file tells the port for TLS apart.
    assert (third.port, first.port, copy.port) == (7000, 0, 7101)
    assert (copy.primary, copy.mark, copy.is_well, copy.is_lost) == ("bc2d", "", False, False)
    assert gone.is_lost


def test_what_is_no_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="no line of CLUSTER NODES"):
        nodes_of("ERR unknown\n")


# --- forming it ----------------------------------------------------------------------------------------------------------
def test_nothing_is_done_where_all_is_as_planned() -> None:
    assert commands(settled()) == {}
    assert commands(settled(FOUR), FOUR) == {}


def test_plan_is_told_first() -> None:
    nodes = settled() | {(A, 1): node((A, 1), primary=name((C, 0)), mark="")}

    assert words(commands(nodes)[A, 1]) == f"CONFIG SET cluster-announce-hostname {THREE.mark}"


def test_new_servers_take_their_slots_and_copy_each_other() -> None:
    nodes = {place: node(place) for place in THREE.places}
    first = commands(nodes)

    assert first == {(a, 0): TakeSlots(frozenset(THREE.first_slots((a, 0)))) for a in THREE.ring}
    homes = {place: one for place, one in settled().items() if place[1] == 0}
    assert {p: words(told) for p, told in commands(nodes | homes).items()} == {
        (A, 1): f"CLUSTER REPLICATE {C}/0",
        (B, 1): f"CLUSTER REPLICATE {A}/0",
        (C, 1): f"CLUSTER REPLICATE {B}/0",
    }


def test_slots_are_taken_only_when_all_are_there() -> None:
    nodes = {place: node(place) for place in THREE.places if place != (C, 1)}

    assert commands(nodes) == {}


def test_slots_that_somebody_has_are_not_taken() -> None:
    nodes = settled() | {(A, 0): node((A, 0)), (B, 1): node((B, 1), range(100))}

    assert words(commands(nodes)[A, 0]) == f"CLUSTER REPLICATE {B}/1"


# --- losses --------------------------------------------------------------------------------------------------------------
def taken_over() -> dict[Place, Node]:
    """A was lost, its copy on B took its shard, A is back."""
    return settled() | {
        (A, 0): node((A, 0), primary=name((B, 1))),
        (B, 1): node((B, 1), THREE.first_slots((A, 0))),
    }


def test_copy_that_took_over_goes_on_while_its_home_is_lost() -> None:
    nodes = taken_over() | {(A, 0): node((A, 0), flags="fail"), (A, 1): node((A, 1), primary=f"{C}/0", flags="fail")}

    assert commands(nodes) == {}


def test_home_that_is_well_again_may_take_its_shard_back_and_nobody_else_may() -> None:
    nodes = taken_over()

    assert [place for place in nodes if plans.may_take_back(view(place, nodes.values()))] == [(A, 0)]
    # Also while `up` is under way, and the next host waits for this one to be well.
    halfway = nodes | {place: replace(one, mark="plan-before") for place, one in nodes.items() if place[0] == C}
    assert plans.may_take_back(view((A, 0), halfway.values()))
    assert not plans.may_take_back(view((A, 0), nodes.values(), is_in_step=False))
    assert not plans.may_take_back(view((A, 0), nodes.values(), is_ok=False))
    assert commands(nodes) == {}


def test_home_with_a_new_disk_copies_who_took_over() -> None:
    """Its old self stays in the others' lists until it is forgotten."""
    old = node((A, 0), flags="fail")
    nodes = taken_over() | {(A, 0): node((A, 0), id_="new")}
    seen = [*nodes.values(), old]
    found = View((A, 0), THREE, tuple(replace(n, flags=n.flags | {"myself"}) if n.id == "new" else n for n in seen), True)

    assert words(plans.next_command(found)) == f"CLUSTER FORGET {A}/0"
    assert words(plans.next_command(view((C, 0), seen))) == f"CLUSTER FORGET {A}/0"
    without = replace(found, nodes=tuple(n for n in found.nodes if n.id != f"{A}/0"))
    assert words(plans.next_command(without)) == f"CLUSTER REPLICATE {B}/1"


def test_who_is_only_away_is_not_forgotten() -> None:
    nodes = settled() | {(A, n): replace(one, flags=one.flags | {"fail"}, is_linked=False) for n, one in
                         ((0, settled()[A, 0]), (1, settled()[A, 1]))}  # fmt: skip

    assert commands(nodes) == {}


def test_slots_of_a_shard_that_is_gone_with_all_its_disks_are_taken_anew() -> None:
    nodes = settled() | {(A, 0): node((A, 0)), (B, 1): node((B, 1))}

    assert commands(nodes)[A, 0] == TakeSlots(frozenset(THREE.first_slots((A, 0))))
    assert (B, 1) not in commands(nodes)


# --- hosts that come and go ----------------------------------------------------------------------------------------------
def grown() -> dict[Place, Node]:
    """Three hosts had it all, a fourth is there, and all know it."""
    old = {place: replace(one, mark=FOUR.mark) for place, one in settled().items()}
    return old | {(D, n): node((D, n), mark=FOUR.mark) for n in (0, 1)}


def test_copies_move_on_where_the_ring_has_changed() -> None:
    found = {place: words(told) for place, told in commands(grown(), FOUR).items()}

    # A's server for a copy had C's shard, and is to have D's; D has none yet.
    assert found == {(D, 1): f"CLUSTER REPLICATE {C}/0"}


def test_copies_change_places_one_by_one_where_nobody_else_has_one() -> None:
    other = Plan((A, C, B), 1, 17000)
    nodes = {place: replace(one, mark=other.mark) for place, one in settled().items()}
    steps = []
    while told := {place: words(command) for place, command in commands(nodes, other).items()}:
        steps.append(len(told))
        for place, said in told.items():
            nodes[place] = replace(nodes[place], primary=said.rpartition(" ")[2])

    assert steps[0] == 1
    assert {place: one.primary for place, one in nodes.items()} == {place: one.primary for place, one in settled(other).items()}


def test_copy_of_a_lost_primary_stays_though_its_place_is_another_one() -> None:
    nodes = settled() | {(D, 0): node((D, 0), [5], flags="fail"), (B, 1): node((B, 1), primary=f"{D}/0")}

    assert (B, 1) not in commands(nodes)


def test_each_home_gets_its_share_and_few_slots_move() -> None:
    found = plans.moves(view((A, 0), grown().values(), FOUR))

    assert {one.target for one in found} == {f"{D}/0"}
    assert sum(one.count for one in found) == SLOTS // 4
    assert {one.source: one.count for one in found} == {f"{A}/0": 1366, f"{B}/0": 1365, f"{C}/0": 1365}
    assert [place for place in FOUR.places if plans.leads_moves(view(place, grown().values(), FOUR))] == [(A, 0)]


def test_nothing_moves_while_some_have_another_plan() -> None:
    nodes = grown() | {(B, 0): replace(grown()[B, 0], mark=THREE.mark)}

    assert plans.moves(view((A, 0), nodes.values(), FOUR)) == ()
    assert commands({(D, 1): nodes[D, 1], **nodes}, FOUR) == {
        (B, 0): Command(("CONFIG", "SET", "cluster-announce-hostname", FOUR.mark), "tells the others which plan it has")
    }


def shrunk() -> dict[Place, Node]:
    """Four hosts had it all, D is to leave, and all others know it."""
    nodes = settled(FOUR)
    return {place: replace(one, mark=THREE.mark if place[0] != D else FOUR.mark) for place, one in nodes.items()}


def test_slots_leave_a_host_that_leaves_before_its_copies_do() -> None:
    nodes = shrunk()
    found = plans.moves(view((A, 0), nodes.values()))

    assert {one.source for one in found} == {f"{D}/0"}
    assert sum(one.count for one in found) == SLOTS // 4
    # A's server has the copy of D's shard, and keeps it as long as that has slots.
    assert (A, 1) not in commands({p: n for p, n in nodes.items() if p[0] != D} | {(D, 0): nodes[D, 0]})
    assert lacks((B, 0), nodes.values()) == [
        f"{A} does not copy the shard of {C} yet",
        "4096 of 16384 slots are still to be moved",
    ]


def test_slots_of_a_host_that_leaves_and_has_just_died_are_waited_for_while_it_has_a_copy() -> None:
    """Else the last host would pass for well in the second before that copy takes over, and both would be left behind."""
    nodes = shrunk()
    dying = nodes | {(D, 0): replace(nodes[D, 0], flags=nodes[D, 0].flags | {"fail"}, is_linked=False)}

    assert "4096 of 16384 slots are still to be moved" in lacks((C, 0), dying.values())
    without = dying | {(A, 1): replace(nodes[A, 1], primary=f"{C}/0")}
    assert lacks((C, 0), without.values()) == []


def swapped() -> dict[Place, Node]:
    """A, B and D had it all; C is new in the place of D, and no server is there yet."""
    before = Plan((A, B, D), 1, 17000)
    return {place: replace(one, mark=THREE.mark) for place, one in settled(before).items()}


def test_host_is_well_before_one_that_is_new_is_there() -> None:
    """Else nothing could move of a host that another one replaces, if that is the last that gets the plan."""
    nodes = swapped()

    for place in ((A, 0), (B, 0), (B, 1)):
        assert lacks(place, nodes.values()) == []
    new = {(C, 0): node((C, 0)), (C, 1): node((C, 1), primary=f"{B}/0")}
    assert lacks((C, 0), (nodes | new).values()) == ["has no slots yet", "5461 of 16384 slots are still to be moved"]
    # Had it not heard of D yet, it would not pass for well either.
    alone = {place: one for place, one in (nodes | new).items() if place[0] != D}
    assert "has no slots yet" in lacks((C, 0), alone.values())


def test_host_is_well_while_another_one_has_the_bus_port_of_before() -> None:
    moved = Plan((A, B, C), 1, 18000)
    nodes = {
        place: one if place[0] == C else replace(one, bus_port=one.bus_port + 1000, mark=moved.mark)
        for place, one in settled().items()
    }
    lost = replace(nodes[C, 1], flags=nodes[C, 1].flags | {"fail"}, is_linked=False)

    assert list(plans.lacks(view((B, 0), nodes.values(), moved))) == []
    assert plans.next_command(view((B, 0), [*nodes.values(), lost], moved)) is None, "C has not left"


def test_copy_that_is_to_change_places_is_well_before_all_are_there() -> None:
    """Else it would wait for a host that `up` has not reached, and `up` for it."""
    plan = Plan((B, A, D, C), 1, 17000)
    nodes = {place: replace(one, mark=plan.mark) for place, one in settled().items()}
    assert plan.home_of((B, 1)) == (C, 0)
    assert nodes[B, 1].primary == f"{A}/0"

    assert list(plans.lacks(view((B, 1), nodes.values(), plan))) == []
    nodes |= {(D, number): node((D, number), mark=plan.mark) for number in (0, 1)}
    assert f"does not copy the shard of {C} yet" in list(plans.lacks(view((B, 1), nodes.values(), plan)))
    assert f"{B} does not copy the shard of {C} yet" in list(plans.lacks(view((D, 0), nodes.values(), plan)))


def test_host_that_is_taken_away_keeps_what_only_it_has_while_another_one_is_dark() -> None:
    """C is dark and D, which stands in for it, is to leave: nobody may say that all is well before C is back."""
    nodes = shrunk()
    nodes |= {(C, n): replace(nodes[C, n], flags=nodes[C, n].flags | {"fail"}, is_linked=False) for n in (0, 1)}
    nodes |= {
        (C, 0): replace(nodes[C, 0], slots=frozenset()),
        (D, 1): replace(node((D, 1), FOUR.first_slots((C, 0))), mark=FOUR.mark),
    }

    assert any("still to be moved" in said for said in lacks((A, 0), nodes.values()))
    assert plans.moves(view((A, 0), nodes.values())) == ()


def test_host_that_has_left_is_forgotten_once_it_does_not_run_any_more() -> None:
    """While it runs it may have the only copy of something, and its agent would meet the others again."""
    living = {(D, 0): node((D, 0)), (D, 1): node((D, 1), primary=f"{C}/0")}
    lost = {place: replace(one, flags=one.flags | {"fail"}, is_linked=False) for place, one in living.items()}
    found = {place: words(told) for place, told in commands(settled() | lost).items()}

    assert commands(settled() | living) == {}
    assert set(found) == set(THREE.places)
    assert all(told.startswith(f"CLUSTER FORGET {D}/") for told in found.values())


def test_slots_of_a_host_that_left_dead_and_without_copies_are_free_again() -> None:
    gone = node((D, 0), [5], flags="fail")
    copied = node((B, 1), primary=f"{D}/0")

    assert words(commands(settled() | {(D, 0): gone})[A, 0]) == f"CLUSTER FORGET {D}/0"
    assert commands(settled() | {(D, 0): gone, (B, 1): copied}) == {}


def test_slots_of_a_server_with_a_new_disk_are_free_again_where_it_had_no_copy() -> None:
    """Its old self has no address any more: somebody else answers there."""
    old = replace(node((A, 0), range(5), flags="noaddr"), id="old", address="", bus_port=0, is_linked=False)

    assert words(plans.next_command(view((C, 0), [*settled().values(), old]))) == "CLUSTER FORGET old"
    copied = settled() | {(B, 1): node((B, 1), primary="old")}
    assert plans.next_command(view((C, 0), [*copied.values(), old])) is None
    assert plans.moves(view((A, 0), [*settled().values(), old])) == ()


def test_shard_of_a_host_that_was_replaced_goes_to_the_one_in_its_place() -> None:
    """A is dead and was taken out of the file for D: the copy that took over is now D's, who takes the shard."""
    plan = Plan((D, B, C), 1, 17000)
    nodes = {place: replace(one, mark=plan.mark) for place, one in taken_over().items() if place[0] != A}
    nodes |= {(D, n): node((D, n), mark=plan.mark) for n in (0, 1)}

    found = {place: words(told) for place, told in commands(nodes, plan).items()}

    assert found == {(D, 0): f"CLUSTER REPLICATE {B}/1", (D, 1): f"CLUSTER REPLICATE {C}/0"}


# --- what is said --------------------------------------------------------------------------------------------------------
def lacks(me: Place, nodes: Iterable[Node], *, is_ok: bool = True, is_in_step: bool = True, others_say: str = "") -> list[str]:
    """`others_say`: which plan those say, when they are asked, who seem to have another one; "" = they do not answer."""
    seen = view(me, nodes, is_ok=is_ok, is_in_step=is_in_step)
    return list(plans.lacks(replace(seen, marks=dict.fromkeys(seen.behind, others_say))))


def test_nothing_is_lacking_where_all_is_as_planned() -> None:
    assert all(lacks(place, settled().values()) == [] for place in THREE.places)


def test_first_host_of_all_lacks_nothing_that_it_could_have() -> None:
    alone = {place: one for place, one in settled().items() if place == (A, 0)}
    found = replace(
        view((A, 0), [replace(alone[A, 0], slots=frozenset())], is_ok=False), unmet=dict.fromkeys(THREE.places[1:], False)
    )

    assert list(plans.lacks(found)) == []
    assert list(plans.lacks(replace(found, unmet={(B, 0): True}))) == [f"has not met {B} yet"]


def test_servers_that_have_just_started_lack_each_other() -> None:
    """Else the next host would be restarted while the links to this one are not there yet."""
    nodes = settled() | {(B, 0): replace(settled()[B, 0], is_linked=False)}

    assert lacks((A, 0), nodes.values()) == [f"has no connection to {B}"]


def test_links_and_copies_count_while_hosts_have_two_plans() -> None:
    """Also to those whom the new plan does not know: the next host is restarted once this one is well."""
    old = {place: replace(one, mark="plan-before") for place, one in settled(FOUR).items()}
    own = {place: replace(old[place], mark=THREE.mark) for place in ((A, 0), (A, 1))}
    nodes = old | own | {(D, 0): replace(old[D, 0], is_linked=False)}

    assert lacks((A, 0), nodes.values(), others_say="plan-before") == [f"has no connection to {D}"]
    assert lacks((A, 1), (old | own).values(), others_say="plan-before") == []
    found = lacks((A, 1), (old | own).values(), is_in_step=False, others_say="plan-before")
    assert found == [f"has not everything that {D} has yet"]


def test_last_host_with_the_plan_is_not_well_while_it_has_not_heard_that_the_others_have_it() -> None:
    """Incident: D was taken away with its shard, since for a second others seemed to be still to get the plan without it."""
    nodes = shrunk()
    late = nodes | {place: replace(nodes[place], mark=FOUR.mark) for place in ((B, 0), (B, 1))}
    seen = view((A, 0), late.values())
    assert set(seen.behind) == {(B, 0), (B, 1)}

    not_asked, silent = seen, replace(seen, marks={(B, 0): THREE.mark, (B, 1): ""})
    for one in (not_asked, silent):
        assert f"does not know yet which plan {B} has" in list(plans.lacks(one))
        assert plans.moves(one) == ()
    assert "4096 of 16384 slots are still to be moved" in lacks((A, 0), late.values(), others_say=THREE.mark)
    assert lacks((A, 0), late.values(), others_say=FOUR.mark) == [], "those are still to get it; this host is well without them"


def test_what_is_lost_is_not_waited_for() -> None:
    lost = {
        place: replace(one, flags=one.flags | {"fail"}, is_linked=False, slots=frozenset())
        for place, one in settled().items()
        if place[0] == C
    }
    nodes = settled() | lost | {(A, 1): node((A, 1), THREE.first_slots((C, 0)))}

    assert lacks((A, 0), nodes.values()) == []
    assert lacks((A, 1), nodes.values()) == []


def test_shard_away_from_home_is_told_by_both() -> None:
    nodes = taken_over()

    assert lacks((A, 0), nodes.values()) == ["is not primary of its own shard yet"]
    assert lacks((B, 1), nodes.values()) == [f"is primary in the place of {A}"]


def test_who_stands_in_for_a_dead_host_that_left_is_well_until_all_have_the_plan() -> None:
    """Incident: `up` waited for it six minutes, and it for the host whose turn was after it, to which the shard was to go."""
    plan = Plan((B, A, D), 1, 17000)
    nodes = {place: replace(one, mark=plan.mark if place[0] == A else THREE.mark) for place, one in settled().items()}
    nodes |= {
        place: replace(one, flags=one.flags | {"fail"}, slots=frozenset()) for place, one in nodes.items() if place[0] == C
    }
    nodes |= {(A, 1): node((A, 1), THREE.first_slots((C, 0)), mark=plan.mark)}
    nodes |= {(D, number): node((D, number), mark=plan.mark) for number in (0, 1)}
    seen = view((A, 1), nodes.values(), plan)

    assert plan.home_of((A, 1)) == (B, 0)
    assert list(plans.lacks(replace(seen, marks=dict.fromkeys(seen.behind, THREE.mark)))) == []
    assert plans.next_command(seen) is None, "nothing moves yet"


def test_copy_that_is_behind_and_a_cluster_that_does_not_answer_are_told() -> None:
    assert lacks((B, 1), settled().values(), is_in_step=False) == [f"has not everything that {A} has yet"]
    assert "does not answer" in lacks((B, 0), settled().values(), is_ok=False)[0]
    assert len(plans.served(view((A, 0), settled().values()))) == SLOTS
    assert len(plans.served(view((A, 0), settled().values(), is_ok=False))) == 0


def test_slots_of_the_lost_are_not_served() -> None:
    nodes = settled() | {(A, 0): replace(settled()[A, 0], flags=frozenset({"master", "fail"}))}

    assert len(plans.served(view((B, 0), nodes.values()))) == SLOTS - THREE.share((A, 0))


# --- beginning again -----------------------------------------------------------------------------------------------------
def test_primary_that_died_waits_while_a_copy_can_take_its_place() -> None:
    nodes = settled()

    assert plans.waits_for(nodes.values(), f"{A}/0")
    assert not plans.waits_for(taken_over().values(), f"{A}/0")
    assert not plans.waits_for(nodes.values(), "unknown")


def test_it_does_not_wait_where_nobody_can() -> None:
    without_copy = settled() | {(B, 1): replace(settled()[B, 1], flags=frozenset({"slave", "fail?"}))}
    without_majority = settled() | {
        (p, 0): replace(settled()[p, 0], flags=frozenset({"master", "fail"})) for p in (B, C)
    }  # fmt: skip

    just_started = {place: replace(one, is_linked=False) for place, one in settled().items()}

    assert not plans.waits_for(without_copy.values(), f"{A}/0")
    assert not plans.waits_for(just_started.values(), f"{A}/0")
    assert not plans.waits_for(without_majority.values(), f"{A}/0")


def test_server_that_has_left_is_forgotten_and_no_other() -> None:
    """Incident: a host that came back into the stack had its old entries, and slots of others for which it still had some."""
    seen, mine = tuple(settled().values()), "id-of-a-former-life"

    assert plans.is_forgotten([seen, seen], mine, 2)
    assert not plans.is_forgotten([seen, (*seen, node((D, 0), id_=mine))], mine, 2), "one who knows it is enough"
    assert not plans.is_forgotten([seen], mine, 2), "one alone may be new himself"
    assert not plans.is_forgotten([], mine, 2), "nobody answers"
    assert not plans.is_forgotten([(node((A, 0)), node((B, 0)))] * 2, mine, 2), "they have no cluster yet"


def test_only_who_was_replaced_is_replaced() -> None:
    lost = replace(settled()[A, 0], flags=frozenset({"master", "fail"}))

    assert plans.is_replaced([replace(lost, slots=frozenset())], f"{A}/0")
    assert not plans.is_replaced([lost], f"{A}/0")
    assert not plans.is_replaced([replace(lost, slots=frozenset(), flags=frozenset({"fail?"}))], f"{A}/0")


def test_ranges() -> None:
    assert plans.ranges([3, 1, 2, 7, 9, 10]) == ((1, 3), (7, 7), (9, 10))
    assert plans.ranges([]) == ()

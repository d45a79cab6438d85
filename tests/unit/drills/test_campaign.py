"""Random drills are the same again, and what fails is made small."""

from __future__ import annotations

from examples_read import topology_of
from hypothesis import given
from hypothesis import strategies as st

from nospof.drills import faults as _all_faults  # noqa: F401
from nospof.drills.campaign import drills, minimised
from nospof.drills.engine import Drill, Injection
from nospof.drills.fault import Fault

TOPOLOGY = topology_of("distributed")
KINDS = [kind for _, kind in sorted(Fault.kinds.items())]


@given(st.integers(0, 10**9))
def test_same_seed_gives_the_same_drills_and_no_host_is_broken_twice(seed: int) -> None:
    made = list(drills(TOPOLOGY, KINDS, seed, 1, 20))
    assert made == list(drills(TOPOLOGY, KINDS, seed, 1, 20))
    assert made[11:15] == list(drills(TOPOLOGY, KINDS, seed, 12, 4))
    for drill in made:
        hosts = [host for fault in drill.faults for host in fault.hosts(TOPOLOGY)]
        assert len(hosts) == len(set(hosts))
        assert drill.injections[0].at_s == 0


@given(st.integers(0, 10**9))
def test_what_cannot_be_made_is_drawn_anew(seed: int) -> None:
    made = [
        fault
        for drill in drills(TOPOLOGY, KINDS, seed, 1, 20, lambda fault: fault.name != "host-off")
        for fault in drill.faults
    ]
    assert made
    assert all(fault.name != "host-off" for fault in made)


def test_campaign_ends_where_nothing_can_be_made() -> None:
    assert list(drills(TOPOLOGY, KINDS, 1, 1, 2, lambda _: False))


def test_other_seed_gives_other_drills() -> None:
    assert list(drills(TOPOLOGY, KINDS, 1, 1, 20)) != list(drills(TOPOLOGY, KINDS, 2, 1, 20))


@given(st.sets(st.integers(0, 6), min_size=1, max_size=3))
def test_drill_that_fails_because_of_some_faults_is_left_with_these(needed: set[int]) -> None:
    hosts = [host.name for host in TOPOLOGY.hosts]
    kind = Fault.kinds["host-off"]
    whole = Drill("all", tuple(Injection(kind(target=host), at_s=float(at)) for at, host in enumerate(hosts)))
    wanted = {hosts[number] for number in needed}
    found = minimised(whole, lambda drill: wanted <= {fault.target for fault in drill.faults})
    assert {fault.target for fault in found.faults} == wanted
    assert {injection.at_s for injection in found.injections} == {0.0}


def test_times_are_kept_where_they_matter() -> None:
    kind = Fault.kinds["host-off"]
    whole = Drill("two", (Injection(kind(target="db1")), Injection(kind(target="db2"), 3.0)))
    found = minimised(whole, lambda drill: len(drill.faults) == 2 and drill.injections[1].at_s == 3.0)
    assert found == whole

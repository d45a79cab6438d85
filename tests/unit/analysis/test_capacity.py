from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.stacks import NOTHING_ALLOTTED, example, resolved, stack, tier

from nospof.analysis.capacity import TierCapacity, capacities, capacity_findings, more_hosts
from nospof.analysis.measured import Figure, Machine, Measured, fingerprint
from nospof.analysis.stand_ins import stand_in_findings
from nospof.analysis.structure import Kind, Part
from nospof.components.haproxy import HaproxySettings
from nospof.resolve import resolve
from nospof.stack.model import Stack, Tier
from nospof.stack.problems import Problem

DAY_S = 86_400.0
NOW = 1_800_000_000.0


def found(made: Stack, measured: Measured | None = None, now: float = NOW) -> dict[str, list[Problem]]:
    by_code: dict[str, list[Problem]] = {}
    for problem in capacity_findings(made, resolve(made, NOTHING_ALLOTTED).topology, measured, now):
        by_code.setdefault(problem.code, []).append(problem)
    return by_code


def each(made: Tier, qps: int | None) -> Tier:
    return replace(made, qps_per_instance=qps)


def shop(peak: int | None, hosts: str = "lb1:a lb2:b web1:a web2:b", **qps: int | None) -> Stack:
    """A load balancer pair and web servers; `qps`: what an instance of each tier is declared to carry."""
    names = [text.partition(":")[0] for text in hosts.split()]
    balancers, servers = ([name for name in names if name.startswith(start)] for start in ("lb", "web"))
    tiers = [tier("balancer", "balancer", " ".join(balancers), "web"), tier("web", "web", " ".join(servers))]
    return stack(hosts, *(each(one, qps.get(one.name, 1000)) for one in tiers), peak_qps=peak)


def measured_of(made: Stack, whole: Figure, **instances: Figure) -> Measured:
    told = {name: {"a": figure} for name, figure in instances.items()}
    return Measured(NOW - DAY_S, Machine("m1", 2), fingerprint(made), "GET /", 0.2, whole, told)


# --- with a declared peak ------------------------------------------------------------------------------------------------
def test_peak_that_what_is_left_carries_is_a_note_only() -> None:
    assert set(found(shop(150, web=150))) == {"F225"}


def test_tier_that_does_not_carry_the_peak_without_one_host_is_found() -> None:
    (problem,) = found(shop(150, web=149))["F220"]

    assert problem.path == "tiers.web.hosts"
    assert "without host web1 tier web carries 149 requests a second, and 150 are the peak" in problem.what


def test_tier_that_carries_the_peak_without_a_host_but_not_without_a_zone_is_found() -> None:
    made = shop(150, "lb1:a lb2:b web1:a web2:a web3:b", web=100)

    assert set(found(made)) == {"F221"}
    assert "without zone a" in found(made)["F221"][0].what
    assert "F221" not in found(replace(made, peak_qps=100))


def test_tier_that_is_too_weak_even_with_all_its_hosts_says_so() -> None:
    (problem,) = found(shop(900, web=200))["F220"]

    assert "with all there is it carries 400" in problem.what


def test_of_load_balancers_that_share_one_address_one_works_at_a_time() -> None:
    assert "more hosts do not help while one works at a time" in found(shop(150, balancer=100))["F220"][0].fix
    assert "F220" not in found(shop(150, balancer=150))


def test_all_load_balancers_with_an_address_each_work_and_one_must_carry_what_all_do() -> None:
    made = shop(150, web=1000)
    settings = HaproxySettings.model_validate({"mode": "active-active"})
    shared = replace(made, tiers=(replace(each(made.tiers[0], 100), component="haproxy", settings=settings), made.tiers[1]))
    (problem,) = found(shared)["F220"]

    assert "without host lb1 tier balancer carries 100 requests a second, and 150 are the peak" in problem.what
    assert "1 of the 2 that work at a time" in problem.why
    assert "hold all VIPs" in problem.why
    assert "F225" in found(replace(shared, peak_qps=100))


def test_load_balancer_that_is_added_to_those_that_all_work_brings_its_own_address() -> None:
    made = shop(250, web=1000)
    settings = HaproxySettings.model_validate({"mode": "active-active"})
    shared = replace(made, tiers=(replace(each(made.tiers[0], 100), component="haproxy", settings=settings), made.tiers[1]))
    change = more_hosts(shared, resolve(shared, NOTHING_ALLOTTED).topology, "balancer", None)

    # Three are to be left without a zone.
    assert change is not None
    assert len(change.after().tiers[0].hosts) == 6
    assert "F225" in found(change.after())


def test_of_a_database_with_a_primary_one_instance_works_and_a_witness_never() -> None:
    made = example()
    (database,) = (one for one in capacities(made, resolve(made, NOTHING_ALLOTTED).topology, None) if one.tier == "database")

    assert database.at_work == 1
    assert database.left == {Part("host", "db1"): 1, Part("host", "db2"): 1, Part("zone", "a"): 1, Part("zone", "b"): 1}


def test_spare_hosts_count_as_one_and_only_when_no_other_is_left() -> None:
    made = resolved(
        "web1:a web2:a x1:b x2:c", tier("web", "web", "web1 web2", spare="x1 x2"), tier("lb", "balancer", "x1", "web")
    )
    (web, _) = capacities(stack("", *(tier("web", "web", "web1"), tier("lb", "balancer", "x1", "web"))), made.topology, None)

    assert web.at_work == 2
    assert (web.left[Part("host", "web1")], web.left[Part("zone", "a")], web.left[Part("host", "x1")]) == (1, 1, 2)


STACKS = {
    "one host more": shop(150, web=100),
    "a single host": shop(150, "lb1:a lb2:b web1:a", web=150),
    "several hosts more": shop(450, web=100),
    "one zone": shop(150, "lb1:a lb2:a web1:a web2:a", web=100),
    "load balancers in one zone": shop(150, "lb1:a lb2:a web1:a web2:b", web=150),
    "uneven zones": shop(250, "lb1:a lb2:b web1:a web2:a web3:a web4:b", web=100),
}


@pytest.mark.parametrize("name", STACKS)
def test_remedy_carried_out_ends_the_finding(name: str) -> None:
    made = STACKS[name]
    bad = [problem for code in ("F220", "F221") for problem in found(made).get(code, [])]
    assert bad
    for problem in bad:
        where = problem.path.split(".")[1]
        change = more_hosts(made, resolve(made, NOTHING_ALLOTTED).topology, where, None)
        assert change is not None
        assert str(change) == problem.fix
        after = found(change.after())
        assert not [one for code in ("F220", "F221") for one in after.get(code, []) if one.path == problem.path]


def test_remedy_adds_no_host_that_is_not_needed() -> None:
    made = shop(450, web=100)

    change = more_hosts(made, resolve(made, NOTHING_ALLOTTED).topology, "web", None)

    # Five in each of two zones: a zone that is lost takes half.
    assert change is not None
    assert len(change.hosts) == 8


# --- what is not known ---------------------------------------------------------------------------------------------------
def test_nothing_declared_and_nothing_measured_is_unknown_and_never_ok() -> None:
    problems = found(shop(None, balancer=None, web=None))

    assert set(problems) == {"F223"}
    assert "the peak is not declared" in problems["F223"][0].what
    assert "balancer and web" in problems["F223"][0].what


def test_figures_without_a_peak_say_what_is_left() -> None:
    (problem,) = found(shop(None, web=120))["F223"]

    assert "web 120 (without host web1)" in problem.why


def test_peak_with_one_tier_unknown_is_not_called_carried() -> None:
    assert set(found(shop(150, balancer=None))) == {"F223"}
    assert set(found(shop(150, balancer=None, web=10))) == {"F220", "F223"}


# --- with measured figures -----------------------------------------------------------------------------------------------
def test_measured_figures_are_used_where_none_is_declared() -> None:
    made = shop(150, balancer=None, web=None)
    good = measured_of(made, Figure(300), balancer=Figure(300, is_at_least=True), web=Figure(160))
    weak = measured_of(made, Figure(300), balancer=Figure(300, is_at_least=True), web=Figure(140))

    assert set(found(made, good)) == {"F225"}
    assert "in a lab whose hosts and load share 2 cores" in found(made, good)["F225"][0].why
    assert set(found(made, weak)) == {"F220"}
    assert set(found(replace(made, tiers=tuple(each(one, 200) for one in made.tiers)), weak)) == {"F225"}


def test_weakest_instance_speaks_for_its_tier() -> None:
    made = shop(150, web=None)
    figures = {"web": {"web1": Figure(500), "web2": Figure(100)}}

    assert "F220" in found(made, replace(measured_of(made, Figure(300)), instances=figures))


def test_instance_that_answered_nothing_in_time_leaves_its_tier_unknown() -> None:
    made = shop(150, web=None)
    figures = {"web": {"web1": Figure(500), "web2": Figure(0, is_at_least=True)}}

    problems = found(made, replace(measured_of(made, Figure(300)), instances=figures))

    assert set(problems) == {"F223"}
    assert "nobody knows what an instance of web carries" in problems["F223"][0].what


def test_stack_that_as_a_whole_answers_less_than_the_peak_is_found() -> None:
    made = shop(150)

    assert set(found(made, measured_of(made, Figure(120)))) == {"F222"}
    assert "F222" not in found(made, measured_of(made, Figure(150)))


def test_what_was_not_asked_for_more_is_unknown_beyond_and_not_too_little() -> None:
    made = shop(150, balancer=None)
    asked = measured_of(made, Figure(100, is_at_least=True), balancer=Figure(100, is_at_least=True))

    assert set(found(made, asked)) == {"F223"}
    assert "no more was asked of balancer for 100" in found(made, asked)["F223"][0].what


def test_figures_of_another_topology_are_said_to_be_old() -> None:
    made = shop(150, web=None)
    before = measured_of(shop(150, "lb1:a lb2:b web1:a web2:b web3:b", web=None), Figure(120), web=Figure(160))

    problems = found(made, before)

    # What the whole answered then says nothing of the whole now.
    assert set(problems) == {"F224", "F225"}
    assert "others then" in problems["F224"][0].what


def test_lower_bound_of_another_topology_is_not_used() -> None:
    made = shop(150, balancer=None)
    other = shop(150, "lb1:a lb2:b web1:a web2:b web3:b", balancer=None)
    bound = Figure(300, is_at_least=True)

    assert set(found(made, measured_of(made, bound, balancer=bound))) == {"F225"}
    assert set(found(made, measured_of(other, bound, balancer=bound))) == {"F223", "F224"}


def test_figures_older_than_a_month_are_said_to_be_old() -> None:
    made = shop(150)
    measured = measured_of(made, Figure(300))

    assert "F224" not in found(made, measured, NOW + 28 * DAY_S)
    assert "32 days ago" in found(made, measured, NOW + 31 * DAY_S)["F224"][0].what


def test_fingerprint_is_of_what_decides_the_capacity() -> None:
    made = shop(150)

    assert fingerprint(replace(made, peak_qps=7, name="other", domain="b.example")) == fingerprint(made)
    assert fingerprint(replace(made, tiers=tuple(reversed(made.tiers)))) == fingerprint(made)
    assert fingerprint(replace(made, tiers=made.tiers[:1])) != fingerprint(made)
    real = tuple(replace(host, address="192.0.2.1") for host in made.hosts)
    assert fingerprint(replace(made, hosts=real)) != fingerprint(made)


def test_busy_machine_is_told() -> None:
    made = shop(150)
    measured = replace(measured_of(made, Figure(300)), machine=Machine("m1", 2, busy_share=0.6))

    assert "60% of it was busy with other work" in found(made, measured)["F225"][0].why


def test_limit_of_the_load_balancer_is_told() -> None:
    made = example()
    tiers = tuple(each(one, 1000) for one in made.tiers)

    (problem,) = found(replace(made, tiers=tiers, peak_qps=512))["F225"]

    # 256 requests at a time to one server, 512 a second: after half a second all places are taken.
    assert "load-balancer gives each of web 256 requests at a time" in problem.why
    assert "requests wait once answers take 0.5 s" in problem.why


# --- against brute force -------------------------------------------------------------------------------------------------
PLACES = st.lists(st.sampled_from("abc"), min_size=1, max_size=6)


def by_force(normal: list[str], spare: list[str], *, is_alone: bool, qps: int, peak: int) -> Kind | None:
    """The kind of the failure domain without which too little is left, hosts first; zones by letter, hosts by number."""
    hosts = [(f"web{number}", zone, False) for number, zone in enumerate(normal)]
    hosts += [(f"x{number}", zone, True) for number, zone in enumerate(spare)]

    def carried(lost: set[str]) -> int:
        up = [is_spare for name, zone, is_spare in hosts if name not in lost and zone not in lost]
        count = up.count(False) or min(up.count(True), 1)
        return qps * (min(count, 1) if is_alone else count)

    if any(carried({name}) < peak for name, _, _ in hosts):
        return Kind.HOST
    return Kind.ZONE if any(carried({zone}) < peak for _, zone, _ in hosts) else None


@given(PLACES, st.lists(st.sampled_from("abc"), max_size=3), st.booleans(), st.integers(1, 100), st.integers(1, 400))
def test_verdict_is_that_of_trying_every_failure_domain(
    normal: list[str], spare: list[str], is_alone: bool, qps: int, peak: int
) -> None:
    servers = [f"web{number}:{zone}" for number, zone in enumerate(normal)]
    spares = [f"x{number}:{zone}" for number, zone in enumerate(spare)]
    names = [" ".join(text.partition(":")[0] for text in texts) for texts in (servers, spares)]
    kind = "balancer" if is_alone else "web"
    made = stack(" ".join([*servers, *spares]), each(tier("web", kind, names[0], spare=names[1]), qps), peak_qps=peak)
    (found_tier,) = capacities(made, resolve(made, NOTHING_ALLOTTED).topology, None)

    lacking = found_tier.lacking(peak)

    expected = by_force(normal, spare, is_alone=is_alone, qps=qps, peak=peak)
    assert (Kind(lacking.kind) if lacking else None) == expected
    assert found_tier.carries(peak) == (expected is None)


def test_unknown_figure_neither_lacks_nor_carries() -> None:
    unknown = TierCapacity("web", 2, {Part("host", "a"): 1, Part("zone", "z"): 1})

    assert unknown.lacking(10) is None
    assert not unknown.carries(10)


# --- a spare of several tiers ------------------------------------------------------------------------------------------
def backed(peak: int | None, app: int | None, spare: str = "x1") -> list[Problem]:
    """The findings about x1, which is the spare of a web tier that carries 300 and of the application `spare` names."""
    made = stack(
        "lb1:a web1:a web2:b app1:a app2:b x1:c",
        each(tier("balancer", "balancer", "lb1", "web"), 1000),
        each(tier("web", "web", "web1 web2", "app", spare="x1"), 300),
        each(tier("app", "application", "app1 app2", spare=spare), app),
        peak_qps=peak,
    )
    return [*stand_in_findings(made, resolve(made, NOTHING_ALLOTTED).topology, None)]


def test_spare_of_two_tiers_shares_its_time_between_them() -> None:
    assert backed(120, 200) == [], "1 / (1/300 + 1/200)"
    (problem,) = backed(121, 200)
    assert (problem.code, problem.path) == ("F226", "hosts.x1")
    assert "as all of them at once it carries 120 requests a second, and 121 are the peak" in problem.what
    assert "1.0 times as strong" in problem.fix


def test_spare_says_what_comes_with_what_because_it_is_beside_it() -> None:
    assert "with the work of web comes that of app" in backed(500, 200)[0].why


def test_spare_of_tiers_of_which_one_is_not_known_says_so() -> None:
    assert "unknown" in backed(100, None)[0].what
    assert "the peak is not declared" in backed(None, 200)[0].what


def test_spare_of_one_tier_is_told_of_by_nobody() -> None:
    assert backed(10_000, 200, spare="") == []

from __future__ import annotations

from tests.unit.stacks import NOTHING_ALLOTTED, example, stack, tier

from nospof.analysis.codes import CODES
from nospof.analysis.findings import findings
from nospof.analysis.redundancy import redundancy_findings
from nospof.resolve import resolve
from nospof.stack.model import Tier
from nospof.stack.problems import Problem, Severity

THREE_ZONES = "lb1:a lb2:b web1:a web2:b db1:a db2:b w1:c mon1:a mon2:b"


def good(**changed: Tier) -> tuple[Tier, ...]:
    """A stack with nothing to find but that it has no IPv6; `changed` replaces tiers."""
    tiers = {
        "balancer": tier("balancer", "balancer", "lb1 lb2", "web"),
        "web": tier("web", "web", "web1 web2", "app"),
        "app": tier("app", "application", "web1 web2", "database"),
        "database": tier("database", "database", "db1 db2", witness="w1"),
        "monitoring": tier("monitoring", "watcher", "mon1 mon2"),
    }
    return tuple({**tiers, **changed}.values())


def found(*tiers: Tier, hosts: str = THREE_ZONES, **others: object) -> dict[str, list[Problem]]:
    made = stack(hosts, *tiers, **others)
    by_code: dict[str, list[Problem]] = {}
    for problem in findings(made, resolve(made, NOTHING_ALLOTTED).topology):
        by_code.setdefault(problem.code, []).append(problem)
    return by_code


def test_good_stack_has_only_notes_about_what_no_file_can_change() -> None:
    assert set(found(*good())) == {"F104", "F108", "F212", "F213", "F214", "F215", "F216", "F223"}


def test_example_of_the_design_has_notes_only() -> None:
    made = example()

    problems = findings(made, resolve(made, NOTHING_ALLOTTED).topology)

    assert {problem.code for problem in problems if problem.severity is not Severity.NOTE} == set()


def test_findings_have_the_severity_of_their_code_and_why_and_fix() -> None:
    bare = found(tier("web", "balancer", "lb1", https=False), has_firewall=False)

    assert {"F101", "F102", "F103", "F104", "F201"} <= set(bare)
    for code, problems in bare.items():
        for problem in problems:
            assert problem.severity is CODES[code].severity
            assert problem.why
            assert problem.fix


def test_findings_come_in_the_order_of_the_file() -> None:
    positions = {"tiers.app.hosts": (3, 1), "tiers.web.hosts": (9, 1)}
    made = stack("h:a", tier("web", "web", "h"), tier("app", "application", "h"), positions=positions)

    lines = [problem.line for problem in findings(made, resolve(made, NOTHING_ALLOTTED).topology)]

    assert lines == sorted(lines)
    assert {3, 9} <= set(lines)


def test_single_host_is_found() -> None:
    lonely = found(*good(web=tier("web", "web", "web1", "app")))

    assert [problem.path for problem in lonely["F210"]] == ["hosts.web1"]
    assert lonely["F210"][0].why.startswith("host web1 is dark → test-web on web1 does not run → nobody answers")
    assert "F201" not in lonely, "the same is not said twice"
    assert "F210" not in found(*good())


def test_single_host_of_what_no_visitor_needs_is_told_otherwise() -> None:
    lonely = found(*good(monitoring=tier("monitoring", "watcher", "mon1")))["F201"]

    assert lonely[0].why == "when mon1 stops, nobody does the work of monitoring"


def test_spare_does_not_make_a_single_host_two_but_is_named() -> None:
    lonely = found(*good(web=tier("web", "web", "web1", "app", spare="web2")))["F201"]

    assert "falls on web2" in lonely[0].why


def test_witness_is_not_a_second_host() -> None:
    assert "F201" in found(*good(database=tier("database", "database", "db1", witness="w1")))


def test_tier_in_one_zone_is_found() -> None:
    together = found(*good(balancer=tier("balancer", "balancer", "lb1 web1", "web")))

    assert [problem.path for problem in together["F211"]] == ["hosts"]
    assert "zone a is a single point of failure" in together["F211"][0].what
    assert "F202" not in together, "the same is not said twice"
    assert "F211" not in found(*good())


def test_tier_in_one_zone_that_no_goal_needs_is_found_too() -> None:
    together = found(*good(monitoring=tier("monitoring", "watcher", "mon1 web1")))["F202"]

    assert [problem.path for problem in together] == ["tiers.monitoring.hosts"]


def test_pairs_are_named_once_for_all() -> None:
    (pairs,) = found(*good())["F212"]
    assert "lb1 + lb2" in pairs.what
    assert "F212" not in found(tier("web", "web", "web1"), hosts="web1:a")


def test_database_hosts_in_one_zone_are_found_though_the_witness_is_elsewhere() -> None:
    assert "F202" in found(*good(database=tier("database", "database", "db1 web1", witness="w1")))


def test_what_ends_with_the_remedy_of_something_worse_is_not_said_again() -> None:
    two_copies = good(database=tier("database", "database", "db1 db2"))

    problems = found(*two_copies)

    assert problems["F210"][0].fix == "in tier database witness: w1"
    assert "F203" not in problems
    assert "F203" in {problem.code for problem in by_itself(*two_copies)}


def test_tier_that_keeps_no_copies_may_have_two_zones() -> None:
    problems = by_itself(*good(database=tier("database", "database", "db1 db2")))

    assert [problem.path for problem in problems if problem.code == "F203"] == ["tiers.database.hosts"]


def test_voters_in_two_zones_are_found() -> None:
    (problem,) = (one for one in by_itself(*good(), hosts=THREE_ZONES.replace("w1:c", "w1:b")) if one.code == "F204")

    assert problem.what == "the voters of test-voter, needed by database, are in 2 zones: a and b"


def by_itself(*tiers: Tier, hosts: str = THREE_ZONES) -> list[Problem]:
    """What tiers and voters lack, whatever else is said."""
    made = stack(hosts, *tiers)
    return list(redundancy_findings(made, resolve(made, NOTHING_ALLOTTED).topology, NOTHING_ALLOTTED))

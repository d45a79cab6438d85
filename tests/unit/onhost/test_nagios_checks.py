"""What Nagios is told: states from figures, and never `well` where nobody looked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nospof.onhost import nagios_checks as checks
from nospof.onhost.nagios_checks import Figures, Page, Result, State, Watched

NOW = 1_800_000_000.0
DAY = 86_400
WATCHED = Watched(
    stack="stack.shop",
    tiers={"web": ["a", "b"], "database": ["a", "b"], "node-exporter": ["a", "b"]},
    hosts=["a", "b"],
    vips={"load-balancer": "198.18.0.1"},
    primaries=["database"],
    promotable=["database"],
    sites=["site shop.example.com/ at 198.18.0.1"],
    quiet=["node-exporter"],
)
SITE = WATCHED.sites[0]
PAGES = {SITE: Page(200, 0.0123)}


def host(*, is_primary: float = 0, **changed: float) -> Figures:
    """What a host tells that is well; `changed`: other values by a word of the figure's name."""
    values = {
        "at": NOW - 5, "web": 1, "database": 1, "vip": is_primary, "firewall": 1, "ends": NOW + 90 * DAY,
        "writes": is_primary, "fit": 1 - is_primary, "free": 50, "memory": 40,
    } | changed  # fmt: skip
    return checks.parse(
        f"""# HELP nospof_instance_up Whether
nospof_instance_up{{tier="web"}} {float(values["web"])}
nospof_instance_up{{tier="database"}} {float(values["database"])}
nospof_vip_held{{name="load-balancer",address="198.18.0.1"}} {float(values["vip"])}
nospof_firewall_in_force {float(values["firewall"])}
nospof_certificate_ends_seconds{{tier="ca",path="/etc/nospof/tls/ca.pem"}} {NOW + 900 * DAY}
nospof_certificate_ends_seconds{{tier="web",path="/etc/nospof/tls/web.crt"}} {float(values["ends"])}
nospof_takes_writes{{tier="database"}} {float(values["writes"])}
nospof_database_fit_for_promotion{{tier="database"}} {float(values["fit"])}
node_filesystem_avail_bytes{{device="/dev/a",fstype="ext4",mountpoint="/"}} {float(values["free"])}e+09
node_filesystem_size_bytes{{device="/dev/a",fstype="ext4",mountpoint="/"}} 1e+11
node_filesystem_avail_bytes{{device="tmpfs",fstype="tmpfs",mountpoint="/run"}} 0
node_filesystem_size_bytes{{device="tmpfs",fstype="tmpfs",mountpoint="/run"}} 1e+09
node_memory_MemAvailable_bytes {float(values["memory"])}
node_memory_MemTotal_bytes 100
nospof_measured_at_seconds {float(values["at"])}
"""
    )


def look(a: Figures, b: Figures, watched: Watched = WATCHED, pages: dict[str, Page] = PAGES) -> dict[str, Result]:
    found = checks.results(watched, {"a": a, "b": b}, pages, NOW)
    named = {f"{result.host}: {result.service}": result for result in found}
    assert len(named) == len(found)
    return named


def bad(found: dict[str, Result]) -> dict[str, State]:
    return {name: result.state for name, result in found.items() if result.state is not State.OK}


def test_a_stack_that_is_well_has_nothing_else_to_say() -> None:
    found = look(host(is_primary=1), host())

    assert bad(found) == {}
    assert found["stack.shop: vip load-balancer"].says == "198.18.0.1 is held by a"
    assert found["stack.shop: primary database"].says == "tier database: a takes writes"
    assert found[f"stack.shop: {SITE}"].says.endswith("answered 200 in 12 ms")


def test_a_host_that_does_not_answer_is_lost_to_its_tiers_and_unknown_by_itself() -> None:
    found = look(host(is_primary=1), Figures(None, "No route to host"))

    assert bad(found) == {
        "b: ": State.CRITICAL,
        **{f"b: {name}": State.UNKNOWN for name in ("figures", "disks", "memory", "certificates", "firewall")},
        **{f"b: instance {tier}": State.UNKNOWN for tier in ("web", "database")},
        "stack.shop: tier web": State.WARNING,
        "stack.shop: tier database": State.WARNING,
        "stack.shop: copies database": State.WARNING,
    }
    assert found["b: "].says == "b does not answer: No route to host"
    assert found["stack.shop: tier web"].says == "tier web has 1 of 2 healthy, without b"


def test_a_host_that_was_not_asked_is_not_well() -> None:
    found = checks.results(WATCHED, {"a": host(is_primary=1)}, PAGES, NOW)
    assert next(result for result in found if (result.host, result.service) == ("b", "")).state is State.CRITICAL


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"web": 0}, {"b: instance web": State.CRITICAL, "stack.shop: tier web": State.WARNING}),
        ({"firewall": 0}, {"b: firewall": State.CRITICAL}),
        ({"free": 9}, {"b: disks": State.WARNING}),
        ({"free": 4}, {"b: disks": State.CRITICAL}),
        ({"memory": 4}, {"b: memory": State.WARNING}),
        ({"ends": NOW + 29 * DAY}, {"b: certificates": State.WARNING}),
        ({"ends": NOW + DAY}, {"b: certificates": State.CRITICAL}),
        ({"ends": NOW - DAY}, {"b: certificates": State.CRITICAL}),
        ({"vip": 1}, {"stack.shop: vip load-balancer": State.CRITICAL}),
        ({"writes": 1}, {"stack.shop: primary database": State.CRITICAL}),
        ({"fit": 0}, {"stack.shop: copies database": State.WARNING}),
        ({"free": 11, "memory": 6, "ends": NOW + 31 * DAY, "at": NOW - 59}, {}),
    ],
)
def test_each_thing_that_is_wrong_is_told_where_it_is(changed: dict[str, float], expected: dict[str, State]) -> None:
    assert bad(look(host(is_primary=1), host(**changed))) == expected


def test_nobody_who_holds_the_address_or_takes_writes_is_critical() -> None:
    found = look(host(), host())
    assert bad(found) == {"stack.shop: vip load-balancer": State.CRITICAL, "stack.shop: primary database": State.CRITICAL}
    assert found["stack.shop: vip load-balancer"].says == "198.18.0.1 is held by no host"
    assert found["stack.shop: primary database"].says == "tier database: no server takes writes"


@pytest.mark.parametrize("at", [NOW - 61, NOW + 61])
def test_figures_of_another_time_say_nothing_of_now(at: float) -> None:
    """A program that hangs would else show for ever what was well."""
    found = look(host(is_primary=1), host(at=at))

    assert found["b: figures"].state is State.CRITICAL
    assert {found[f"b: {name}"].state for name in ("firewall", "instance web", "instance database")} == {State.UNKNOWN}
    assert found["stack.shop: tier web"].state is State.UNKNOWN
    assert found["stack.shop: copies database"].state is State.WARNING


def test_a_primary_whose_figures_are_old_counts_as_none() -> None:
    assert look(host(is_primary=1, at=NOW - 61), host())["stack.shop: primary database"].state is State.CRITICAL


def test_a_tier_that_is_down_is_critical() -> None:
    found = look(host(is_primary=1, web=0), host(web=0))
    assert found["stack.shop: tier web"] == Result("stack.shop", "tier web", State.CRITICAL, "tier web is down")


def test_a_host_that_answers_without_figures_has_just_begun_and_is_no_loss() -> None:
    found = look(host(is_primary=1), checks.parse("node_memory_MemTotal_bytes 100\n"))
    assert found["stack.shop: tier web"].state is State.UNKNOWN
    assert found["b: figures"].says == "b: nothing is known of what runs on it"


@pytest.mark.parametrize(
    ("page", "state"),
    [
        (Page(404, 0.1), State.OK),
        (Page(500, 0.1), State.CRITICAL),
        (Page(503, 0.1), State.CRITICAL),
        (Page(None, 5.0, "timed out"), State.CRITICAL),
    ],
)
def test_a_site_is_well_while_it_answers_without_an_error_of_its_own(page: Page, state: State) -> None:
    assert look(host(is_primary=1), host(), pages={SITE: page})[f"stack.shop: {SITE}"].state is state


def test_what_is_not_there_while_hosts_are_set_up_was_not_lost() -> None:
    new = replace(host(fit=0), samples={**(host(fit=0).samples or {}), "nospof_instance_up": ()})
    none = {SITE: Page(None, 1.0, "refused")}
    names = {f"stack.shop: {name}" for name in ("vip load-balancer", "primary database", "copies database", SITE)}
    for a, expected in ((new, State.UNKNOWN), (host(fit=0), State.CRITICAL)):
        found = look(a, host(fit=0), pages=none)
        assert {found[name].state for name in names - {"stack.shop: copies database"}} == {expected}
    assert look(new, host(is_primary=1, fit=0))["stack.shop: copies database"].state is State.UNKNOWN
    both = look(
        replace(host(is_primary=1), samples={**(host(is_primary=1).samples or {}), "nospof_instance_up": ()}),
        host(is_primary=1),
    )
    assert both["stack.shop: vip load-balancer"].state is State.CRITICAL, "two have it, whatever else is not known"
    assert both["stack.shop: primary database"].state is State.CRITICAL


def test_a_site_that_was_not_asked_is_unknown() -> None:
    assert bad(look(host(is_primary=1), host(), pages={})) == {f"stack.shop: {SITE}": State.UNKNOWN}


def test_without_a_firewall_nobody_asks_for_it() -> None:
    found = look(host(is_primary=1), host(firewall=0), replace(WATCHED, has_firewall=False))
    assert bad(found) == {}
    assert "b: firewall" not in found


def test_what_is_no_figure_is_left_out() -> None:
    found = checks.parse('a{b="c d",e="\\"f\\""} 1\nb 2 1800000000000\nc{x="y"} no-number\n# TYPE d gauge\n\nnot a line\n')
    assert found.value("a", b="c d") == 1
    assert found.value("b") == 2
    assert set(found.samples or ()) == {"a", "b"}

from __future__ import annotations

from dataclasses import replace

from tests.unit.stacks import NOTHING_ALLOTTED, example, stack, tier

from nospof.analysis.capacity import capacity_findings
from nospof.analysis.measured import Figure, Machine, Measured, fingerprint
from nospof.cli.capacity import capacity
from nospof.explain.capacity import Capacity, section
from nospof.explain.page import Commands, Table
from nospof.resolve import resolve
from nospof.stack.model import Stack


def told(made: Stack, measured: Measured | None = None) -> Capacity:
    topology = resolve(made, NOTHING_ALLOTTED).topology
    return capacity(made, topology, measured, tuple(capacity_findings(made, topology, measured, 0.0)))


def test_document_tells_each_tier_and_what_is_left_of_it() -> None:
    made = stack(
        "lb1:a web1:a web2:b",
        replace(tier("balancer", "balancer", "lb1", "web"), qps_per_instance=900),
        tier("web", "web", "web1 web2"),
        peak_qps=150,
    )

    balancer, web = told(made).tiers

    assert (balancer.per_instance, balancer.without_host, balancer.without_zone) == (
        "900",
        "nothing (host lb1)",
        "nothing (zone a)",
    )
    assert (web.per_instance, web.at_work, web.without_host) == ("unknown", "2", "unknown")


def test_document_tells_where_and_when_it_was_measured() -> None:
    made = example()
    figures = {"web": {"web1": Figure(120)}, "database": {"db2": Figure(200, is_at_least=True)}}
    measured = Measured(1.8e9, Machine("m1", 4), fingerprint(made), "GET https://x/", 0.2, Figure(200), figures)

    found = told(made, measured)

    assert "measured 2027-01-15 on m1, in a lab whose hosts and load share 4 cores" in found.measured
    rows = {row.tier: row for row in found.tiers}
    assert (rows["web"].without_host, rows["database"].without_host) == ("120 (host web1)", "at least 200 (host db1)")
    assert not any(isinstance(block, Commands) for block in section(found))


def test_document_of_what_nobody_measured_says_how_it_is_measured() -> None:
    blocks = list(section(told(example())))

    assert any(isinstance(block, Table) for block in blocks)
    assert any(isinstance(block, Commands) and block.lines[0][0] == "nospof measure" for block in blocks)

"""The Grafana dashboard: whole, placed without overlaps, and made of figures that somebody tells."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest
from tests.unit.stacks import NOTHING_ALLOTTED, example

from nospof.explain.dashboard import dashboard, expressions
from nospof.onhost.measures import MEANINGS
from nospof.resolve import resolve
from nospof.topology import Topology

# What daemons tell; of these tests/lab/test_monitoring.py sees that each has figures. nospof's own are in MEANINGS.
FOREIGN = re.compile(r"(haproxy|node|etcd|alertmanager)_[A-Za-z0-9_]+")
WORDS = {
    *(
        "sum",
        "min",
        "max",
        "avg",
        "count",
        "by",
        "rate",
        "increase",
        "histogram_quantile",
        "vector",
        "time",
        "or",
        "up",
        "ALERTS",
    ),
}


def made(name: str = "distributed") -> Topology:
    return resolve(example(name), NOTHING_ALLOTTED).topology


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(dashboard(made()))["panels"]
    return found


def test_same_stack_gives_the_same_bytes() -> None:
    assert dashboard(made()) == dashboard(made())


def test_every_tier_has_a_row_from_the_visitors_down_and_hosts_are_last() -> None:
    rows = [panel["title"] for panel in panels() if panel["type"] == "row"]
    assert rows == [
        "Now",
        "load-balancer (haproxy)",
        "web (nginx)",
        "app (gunicorn)",
        "database (mariadb)",
        "monitoring (prometheus)",
        "alertmanager",
        "database-router",
        "etcd",
        "keepalived",
        "Hosts",
    ]


def test_panels_are_on_the_grid_and_none_covers_another() -> None:
    places = [panel["gridPos"] for panel in panels()]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 and place["h"] > 0 for place in places)
    for one, other in combinations(places, 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart or above, (one, other)
    assert len({panel["id"] for panel in panels()}) == len(places)


def test_every_query_asks_the_source_that_is_chosen_in_grafana() -> None:
    told = json.loads(dashboard(made()))
    (variable,) = told["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    targets = [target for panel in told["panels"] for target in panel.get("targets", ())]
    assert {json.dumps(target["datasource"], sort_keys=True) for target in targets} == {
        json.dumps({"type": "prometheus", "uid": f"${{{variable['name']}}}"}, sort_keys=True)
    }
    for panel in told["panels"]:
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("query", [query for query, _ in expressions(made(), "1m")])
def test_expression_is_made_of_figures_that_somebody_tells(query: str) -> None:
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', query)  # without what labels are compared with
    bare = re.sub(r"\bby \([a-z, ]+\)|\{[^}]*\}|\[[0-9a-z]+\]", " ", bare)
    names = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", bare)) - WORDS
    assert {name for name in names if name not in MEANINGS and not FOREIGN.fullmatch(name)} == set()
    for opening, closing in ("()", "{}", "[]"):
        assert query.count(opening) == query.count(closing)


@pytest.mark.parametrize("name", ["simple", "lamp"])
def test_other_stacks_have_a_dashboard_of_what_they_have(name: str) -> None:
    topology = made(name)
    rows = [panel["title"] for panel in json.loads(dashboard(topology))["panels"] if panel["type"] == "row"]
    assert all(
        any(row.startswith(tier) for row in rows) for tier in {one.id.tier for one in topology.instances} - {"node-exporter"}
    )

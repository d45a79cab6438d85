"""What visitors of a drill ask for, and how often."""

from __future__ import annotations

from nospof.analysis.structure import Goal
from nospof.drills.visitors import Rates, visits
from nospof.topology import Site

SHOP = Site("shop", "", write_path="/orders", write_body='{"token": "{token}"}', read_path="/orders/{token}")
FILES = Site("files", "", "/static/", page="/static/a.css")
BOARD = Site("board", "", "/board/")


def test_sites_share_the_rates_and_each_is_asked_for_its_page() -> None:
    found = [(goal, site.tier, load.path, load.rate) for goal, site, load in visits([BOARD, FILES, SHOP], Rates(60.0, 20.0))]

    assert found == [
        (Goal.SERVE, "board", "/board/", 20.0),
        (Goal.SERVE, "files", "/static/a.css", 20.0),
        (Goal.SERVE, "shop", "/", 20.0),
        (Goal.WRITE, "shop", "/orders", 20.0),
    ]


def test_one_site_has_all_of_it() -> None:
    assert [(load.path, load.rate) for _, _, load in visits([SHOP], Rates(50.0, 20.0))] == [("/", 50.0), ("/orders", 20.0)]


def test_nobody_asks_where_there_is_no_site() -> None:
    assert not list(visits([], Rates()))

"""What a memcached server's own counters become."""

from __future__ import annotations

from nospof.onhost import memcached_ask

STATS = "STAT pid 7\r\nSTAT version 1.6.38\r\nSTAT curr_connections 12\r\nSTAT evictions 3\r\nSTAT bytes none\r\nEND\r\n"


def test_counters_have_the_names_that_others_give_them() -> None:
    found = memcached_ask.figures(STATS)
    assert {name: value for name, (_, _, value) in found.items()} == {
        "memcached_current_connections": 12,
        "memcached_items_evicted_total": 3,
    }
    assert found["memcached_items_evicted_total"][0] == "counter"


def test_an_answer_without_counters_has_none() -> None:
    assert memcached_ask.figures("ERROR\r\n") == {}
    assert memcached_ask.figures("") == {}

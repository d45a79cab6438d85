from __future__ import annotations

import threading

from small_tier import Database

from nospof.onhost.agent.engine import EngineError
from nospof.onhost.agent.query_rate import QueryRate, Reading


class Silent(Database):
    def questions(self) -> tuple[int, int]:
        raise EngineError("it does not answer")


def counted(*readings: tuple[float, int]) -> QueryRate:
    """A rate that read so many statements at these moments."""
    database, now = Database("db1", {}), [0.0]
    rate = QueryRate(database, lambda: now[0])
    for at_s, asked in readings:
        now[0], database.asked = at_s, asked
        rate.count()
    return rate


def test_rate_is_unknown_until_it_was_read_twice() -> None:
    assert counted((0, 500)).qps is None
    assert counted((0, 500), (5, 1500)).qps == 200


def test_rate_is_of_the_last_readings() -> None:
    assert counted((0, 0), (5, 1000), (10, 1000)).qps == 0


def test_server_that_began_anew_has_no_rate_until_it_was_read_twice() -> None:
    assert counted((0, 500), (5, 20)).qps is None
    assert counted((0, 500), (5, 20), (10, 120)).qps == 20


def test_what_the_agent_asks_itself_is_left_out() -> None:
    assert Reading(5, 600, 100).rate_since(Reading(0, 500, 50)) == 10
    # What was sent and is not counted yet is no sign of a new server.
    assert Reading(5, 500, 51).rate_since(Reading(0, 500, 50)) == 0


def test_silent_server_has_no_rate() -> None:
    rate = QueryRate(Silent("db1", {}), lambda: 1.0, qps=7.0)
    rate.count()
    assert rate.qps is None


def test_counting_ends_when_told() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=QueryRate(Database("db1", {}), lambda: 1.0).keep_counting, args=(stop,))
    thread.start()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nospof.measuring.knee import PRECISION, Knee, Step, find_knee

MOST_TRIES = 60


class Site:
    """A load whose knee is known: a rate holds up to it. `noise`: a share of the tries fails all the same."""

    def __init__(self, knee_qps: float, noise: float = 0.0, seed: int = 0) -> None:
        self.knee_qps, self.noise, self.chance = knee_qps, noise, Random(seed)
        self.asked: list[float] = []

    def ask(self, qps: float) -> Step:
        self.asked.append(qps)
        return Step(qps, holds=qps <= self.knee_qps and self.chance.random() >= self.noise)

    def search(self, start_qps: float = 20, most_qps: float = 5000) -> Knee:
        return find_knee(self.ask, start_qps=start_qps, most_qps=most_qps)


@given(st.floats(1, 4000), st.floats(1, 500))
def test_knee_of_a_steady_site_is_found_to_a_tenth(knee_qps: float, start_qps: float) -> None:
    site = Site(knee_qps)

    found = site.search(start_qps)

    assert found.best is not None
    assert found.beyond is not None
    assert found.best.qps <= knee_qps < found.beyond.qps
    assert found.beyond.qps <= found.best.qps * (1 + PRECISION)
    assert not found.is_at_least


@pytest.mark.parametrize("seed", range(200))
def test_noise_makes_the_knee_lower_but_not_much_and_never_higher(seed: int) -> None:
    site = Site(300, noise=0.1, seed=seed)

    found = site.search()

    assert found.best is not None
    assert found.best.holds
    assert found.best.qps <= 300
    assert len(site.asked) < MOST_TRIES


def test_one_busy_moment_in_ten_seldom_costs_more_than_a_quarter() -> None:
    found = [Site(300, noise=0.1, seed=seed).search().best for seed in range(200)]

    assert sum(best is not None and best.qps > 225 for best in found) > 180


def test_lucky_moment_above_the_knee_is_not_what_is_found() -> None:
    site = Site(100)
    lucky = iter([True])

    def ask(qps: float) -> Step:
        step = site.ask(qps)
        return Step(qps, holds=True) if qps > 150 and next(lucky, False) else step

    found = find_knee(ask, start_qps=20, most_qps=5000)

    assert found.best is not None
    assert found.best.qps <= 100


def test_more_than_allowed_is_never_asked_and_the_answer_is_at_least() -> None:
    site = Site(10_000)

    found = site.search(most_qps=700)

    assert max(site.asked) == 700
    assert found.best is not None
    assert (found.best.qps, found.is_at_least) == (700, True)


def test_site_that_answers_nothing_is_given_up_soon() -> None:
    site = Site(0)

    assert site.search().best is None
    assert len(site.asked) <= 4


def test_load_that_could_not_ask_more_finds_no_limit_of_the_site() -> None:
    def ask(qps: float) -> Step:
        return Step(qps, holds=qps <= 400, is_load_late=qps > 400)

    assert find_knee(ask, start_qps=20, most_qps=5000).is_at_least

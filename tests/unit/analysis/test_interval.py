"""The interval of Clopper and Pearson, against figures that are printed everywhere."""

import pytest

from nospof.analysis.interval import clopper_pearson


@pytest.mark.parametrize(
    ("successes", "tries", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),
        (10, 10, 0.6915, 1.0),
        (5, 10, 0.1871, 0.8129),
        # The rule of three: 1 - 0.025^(1/n).
        (100, 100, 0.025 ** (1 / 100), 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_interval(successes: int, tries: int, low: float, high: float) -> None:
    found = clopper_pearson(successes, tries)
    assert found == pytest.approx((low, high), abs=1e-4)


def test_more_successes_than_tries_are_refused() -> None:
    with pytest.raises(ValueError, match="3 successes of 2 tries"):
        clopper_pearson(3, 2)

"""The interval of a share, against scipy's and published values."""

import numpy as np
import pytest
from scipy.stats import binomtest

from mlpmixer.measures.intervals import wilson_interval, wilson_intervals


def test_intervals_of_many_shares_equal_those_of_scipy() -> None:
    random = np.random.default_rng(0)
    total = np.concatenate([[1, 1, 2, 50_000], random.integers(1, 5000, 50)])
    correct = np.concatenate([[0, 1, 1, 49_999], random.integers(0, total[4:] + 1)])
    expected = [
        binomtest(int(right), int(count)).proportion_ci(method="wilson")
        for right, count in zip(correct, total, strict=True)
    ]
    found = wilson_intervals(correct, total)
    np.testing.assert_allclose(found, [(one.low, one.high) for one in expected], atol=1e-9)
    assert wilson_interval(int(correct[7]), int(total[7])) == tuple(found[7])


def test_the_interval_agrees_with_published_values() -> None:
    # Newcombe (1998), table I: 81 of 263, and 0 of 20
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_intervals_that_hold_together_are_those_of_scipy_at_the_stricter_level() -> None:
    found = wilson_intervals([3, 30], [10, 50], together=True)
    expected = binomtest(3, 10).proportion_ci(0.975, method="wilson")
    np.testing.assert_allclose(found[0], expected, atol=1e-9)


def test_of_no_images_the_share_may_be_anything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)

"""Confidence against accuracy, counted in one go or in parts."""

import numpy as np
import pytest
import torch

from mlpmixer.measures.calibration import BINS, Calibration, calibration_sums, chance_error


def measured(confidence: list[float], right: list[bool]) -> Calibration:
    sums = calibration_sums(torch.tensor(confidence), torch.tensor(right))
    return Calibration.from_sums(sums.numpy())


def test_the_error_is_the_gap_between_confidence_and_accuracy() -> None:
    assert measured([0.9] * 10, [True] * 5 + [False] * 5).expected_error == pytest.approx(0.4)
    assert measured([0.9] * 10, [True] * 9 + [False]).expected_error == pytest.approx(0, abs=1e-6)


def test_bins_weigh_by_their_counts() -> None:
    found = Calibration(np.array([30.0, 10, 0]), np.array([0.9, 0.5, 0]), np.array([0.8, 0.7, 0]))
    assert found.expected_error == pytest.approx((30 * 0.1 + 10 * 0.2) / 40)
    assert found.mean_confidence == pytest.approx((30 * 0.9 + 10 * 0.5) / 40)
    assert found.mean_accuracy == pytest.approx((30 * 0.8 + 10 * 0.7) / 40)


def test_certainty_counts_in_the_last_bin() -> None:
    found = measured([1.0, 1.0], [True, False])
    assert found.counts[-1] == 2
    assert found.expected_error == pytest.approx(0.5)


def test_sums_of_parts_are_those_of_the_whole() -> None:
    random = torch.Generator().manual_seed(0)
    confidence = torch.rand(1000, generator=random)
    right = torch.rand(1000, generator=random) < confidence
    whole = calibration_sums(confidence, right)
    parts = [
        calibration_sums(one, two)
        for one, two in zip(confidence.split(300), right.split(300), strict=True)
    ]
    torch.testing.assert_close(torch.stack(parts).sum(dim=0), whole)
    # by hand, as equation 3 of the paper says
    which = np.minimum((confidence.numpy() * BINS).astype(int), BINS - 1)
    gaps = [
        (which == one).mean()
        * abs(confidence.numpy()[which == one].mean() - right.numpy()[which == one].mean())
        for one in range(BINS)
    ]
    assert Calibration.from_sums(whole.numpy()).expected_error == pytest.approx(sum(gaps))


@pytest.mark.parametrize("images", [20, 100, 1000])
def test_what_chance_makes_of_an_honest_model_is_allowed_for(images: int) -> None:
    random = torch.Generator().manual_seed(0)
    errors, allowed = [], []
    for _ in range(100):
        confidence = torch.rand(images, generator=random)
        right = torch.rand(images, generator=random) < confidence
        sums = calibration_sums(confidence, right)
        errors.append(Calibration.from_sums(sums.numpy()).expected_error)
        allowed.append(chance_error(int(right.sum()), images))
    assert np.mean(errors) <= np.mean(allowed) <= 2 * np.mean(errors)

"""The few statistics that the report derives from counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Z95 = 1.959964  # two-sided 95 % of the normal distribution


@dataclass(frozen=True)
class CalibrationBin:
    """The predictions whose confidence fell into one interval."""

    confidence: float
    """Their mean confidence, in [0, 1]."""
    accuracy: float
    """The share of them that is right, in [0, 1]."""
    count: int


@dataclass(frozen=True)
class Confusion:
    """How often images of one class were taken for another."""

    true: int
    predicted: int
    count: int
    share: float
    """Of the true class's images, in [0, 1]."""


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, in [0, 1]; good also for few images and near 0 or 1.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """
    if total == 0:
        return 0.0, 1.0
    share = correct / total
    scale = 1 + _Z95**2 / total
    centre = (share + _Z95**2 / (2 * total)) / scale
    half = _Z95 / scale * (share * (1 - share) / total + _Z95**2 / (4 * total**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def expected_calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """Return the mean distance between confidence and accuracy, weighted by count, in [0, 1].

    Guo et al. (2017), "On calibration of modern neural networks", equation 3.
    """
    total = sum(bin.count for bin in bins)
    return sum(bin.count * abs(bin.accuracy - bin.confidence) for bin in bins) / max(total, 1)


def most_confused(confusion: NDArray[np.integer], limit: int) -> list[Confusion]:
    """Return the most frequent mistakes of a confusion matrix, the most frequent first.

    `confusion` is (K, K): rows are true classes, columns predicted ones.
    """
    errors = confusion.copy()
    np.fill_diagonal(errors, 0)
    totals = confusion.sum(axis=1)
    order = np.argsort(-errors, axis=None, kind="stable")[:limit]
    found = []
    for true, predicted in zip(*np.unravel_index(order, errors.shape), strict=True):
        count = int(errors[true, predicted])
        if count:
            share = count / int(totals[true])
            found.append(Confusion(int(true), int(predicted), count, share))
    return found

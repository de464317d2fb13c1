"""Whether a model is right as often as it claims to be.

Guo et al. (2017), "On calibration of modern neural networks", https://arxiv.org/abs/1706.04599.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mlpmixer.measures.intervals import wilson_interval

BINS = 15
TOLERATED_ERROR = 0.05
"""Expected calibration error up to which probabilities can be taken at their word."""


def calibration_sums(confidence: Tensor, right: Tensor, bins: int = BINS) -> Tensor:
    """Return what a batch adds to the bins: images, their confidence, how many are right.

    Args:
        confidence: (B,), the probability of the predicted class, in [0, 1].
        right: (B,), whether that class is the true one.
        bins: intervals of equal width; a confidence of 1 belongs to the last one.

    Returns:
        Sums (3, bins), float64; those of several batches may be added.
    """
    which = (confidence * bins).long().clamp(max=bins - 1)
    members = F.one_hot(which, bins).double()  # (B, bins)
    rows = torch.stack([torch.ones_like(confidence), confidence, right]).double()  # (3, B)
    return rows @ members


def chance_error(right: int, images: int, bins: int = BINS) -> float:
    """Return the expected calibration error that an honest model has at most, on average.

    In a bin of n images the share that is right differs from its expectation p by
    sqrt(2 p (1 - p) / (pi n)) on average; the sum over the bins is largest where they are alike.

    Args:
        right: images classified rightly.
        images: images classified.
        bins: as in `calibration_sums`.
    """
    accuracy = (right + 1) / (images + 2)  # neither 0 nor 1, which few images cannot tell
    spread = accuracy * (1 - accuracy)
    return math.sqrt(2 * min(bins, images) * spread / (math.pi * images))


def confidence_is_off(error: float, right: int, images: int, confidence: float | None) -> bool:
    """Tell whether probabilities are off by more than is tolerated, beyond what chance makes of it.

    Args:
        error: the expected calibration error, in [0, 1].
        right: images classified rightly.
        images: images classified.
        confidence: the mean, in [0, 1]; None where it is not known. It is off for certain, also
            with few images, where it lies outside the interval of the accuracy.
    """
    if confidence is not None:
        low, high = wilson_interval(right, images)
        if abs(confidence - right / images) > TOLERATED_ERROR and not low <= confidence <= high:
            return True
    return error > TOLERATED_ERROR + chance_error(right, images)


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy, in bins of equal width."""

    counts: NDArray[np.float64]
    """(bins,), images."""
    confidence: NDArray[np.float64]
    """(bins,), the mean, in [0, 1]; 0 where a bin is empty."""
    accuracy: NDArray[np.float64]
    """(bins,), the share that is right, in [0, 1]; 0 where a bin is empty."""

    @classmethod
    def from_sums(cls, sums: NDArray[np.float64]) -> Self:
        """Return the calibration that sums (3, bins) of `calibration_sums` describe."""
        counts, confidence, right = sums
        filled = np.maximum(counts, 1)
        return cls(counts, confidence / filled, right / filled)

    @property
    def expected_error(self) -> float:
        """The expected calibration error (ECE, equation 3 of the paper), in [0, 1]."""
        return self._mean(np.abs(self.confidence - self.accuracy))

    @property
    def mean_confidence(self) -> float:
        """What the model claims on average, in [0, 1]."""
        return self._mean(self.confidence)

    @property
    def mean_accuracy(self) -> float:
        """How often it is right, in [0, 1]."""
        return self._mean(self.accuracy)

    def _mean(self, values: NDArray[np.float64]) -> float:
        return float((self.counts * values).sum() / max(1, self.counts.sum()))

"""How far two accuracies are apart, and whether that can be told from chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t


@dataclass(frozen=True)
class Difference:
    """How much more accurate one kind of training is than another; shares in [0, 1]."""

    mean: float
    """Mean over the seeds."""
    margin: float
    """Half the 95 % interval of that."""

    @property
    def distinguishable(self) -> bool:
        """Whether zero is outside the interval."""
        return abs(self.mean) > self.margin


@dataclass(frozen=True)
class SeedDeviation:
    """How far apart trainings are that differ in their seed alone."""

    deviation: float
    """Standard deviation of an accuracy, in [0, 1]."""
    freedom: int
    """Degrees of freedom that it was estimated with."""


def pooled_spread(kinds: Sequence[Sequence[float]]) -> SeedDeviation | None:
    """Return the spread over the seeds, taken to be the same for all kinds of training.

    From two or three seeds of one kind alone it could hardly be told.

    Args:
        kinds: of each kind, accuracies by seed.

    Returns:
        The spread; None where no kind has several seeds.
    """
    freedom = sum(len(kind) - 1 for kind in kinds)
    if not freedom:
        return None
    squares = sum(float(np.var(kind)) * len(kind) for kind in kinds)
    return SeedDeviation((squares / freedom) ** 0.5, freedom)


def paired_difference(
    accuracies: Sequence[float],
    others: Sequence[float],
    images: int,
    spread: SeedDeviation | None = None,
) -> Difference:
    """Compare the accuracies of two kinds of training, seed by seed.

    The margin has two sources, whose variances add up: the images are a sample, and so is each
    training with its random weights and order. More seeds make the second one smaller; the images
    are the same for all. With one seed only the first is known, and the margin is a lower bound.

    Args:
        accuracies: in [0, 1], of each seed.
        others: the same seeds' of the other kind; there is at least one.
        images: how many each was measured on.
        spread: of a training over the seeds, where more is known of it than by these two kinds.
    """
    one, other = np.array(accuracies), np.array(others)
    seeds = len(one)
    sampling = (one * (1 - one) + other * (1 - other)).mean() / images  # of one difference
    margins = [norm.ppf(0.975) * sampling**0.5]
    if spread is not None:
        margins.append(t.ppf(0.975, spread.freedom) * spread.deviation * (2 / seeds) ** 0.5)
    elif seeds > 1:  # a spread that is itself estimated from few: Student's t
        deviation = (one - other).std(ddof=1) / seeds**0.5
        margins.append(t.ppf(0.975, seeds - 1) * deviation)
    return Difference(float((one - other).mean()), math.hypot(*margins))

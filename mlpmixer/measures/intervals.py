"""How sure a share is that was counted on some images."""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, in [0, 1]; see `wilson_intervals`."""
    low, high = wilson_intervals([correct], [total])[0]
    return float(low), float(high)


def wilson_intervals(
    correct: ArrayLike, total: ArrayLike, *, together: bool = False
) -> NDArray[np.float64]:
    """Return the 95 % intervals of many shares at once, (N, 2), each in [0, 1].

    The interval is good also for few images and near 0 or 1. Wilson (1927), "Probable inference,
    the law of succession, and statistical inference".

    Args:
        correct: (N,), how many were right.
        total: (N,), of how many; of none, the interval is everything.
        together: widen them (Bonferroni), so that all hold at once in 95 % of cases: for looking
            for the one that stands out.
    """
    right, count = np.asarray(correct, np.float64), np.asarray(total, np.float64)
    missed = 0.05 / count.size if together else 0.05
    z_squared = NormalDist().inv_cdf(1 - missed / 2) ** 2
    centre = right + z_squared / 2
    spread = right * (count - right) / np.maximum(count, 1) + z_squared / 4
    half = np.sqrt(z_squared * spread)
    both = np.stack([centre - half, centre + half], axis=-1) / (count + z_squared)[..., None]
    return both.clip(0, 1)

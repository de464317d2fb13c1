"""In which order weights are drawn: from coarse to fine, each beside its opposite."""

import numpy as np
from numpy.typing import NDArray


def spatial_frequency(pictures: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return each picture's mean spatial frequency, weighted by power, in cycles a pixel.

    `pictures` is (N, H, W), or (N, H, W, 3) where the power of the colours is summed; the result,
    (N,), lies in [0, 0.71]: 0 for a constant picture.
    """
    power = np.abs(np.fft.fft2(pictures, axes=(1, 2))) ** 2  # (N, H, W) or (N, H, W, 3)
    if power.ndim == 4:
        power = power.sum(axis=3)
    total = np.maximum(power.sum(axis=(1, 2)), 1e-30)
    return (power * frequencies(*power.shape[1:])).sum(axis=(1, 2)) / total


def frequencies(height: int, width: int) -> NDArray[np.float64]:
    """Return the spatial frequency of each coefficient of `numpy.fft.fft2` in cycles a pixel."""
    return np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])


def opposite_pairs(
    units: NDArray[np.floating],
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Pair units of opposite phase: w and -w are perfect partners.

    Again and again the two of the remaining units whose cosine similarity is the most negative
    become a pair, so that no unit is taken from the one that it is most opposed to by a third.

    Args:
        units: (N, H, W).

    Returns:
        Pairs (N // 2, 2) of indices, and the cosine similarity of each pair in [-1, 1]. Of an odd
        number, one unit stays alone.
    """
    flat = units.reshape(len(units), -1).astype(np.float64)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    similarity = flat @ flat.T  # (N, N)
    similarity = (similarity + similarity.T) / 2  # to the last bit, or two could chase each other
    np.fill_diagonal(similarity, np.inf)
    waiting = np.arange(len(units))
    pairs: list[NDArray[np.intp]] = []
    while len(waiting) > 1:
        # Two that are each other's most opposed can be paired at once: no later pair changes that.
        best = similarity[np.ix_(waiting, waiting)].argmin(axis=1)
        first = np.flatnonzero(
            (best[best] == np.arange(len(waiting))) & (best > np.arange(len(best)))
        )
        pairs.append(np.stack([waiting[first], waiting[best[first]]], axis=1))
        waiting = np.delete(waiting, np.concatenate([first, best[first]]))
    found = np.concatenate(pairs) if pairs else np.empty((0, 2), dtype=np.intp)
    return found, similarity[found[:, 0], found[:, 1]]


def paired_order(units: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return an order of `units`, (N, H, W), that shows pairs of opposite phase.

    The pairs of `opposite_pairs` from low to high spatial frequency, as in figure 5 of the paper
    (https://arxiv.org/abs/2105.01601).
    """
    return order_of_pairs(opposite_pairs(units)[0], spatial_frequency(units))


def paired_sample(units: NDArray[np.floating], limit: int | None) -> NDArray[np.intp]:
    """Return the order of `paired_order`, of more than `limit` units whole pairs spread evenly."""
    order = paired_order(units)
    if limit is None or len(order) <= limit:
        return order
    pairs = order[: len(order) // 2 * 2].reshape(-1, 2)
    chosen = np.linspace(0, len(pairs) - 1, max(limit // 2, 1)).round().astype(int)
    return pairs[chosen].ravel()


def order_of_pairs(pairs: NDArray[np.intp], frequency: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return units in pairs from low to high mean frequency; one without partner comes last.

    `pairs` is (N // 2, 2), `frequency` (N,). Within a pair the lower frequency comes first.
    """
    swapped = frequency[pairs[:, 0]] > frequency[pairs[:, 1]]
    pairs = np.where(swapped[:, None], pairs[:, ::-1], pairs)
    pairs = pairs[np.argsort(frequency[pairs].mean(axis=1), kind="stable")]
    alone = np.setdiff1d(np.arange(len(frequency)), pairs)
    return np.concatenate([pairs.ravel(), alone])

"""What token mixing has learned: figure 5 of the paper for every layer, and in numbers.

The paper (https://arxiv.org/abs/2105.01601) shows the input weights of the first layers as pictures
of the patch grid: some units look at the whole picture, others at a part, and many come in pairs
of opposite phase; later layers show less structure. Here each of these has a measure.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from mlpmixer.measures.spatial_order import frequencies, opposite_pairs, spatial_frequency
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.weight_images import token_mixing_weights
from mlpmixer.randomness import generator
from mlpmixer.report.inspection_contents import Floats, TokenMixing, TokenMixings

_FRESH = 8192
"""Units drawn to know what fresh weights measure."""


def token_mixing(
    network: ImageModel, on_progress: Callable[[float], None] | None = None
) -> TokenMixings | None:
    """Measure the hidden units of every block's token-mixing MLP; None where there are none.

    `on_progress` is called with the share done, in [0, 1].
    """
    mixing, blocks = token_mixing_weights(network), []
    if not mixing:
        return None
    for weights in mixing:
        blocks.append(measure(weights.inputs.numpy(), weights.outputs.numpy()))
        if on_progress is not None:
            on_progress(len(blocks) / len(mixing))
    rows, columns = mixing[0].inputs.shape[1:]
    ring = _rings(rows, columns)
    frequency = frequencies(rows, columns)
    return TokenMixings(
        blocks=tuple(blocks),
        ring_frequency=np.bincount(ring.ravel(), frequency.ravel()) / np.bincount(ring.ravel()),
        # Independent weights have the same power in every coefficient.
        fresh_frequency=float(frequency.mean()),
        fresh_reach=float(reach(_fresh_units(rows, columns)).mean()),
    )


def measure(inputs: Floats, outputs: Floats) -> TokenMixing:
    """Measure the units of one layer by their weights on the grid, each (D, h, w)."""
    pairs, opposition = opposite_pairs(inputs)
    _, by_chance = opposite_pairs(with_random_phases(inputs))
    return TokenMixing(
        inputs=inputs,
        outputs=outputs,
        frequency=spatial_frequency(inputs),
        reach=reach(inputs),
        read_write=_cosine(inputs, outputs),
        pairs=pairs,
        opposition=opposition,
        chance_opposition=np.sort(by_chance),
        power=relative_power(inputs),
    )


def reach(units: Floats) -> NDArray[np.float64]:
    """Return the share of the grid that each unit, (N, h, w), effectively covers, (N,) in [0, 1].

    The participation ratio of the squared weights: 1 where all are equally large, 1/S where a
    single one is not zero, k/S where k are equally large.
    """
    squares = units.reshape(len(units), -1).astype(np.float64) ** 2
    total = squares.sum(axis=1)
    return total**2 / np.maximum(squares.shape[1] * (squares**2).sum(axis=1), 1e-300)


def relative_power(units: Floats) -> NDArray[np.float64]:
    """Return the mean power of `units`, (N, h, w), by spatial frequency.

    Units count alike, whatever their size. Coefficients are averaged over rings of a width of one
    cycle along the grid's longer side; 1 is the power of independent weights.
    """
    power = np.abs(np.fft.fft2(units, axes=(1, 2))) ** 2
    power /= np.maximum(power.mean(axis=(1, 2), keepdims=True), 1e-300)
    ring = _rings(*units.shape[1:]).ravel()
    return np.bincount(ring, power.mean(axis=0).ravel()) / np.bincount(ring)


def with_random_phases(units: Floats, seed: int = 0) -> NDArray[np.float64]:
    """Return units (N, h, w) with the spatial frequencies of the given ones and random phases.

    What pairs are found among them are due to chance and to the frequencies alone.
    """
    noise = np.random.default_rng(seed).normal(size=units.shape)
    phases = np.fft.rfft2(noise, axes=(1, 2))
    phases /= np.maximum(np.abs(phases), 1e-12)
    amplitudes = np.abs(np.fft.rfft2(units, axes=(1, 2)))
    return np.fft.irfft2(amplitudes * phases, s=units.shape[1:], axes=(1, 2))


def _fresh_units(rows: int, columns: int) -> Floats:
    """Return units as before training, up to their size: normal, cut at two standard deviations."""
    weights = torch.empty(_FRESH, rows, columns)
    torch.nn.init.trunc_normal_(weights, generator=generator(0, "fresh units"))
    return weights.numpy()


def _rings(rows: int, columns: int) -> NDArray[np.intp]:
    """Return for each coefficient (h, w) which ring around frequency zero it lies in."""
    rings = np.rint(frequencies(rows, columns) * max(rows, columns)).astype(np.intp)
    return np.unique(rings, return_inverse=True)[1].reshape(rings.shape)  # without empty ones


def _cosine(one: Floats, other: Floats) -> NDArray[np.float64]:
    """Return the cosine similarity of pictures (N, h, w) in pairs, (N,)."""
    flat = [units.reshape(len(units), -1).astype(np.float64) for units in (one, other)]
    norms = np.linalg.norm(flat[0], axis=1) * np.linalg.norm(flat[1], axis=1)
    return (flat[0] * flat[1]).sum(axis=1) / np.maximum(norms, 1e-30)

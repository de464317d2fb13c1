"""Figures of what a Mixer has learned, after figure 5 and appendix of the paper."""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mlpmixer.report.figure_style import WIDTH, bare, new_figure, styled


def stem_filters(filters: NDArray[np.floating], limit: int | None = None) -> Figure:
    """Draw the stem's filters as RGB pictures, from low to high spatial frequency.

    `filters` is (C, P, P, 3): one P x P patch of RGB weights for each channel. Each is scaled by
    its own largest weight; mid-grey is zero. `limit` keeps those with the largest weights (norm).
    """
    if limit is not None and len(filters) > limit:
        norms = np.sqrt((filters**2).sum(axis=(1, 2, 3)))
        filters = filters[np.sort(np.argsort(norms, kind="stable")[::-1][:limit])]
    filters = filters[np.argsort(spatial_frequency(filters.mean(axis=3)), kind="stable")]
    scale = np.maximum(np.abs(filters).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    return _mosaic_figure(0.5 + 0.5 * filters / scale)


def token_mixing_units(units: NDArray[np.floating], limit: int | None = None) -> Figure:
    """Draw the input weights of a token-mixing MLP's hidden units as pictures of the patch grid.

    `units` is (D_S, grid_h, grid_w). Red is positive, blue negative, white zero; each unit is
    scaled by its own largest weight. They run from low to high spatial frequency, and each is
    followed by the unit most opposed to it; see `paired_order`. `limit` keeps that many of them,
    whole pairs spread evenly over the frequencies.
    """
    order = paired_order(units)
    if limit is not None and len(order) > limit:
        pairs = order[: len(order) // 2 * 2].reshape(-1, 2)
        chosen = np.linspace(0, len(pairs) - 1, max(limit // 2, 1)).round().astype(int)
        order = pairs[chosen].ravel()
    units = units[order]
    scale = np.maximum(np.abs(units).max(axis=(1, 2), keepdims=True), 1e-12)
    return _mosaic_figure(colormaps["RdBu_r"](0.5 + 0.5 * units / scale)[..., :3])


def spatial_frequency(pictures: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return each picture's mean spatial frequency, weighted by power, in cycles a pixel.

    `pictures` is (N, H, W); the result, (N,), lies in [0, 0.71]: 0 for a constant picture.
    """
    power = np.abs(np.fft.fft2(pictures)) ** 2  # (N, H, W)
    height, width = pictures.shape[1:]
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    total = np.maximum(power.sum(axis=(1, 2)), 1e-30)
    return (power * radius).sum(axis=(1, 2)) / total


def paired_order(units: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return an order of `units`, (N, H, W), that shows pairs of opposite phase.

    The unit of the lowest spatial frequency comes first, then the one whose correlation with it is
    the most negative, then the lowest of those that remain, and so on.
    """
    flat = units.reshape(len(units), -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    correlation = flat @ flat.T  # (N, N)
    np.fill_diagonal(correlation, np.inf)
    order: list[int] = []
    placed = np.zeros(len(units), dtype=bool)
    for unit in np.argsort(spatial_frequency(units), kind="stable"):
        if placed[unit]:
            continue
        placed[unit] = True
        order.append(int(unit))
        if not placed.all():
            partner = int(np.where(placed, np.inf, correlation[unit]).argmin())
            placed[partner] = True
            order.append(partner)
    return np.array(order, dtype=np.intp)


def _mosaic_figure(tiles: NDArray[np.floating]) -> Figure:
    """Draw `tiles`, (N, H, W, 3) in [0, 1], in rows of an even number, as one image."""
    count, height, width, _ = tiles.shape
    columns = min(count, max(2, 2 * round(math.sqrt(count * height / width * 1.4) / 2)))
    rows = math.ceil(count / columns)
    gap = max(1, round(min(height, width) / 10))
    cell_h, cell_w = height + gap, width + gap
    image = np.zeros((rows * cell_h - gap, columns * cell_w - gap, 4))  # transparent gaps
    for index, tile in enumerate(tiles):
        top, left = index // columns * cell_h, index % columns * cell_w
        image[top : top + height, left : left + width, :3] = tile
        image[top : top + height, left : left + width, 3] = 1
    with styled():
        figure = new_figure(WIDTH * image.shape[0] / image.shape[1] + 0.1)
        axes = figure.subplots()
        bare(axes)
        axes.imshow(image, interpolation="none")
    return figure

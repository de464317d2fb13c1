"""Figures of a Mixer's weights for the report of a training: a choice of tiles, small and sharp."""

import math

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mlpmixer.measures.spatial_order import paired_sample, spatial_frequency
from mlpmixer.report.figure_style import WIDTH, bare, new_figure, styled
from mlpmixer.report.mosaics import filter_colours, tile_up, unit_colours


def stem_filters(filters: NDArray[np.floating], limit: int | None = None) -> Figure:
    """Draw the stem's filters as RGB pictures, from low to high spatial frequency.

    `filters` is (C, P, P, 3): one P x P patch of RGB weights for each channel. Each is scaled by
    its own largest weight; mid-grey is zero. `limit` keeps those with the largest weights (norm).
    """
    if limit is not None and len(filters) > limit:
        norms = np.sqrt((filters**2).sum(axis=(1, 2, 3)))
        filters = filters[np.sort(np.argsort(norms, kind="stable")[::-1][:limit])]
    filters = filters[np.argsort(spatial_frequency(filters), kind="stable")]
    return _mosaic_figure(filter_colours(filters))


def token_mixing_units(units: NDArray[np.floating], limit: int | None = None) -> Figure:
    """Draw the input weights of a token-mixing MLP's hidden units as pictures of the patch grid.

    `units` is (D_S, grid_h, grid_w). Red is positive, blue negative, white zero; each unit is
    scaled by its own largest weight. They run from low to high spatial frequency, and each is
    beside the unit most opposed to it; see `paired_order`. `limit` keeps that many of them,
    whole pairs spread evenly over the frequencies.
    """
    return _mosaic_figure(unit_colours(units[paired_sample(units, limit)]))


def _mosaic_figure(tiles: NDArray[np.floating]) -> Figure:
    """Draw `tiles`, (N, H, W, 3) in [0, 1], in rows of an even number, as one image."""
    count, height, width, _ = tiles.shape
    columns = min(count, max(2, 2 * round(math.sqrt(count * height / width * 1.4) / 2)))
    opaque = np.concatenate([tiles, np.ones((*tiles.shape[:3], 1))], axis=3)
    gap = max(1, round(min(height, width) / 10))
    image = tile_up(opaque, columns, gap=gap, pair_gap=0, clear=0)
    with styled():
        figure = new_figure(WIDTH * image.shape[0] / image.shape[1] + 0.1)
        axes = figure.subplots()
        bare(axes)
        axes.imshow(image, interpolation="none")
    return figure

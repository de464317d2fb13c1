"""Weights as pictures: their order, their colours, and mosaics of them."""

import io

import numpy as np
import pytest
from PIL import Image

from mlpmixer.measures.spatial_order import opposite_pairs, paired_order, spatial_frequency
from mlpmixer.report import weight_plots
from mlpmixer.report.mosaics import filter_mosaic, unit_mosaic


def image_of(figure):
    (axes,) = figure.axes
    return np.asarray(axes.images[0].get_array())


def wave(height, width, cycles, phase):
    x = np.arange(width) / width
    return np.tile(np.cos(2 * np.pi * (cycles * x + phase)), (height, 1))


def test_spatial_frequency_is_in_cycles_a_pixel():
    pictures = np.stack([np.ones((8, 8)), wave(8, 8, 1, 0.1), wave(8, 8, 3, 0.4)])
    np.testing.assert_allclose(spatial_frequency(pictures), [0, 1 / 8, 3 / 8], atol=1e-12)


def test_units_run_from_low_to_high_frequency_beside_their_opposites():
    slow, fast = wave(6, 8, 1, 0.1), wave(6, 8, 3, 0.2)
    middle = wave(6, 8, 2, 0)
    units = np.stack([fast, slow, -fast, middle, -slow, -middle])
    pairs = paired_order(units).reshape(3, 2)
    assert [set(pair) for pair in pairs.tolist()] == [{1, 4}, {3, 5}, {0, 2}]


def test_every_unit_is_placed_once_also_constant_ones():
    units = np.random.default_rng(0).normal(size=(33, 4, 5))
    units[7] = 0.0
    assert sorted(paired_order(units)) == list(range(33))


def test_a_limit_keeps_whole_pairs_over_all_frequencies():
    waves = [wave(8, 8, cycles, 0.1) * sign for cycles in (1, 2, 3) for sign in (1, -1)]
    image = image_of(weight_plots.token_mixing_units(np.stack(waves), limit=4))
    all_tiles = image_of(weight_plots.token_mixing_units(np.stack(waves)))
    assert image[..., 3].sum() == 4 * 64
    assert all_tiles[..., 3].sum() == 6 * 64


def test_positive_weights_are_red_negative_blue_and_zero_white():
    unit = np.array([[[1.0, -1.0], [0.0, 0.5]]])
    image = image_of(weight_plots.token_mixing_units(unit))
    red, blue, white = image[0, 0], image[0, 1], image[1, 0]
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert white[:3].min() > 0.95


def test_stem_filters_keep_their_colours_around_grey():
    filters = np.zeros((3, 2, 2, 3))
    filters[0, ..., 0] = 2.0  # red
    filters[1, ..., 2] = -0.01  # lack of blue, faint
    image = image_of(weight_plots.stem_filters(filters, limit=2))
    assert image[..., 3].sum() == 2 * 4  # the empty filter is left out
    np.testing.assert_allclose(image[0, 0], [1, 0.5, 0.5, 1])
    np.testing.assert_allclose(image[0, 3], [0.5, 0.5, 0, 1])


def test_the_frequency_of_a_colour_grating_is_not_lost_in_its_mean_colour():
    grating = wave(8, 8, 2, 0.1)
    filters = np.stack([grating, -grating, 0 * grating], axis=-1)[None]  # red against green
    np.testing.assert_allclose(spatial_frequency(filters), 2 / 8)


def test_no_unit_is_taken_from_its_opposite_by_a_broader_one():
    slow, fast = wave(8, 8, 1, 0.1), wave(8, 8, 3, 0.2)
    broad = slow - 0.4 * fast  # most opposed to `fast`, but less than -fast is
    units = np.stack([broad, fast, -fast, slow])
    pairs, similarity = opposite_pairs(units)
    assert {frozenset(pair) for pair in pairs.tolist()} == {frozenset((1, 2)), frozenset((0, 3))}
    assert similarity.min() == pytest.approx(-1)


def test_units_that_differ_by_their_mean_alone_are_opposite():
    units = np.stack([np.ones((3, 3)), wave(3, 3, 1, 0), -np.ones((3, 3)), -wave(3, 3, 1, 0)])
    _, similarity = opposite_pairs(units)
    np.testing.assert_allclose(similarity, -1)


@pytest.mark.parametrize("count", [1, 2, 37, 256])
def test_a_mosaic_shows_every_unit_pixel_by_pixel(count):
    units = np.random.default_rng(0).normal(size=(count, 3, 5))
    mosaic = unit_mosaic(units, (522, 522))
    pixels = np.asarray(Image.open(io.BytesIO(mosaic.png())).convert("RGBA"))
    assert (pixels[..., 3] > 0).sum() == units.size
    assert mosaic.columns % 2 == 0 or count == 1
    assert mosaic.size[0] <= 522
    assert mosaic.size[1] <= 522
    strongest = np.unravel_index(np.abs(units[0]).argmax(), (3, 5))
    red, _, blue, _ = pixels[strongest].astype(int)
    assert (red > blue) == (units[0][strongest] > 0)


def test_a_mosaic_as_a_file_is_magnified_without_smoothing():
    mosaic = unit_mosaic(np.random.default_rng(0).normal(size=(12, 4, 4)), (522, 522))
    small = Image.open(io.BytesIO(mosaic.png())).convert("RGBA")
    large = Image.open(io.BytesIO(mosaic.enlarged_png())).convert("RGBA")
    factor = large.width // small.width
    assert factor > 1
    np.testing.assert_array_equal(np.asarray(large)[::factor, ::factor], np.asarray(small))
    assert "pixelated" in mosaic.svg()


def test_colour_filters_keep_their_colours_in_a_mosaic():
    filters = np.zeros((2, 2, 2, 3))
    filters[0, ..., 0] = 0.3
    mosaic = filter_mosaic(filters, (100, 100))
    pixels = np.asarray(mosaic.image)
    np.testing.assert_array_equal(pixels[0, 0], [255, 128, 128, 255])
    np.testing.assert_array_equal(pixels[0, -1], [128, 128, 128, 255])

"""Measures of token mixing on weights whose structure is known."""

import numpy as np
import pytest
import torch

import mlpmixer
from mlpmixer.inspect.token_mixing import (
    measure,
    reach,
    relative_power,
    token_mixing,
    with_random_phases,
)
from mlpmixer.models.mixer import Mixer


def waves(count: int, cycles: float, height: int = 8, width: int = 8) -> np.ndarray:
    """Return gratings along the width, of random phases."""
    phases = np.random.default_rng(0).uniform(size=count)
    x = np.arange(width) / width
    return np.stack(
        [np.tile(np.cos(2 * np.pi * (cycles * x + phase)), (height, 1)) for phase in phases]
    )


def test_reach_is_the_share_of_patches_that_count() -> None:
    units = np.zeros((3, 4, 5))
    units[0] = -2.0
    units[1, 0, :2] = 3.0
    units[2, 1, 1] = 1.0
    np.testing.assert_allclose(reach(units), [1.0, 2 / 20, 1 / 20])


def test_independent_weights_have_equal_power_at_every_frequency() -> None:
    units = np.random.default_rng(0).normal(size=(4000, 6, 9))
    np.testing.assert_allclose(relative_power(units), 1.0, atol=0.08)


def test_a_grating_has_its_power_at_its_frequency() -> None:
    power = relative_power(waves(10, cycles=2))
    assert power.argmax() == 2
    assert power[0] == pytest.approx(0, abs=1e-12)


def test_random_phases_keep_the_frequencies() -> None:
    units = waves(6, cycles=2) + 0.5
    changed = with_random_phases(units)
    np.testing.assert_allclose(relative_power(changed), relative_power(units), atol=1e-9)
    assert not np.allclose(changed, units)


def test_made_up_pairs_stand_out_against_chance_and_unrelated_units_do_not() -> None:
    generator = np.random.default_rng(0)
    units = generator.normal(size=(40, 6, 6))
    opposed = np.concatenate([units, -units + 0.1 * generator.normal(size=units.shape)])
    assert measure(opposed, opposed).beyond_chance == 1.0
    unrelated = generator.normal(size=(80, 6, 6))
    assert measure(unrelated, unrelated).beyond_chance < 0.25


def test_units_that_write_what_they_read_are_told_from_those_that_remove_it() -> None:
    units = np.random.default_rng(0).normal(size=(5, 3, 3))
    np.testing.assert_allclose(measure(units, 2 * units).read_write, 1)
    np.testing.assert_allclose(measure(units, -units).read_write, -1)


def test_fresh_weights_measure_as_announced_on_a_grid_that_is_not_square() -> None:
    torch.manual_seed(0)
    shape = {"patch_size": 2, "width": 8, "depth": 2, "tokens_mlp_dim": 500, "channels_mlp_dim": 8}
    model = mlpmixer.create_model("mixer", image_size=(8, 12), num_classes=2, **shape)
    assert isinstance(model, Mixer)
    found = token_mixing(model)
    assert found is not None
    assert [block.inputs.shape for block in found.blocks] == [(500, 4, 6)] * 2
    for block in found.blocks:
        assert block.frequency.mean() == pytest.approx(found.fresh_frequency, abs=0.01)
        assert block.reach.mean() == pytest.approx(found.fresh_reach, abs=0.015)
        assert len(block.power) == len(found.ring_frequency)
        assert len(np.unique(block.pairs)) == 500

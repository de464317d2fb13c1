"""Intermediate values by name."""

import pytest
import torch

import mlpmixer
from mlpmixer.errors import UsageError


def test_every_value_of_a_mixer_is_available_and_they_fit_together() -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=16, depth=2)
    images = torch.randn(2, 3, 16, 16)
    values = mlpmixer.capture(model, images)
    assert set(values) == {*mlpmixer.intermediate_names(model), "logits"}
    after_tokens = values["blocks.1.norm2.input"]
    after_channels = after_tokens + values["blocks.1.mlp_channels"]
    torch.testing.assert_close(values["blocks.1"], after_channels)
    torch.testing.assert_close(values["logits"], model(images))
    assert values["blocks.0.mlp_tokens.act"].shape == (2, 128, 64)


def test_only_the_named_values_are_kept_and_nothing_stays_hooked() -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=16, depth=2)
    values = mlpmixer.capture(model, torch.randn(1, 3, 16, 16), ["blocks.0"])
    assert set(values) == {"blocks.0", "logits"}
    before = dict(values)
    model(torch.randn(1, 3, 16, 16))
    assert all(values[name] is before[name] for name in before)


def test_unknown_names_get_the_nearest() -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=16, depth=2)
    with pytest.raises(UsageError, match=r"blocks\.1"):
        mlpmixer.capture(model, torch.randn(1, 3, 16, 16), ["block.1"])

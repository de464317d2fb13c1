"""The key by which a model's answers are remembered."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import mlpmixer
from mlpmixer.models.digest import model_digest
from mlpmixer.models.interface import ImageModel


def nano() -> ImageModel:
    torch.manual_seed(0)
    return mlpmixer.create_model("mixer_nano", image_size=16, num_classes=3)


def other_weights(model: ImageModel) -> None:
    with torch.no_grad():
        next(model.parameters()).add_(1)


def other_loss(model: ImageModel) -> None:
    model.loss = "sigmoid"


def other_crop(model: ImageModel) -> None:
    model.preprocessing = replace(model.preprocessing, crop_share=1.0)


def test_equal_models_have_the_same_digest() -> None:
    assert model_digest(nano()) == model_digest(nano())


@pytest.mark.parametrize("change", [other_weights, other_loss, other_crop])
def test_whatever_changes_the_answers_changes_the_digest(
    change: Callable[[ImageModel], None],
) -> None:
    model = nano()
    change(model)
    assert model_digest(model) != model_digest(nano())

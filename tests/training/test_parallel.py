"""Steps on several processes move the weights as one process does."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rank_processes import on_ranks

import mlpmixer
from mlpmixer.data.augment import Augmenter
from mlpmixer.data.options import AugmentOptions
from mlpmixer.models.interface import ImageModel
from mlpmixer.randomness import generator
from mlpmixer.ranks import ALONE, Ranks
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.step import TrainingStep

SHAPE = {"width": 16, "depth": 2, "tokens_mlp_dim": 8, "channels_mlp_dim": 32}
EVERYTHING = AugmentOptions(
    randaugment_operations=2, mixup_alpha=0.5, mixup_probability=0.5, cutmix_alpha=1.0, erase=0.5
)
BATCH = 32
Weights = dict[str, NDArray[np.float32]]


class Trained(NamedTuple):
    rows: list[list[float]]
    """Of each step the loss, the right answers and the gradient's norm."""
    start: Weights
    end: Weights


def tiny_mixer(**options: Any) -> ImageModel:
    torch.manual_seed(0)
    model = mlpmixer.create_model(
        "mixer_nano", image_size=8, patch_size=2, num_classes=5, **SHAPE, **options
    )
    torch.nn.init.normal_(model.head.weight, std=0.1)
    return model


def with_norms() -> ImageModel:
    torch.manual_seed(0)
    return mlpmixer.create_model("halonet_nano", image_size=32, num_classes=5)


def trained(
    ranks: Ranks, model_options: dict[str, Any] | None, options: dict[str, Any], steps: int = 3
) -> Trained:
    """Make some steps on the own images of batches."""
    # In bfloat16 Muon would round away what is compared here.
    import mlpmixer.training.muon as muon

    muon.multiplies_bfloat16 = lambda device: False  # type: ignore[assignment]
    model = with_norms() if model_options is None else tiny_mixer(**model_options)
    runtime = Runtime(torch.device("cpu"), ranks=ranks)
    recipe = Recipe().override({"batch_size": BATCH, **options})
    step = TrainingStep(model, recipe, runtime)
    random, augmenter, rows = generator(0, "images"), Augmenter(EVERYTHING, 5), []
    start = weights_of(model)
    for number in range(steps):
        size = (BATCH, 3, *model.image_size)
        images = torch.randint(256, size, dtype=torch.uint8, generator=random)
        labels = torch.randint(5, (BATCH,), generator=random)
        chance = generator(0, "augment", number)
        seen = augmenter(images[ranks.own], labels[ranks.own], chance, ranks)
        loss, correct, norm = step(*seen, number, 1.0)
        rows.append([*ranks.mean([float(loss), float(correct) * ranks.world]), float(norm)])
    return Trained(rows, start, weights_of(step.evaluated))


def weights_of(model: ImageModel) -> Weights:
    return {name: one.float().numpy().copy() for name, one in model.state_dict().items()}


def distance(one: Weights, other: Weights) -> float:
    return float(sum(np.square(one[name] - other[name]).sum() for name in one) ** 0.5)


def assert_same(found: Trained, expected: Trained) -> None:
    """Hold that two trainings differ by rounding, which AdamW can make a whole small step of."""
    np.testing.assert_allclose(found.rows, expected.rows, rtol=1e-4)
    moved = distance(expected.end, expected.start)
    assert moved > 1e-3
    assert distance(found.end, expected.end) < 5e-3 * moved


RECIPES = {
    "adamw": ({}, {"optimizer": "adamw", "learning_rate": 1e-3, "clip_norm": 0.5}),
    "sgd, averaged": ({}, {"optimizer": "sgd", "learning_rate": 0.1, "ema": 0.9}),
    "muon": ({}, {"optimizer": "muon", "learning_rate": 1e-3, "ema": 0.5}),
    "sam": ({}, {"optimizer": "sgd", "learning_rate": 0.1, "sam_rho": 0.1}),
    "looksam": ({}, {"optimizer": "sgd", "learning_rate": 0.1, "sam_rho": 0.1, "sam_every": 2}),
    "in parts": (
        {"stochastic_depth": 0.4},
        {"optimizer": "sgd", "learning_rate": 0.1, "accumulate": 4},
    ),
    "stochastic depth": ({"stochastic_depth": 0.4}, {"optimizer": "sgd", "learning_rate": 0.1}),
    "dropout": ({"dropout": 0.3}, {"optimizer": "sgd", "learning_rate": 0.1}),
    "batch norms": (None, {"optimizer": "sgd", "learning_rate": 0.1}),
}


FOUR = ("muon", "stochastic depth")
"""What is tried on four ranks as well."""


def all_trained(ranks: Ranks, kinds: Sequence[str]) -> dict[str, Trained]:
    return {kind: trained(ranks, *RECIPES[kind]) for kind in kinds}


@pytest.fixture(scope="module")
def of_two_ranks() -> list[dict[str, Trained]]:
    return on_ranks(2, all_trained, tuple(RECIPES))


@pytest.mark.parametrize("kind", RECIPES)
def test_two_ranks_step_as_one(kind: str, of_two_ranks: list[dict[str, Trained]]) -> None:
    expected = trained(ALONE, *RECIPES[kind])
    for found in of_two_ranks:
        assert_same(found[kind], expected)


def test_four_ranks_step_as_one() -> None:
    expected = all_trained(ALONE, FOUR)
    for found in on_ranks(4, all_trained, FOUR):
        for kind in FOUR:
            assert_same(found[kind], expected[kind])


@pytest.mark.parametrize("kind", RECIPES)
def test_all_ranks_hold_the_same_weights_to_the_bit(
    kind: str, of_two_ranks: list[dict[str, Trained]]
) -> None:
    one, other = (found[kind] for found in of_two_ranks)
    for name, weights in one.end.items():
        np.testing.assert_array_equal(weights, other.end[name])


def test_dropout_in_parts_is_that_of_the_whole_batch() -> None:
    model, options = {"dropout": 0.3, "stochastic_depth": 0.4}, {"optimizer": "sgd"}
    assert_same(trained(ALONE, model, {**options, "accumulate": 4}), trained(ALONE, model, options))

"""One optimisation step: in parts as in one piece, compiled as interpreted, the same for all."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from training_steps import TrainingSteps

import mlpmixer
from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import Runtime
from mlpmixer.training.estimate import MEASURED, WARM_UP, step_seconds
from mlpmixer.training.muon import Muon
from mlpmixer.training.plan import plan
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.step import StepResult, TrainingStep

CPU = Runtime(torch.device("cpu"))
SHAPE = {"width": 16, "depth": 2, "tokens_mlp_dim": 8, "channels_mlp_dim": 32}


def tiny_mixer() -> ImageModel:
    torch.manual_seed(0)
    model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=2, num_classes=5, **SHAPE)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    return model


def trained(**options: Any) -> tuple[TrainingStep, list[StepResult]]:
    """Make three steps on batches of twelve images."""
    step = TrainingStep(tiny_mixer(), Recipe().override(options), CPU)
    random = torch.Generator().manual_seed(1)
    results = []
    for number in range(3):
        images = torch.rand(12, 3, 8, 8, generator=random) * 2 - 1
        targets = torch.rand(12, 5, generator=random).softmax(dim=1)
        results.append(step(images, targets, number, 1.0))
    return step, results


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return sum((one[name] - other[name]).square().sum().item() for name in one) ** 0.5


@pytest.mark.parametrize("parts", [2, 3, 12])
@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_a_batch_in_parts_moves_the_weights_as_a_whole_one(
    optimizer: str, ema: float, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In bfloat16 Muon would round away what is compared here.
    monkeypatch.setattr("mlpmixer.training.muon.multiplies_bfloat16", lambda device: False)
    rate = 0.1 if optimizer == "sgd" else 1e-3
    options = {"optimizer": optimizer, "learning_rate": rate, "ema": ema}
    whole, expected = trained(**options)
    cut, found = trained(**options, accumulate=parts)
    start, end = tiny_mixer().state_dict(), whole.evaluated.state_dict()
    assert distance(end, start) > 1e-3
    assert distance(end, cut.evaluated.state_dict()) < 5e-3 * distance(end, start)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(torch.stack(one), torch.stack(other), rtol=1e-4, atol=1e-5)


def test_averaged_weights_are_what_counts() -> None:
    step, _ = trained(ema=0.9)
    moving, counted = step.model.state_dict(), step.evaluated.state_dict()
    start = tiny_mixer().state_dict()
    assert 0 < distance(counted, start) < distance(moving, start)


@pytest.mark.parametrize(
    "changes",
    [{}, {"accumulate": 4}, {"ema": 0.9, "optimizer": "muon", "accumulate": 2, "dropout": 0.1}],
)
def test_an_estimate_makes_the_steps_of_the_training(
    changes: dict[str, Any], training_steps: TrainingSteps
) -> None:
    shape = {"image_size": 8, "patch_size": 2, **SHAPE}
    work = {"data": "digits", "steps": 100, "batch_size": 16, "workers": 1}
    planned = plan(Recipe().override({**shape, **work, **changes}), CPU)
    passed: list[int] = []
    planned.model.register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0])))
    assert step_seconds(planned) > 0
    parts = planned.recipe.optimizer.accumulate
    assert passed == [16 // parts] * parts * (WARM_UP + MEASURED)
    assert training_steps.taken == list(range(WARM_UP + MEASURED))
    assert training_steps.maker is not None
    assert training_steps.maker.recipe == planned.recipe
    assert (training_steps.maker.average is not None) == ("ema" in changes)
    kinds = [type(one) for one in training_steps.maker.optimizers.all]
    assert (Muon in kinds) == ("optimizer" in changes)


@pytest.mark.parametrize("every", [1, 2])
def test_a_sharpness_aware_step_in_parts_is_that_of_the_whole_batch(every: int) -> None:
    options = {"sam_rho": 0.1, "sam_every": every, "optimizer": "sgd", "learning_rate": 0.1}
    whole, cut = trained(**options)[0], trained(**options, accumulate=3)[0]
    usual, start = trained(optimizer="sgd", learning_rate=0.1)[0], tiny_mixer()
    moved = distance(whole.model.state_dict(), start.state_dict())
    apart = distance(whole.model.state_dict(), cut.model.state_dict())
    assert apart < 5e-3 * moved
    assert distance(whole.model.state_dict(), usual.model.state_dict()) > 10 * apart


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_sharpness_aware_steps_lower_the_loss_with_every_optimizer(optimizer: str) -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(32, 3, 8, 8) * 2 - 1, torch.arange(32) % 5
    targets = torch.nn.functional.one_hot(labels, 5).float()
    rate = 0.1 if optimizer == "sgd" else 0.01
    options = {"optimizer": optimizer, "sam_rho": 0.05, "sam_every": 2, "learning_rate": rate}
    step = TrainingStep(tiny_mixer(), Recipe().override(options), CPU)
    losses = [float(step(images, targets, number, 1.0).loss) for number in range(30)]
    assert losses[-1] < 0.8 * losses[0]

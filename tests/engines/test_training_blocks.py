"""Mixers whose blocks the native kernels train: the same model, learning the same."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from mlpmixer.engines.training_blocks import NativeMixerBlock, use_native_training
from mlpmixer.kernels.library import library
from mlpmixer.kernels.native import LEVEL_VARIABLE
from mlpmixer.models.mixer import Mixer, MixerBlock, MixerConfig
from mlpmixer.models.registry import create_model
from mlpmixer.models.shuffle import ShuffledInput
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.step import TrainingStep

CPU = Runtime(torch.device("cpu"))


@pytest.fixture(autouse=True)
def fast_level() -> None:
    functions = library().functions
    if functions is None or not functions.mlpmixer_runs(b"avx2", 0):
        pytest.skip("no level above the portable one here")


def small_mixer(**changes: Any) -> Mixer:
    settings: dict[str, Any] = {
        "image_size": (8, 8),
        "patch_size": 2,
        "width": 24,
        "depth": 3,
        "tokens_mlp_dim": 20,
        "channels_mlp_dim": 50,
        "num_classes": 4,
    }
    torch.manual_seed(0)
    return Mixer(MixerConfig(**{**settings, **changes}))


def gradients(model: nn.Module) -> list[torch.Tensor]:
    torch.manual_seed(1)
    images, labels = torch.rand(6, 3, 8, 8) * 2 - 1, torch.arange(6) % 4
    nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(3)
    loss = nn.functional.cross_entropy(model(images), labels)
    return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]


@pytest.mark.parametrize(
    "changes",
    [{}, {"gelu": "erf"}, {"stochastic_depth": 0.5}, {"layer_norm_epsilon": 1e-3}],
    ids=["tanh", "erf", "stochastic depth", "epsilon"],
)
def test_losses_and_gradients_are_those_of_the_plain_blocks(changes: dict[str, Any]) -> None:
    plain, native = small_mixer(**changes), small_mixer(**changes)
    assert use_native_training(native, CPU) == 3
    for one, other in zip(gradients(native), gradients(plain), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_activations_may_be_computed_again() -> None:
    native = small_mixer()
    use_native_training(native, CPU)
    before = gradients(native)
    native.set_grad_checkpointing()
    assert all(map(torch.equal, gradients(native), before))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_evaluation_and_dropout_are_left_to_the_plain_block(
    dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, native = small_mixer(dropout=dropout), small_mixer(dropout=dropout)
    use_native_training(native, CPU)
    monkeypatch.setattr("mlpmixer.engines.training_blocks.mixing", None)  # a call would fail
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(native.eval()(images), plain.eval()(images))
    if dropout:
        assert all(map(torch.equal, gradients(native.train()), gradients(plain.train())))
    with torch.autocast("cpu", torch.bfloat16):
        native.train()(images)


def test_names_copies_and_wrapped_models_stay_what_they_were() -> None:
    native = small_mixer()
    names = list(native.state_dict())
    use_native_training(native, CPU)
    assert list(native.state_dict()) == names
    copied = copy.deepcopy(native)
    assert all(map(torch.equal, gradients(copied), gradients(native)))
    wrapped = ShuffledInput(small_mixer(), "pixels", seed=0)
    assert use_native_training(wrapped, CPU) == 3


def test_a_training_step_takes_the_native_blocks_and_learns_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"batch_size": 8, "steps": 5, "optimizer": "muon", "ema": 0.9, "device": "cpu"}
    recipe = find_recipe("small").override(options)
    images, targets = torch.rand(8, 3, 8, 8) * 2 - 1, torch.eye(4)[torch.arange(8) % 4]
    losses = {}
    for level in ("avx512", "portable"):  # the highest there is, and none
        monkeypatch.setenv(LEVEL_VARIABLE, level)
        step = TrainingStep(small_mixer(), recipe, CPU)
        kinds = {type(block) for block in step.model.get_submodule("blocks").children()}
        assert kinds == {NativeMixerBlock if level != "portable" else MixerBlock}
        losses[level] = [step(images, targets, number, 1.0).loss.item() for number in range(5)]
    assert losses["avx512"] == pytest.approx(losses["portable"], rel=1e-4)
    assert losses["portable"][-1] < losses["portable"][0]


def test_bfloat16_other_devices_and_other_models_are_left_alone() -> None:
    half = Runtime(torch.device("cpu"), torch.bfloat16)
    assert use_native_training(small_mixer(), half) == 0
    assert use_native_training(small_mixer(), Runtime(torch.device("cuda"))) == 0
    assert use_native_training(create_model("vit_nano", image_size=32, num_classes=3), CPU) == 0

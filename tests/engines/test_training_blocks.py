"""Mixers whose blocks the native kernels train: the same model, learning the same."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from mlpmixer.engines.training_blocks import (
    NativeMixerBlock,
    native_training_level,
    use_native_training,
)
from mlpmixer.kernels.library import library
from mlpmixer.kernels.native import LEVEL_VARIABLE, levels_here
from mlpmixer.kernels.training import trains
from mlpmixer.models.mixer import Mixer, MixerBlock, MixerConfig
from mlpmixer.models.registry import create_model
from mlpmixer.models.shuffle import ShuffledInput
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.step import TrainingStep

CPU = Runtime(torch.device("cpu"))
HALF = Runtime(torch.device("cpu"), torch.bfloat16)


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


@pytest.fixture
def bfloat16_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in bfloat16 by the kernels whether or not this machine is faster so."""
    monkeypatch.setattr("mlpmixer.engines.training_blocks.native_training_level", _any_level)


def _any_level(precision: Any) -> str:
    return next(level for level in levels_here(precision) if trains(level, precision))


def gradients(model: nn.Module, runtime: Runtime = CPU) -> list[torch.Tensor]:
    torch.manual_seed(1)
    images, labels = torch.rand(6, 3, 8, 8) * 2 - 1, torch.arange(6) % 4
    nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(3)
    with runtime.autocast():
        logits = model(images)
    loss = nn.functional.cross_entropy(logits.float(), labels)
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [loss.detach(), *torch.autograd.grad(loss, wanted)]


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


@pytest.mark.usefixtures("bfloat16_kernels")
def test_in_bfloat16_they_are_those_of_autocast_to_rounding() -> None:
    exact, cast, native = (small_mixer() for _ in range(3))
    assert use_native_training(native, HALF) == 3
    found = zip(gradients(native, HALF), gradients(cast, HALF), gradients(exact), strict=True)
    for one, other, expected in found:
        assert one.dtype == torch.float32
        error, autocast_error = ((each - expected).norm() for each in (one, other))
        assert error <= 0.03 * expected.norm() + 1e-5  # some are 0, but for rounding
        assert error <= 1.4 * autocast_error


@pytest.mark.usefixtures("bfloat16_kernels")
@pytest.mark.parametrize("runtime", [CPU, HALF], ids=["float32", "bfloat16"])
def test_frozen_parameters_get_no_gradients_and_change_none(runtime: Runtime) -> None:
    native = small_mixer()
    use_native_training(native, runtime)
    before = dict(
        zip(["loss", *dict(native.named_parameters())], gradients(native, runtime), strict=True)
    )
    for name, parameter in native.named_parameters():
        parameter.requires_grad_("blocks.1" not in name and "fc1" not in name)
    names = [name for name, parameter in native.named_parameters() if parameter.requires_grad]
    for name, found in zip(["loss", *names], gradients(native, runtime), strict=True):
        assert torch.equal(found, before[name])


@pytest.mark.usefixtures("bfloat16_kernels")
@pytest.mark.parametrize("runtime", [CPU, HALF], ids=["float32", "bfloat16"])
def test_gradients_are_added_to_those_that_are_there(runtime: Runtime) -> None:
    native = small_mixer()
    use_native_training(native, runtime)
    nn.init.normal_(native.head.weight, generator=torch.Generator().manual_seed(2))
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    sums = []
    for parts in ([images[:4], images[4:]], [images[:4]], [images[4:]]):
        native.zero_grad()
        for part in parts:
            with runtime.autocast():
                logits = native(part)
            logits.float().square().sum().backward()
        sums.append([parameter.grad.clone() for parameter in native.parameters()])  # type: ignore[union-attr]
    for both, first, second in zip(*sums, strict=True):
        assert torch.equal(both, first + second)


@pytest.mark.usefixtures("bfloat16_kernels")
@pytest.mark.parametrize("runtime", [CPU, HALF], ids=["float32", "bfloat16"])
def test_activations_may_be_computed_again(runtime: Runtime) -> None:
    native = small_mixer()
    use_native_training(native, runtime)
    before = gradients(native, runtime)
    native.set_grad_checkpointing()
    assert all(map(torch.equal, gradients(native, runtime), before))


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


@pytest.mark.usefixtures("bfloat16_kernels")
def test_weights_of_another_type_are_left_to_the_plain_block() -> None:
    plain, native = (small_mixer().to(torch.bfloat16) for _ in range(2))
    assert use_native_training(native, HALF) == 3
    images = torch.rand(2, 3, 8, 8, dtype=torch.bfloat16)
    with HALF.autocast():
        assert torch.equal(native(images), plain(images))


def test_another_default_device_changes_nothing() -> None:
    native = small_mixer()
    use_native_training(native, CPU)
    images = torch.rand(2, 3, 8, 8)
    wanted = native(images)
    with torch.device("meta"):
        assert torch.equal(native(images), wanted)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
def test_a_trace_holds_the_plain_block() -> None:
    native = small_mixer()
    use_native_training(native, CPU)
    images = torch.rand(2, 4, 3, 8, 8)
    traced = torch.jit.trace(native, images[0])
    assert torch.allclose(traced(images[1]), native(images[1]), atol=1e-5)


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
    for level in ("avx512", "portable"):  # the highest of float32, and none
        monkeypatch.setenv(LEVEL_VARIABLE, level)
        step = TrainingStep(small_mixer(), recipe, CPU)
        kinds = {type(block) for block in step.model.get_submodule("blocks").children()}
        assert kinds == {NativeMixerBlock if level != "portable" else MixerBlock}
        losses[level] = [step(images, targets, number, 1.0).loss.item() for number in range(5)]
    assert losses["avx512"] == pytest.approx(losses["portable"], rel=1e-4)
    assert losses["portable"][-1] < losses["portable"][0]


@pytest.mark.parametrize(
    ("computed", "highest", "taken"),
    [
        ("bfloat16", "avx512_bf16", "avx512_bf16"),
        ("float32", "avx512_bf16", None),
        ("bfloat16", "amx", None),
    ],
    ids=["faster", "slower than float32", "of a level that does not train"],
)
def test_pytorch_trains_in_bfloat16_unless_the_kernels_are_fast_in_it(
    computed: str, highest: str, taken: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "mlpmixer.engines.training_blocks"
    monkeypatch.setattr(f"{module}.arithmetic", lambda _: computed)
    monkeypatch.setattr(f"{module}.choose_training_level", lambda _: "avx512_bf16")
    monkeypatch.setattr(f"{module}.levels_here", lambda _: [highest, "avx512_bf16"])
    assert native_training_level("bfloat16") == taken
    assert use_native_training(small_mixer(), HALF) == (3 if taken else 0)


@pytest.mark.usefixtures("bfloat16_kernels")
def test_a_training_in_bfloat16_takes_the_native_blocks_and_learns() -> None:
    options = {"batch_size": 8, "steps": 5, "optimizer": "adamw", "device": "cpu"}
    recipe = find_recipe("small").override(options)
    images, targets = torch.rand(8, 3, 8, 8) * 2 - 1, torch.eye(4)[torch.arange(8) % 4]
    runs = []
    for runtime in (CPU, HALF, HALF):
        step = TrainingStep(small_mixer(), recipe, runtime)
        blocks = list(step.model.get_submodule("blocks").children())
        assert {(type(block), block.precision) for block in blocks} == {
            (NativeMixerBlock, "float32" if runtime is CPU else "bfloat16")
        }
        runs.append([step(images, targets, number, 1.0).loss.item() for number in range(5)])
    assert runs[1] == runs[2]
    assert runs[1] == pytest.approx(runs[0], rel=0.02)
    assert runs[1][-1] < runs[1][0]


def test_other_devices_and_other_models_are_left_alone() -> None:
    assert use_native_training(small_mixer(), Runtime(torch.device("cuda"))) == 0
    assert use_native_training(create_model("vit_nano", image_size=32, num_classes=3), CPU) == 0

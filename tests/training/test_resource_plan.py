"""The plan of a training: what a step takes, and which settings fit."""

import dataclasses
import json

import pytest
import torch

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.errors import UsageError
from mlpmixer.models.interface import ImageModel
from mlpmixer.training.recipe import OptimizerOptions
from mlpmixer.training.resource_plan import ResourcePlan, plan_resources
from mlpmixer.training.step_memory import StepMemory, step_memory


@pytest.fixture
def model() -> ImageModel:
    with torch.device("meta"):
        return mlpmixer.create_model("mixer_nano", image_size=32, num_classes=10, depth=2)


def taken(
    model: ImageModel, precision: torch.dtype = torch.float32, **options: object
) -> StepMemory:
    chosen = dataclasses.replace(OptimizerOptions(batch_size=64), **options)  # type: ignore[arg-type]
    return step_memory(model, chosen, precision)


def test_what_is_kept_is_counted_to_the_byte(model: ImageModel) -> None:
    weights = 4 * sum(one.numel() for one in model.parameters())
    plain = taken(model)
    assert plain.weights == weights
    assert 2 * weights <= plain.optimizer <= 2 * weights + 8 * len(list(model.parameters()))
    assert plain.average == plain.gradients == 0
    assert taken(model, optimizer="sgd").optimizer == weights
    assert taken(model, ema=0.9).average == weights
    assert taken(model, accumulate=4).gradients == weights


def test_activations_grow_with_the_images_and_shrink_by_precision_and_recomputation(
    model: ImageModel,
) -> None:
    one, two, four = (taken(model, batch_size=size).activations for size in (256, 512, 1024))
    assert four - two == pytest.approx(2 * (two - one), rel=0.02)
    assert taken(model, torch.bfloat16, batch_size=1024).activations < 0.7 * four
    assert taken(model, batch_size=1024, accumulate=4).activations == pytest.approx(one, rel=0.02)
    model.set_grad_checkpointing(True)
    assert taken(model, batch_size=1024).activations < 0.7 * four


def test_the_step_keeps_what_the_model_keeps_for_its_backward_pass(model: ImageModel) -> None:
    from mlpmixer.models.model_summary import summarize_model

    kept = 1024 * summarize_model(model).activation_bytes
    assert kept < taken(model, batch_size=1024).activations < 1.3 * kept


def planned(model: ImageModel, devices: int, gigabytes: float, images: int = 512) -> ResourcePlan:
    return plan_resources(
        model,
        OptimizerOptions(batch_size=images),
        devices=devices,
        device_bytes=gigabytes * 1e9,
        operations=1e12,
    )


def test_the_plainest_setting_that_fits_is_chosen(model: ImageModel) -> None:
    roomy = planned(model, 1, 80)
    assert roomy.chosen == 0
    assert roomy.settings[0].precision == "float32"
    least = min(one.memory.total for one in roomy.settings)
    tight = planned(model, 1, 0.8 * least / 0.9 / 1e9)
    assert tight.chosen == len(tight.settings) - 1
    assert tight.settings[-1].accumulate > 1
    assert planned(model, 1, 1e-6, images=2).chosen is None


def test_devices_share_the_batch_and_shards_the_state(model: ImageModel) -> None:
    alone, shared = planned(model, 1, 80), planned(model, 4, 80)
    assert shared.settings[0].steps_per_day == pytest.approx(4 * alone.settings[0].steps_per_day)
    whole, sharded = shared.settings[2].memory, shared.settings[3].memory
    assert shared.settings[3].sharded
    assert sharded.optimizer == whole.optimizer // 4
    assert sharded.gradients == whole.gradients // 4
    with pytest.raises(UsageError, match="multiple of 3"):
        planned(model, 3, 80)


def test_info_shows_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["info", "mixer_nano", "--plan", "--gpus", "2", "--batch-size", "64", "--memory", "8"]
    assert main(asked) == 0
    assert "It fits by --precision float32." in capsys.readouterr().out
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"][0]["memory"]["total"] > found["settings"][0]["memory"]["weights"]
    assert main(["info", "mixer_nano", "--gpus", "2"]) == 2
    assert "add --plan" in capsys.readouterr().err
    assert main(["info", "--plan"]) == 2

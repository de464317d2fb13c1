"""A run that goes on by a recipe that was edited in its directory meanwhile."""

from pathlib import Path

import pytest
import torch
from training_steps import TrainingSteps

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.run.directory import RunDirectory
from mlpmixer.runtime import Runtime
from mlpmixer.training.checkpointer import Checkpointer
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.state import Position, TrainingIdentity
from mlpmixer.training.step import TrainingStep

SMALL = ["--model", "mixer_nano", "--depth", "1", "--batch-size", "32", "--evaluations", "4"]
HERE = ["--data", "digits", "--device", "cpu", "--workers", "0"]


@pytest.fixture
def interrupted(tmp_path: Path, training_steps: TrainingSteps) -> Path:
    """A run of 24 steps that was stopped in its fifth, before its first validation."""
    run = tmp_path / "run"
    training_steps.interrupt_at = 5
    command = ["train", "--recipe", "quick", "--steps", "24", "--out", str(run)]
    assert main([*command, *SMALL, *HERE]) == 130
    training_steps.interrupt_at = None
    return run


def test_a_budget_that_is_shortened_below_what_is_done_still_gives_a_model(
    interrupted: Path,
) -> None:
    recipe = interrupted / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("steps = 24", "steps = 3"))
    assert main(["train", "--resume", str(interrupted)]) == 0
    assert (interrupted / "model.safetensors").exists()


def test_a_network_option_that_was_not_given_is_to_be_taken_out_again(
    interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = interrupted / "recipe.toml"
    before = recipe.read_text()
    recipe.write_text('gelu = "tanh"\n' + before)
    assert main(["train", "--resume", str(interrupted)]) == 2
    said = capsys.readouterr().err
    assert "was saved without gelu, and the recipe says 'tanh': take it out of " in said
    recipe.write_text(before)
    assert main(["train", "--resume", str(interrupted)]) == 0


def edit(run: Path, before: str, after: str) -> None:
    recipe = run / "recipe.toml"
    text = recipe.read_text()
    assert before in text
    recipe.write_text(text.replace(before, after))


def test_a_budget_that_is_made_longer_is_validated_to_its_end(tmp_path: Path) -> None:
    """Also after all validations of the shorter one; else its best model would be kept for good."""
    run = tmp_path / "run"
    command = ["train", "--recipe", "quick", "--steps", "8", "--out", str(run)]
    assert main([*command, *SMALL, *HERE]) == 0
    edit(run, "steps = 8", "steps = 16")
    assert main(["train", "--resume", str(run)]) == 0
    records = RunDirectory.open(run).records()
    validated = [one["step"] for one in records if "validation_accuracy" in one]
    assert validated == [2, 4, 6, 8, 12, 16]
    assert mlpmixer.load(run).facts["step"] > 8


def test_a_weight_decay_that_was_edited_is_the_one_that_counts(
    interrupted: Path, training_steps: TrainingSteps, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(interrupted, "weight_decay = 0.05", "weight_decay = 0.0")
    assert main(["train", "--resume", str(interrupted)]) == 0
    assert "weight_decay 0.0, was 0.05" in capsys.readouterr().out
    assert training_steps.maker is not None
    groups = [g for one in training_steps.maker.optimizers.all for g in one.param_groups]
    assert {group["weight_decay"] for group in groups} == {0.0}


@pytest.mark.parametrize("kept", [0.9, 0.7])
def test_a_model_that_was_kept_after_the_last_state_stays_the_best(
    kept: float, tmp_path: Path
) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=4, depth=1, num_classes=2)
    step = TrainingStep(model, Recipe(), Runtime(torch.device("cpu")))
    identity = TrainingIdentity(("a", "b"), "images")
    checkpointer = Checkpointer(RunDirectory(tmp_path), step, None, identity, {})  # type: ignore[arg-type]
    saved = Position(step=100, seconds=30.0, best_accuracy=0.8, best_step=90)
    checkpointer.take_up_best(saved)
    assert (saved.best_accuracy, saved.best_step) == (0.8, 90)
    checkpointer.save_model(model, Position(step=120, best_accuracy=kept, best_step=120))
    checkpointer.take_up_best(saved)
    assert (saved.best_accuracy, saved.best_step) == ((0.9, 120) if kept == 0.9 else (0.8, 90))


def test_a_model_of_a_run_without_validation_claims_no_accuracy(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["train", "--recipe", "quick", "--steps", "2", "--out", str(run), "--batch-size", "8"]
    assert main([*command, "--depth", "1", "--evaluations", "0", *HERE]) == 0
    assert mlpmixer.load(run).facts["validation_accuracy"] is None

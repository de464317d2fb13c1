"""A run that goes on by a recipe that was edited in its directory meanwhile."""

from pathlib import Path

import pytest
from training_steps import TrainingSteps

from mlpmixer.cli.main import main

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

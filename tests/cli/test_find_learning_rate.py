"""`mixer train --find-learning-rate`: what it prints is a command that trains."""

import json
import shlex
from pathlib import Path

import pytest

from mlpmixer.cli.learning_rate_range import command_with
from mlpmixer.cli.main import main
from mlpmixer.ranks import ALONE, Ranks
from mlpmixer.training.recipe import Recipe

TINY = ["--depth", "1", "--width", "32", "--patch-size", "2", "--workers", "1", "--device", "cpu"]
BRIEF = ["--steps", "4", "--evaluations", "1"]


def said_command(said: str) -> list[str]:
    (line,) = [one for one in said.splitlines() if one.startswith("train with it by: ")]
    return shlex.split(line.removeprefix("train with it by: "))


def test_the_printed_command_trains_at_the_suggested_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a run"
    command = ["train", "--recipe", "quick", "--data", "digits", "--out", str(out), *TINY, *BRIEF]
    command += ["--learning-rate=0.5", "--find-learning-rate", "--batch-size", "auto"]
    assert main(command) == 0
    said = capsys.readouterr().out
    mixer, *arguments = said_command(said)
    assert mixer == "mixer"
    assert "suggested learning rate: " in said
    assert "for matrices (" in said
    assert main(arguments) == 0
    recipe = Recipe.from_toml(out / "recipe.toml")
    told = json.loads((out / "learning_rates.json").read_text())["suggested"]
    assert recipe.optimizer.learning_rate == told["learning_rate"] != 0.5
    assert recipe.optimizer.matrix_learning_rate == told["matrix_learning_rate"]
    assert recipe.optimizer.batch_size == 128
    assert recipe.schedule.steps == 4


def test_a_finetuning_is_tested_from_its_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "tuned"
    command = ["train", "--recipe", "quick", "--data", "digits", "--out", str(run), *TINY, *BRIEF]
    assert main(command) == 0
    options = ["--batch-size", "64", "--optimizer", "adamw", "--workers", "1", "--json"]
    options += ["--device", "cpu"]
    command = ["finetune", "--from", str(run), "--data", "digits", "--out", str(out), *options]
    capsys.readouterr()
    assert main([*command, *BRIEF, "--find-learning-rate"]) == 0
    told = json.loads(capsys.readouterr().out)
    _, *arguments = shlex.split(told["command"])
    assert arguments[:3] == ["finetune", "--from", str(run)]
    assert main(arguments) == 0


def test_a_run_that_is_resumed_is_not_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--resume", str(tmp_path), "--find-learning-rate"]) == 2
    assert "--find-learning-rate cannot be changed while resuming" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data", "a b"], "mixer train --data 'a b' --out runs/x --learning-rate 0.0012"),
        (["--learning_rate=3", "--json"], "mixer train --json --out runs/x --learning-rate 0.0012"),
        (
            ["--out", "y", "--betas", "0.9", "0.99"],
            "mixer train --betas 0.9 0.99 --out runs/x --learning-rate 0.0012",
        ),
    ],
)
def test_options_are_replaced_and_all_others_kept(arguments: list[str], expected: str) -> None:
    values = {"out": Path("runs/x"), "learning_rate": 0.0012}
    assert command_with("train", ["--find-learning-rate", *arguments], values, ALONE) == expected


def test_ranks_are_told_to_go_on_as_ranks() -> None:
    ranks = Ranks(0, 4, 0, 4)
    assert command_with("train", ["--data", "x"], {"out": "y"}, ranks) == (
        "torchrun --nproc-per-node 4 -m mlpmixer train --data x --out y"
    )

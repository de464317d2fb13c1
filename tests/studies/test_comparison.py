"""The comparison of families: same budget, throughput in turn, fronts."""

import json
from pathlib import Path

import pytest
import torch

from mlpmixer.cli.main import main
from mlpmixer.evaluation.throughput import throughput
from mlpmixer.runtime import Runtime
from mlpmixer.studies.comparison import (
    comparison_study,
    in_a_fresh_process,
    pareto_front,
    training_memory,
)
from mlpmixer.training.recipe import Recipe

CPU = Runtime(torch.device("cpu"))


@pytest.fixture
def command(tmp_path: Path, recipe: Path) -> list[str]:
    return [
        *("study", "compare", "--data", "digits", "--recipe", str(recipe), "--steps", "3"),
        *("--models", "mixer_nano", "mixer_micro", "--out", str(tmp_path / "study")),
    ]


def test_models_are_trained_timed_and_told_apart(
    command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def quick(*arguments: object, **options: object) -> object:
        return throughput(*arguments, **options, rounds=2, seconds=0.01)  # type: ignore[arg-type]

    monkeypatch.setattr("mlpmixer.studies.comparison.throughput", quick)
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in found["results"]] == ["mixer_nano", "mixer_micro"]
    for row in found["results"]:
        assert 0 <= row["accuracy"] <= 1
        assert row["steps"] == 3
        assert min(row[name] for name in ("images_per_second", "core_hours", "gmacs")) > 0
        assert [0 < hours <= row["core_hours"] for hours, _ in row["course"]] == [True, True]
        assert row["training_memory_bytes"] > 50e6  # at least what PyTorch takes
    study = tmp_path / "study"
    assert len((study / "results.csv").read_text().splitlines()) == 3
    assert (study / "data" / "accuracy_by_images_per_second.csv").exists()
    cost = (study / "data" / "accuracy_by_core_hours.csv").read_text().splitlines()
    assert cost[0] == "model,core_hours,accuracy,images"
    assert [line.rsplit(",", 1)[1] for line in cost[1:4]] == ["validation", "validation", "test"]
    assert (study / "figures" / "accuracy_by_core_hours.svg").exists()
    assert main(command) == 0
    assert "3 of 3 cells are there already" in capsys.readouterr().out


def test_memory_is_that_of_training_steps_in_a_process_of_their_own(recipe: Path) -> None:
    of_others = bytearray(1_500_000_000)
    of_others[::4096] = b"x" * len(of_others[::4096])
    # The budget in minutes counts for nothing: a few steps are made.
    small = Recipe.from_toml(recipe).override({"data": "digits", "steps": None, "minutes": 1.0})
    large = small.override({"batch_size": 1000, "channels_mlp_dim": 8192})
    found = [in_a_fresh_process(training_memory, one, CPU) for one in (small, large)]
    activations = 1000 * 16 * 8192 * 4
    assert found[0] + activations < found[1]
    assert found[0] < len(of_others)


def test_a_damaged_throughput_is_named_before_the_trainings(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study" / "cells" / "throughput" / "result.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    assert main(command) == 1
    assert "throughput/result.json is damaged" in capsys.readouterr().err
    assert [one.name for one in file.parent.parent.iterdir()] == ["throughput"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--minutes", "1"], "one budget"),
        (["--flops", "1e9"], "one budget"),
        (["--models", "mixer_nano", "bit_nona"], "bit_nano"),
        (["--image-size", "9"], "mixer_nano: image size 9x9"),
        (["--models"], "at least one model"),
    ],
)
def test_wrong_use_is_named_before_the_work(
    command: list[str],
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*command, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_flops_become_steps_by_the_cost_of_each_model(
    command: list[str], recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = Recipe.from_toml(recipe).override({"data": "digits"})
    tokens, width = 16, 16
    macs = tokens * 12 * width + 2 * width * tokens * 8 + 2 * tokens * width * 32 + width * 10
    study = comparison_study(["mixer_nano"], 1, training, CPU, flops=6 * macs * 16 * 5)
    assert study.recipes["mixer_nano"].schedule.steps == 5
    flops = [one for one in command if one not in ("--steps", "3")]
    assert main([*flops, "--flops", "1000"]) == 2
    assert "less than one step of mixer_nano" in capsys.readouterr().err


def test_the_front_holds_what_no_other_beats() -> None:
    points = [
        ("cheap", 1.0, 0.5),
        ("worse", 2.0, 0.4),
        ("good", 2.0, 0.7),
        ("as good but dearer", 3.0, 0.7),
        ("best", 9.0, 0.9),
    ]
    assert pareto_front(points) == ["cheap", "good", "best"]

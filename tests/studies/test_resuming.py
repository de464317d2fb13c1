"""Real studies that are interrupted in the middle of a training, and studies side by side."""

from pathlib import Path

from filelock import FileLock
from study_cells import results
from training_steps import TrainingSteps

from mlpmixer.cli.main import main


def command(recipe: Path, out: Path, *more: str) -> list[str]:
    return [
        *("study", "permutation", "--data", "digits", "--recipe", str(recipe), "--steps", "4"),
        *("--models", "mixer_nano", "--out", str(out), *more),
    ]


def test_a_study_interrupted_in_a_training_ends_as_if_it_had_not_been(
    tmp_path: Path, recipe: Path, training_steps: TrainingSteps
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(command(recipe, whole)) == 0
    training_steps.taken.clear()
    training_steps.interrupt_at = 4 + 3  # in the second of the three trainings
    assert main(command(recipe, parts)) == 130
    assert len(results(parts)) == 1
    assert "1 of 3 cells" in (parts / "index.html").read_text()
    assert main(command(recipe, parts)) == 0
    assert results(parts) == results(whole)
    assert "of 3 cells" not in (parts / "index.html").read_text()
    assert training_steps.taken == [0, 1, 2, 3] * 3  # none of them twice


def test_the_page_of_a_study_at_work_elsewhere_is_left_alone(tmp_path: Path, recipe: Path) -> None:
    out = tmp_path / "study"
    assert main(command(recipe, out)) == 0
    (out / "index.html").write_text("the other's")
    with FileLock(out / ".lock"):
        assert main(command(recipe, out)) == 2
    assert (out / "index.html").read_text() == "the other's"


def test_cells_computed_side_by_side_are_the_same(tmp_path: Path, recipe: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert main(command(recipe, alone)) == 0
    assert main(command(recipe, together, "--jobs", "2")) == 0
    assert results(together).keys() == results(alone).keys()
    log = together / "cells" / "mixer_nano,pixels,seed=0" / "log.txt"
    assert "training" in log.read_text()

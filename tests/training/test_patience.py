"""Ending a training early, when its validation accuracy rises no more."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_processes import on_ranks
from training_steps import TrainingSteps

import mlpmixer
from mlpmixer.errors import UsageError
from mlpmixer.ranks import Ranks
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipe import Recipe, ScheduleOptions, check_patience
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.train import train

CPU = Runtime(torch.device("cpu"))
TINY = {
    "steps": 24,
    "batch_size": 16,
    "depth": 1,
    "width": 16,
    "tokens_mlp_dim": 8,
    "channels_mlp_dim": 32,
    "patch_size": 2,
    "evaluations": 12,
    "workers": 1,
    "patience": 2,
}


def recipe(**changes: object) -> Recipe:
    return find_recipe("quick").override({**TINY, **changes})


def script(monkeypatch: pytest.MonkeyPatch, *accuracies: float) -> None:
    """Let the validations find these accuracies, one after the other."""
    left = list(accuracies)
    monkeypatch.setattr("mlpmixer.training.train.accuracy", lambda *_: left.pop(0))


def trained(out: Path, **options: Any) -> tuple[dict[str, Any], str]:
    """Train, or go on; return the outcome and what was said."""
    said = io.StringIO()
    resume = options.pop("resume", False)
    chosen = Recipe.from_toml(out / "recipe.toml") if resume else recipe(**options)
    outcome = train(chosen, out, Console("plain", out=said, err=said), CPU, resume=resume)
    return dict(outcome), said.getvalue()


@pytest.mark.page
def test_a_training_ends_after_so_many_evaluations_without_a_better_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, 0.25, 0.625, 0.5, 0.625)  # to be as good is no gain
    out = tmp_path / "run"
    outcome, said = trained(out)
    assert outcome["finished"]
    assert outcome["ended_by"] == "patience"
    assert outcome["steps"] == 8
    assert outcome["validation_accuracy"] == 0.625
    why = (
        "ended early, after 33 % of its budget: the last 2 evaluations were no better than the "
        "62.50 % before (--patience)"
    )
    assert f"the training {why}" in said
    assert f"The training {why}." in (out / "report.html").read_text()
    assert mlpmixer.load(out).facts["validation_accuracy"] == 0.625
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert sum("validation_accuracy" in one for one in records) == 4


def test_a_gain_starts_the_count_anew_and_the_budget_may_end_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, *(0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5, 0.5, 0.5))
    outcome, said = trained(tmp_path / "run", patience=3)
    assert outcome["ended_by"] == "budget"
    assert outcome["steps"] == 24
    assert "ended early" not in said + (tmp_path / "run" / "report.html").read_text()


def test_without_patience_nothing_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, *[0.5] * 12)
    outcome, _ = trained(tmp_path / "run", patience=0)
    assert (outcome["ended_by"], outcome["steps"]) == ("budget", 24)


def test_a_resumed_training_goes_on_counting(
    tmp_path: Path, training_steps: TrainingSteps, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    script(monkeypatch, 0.5, 0.4)
    training_steps.interrupt_at = 5
    outcome, _ = trained(out)
    assert not outcome["finished"]
    script(monkeypatch, 0.5)
    outcome, _ = trained(out, resume=True)
    assert (outcome["ended_by"], outcome["steps"]) == ("patience", 6)
    outcome, said = trained(out, resume=True)  # nothing is left to do
    assert (outcome["ended_by"], outcome["steps"]) == ("patience", 6)
    assert "ended early" in said


def test_a_run_that_was_ended_can_go_on_with_more_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    script(monkeypatch, 0.5, 0.5, 0.5)
    assert trained(out)[0]["steps"] == 6
    file = out / "recipe.toml"
    file.write_text(file.read_text().replace("patience = 2", "patience = 4"))
    script(monkeypatch, 0.5, 0.5)
    outcome, said = trained(out, resume=True)
    assert (outcome["ended_by"], outcome["steps"]) == ("patience", 10)
    assert "patience 4, was 2" in said


def ended(ranks: Ranks, out: str) -> tuple[str, int]:
    """Train with a learning rate of 0, so that no evaluation is better than the first."""
    console = Console.silent()
    runtime = Runtime(torch.device("cpu"), ranks=ranks)
    still = {"learning_rate": 0.0, "matrix_learning_rate": 0.0}
    outcome = train(recipe(**still), Path(out), console, runtime)
    return str(outcome["run"]), int(outcome.get("steps", 6))


def test_all_ranks_end_together(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    assert on_ranks(2, ended, out) == [(out, 6), (out, 6)]


@pytest.mark.parametrize(
    ("options", "validation", "told"),
    [
        ({"patience": 12}, True, "--patience 12 never ends a training of 12 evaluations: use"),
        ({"patience": 1, "evaluations": 0}, True, "of 0 evaluations: use --evaluations 4"),
        ({"patience": 2}, False, "there are none: leave it out, or hold some out"),
    ],
)
def test_patience_that_can_end_nothing_is_refused(
    options: dict[str, Any], validation: bool, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        check_patience(ScheduleOptions(**options), validation=validation)


def test_without_validation_images_patience_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--patience 2 goes by validation images"):
        trained(tmp_path / "run", validation_fraction=0.0)
    assert not (tmp_path / "run").exists()

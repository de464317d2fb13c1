"""Whole trainings: what they leave behind, and that nothing is lost when they are stopped."""

import io
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_steps import TrainingSteps

import mlpmixer
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.run.console import Console
from mlpmixer.run.directory import PREVIOUS_STATE_FILE, STATE_FILE
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.train import train
from mlpmixer.training.utilisation import Utilisation

CPU = Runtime(torch.device("cpu"))
QUICK = {
    "steps": 12,
    "batch_size": 16,
    "depth": 2,
    "width": 16,
    "tokens_mlp_dim": 8,
    "channels_mlp_dim": 32,
    "patch_size": 2,
    "evaluations": 3,
    "ema": 0.0,
    "dropout": 0.1,
    "mixup_alpha": 0.2,
    "mixup_probability": 0.5,
    "workers": 1,
}


def recipe(**changes: object) -> Recipe:
    return find_recipe("quick").override({**QUICK, **changes})


def silent() -> Console:
    return Console("json", out=io.StringIO(), err=io.StringIO())


@pytest.mark.page
def test_a_run_directory_holds_all_that_the_design_promises(tmp_path: Path) -> None:
    out = tmp_path / "run"
    outcome = train(recipe(), out, silent(), CPU)
    assert outcome["finished"]
    for name in ("recipe.toml", "metrics.jsonl", "model.safetensors", "evaluation.json"):
        assert (out / name).stat().st_size > 0
    assert (out / "last" / STATE_FILE).exists()
    assert list(out.glob("events.out.tfevents*"))
    assert list((out / "figures").glob("*.png"))
    assert "<html" in (out / "report.html").read_text()
    model = mlpmixer.load(out)
    assert model.class_names == tuple("0123456789")
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert sum("validation_accuracy" in record for record in records) == 3
    assert records[-1]["step"] == 12


def test_training_learns_digits(tmp_path: Path) -> None:
    shape = {"width": 64, "tokens_mlp_dim": 32, "channels_mlp_dim": 128}
    changes = {"steps": 160, "batch_size": 64, "dropout": 0.0, "mixup_alpha": 0.0, **shape}
    outcome = train(recipe(**changes), tmp_path / "run", silent(), CPU)
    assert outcome["accuracy"] > 0.85


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    tmp_path: Path, optimizer: str
) -> None:
    weights = []
    for number, seed in enumerate((1, 1, 2)):
        out = tmp_path / str(number)
        train(recipe(seed=seed, optimizer=optimizer), out, silent(), CPU)
        weights.append(load_file(out / "model.safetensors"))
    same, again, other = weights
    assert all(torch.equal(same[name], again[name]) for name in same)
    assert not torch.equal(same["stem.proj.weight"], other["stem.proj.weight"])


@pytest.mark.parametrize(
    "changes",
    [
        {"ema": 0.9},
        {"optimizer": "sgd", "accumulate": 2},
        {"optimizer": "muon", "sam_rho": 0.1, "sam_every": 3, "dropout": 0.1, "ema": 0.9},
    ],
)
def test_an_interrupted_run_continues_to_the_same_bits(
    tmp_path: Path, training_steps: TrainingSteps, changes: dict[str, object]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = train(recipe(**changes), whole, silent(), CPU)
    training_steps.interrupt_at = 12 + 7
    stopped = train(recipe(**changes), parts, silent(), CPU)
    where = {"run": str(parts), "step": 7, "stopped_by": "SIGINT"}
    assert stopped == {"finished": False, **where}
    assert not (parts / "report.html").exists()
    stored = Recipe.from_toml(parts / "recipe.toml")
    outcome = train(stored, parts, silent(), CPU, resume=True)
    assert outcome["accuracy"] == expected["accuracy"]
    one, other = load_file(whole / "model.safetensors"), load_file(parts / "model.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)

    def measured(run: Path) -> list[tuple[int, float]]:
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [(record["step"], record["loss"]) for record in records if "loss" in record]

    assert [step for step, _ in measured(parts)] == [step for step, _ in measured(whole)]


class Clock:
    """A clock that goes on by a millisecond whenever it is asked."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.wait(0.001)
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_a_budget_that_ends_in_a_record_is_evaluated_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, clock = tmp_path / "run", Clock()
    monkeypatch.setattr("mlpmixer.training.loop.time", clock)
    monkeypatch.setattr(Utilisation, "measure", lambda _: clock.wait(0.7))
    train(recipe(steps=None, minutes=0.01, evaluations=1), out, silent(), CPU)
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert "validation_accuracy" in records[-1]
    assert mlpmixer.load(out).class_names == tuple("0123456789")


def test_a_budget_in_minutes_ends_and_runs_the_schedule_down(tmp_path: Path) -> None:
    out = tmp_path / "run"
    outcome = train(recipe(steps=None, minutes=0.02), out, silent(), CPU)
    assert outcome["finished"]
    lines = (out / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line)["learning_rate"] for line in lines if "learning_rate" in line]
    assert rates[-1] < 0.2 * max(rates)


def test_without_validation_images_the_last_weights_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "run"
    outcome = train(recipe(validation_fraction=0.0), out, silent(), CPU)
    assert outcome["validation_accuracy"] is None
    assert mlpmixer.load(out).facts["step"] == 12


def test_a_loss_that_is_no_number_stops_the_run_with_a_remedy(tmp_path: Path) -> None:
    broken = recipe(optimizer="sgd", learning_rate=1000.0, clip_norm=0.0, warmup=0.0)
    with pytest.raises(MixerError, match="lower --learning-rate"):
        train(broken, tmp_path / "run", silent(), CPU)


def test_resuming_with_nothing_saved_says_so(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "recipe.toml").write_text(recipe().to_toml())
    with pytest.raises(UsageError, match="before its first saved state"):
        train(recipe(), out, silent(), CPU, resume=True)


def test_a_damaged_state_is_named_and_never_unpickled(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(recipe(), out, silent(), CPU)
    for name in (STATE_FILE, PREVIOUS_STATE_FILE):
        (out / "last" / name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(MixerError, match=r"state\.pt"):
        train(recipe(), out, silent(), CPU, resume=True)


def test_a_folder_of_photos_trains_and_names_its_classes(
    tmp_path: Path, photo_folder: Path
) -> None:
    out = tmp_path / "run"
    changes = {"data": str(photo_folder), "batch_size": 8}
    outcome = train(recipe(**changes), out, silent(), CPU)
    assert outcome["split"] == "test"
    assert set(mlpmixer.load(out).class_names or ()) == {"zero", "one", "seven"}

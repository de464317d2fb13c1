"""The learning-rate range test: a curve, a suggestion, and nothing trained."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rank_processes import on_ranks
from torch import Tensor

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.models.registry import create_model
from mlpmixer.ranks import Ranks
from mlpmixer.run.console import Console
from mlpmixer.run.directory import RunDirectory
from mlpmixer.runtime import Runtime
from mlpmixer.training import learning_rate_range
from mlpmixer.training.learning_rate_range import (
    HIGHEST,
    LOWEST,
    SAFE_FACTOR,
    STEPS,
    Curve,
    find_learning_rate,
)
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.step import StepResult, TrainingStep
from mlpmixer.training.train import train

CPU = Runtime(torch.device("cpu"))
TINY = {
    "steps": 12,
    "batch_size": 64,
    "depth": 1,
    "width": 32,
    "tokens_mlp_dim": 16,
    "channels_mlp_dim": 64,
    "patch_size": 2,
    "evaluations": 1,
    "workers": 1,
}


def recipe(**changes: object) -> Recipe:
    return find_recipe("quick").override({**TINY, **changes})


def found(out: Path, ranks: Ranks | None = None, **changes: object) -> dict[str, Any]:
    runtime = CPU if ranks is None else Runtime(CPU.device, ranks=ranks)
    return dict(find_learning_rate(recipe(**changes), out, Console.silent(), runtime))


def curve(out: Path) -> dict[str, Any]:
    return json.loads((out / "learning_rates.json").read_text())


def test_the_loss_falls_until_it_explodes_and_a_rate_that_does_the_fall_is_suggested(
    tmp_path: Path,
) -> None:
    outcome = found(tmp_path / "run", optimizer="adamw", clip_norm=0.0)
    told = curve(tmp_path / "run")
    steps = told["steps"]
    assert told["ended_by"] == "explosion"
    assert 20 < len(steps) < STEPS
    rates = [step["learning_rate"] for step in steps]
    assert rates[0] == pytest.approx(LOWEST)
    growth = [after / before for before, after in pairwise(rates)]
    assert growth == pytest.approx([(HIGHEST / LOWEST) ** (1 / (STEPS - 1))] * len(growth))
    least = min(steps, key=lambda step: step["smoothed_loss"])
    assert least["smoothed_loss"] < 0.9 * steps[0]["smoothed_loss"]
    assert 1e-4 < outcome["learning_rate"] < least["learning_rate"]
    assert outcome["batch_size"] == 64
    assert told["suggested"]["learning_rate"] == outcome["learning_rate"]
    with Image.open(outcome["figure"]) as picture:
        assert picture.width > 800


def test_the_suggestion_does_not_depend_on_the_rate_that_is_given(
    tmp_path: Path,
) -> None:
    one = found(tmp_path / "one", optimizer="adamw", learning_rate=1e-3)
    other = found(tmp_path / "other", optimizer="adamw", learning_rate=5.0)
    assert other["learning_rate"] == pytest.approx(one["learning_rate"], rel=0.1)


def test_the_rates_of_muon_rise_alike(tmp_path: Path) -> None:
    options = {"optimizer": "muon", "learning_rate": 1e-3, "matrix_learning_rate": 4e-3}
    outcome = found(tmp_path / "run", **options)
    assert outcome["matrix_learning_rate"] == pytest.approx(4 * outcome["learning_rate"], rel=0.06)


def test_it_makes_no_run_and_its_folder_can_become_one(tmp_path: Path) -> None:
    out = tmp_path / "run"
    found(out)
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files - {".lock"} == {"learning_rates.json", "figures/learning_rates.png"}
    found(out)  # again
    assert train(recipe(), out, Console.silent(), CPU)["finished"]
    assert (out / "figures" / "learning_rates.png").exists()


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", "steps = 3\n")
    with pytest.raises(UsageError, match="already holds a run"):
        found(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").glob("*.json")] == []


def test_the_model_of_the_training_that_follows_is_a_fresh_one(tmp_path: Path) -> None:
    found(tmp_path / "tested")
    for name in ("tested", "untested"):
        train(recipe(), tmp_path / name, Console.silent(), CPU)
    one, other = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("tested", "untested")
    )
    assert one == other


def test_a_batch_size_of_auto_is_settled_first(tmp_path: Path) -> None:
    assert found(tmp_path / "run", batch_size="auto")["batch_size"] == 128


def test_a_learning_rate_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--learning-rate 0 cannot be scaled"):
        found(tmp_path / "run", learning_rate=0.0)


def test_where_no_rate_lowers_the_loss_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning_rate_range, "HIGHEST", 2 * LOWEST)
    with pytest.raises(MixerError, match=r"no learning rate from 1e-05 to .* lowered the loss"):
        found(tmp_path / "run")
    assert curve(tmp_path / "run")["suggested"]["learning_rate"] is None
    assert (tmp_path / "run" / "figures" / "learning_rates.png").exists()


def test_a_loss_that_is_no_number_from_the_start_on_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = TrainingStep.__call__

    def step(self: TrainingStep, images: Tensor, *rest: Any) -> StepResult:
        return make(self, images * torch.nan, *rest)

    monkeypatch.setattr(TrainingStep, "__call__", step)
    with pytest.raises(MixerError, match="the loss is nan before any step"):
        found(tmp_path / "run")


def test_a_teachers_answers_make_the_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"depth": 1, "width": 16, "tokens_mlp_dim": 8, "channels_mlp_dim": 32}
    teacher = create_model("mixer_nano", image_size=8, patch_size=2, num_classes=10, **options)
    torch.nn.init.normal_(teacher.head.weight, std=0.1)  # type: ignore[union-attr, arg-type]
    teacher.save(tmp_path / "teacher.safetensors")
    found(tmp_path / "alone")
    found(tmp_path / "taught", teacher=str(tmp_path / "teacher.safetensors"))
    first, alone = (curve(tmp_path / name)["steps"][0]["loss"] for name in ("taught", "alone"))
    assert alone == pytest.approx(math.log(10), rel=0.1)  # of labels
    assert first < 0.5 * alone  # two models that know nothing answer nearly alike


def test_noise_alone_does_not_make_a_suggestion() -> None:
    rates = tuple(1e-6 * 1.1**n for n in range(100))
    noise = torch.randn(100, generator=torch.Generator().manual_seed(0)) * 0.05
    flat = Curve(rates, tuple((2.3 + noise).tolist()), exploded=False)
    assert flat.suggestion is None
    fall = [2.3 - 1.5 * math.exp(-(((n - 60) / 15) ** 2)) for n in range(100)]
    bowl = Curve(rates, tuple((torch.tensor(fall) + noise).tolist()), exploded=True)
    assert bowl.suggestion == pytest.approx(rates[55] / SAFE_FACTOR, rel=0.4)


def on_each(ranks: Ranks, out: str) -> dict[str, Any]:
    return found(Path(out), ranks)


def test_ranks_test_as_one(tmp_path: Path) -> None:
    one, other = on_ranks(2, on_each, str(tmp_path / "two"))
    assert one["learning_rate"] == other["learning_rate"]
    found(tmp_path / "one")
    alone, together = (curve(tmp_path / name)["steps"][:40] for name in ("one", "two"))
    losses = [step["loss"] for step in together]
    assert losses == pytest.approx([step["loss"] for step in alone], rel=0.02)

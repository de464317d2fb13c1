"""Trainings that learn from a teacher: from the command line, stopped and resumed, on ranks."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from rank_processes import on_ranks
from safetensors.torch import load_file
from torch import Tensor
from training_steps import TrainingSteps

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.data.sources import open_source
from mlpmixer.ranks import ALONE, Ranks
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.teacher import Teacher
from mlpmixer.training.train import train

SHAPE = {"width": 64, "depth": 2, "tokens_mlp_dim": 32, "channels_mlp_dim": 128, "patch_size": 2}
TINY = {
    "steps": 8,
    "batch_size": 32,
    "depth": 1,
    "width": 16,
    "tokens_mlp_dim": 8,
    "channels_mlp_dim": 32,
    "patch_size": 2,
    "evaluations": 2,
    "workers": 1,
}
EVERYTHING = {
    "optimizer": "muon",
    "ema": 0.9,
    "accumulate": 2,
    "sam_rho": 0.1,
    "sam_every": 2,
    "stochastic_depth": 0.1,
    "mixup_alpha": 0.2,
    "teacher_temperature": 2.0,
    "teacher_weight": 0.7,
}
STILL = {"crop": "none", "flip": 0.0, "mixup_alpha": 0.0}
"""Shows every image as it is."""


def recipe(**changes: object) -> Recipe:
    return find_recipe("quick").override({**TINY, **changes})


def trained(
    ranks: Ranks, out: str, changes: dict[str, Any], resume: bool = False
) -> dict[str, Any]:
    console = Console("json", out=io.StringIO(), err=io.StringIO())
    runtime = Runtime(torch.device("cpu"), ranks=ranks)
    return dict(train(recipe(**changes), Path(out), console, runtime, resume=resume))


def alone(out: Path, **changes: object) -> dict[str, Any]:
    return trained(ALONE, str(out), changes)


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def curve(out: Path, name: str) -> list[float]:
    return [one[name] for one in records(out) if name in one]


def weights(out: Path) -> dict[str, Tensor]:
    return load_file(out / "model.safetensors")


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that reads digits well."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlpmixer.training.train.write_report", lambda path, contents: None)
        learnt = alone(out, **SHAPE, steps=240, batch_size=64, ema=0.95)
    assert learnt["accuracy"] > 0.9
    return out


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits as a folder; of the training images alone the labels are drawn by lot."""
    root = tmp_path_factory.mktemp("mislabelled")
    chance = np.random.default_rng(0)
    for name, split in open_source("digits").splits.items():
        for number, label in enumerate(split.labels):
            shown = label if name == "test" else chance.integers(10)
            folder = root / name / str(shown)
            folder.mkdir(parents=True, exist_ok=True)
            pixels = split.encoded(number)
            assert not isinstance(pixels, bytes)
            Image.fromarray(pixels).save(folder / f"{number:04}.png")
    return root


@pytest.mark.page
def test_a_student_learns_from_its_teacher_though_all_labels_are_nonsense(
    teacher: Path, mislabelled: Path, tmp_path: Path
) -> None:
    changes = {**SHAPE, "data": str(mislabelled), "steps": 200, "batch_size": 64, "evaluations": 0}
    taught, untaught = tmp_path / "taught", tmp_path / "untaught"
    student = alone(taught, **changes, teacher=str(teacher))
    assert student["accuracy"] > 0.8
    assert alone(untaught, **{**changes, "steps": 20})["accuracy"] < 0.4

    model = mlpmixer.load(taught)
    assert model.class_names == tuple("0123456789")
    assert model.facts["teacher"] == str(teacher)

    shares = curve(taught, "teacher_time")
    assert len(shares) == len(curve(taught, "loss"))
    assert all(0 < share < 1 for share in (*shares, student["teacher_time"]))
    assert "Teacher, share of the training" in (taught / "report.html").read_text()
    assert not curve(untaught, "teacher_time")
    assert "Teacher, share" not in (untaught / "report.html").read_text()


@pytest.mark.parametrize("changes", [EVERYTHING, STILL], ids=["everything", "still"])
def test_a_resumed_training_has_the_bits_of_an_uninterrupted_one(
    changes: dict[str, Any], teacher: Path, tmp_path: Path, training_steps: TrainingSteps
) -> None:
    options = {**changes, "teacher": str(teacher), "steps": 60}
    alone(tmp_path / "through", **options)
    training_steps.taken.clear()
    training_steps.interrupt_at = 7
    assert not alone(tmp_path / "stopped", **options)["finished"]
    training_steps.interrupt_at = None
    assert trained(ALONE, str(tmp_path / "stopped"), options, resume=True)["finished"]
    assert same(weights(tmp_path / "through"), weights(tmp_path / "stopped"))


def test_kept_answers_are_those_that_the_teacher_gives(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two epochs and more, in batches that leave out some images of each.
    options = {**STILL, "teacher": str(teacher), "steps": 130, "train_fraction": 0.5}
    options["optimizer"] = "adamw"  # Muon may round to bfloat16, and small differences grow
    shown: list[int] = []
    answer = Teacher.__call__

    def counted(self: Teacher, images: Tensor) -> Tensor:
        shown.append(len(images))
        return answer(self, images)

    monkeypatch.setattr(Teacher, "__call__", counted)
    alone(tmp_path / "kept", **options)
    asked = sum(shown)
    (kept,) = (tmp_path / "kept" / "last").glob("*.answers")
    shown.clear()
    monkeypatch.setattr("mlpmixer.training.teacher_logits.MOST_BYTES", 0)
    alone(tmp_path / "fresh", **options)
    assert sum(shown) == 130 * 32 > 2 * asked
    assert not list((tmp_path / "fresh" / "last").glob("*.answers"))
    close = pytest.approx(curve(tmp_path / "fresh", "loss"), rel=1e-3, abs=1e-4)
    assert curve(tmp_path / "kept", "loss") == close
    assert kept.stat().st_size <= 1437 * 4 * 11  # ten logits and a checksum each


def test_answers_to_changed_images_are_not_kept(teacher: Path, tmp_path: Path) -> None:
    alone(tmp_path / "run", **{**STILL, "mixup_alpha": 0.5}, teacher=str(teacher))
    assert not list((tmp_path / "run" / "last").glob("*.answers"))


@pytest.fixture
def stopped(teacher: Path, tmp_path: Path, training_steps: TrainingSteps) -> Path:
    """A run that was interrupted while it learned from a teacher of its own."""
    own = tmp_path / "teacher.safetensors"
    own.write_bytes((teacher / "model.safetensors").read_bytes())
    training_steps.interrupt_at = 3
    out = tmp_path / "stopped"
    assert not alone(out, teacher=str(own))["finished"]
    training_steps.interrupt_at = None
    return out


def refused(run: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["train", "--resume", str(run)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_teacher_that_has_changed_is_refused(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "teacher.safetensors"
    right = own.read_bytes()
    model = mlpmixer.load(own)
    with torch.no_grad():
        model.head.bias[0] += 1
    model.save(own)
    line = refused(stopped, capsys)
    assert f"{own} is not the teacher that" in line
    assert "put that back, or start a new run" in line
    own.write_bytes(right)
    assert main(["train", "--resume", str(stopped)]) == 0


def test_a_run_keeps_its_teacher_and_a_teacher_may_move(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stopped / "recipe.toml"
    before = path.read_text()
    (line,) = (one for one in before.splitlines() if one.startswith("teacher ="))
    path.write_text(before.replace(line + "\n", ""))
    assert "was trained with teacher = '" in refused(stopped, capsys)
    moved = (tmp_path / "teacher.safetensors").rename(tmp_path / "moved.safetensors")
    path.write_text(before.replace("teacher.safetensors", moved.name))
    assert main(["train", "--resume", str(stopped)]) == 0


def test_another_loss_that_the_teacher_answers_for_is_named(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stopped / "recipe.toml"
    path.write_text(path.read_text().replace('loss = "softmax"', 'loss = "sigmoid"'))
    line = refused(stopped, capsys)
    assert "was trained with loss = 'softmax', and the recipe says 'sigmoid'" in line
    assert f"put it back in {path}" in line


def test_a_run_without_a_teacher_gets_none(
    teacher: Path, tmp_path: Path, training_steps: TrainingSteps, capsys: pytest.CaptureFixture[str]
) -> None:
    training_steps.interrupt_at = 3
    assert not alone(tmp_path / "run")["finished"]
    training_steps.interrupt_at = None
    path = tmp_path / "run" / "recipe.toml"
    path.write_text(path.read_text() + f'teacher = "{teacher}"\n')
    line = refused(tmp_path / "run", capsys)
    assert f"trained with teacher = None, and the recipe says '{teacher}'" in line


def test_ranks_learn_what_one_process_learns(teacher: Path, tmp_path: Path) -> None:
    changes = {"teacher": str(teacher), "mixup_alpha": 0.2, "ema": 0.9, "sam_rho": 0.05}
    trained(ALONE, str(tmp_path / "one"), changes)
    on_ranks(2, trained, str(tmp_path / "two"), changes)
    for name in ("loss", "gradient_norm", "train_accuracy"):
        # Muon rounds to bfloat16 where the hardware has it.
        close = pytest.approx(curve(tmp_path / "one", name), rel=0.02, abs=0.01)
        assert curve(tmp_path / "two", name) == close


def answers_on(ranks: Ranks, teacher: str) -> NDArray[np.float32]:
    runtime = Runtime(torch.device("cpu"), ranks=ranks)
    model = Teacher(mlpmixer.load(teacher), range(10), "softmax", runtime)
    images = torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found: NDArray[np.float32] = model(images[ranks.own]).numpy()
    return found


def test_the_answers_do_not_depend_on_the_number_of_ranks(teacher: Path) -> None:
    parts = on_ranks(2, answers_on, str(teacher))
    whole = np.stack(parts, axis=1).reshape(32, 10)
    np.testing.assert_allclose(whole, answers_on(ALONE, str(teacher)), rtol=1e-4, atol=1e-4)


def test_the_command_line_trains_and_fine_tunes_with_a_teacher(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    taught = ["--teacher", str(teacher), "--teacher-temperature", "2", "--teacher-weight", "0.5"]
    first, second = tmp_path / "first", tmp_path / "second"
    common = ["--recipe", "quick", "--data", "digits", "--json"]
    assert main(["train", *common, *small, *taught, "--out", str(first)]) == 0
    said = capsys.readouterr()
    assert f"the teacher is mixer_nano ({teacher}), 8x8 pixels" in said.err
    assert 0 < json.loads(said.out)["teacher_time"] < 1
    settled = Recipe.from_toml(first / "recipe.toml").distillation
    assert (settled.teacher, settled.teacher_weight) == (str(teacher), 0.5)
    tuned = ["finetune", "--from", str(first), *common, *taught, "--out", str(second)]
    assert main([*tuned, "--steps", "2", "--batch-size", "32"]) == 0
    assert main(["eval", str(second), "--json"]) == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--teacher", "nowhere"], "nowhere"),
        (["--teacher-weight", "0.5"], "--teacher-weight 0.5 belongs to a teacher"),
        (["--teacher-weight", "0"], "out of range"),
        (["--teacher-temperature", "0"], "out of range"),
    ],
)
def test_what_cannot_be_taught_is_refused_before_any_work(
    options: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert (
        main(["train", "--recipe", "quick", "--data", "digits", *options, "--out", str(out)]) == 2
    )
    assert told in capsys.readouterr().err
    assert not out.exists()

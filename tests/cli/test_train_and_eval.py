"""`mixer train` and `mixer eval`, as a user runs them."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.training.recipe import Recipe

pytestmark = pytest.mark.page

SHAPE = ["--width", "16", "--depth", "2", "--tokens-mlp-dim", "8", "--channels-mlp-dim", "32"]
TRAIN = ["train", "--recipe", "quick", "--patch-size", "2", "--workers", "1", *SHAPE]
TRAIN += ["--precision", "float32", "--steps", "6", "--evaluations", "2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> Path:
    """A trained run on a folder of photos."""
    out = tmp_path_factory.mktemp("runs") / "photos"
    assert main([*TRAIN, "--data", str(photo_folder), "--batch-size", "8", "--out", str(out)]) == 0
    return out


def test_every_file_of_a_run_can_be_read_by_whom_the_umask_lets(run: Path) -> None:
    """Also what is converted from it, and the checkpoint to resume from."""
    umask = os.umask(0o022)
    os.umask(umask)
    for name in ("again.safetensors", "again.npz", "again.pth", "hub/"):
        assert main(["convert", str(run), f"{run / 'out' / name}"]) == 0
    modes = {path.relative_to(run): stat.S_IMODE(path.stat().st_mode) for path in run.rglob("*")}
    assert any(path.parts[0] == "last" for path in modes)
    usual = {path: (0o777 if (run / path).is_dir() else 0o666) & ~umask for path in modes}
    assert modes == usual


def test_the_last_lines_are_accuracy_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main([*TRAIN, "--data", "digits", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-2].startswith("test accuracy: ")
    assert lines[-1] == f"report: {out / 'report.html'}"


def test_json_is_all_that_standard_output_carries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN, "--data", "digits", "--out", str(tmp_path / "run"), "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["steps"] == 6
    assert 0 <= outcome["accuracy"] <= 1


def test_a_run_can_be_run_again_from_its_recipe(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert main(["train", "--recipe", str(run / "recipe.toml"), "--out", str(again)]) == 0
    assert (again / "recipe.toml").read_text() == (run / "recipe.toml").read_text()
    one, other = mlpmixer.load(run), mlpmixer.load(again)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_options_override_the_recipe_and_its_budget(run: Path) -> None:
    recipe = Recipe.from_toml(run / "recipe.toml")
    assert recipe.schedule.steps == 6
    assert recipe.schedule.epochs is None
    assert recipe.model.width == 16
    assert recipe.model.image_size == (16, 16)
    assert recipe.optimizer.optimizer == "muon"  # of the recipe


def test_runs_without_a_name_do_not_overwrite_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main([*TRAIN, "--data", "digits"]) == 0
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["digits-mixer_nano", "digits-mixer_nano-2"]


def test_eval_repeats_the_accuracy_of_the_report(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(run), "--json", "--workers", "1"]) == 0
    measured = json.loads(capsys.readouterr().out)
    stored = json.loads((run / "evaluation.json").read_text())
    assert measured["split"] == "test"
    assert measured["top1"] == stored["top1"]
    assert measured["confusion"] == stored["confusion"]


def test_eval_with_flip_says_the_same_of_mirrored_photos(
    run: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted((photo_folder / "test").rglob("*.*")):
        mirrored = tmp_path / "photos" / path.relative_to(photo_folder)
        mirrored.parent.mkdir(parents=True, exist_ok=True)
        ImageOps.mirror(Image.open(path)).save(mirrored.with_suffix(".png"))

    def measured(data: Path, *options: str) -> dict[str, Any]:
        capsys.readouterr()
        command = ["eval", str(run), "--data", str(data), "--split", "test", "--json"]
        assert main([*command, "--workers", "1", "--precision", "float32", *options]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    plain = measured(photo_folder)
    both, mirrored_both = (measured(data, "--flip") for data in (photo_folder, tmp_path / "photos"))
    assert (plain["flip"], both["flip"]) == (False, True)
    error = "expected_calibration_error"
    assert both[error] != pytest.approx(plain[error], abs=1e-6)
    assert both[error] == pytest.approx(mirrored_both[error], abs=2e-3)


def test_eval_finds_the_validation_images_that_training_held_out(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(run), "--split", "validation", "--json", "--workers", "1"]) == 0
    measured = json.loads(capsys.readouterr().out)
    facts = mlpmixer.load(run).facts
    assert measured["top1"] == pytest.approx(facts["validation_accuracy"])


def test_eval_matches_classes_by_name(
    run: Path, tmp_path: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = tmp_path / "fewer"  # without "one", so that the labels' numbers differ
    for name in ("seven", "zero"):
        target = fewer / name
        target.mkdir(parents=True)
        for file in (photo_folder / "test" / name).iterdir():
            (target / file.name).write_bytes(file.read_bytes())
    assert main(["eval", str(run), "--data", str(fewer), "--json", "--workers", "1"]) == 0
    measured = json.loads(capsys.readouterr().out)
    stored = json.loads((run / "evaluation.json").read_text())
    assert measured["per_class"]["one"] is None
    assert measured["per_class"]["zero"] == stored["per_class"]["zero"]
    assert measured["per_class"]["seven"] == stored["per_class"]["seven"]


def test_eval_refuses_classes_that_the_model_does_not_know(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(run), "--data", "digits"]) == 2
    assert "does not know" in capsys.readouterr().err


def test_eval_counts_any_of_several_right_labels(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps([[0, 1, 2]] * 14 + [[]]))
    command = ["eval", str(run), "--multi-labels", str(labels), "--json", "--workers", "1"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["multi_label_accuracy"] == 1.0


def test_eval_says_what_a_folder_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tmp_path)]) == 2
    assert "model.safetensors" in capsys.readouterr().err


def test_an_unreadable_photo_is_skipped_named_and_reported(
    tmp_path: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    for file in photo_folder.rglob("*.png"):
        target = folder / file.relative_to(photo_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    damaged = folder / "train" / "one" / "03.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    command = [*TRAIN, "--data", str(folder), "--batch-size", "8", "--out", str(tmp_path / "run")]
    assert main(command) == 1
    assert "--max-unreadable" in capsys.readouterr().err
    assert main([*command[:-1], str(tmp_path / "other"), "--max-unreadable", "0.1"]) == 0
    assert "03.png" in capsys.readouterr().err
    assert "03.png" in (tmp_path / "other" / "report.html").read_text()

"""`mixer eval --corruptions`, as a user runs it."""

import json
from pathlib import Path

import pytest
import torch

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.data.augment import normalize
from mlpmixer.data.corruptions import corrupt
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import DataOptions
from mlpmixer.data.sources import open_source
from mlpmixer.evaluation.forward import respond
from mlpmixer.runtime import Runtime

TINY = """
epochs = 3.0
evaluations = 1
batch_size = 16
learning_rate = 0.003
optimizer = "adamw"
width = 16
depth = 1
tokens_mlp_dim = 8
channels_mlp_dim = 32
patch_size = 2
flip = 0.0
crop = "none"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that reads most of the digits."""
    folder = tmp_path_factory.mktemp("digits")
    recipe = folder / "tiny.toml"
    recipe.write_text(TINY)
    command = ["train", "--recipe", str(recipe), "--data", "digits", "--out", str(folder / "run")]
    assert main(command) == 0
    return folder / "run"


def test_accuracies_are_those_on_the_damaged_images(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "damaged"
    options = ["--corruptions", "contrast", "gaussian_noise", "--out", str(out), "--json"]
    assert main(["eval", str(run), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    model = mlpmixer.load(run).eval()
    split = open_source("digits").splits["test"]
    (batch,) = open_images(split, model.preprocessing, DataOptions()).evaluation_batches(1000)
    runtime = Runtime(torch.device("cpu"))

    def accuracy(pixels: torch.Tensor) -> float:
        predicted = respond(model, normalize(pixels), runtime).argmax(dim=1)
        return float((predicted == batch.labels).float().mean())

    assert found["clean_accuracy"] == pytest.approx(accuracy(batch.images), abs=0.005)
    assert found["clean_accuracy"] > 0.6
    assert list(found["accuracy_by_severity"]) == ["gaussian_noise", "contrast"]
    for name, accuracies in found["accuracy_by_severity"].items():
        wanted = [
            accuracy(corrupt(batch.images, batch.indices.tolist(), name, severity))
            for severity in (1, 2, 3, 4, 5)
        ]
        assert accuracies == pytest.approx(wanted, abs=0.005)  # ties, in other arithmetic
    assert found["strengths_for_pixels"] == 32
    every = [one for accuracies in found["accuracy_by_severity"].values() for one in accuracies]
    assert found["mean_corrupted_accuracy"] == pytest.approx(sum(every) / 10)

    stored = json.loads((out / "robustness.json").read_text())
    assert stored["accuracy_by_severity"] == found["accuracy_by_severity"]
    page = (out / "index.html").read_text()
    assert f"mixer eval {run} --corruptions contrast gaussian_noise" in page
    assert ">Gaussian\u00a0noise<" in page
    lines = (out / "data" / "severity.csv").read_text().splitlines()
    assert len(lines) == 1 + 10
    assert (out / "figures" / "examples.png").exists()


def test_a_table_is_shown_and_the_folder_named_after_the_model(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["eval", str(run), "--corruptions", "all", "--batch-size", "100"]) == 0
    said = capsys.readouterr().out
    assert "page: runs/corruptions-run-" in said
    rows = [line for line in said.splitlines() if line.count(" %") == 6]
    assert len(rows) == 11 + 1  # a row a corruption, and the means


def test_models_of_one_name_have_folders_of_their_own(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--corruptions", "contrast", "--data", "digits"]
    other = mlpmixer.load(run)
    with torch.no_grad():
        next(other.parameters()).zero_()
    mlpmixer.save(other, tmp_path / "run" / "model.safetensors")
    monkeypatch.chdir(tmp_path / "run")
    for model in (".", str(run), "model.safetensors"):
        assert main(["eval", model, *options]) == 0
    names = sorted(folder.name.rpartition("-")[0] for folder in Path("runs").iterdir())
    assert names == ["corruptions-model", "corruptions-run", "corruptions-run"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--corruptions", "fogg"], "Did you mean fog"),
        (["--corruptions"], "no corruption is named"),
        (["--corruptions", "fog", "--flip"], "--flip and --corruptions exclude each other"),
        (["--corruptions", "fog", "--strict"], "--strict belongs to a suite"),
        (["--corruptions", "fog", "--suite", "avg5"], "--corruptions and --suite exclude"),
    ],
)
def test_wrong_use_is_named_and_nothing_is_written(
    run: Path,
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["eval", str(run), *options]) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()

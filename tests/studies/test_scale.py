"""The scale study: from its options to accuracies."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlpmixer.cli.main import main
from mlpmixer.errors import MixerError
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime
from mlpmixer.studies.scale import MEASURES, Slope, slopes
from mlpmixer.studies.scale_report import findings
from mlpmixer.training.finished_run import train_once
from mlpmixer.training.recipe import Recipe

CPU = Runtime(torch.device("cpu"))


@pytest.fixture
def command(tmp_path: Path, recipe: Path, finetuning: Path) -> list[str]:
    return [
        *("study", "scale", "--data", "digits", "--downstream", "digits"),
        *("--models", "mixer_nano", "--fractions", "0.1", "1", "--steps", "4"),
        *("--finetune-steps", "3", "--recipe", str(recipe), "--finetune-recipe", str(finetuning)),
        *("--out", str(tmp_path / "study")),
    ]


def test_every_subset_is_pretrained_probed_and_finetuned_once(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    results = sorted((tmp_path / "study" / "cells").glob("*/result.json"))
    found = [json.loads(file.read_text())["result"] for file in results]
    assert [one["images"] for one in found] == [129, 1295]
    assert all(0 < one[measure] < 1 for one in found for measure in ("fewshot", "finetuned"))
    study = tmp_path / "study"
    assert len((study / "results.csv").read_text().splitlines()) == 3
    summary = json.loads((study / "summary.json").read_text())
    assert set(summary["gain_by_tenfold_data"]) == {"fewshot", "finetuned"}
    page = (study / "index.html").read_text()
    data = (study / "data" / "scale.csv").read_bytes()
    assert base64.b64encode(data).decode() in page  # the figure's data can be downloaded
    assert (study / "figures" / "scale.png").exists()
    assert (study / "figures" / "scale.svg").exists()
    before = [file.stat().st_mtime_ns for file in results]
    printed = capsys.readouterr().out
    for one in found:
        cells = [f"{one['images']:,}", *(f"{100 * one[name]:.1f}" for name in MEASURES)]
        assert re.search(r"mixer_nano\s+" + r" %?\s*".join(cells) + " %", printed)
        assert f">{cells[-1]}\u00a0%</td>" in page
    assert main(command) == 0
    assert "2 of 2 cells are there already" in capsys.readouterr().out
    assert [file.stat().st_mtime_ns for file in results] == before


def test_a_dry_run_tells_cells_and_time_and_computes_nothing(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--seeds", "2", "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert len(planned["cells"]) == 4
    assert all(cell["seconds"] > 0 and not cell["done"] for cell in planned["cells"])
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fractions"], "at least one model and fraction"),
        (["--fractions", "0.005"], "fewer than its 10 classes"),
        (["--fractions", "0.01"], "batch size 16 is larger"),
        (["--image-size", "31"], "cannot be cut into patches"),
        (["--models", "mixer_nona"], "mixer_nano"),
        (["--epochs", "2"], "one budget"),
        (["--shots", "500"], "use --shots"),
        (["--downstream", "digit"], "digits"),
        (["--recipe", "smal"], "small"),
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


def test_shots_are_counted_where_they_are_drawn(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a folder without test images a fifth is held out, and the probe draws from the others."""
    for name, count in (("a", 5), ("b", 40)):
        for number in range(count):
            file = tmp_path / "photos" / "train" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(file)
    assert main([*command, "--downstream", str(tmp_path / "photos"), "--shots", "5"]) == 2
    said = capsys.readouterr().err
    assert "class 'a'" in said
    assert "4 training images to draw from, fewer than 5 shots: use --shots 4 or less" in said
    assert not (tmp_path / "study").exists()


def test_the_slope_is_the_gain_by_tenfold_data() -> None:
    rows = [
        {"model": model, "images": images, "finetuned": 0.2 + gain * power}
        for model, gain in (("steep", 0.1), ("flat", 0.02))
        for power, images in enumerate((100, 1000, 10000))
    ]
    rows.append({"model": "single", "images": 100, "finetuned": 0.5})
    found = slopes(rows, "finetuned")
    assert {model: slope.gain for model, slope in found.items()} == pytest.approx(
        {"steep": 0.1, "flat": 0.02}
    )
    assert found["steep"].margin == pytest.approx(0, abs=1e-9)
    assert slopes(rows[:2], "finetuned")["steep"].margin is None


def test_the_margin_of_a_slope_is_that_of_the_fitted_line() -> None:
    off = (0.2, 0.32, 0.38, 0.5)
    rows = [
        {"model": "m", "images": 10**power, "finetuned": accuracy}
        for power, accuracy in enumerate(off, start=2)
    ]
    slope = slopes(rows, "finetuned")["m"]
    residual = np.array(off) - np.polyval(np.polyfit([2, 3, 4, 5], off, 1), [2, 3, 4, 5])
    error = (
        residual @ residual / 2 / 5
    ) ** 0.5  # two degrees of freedom; squared distances sum to 5
    assert slope.margin == pytest.approx(4.303 * error, rel=1e-3)


@pytest.mark.parametrize(("margin", "doubted"), [(0.02, True), (0.001, False)])
def test_slopes_within_their_margins_are_said_to_be_alike(margin: float, doubted: bool) -> None:
    fitted = {"finetuned": {"flat": Slope(0.04, margin), "steep": Slope(0.05, margin)}}
    (sentence,) = findings(fitted, {"finetuned": "fine-tuned"})
    assert "fine-tuned: steep 5.0 ±" in sentence
    assert ("steep and flat cannot be told apart" in sentence) is doubted


def test_a_training_in_a_cell_is_done_once(tmp_path: Path, recipe: Path) -> None:
    console = Console("plain", out=io.StringIO(), err=io.StringIO())
    planned = Recipe.from_toml(recipe)
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.toml").write_text("# stopped before the first step")
    first = train_once(planned, run, console, CPU)
    weights = (run / "model.safetensors").stat().st_mtime_ns
    assert train_once(planned, run, console, CPU) == first
    assert (run / "model.safetensors").stat().st_mtime_ns == weights
    (run / "outcome.json").unlink()  # stopped between the last step and the outcome
    again = train_once(planned, run, console, CPU)
    assert (again["steps"], again["accuracy"]) == (first["steps"], first["accuracy"])
    (run / "outcome.json").write_text('{"accu')
    with pytest.raises(MixerError, match=r"outcome\.json is damaged"):
        train_once(planned, run, console, CPU)

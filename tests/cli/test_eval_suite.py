"""`mixer eval --suite`, as a user runs it."""

import csv
import json
from pathlib import Path

import pytest
import torch

import mlpmixer
from mlpmixer.cli.main import main

SUITE = """
[[task]]
data = "digits"
protocol = "evaluate"
group = "known"

[[task]]
data = "no/photos"
protocol = "evaluate"
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    shape = {"width": 16, "depth": 1, "tokens_mlp_dim": 8, "channels_mlp_dim": 32}
    model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=2, **shape)
    model.save("tiny.safetensors", list("0123456789"))
    Path("mine.toml").write_text(SUITE)
    return Path("tiny.safetensors")


def test_a_suite_ends_with_a_table_and_its_mean(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(model), "--suite", "mine.toml"]) == 0
    said = capsys.readouterr()
    assert "photos is left out" in said.err
    lines = said.out.splitlines()
    header = next(n for n, line in enumerate(lines) if line.split()[:2] == ["task", "protocol"])
    assert lines[header + 1].split()[:3] == ["digits", "evaluate", "known"]
    assert lines[header + 2].endswith("left out")
    assert lines[-3].startswith("known: mean of 1: ")
    assert lines[-2].startswith("mine: mean of 1 of 2: ")
    table = Path("runs/suite-mine-tiny/suite.csv")
    assert lines[-1] == f"table: {table}"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["task"] for row in rows] == ["digits", "photos"]
    assert main(["eval", str(model), "--suite", "mine.toml", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["mean"] is None
    assert record["mean_of_measured"] == pytest.approx(float(rows[0]["accuracy"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--suite", "mine.toml", "--data", "digits"], "--data and --suite exclude each other"),
        (["--suite", "mine.toml", "--batch-size", "8"], "--batch-size and --suite exclude"),
        (["--suite", "mine.toml", "--strict"], "--strict: there is no data for photos"),
        (["--suite", "avg6"], "Did you mean avg5"),
        (["--suite", "mine.toml", "--precision", "float16"], "float16"),
        (["--data", "digits", "--strict"], "--strict belongs to a suite"),
        (["--data", "digits", "--out", "x"], "--out belongs to --suite or --corruptions"),
    ],
)
def test_wrong_use_is_named_and_nothing_is_written(
    options: list[str], message: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(model), *options]) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()

"""`mixer fewshot`, as a user runs it."""

import json
from pathlib import Path

import pytest
import torch

import mlpmixer
from mlpmixer.cli.main import main


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLPMIXER_DATA", str(tmp_path / "kept"))
    torch.manual_seed(0)
    shape = {"width": 32, "depth": 2, "tokens_mlp_dim": 16, "channels_mlp_dim": 64}
    model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=2, **shape)
    mlpmixer.save(model, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_even_random_features_know_some_digits(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = checkpoint.with_name("shots.png")
    command = ["fewshot", "--from", str(checkpoint), "--data", "digits", "--shots", "1", "10"]
    assert main([*command, "--seeds", "2", "--out", str(figure)]) == 0
    said = capsys.readouterr().out
    assert "shots  accuracy" in said
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert main([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["shots"] == [1, 10]
    assert record["accuracy"][1] > max(0.3, record["accuracy"][0])


def test_a_mixer_is_probed_at_another_size(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fewshot", "--from", str(checkpoint), "--data", "digits", "--shots", "5"]
    assert main([*command, "--image-size", "12", "--layer", "blocks.0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["features"] == 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shots", "0"], "give 1 to 1 billion"),
        (["--shots", "500"], "--shots"),
        (["--layer", "blocks.9"], "blocks.9"),
        (["--image-size", "13"], "13x13"),
        (["--data", "digit"], "digits"),
    ],
)
def test_wrong_use_is_named(
    options: list[str], message: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fewshot", "--from", str(checkpoint), "--data", "digits", *options]) == 2
    assert message in capsys.readouterr().err

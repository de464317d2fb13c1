"""`mixer convert` and `mixer info` on files."""

from pathlib import Path

import numpy as np
import pytest

import mlpmixer
from mlpmixer.cli.main import main

FLAX = Path(__file__).parents[1] / "golden" / "official_mixer_tiny.npz"


def test_there_and_back_the_authors_file_is_the_same(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "again.npz"
    assert main(["convert", str(FLAX), str(ours)]) == 0
    assert main(["convert", str(ours), str(theirs)]) == 0
    before, after = np.load(FLAX), np.load(theirs)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_layout_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "timm.safetensors"
    assert main(["convert", str(FLAX), str(out), "--layout", "timm"]) == 0
    said = capsys.readouterr()
    assert "layout timm" in said.out
    assert "gelu tanh (there erf)" in said.err
    assert mlpmixer.load(out).options["gelu"] == "erf"  # a state dict of timm's says nothing else


def test_info_shows_a_file_as_it_shows_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(FLAX)]) == 0
    shown = capsys.readouterr().out
    assert "blocks.0-1.mlp_tokens.fc1" in shown
    assert "10 classes" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.npz", "out.npz"], "nothing.npz"),
        ([str(FLAX), "out.onnx"], "out.onnx"),
        ([str(FLAX), "out.npz", "--layout", "mlpmixer"], ".safetensors"),
        ([str(FLAX), str(FLAX)], "exists already"),
        ([str(FLAX), "out.npz", "--layout", "googel"], "google"),
    ],
)
def test_wrong_use_is_named(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["convert", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

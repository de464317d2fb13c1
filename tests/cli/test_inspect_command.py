"""`mixer inspect`, as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mlpmixer
from mlpmixer.cli.main import main

SHAPE = {"patch_size": 2, "width": 16, "depth": 2, "tokens_mlp_dim": 8, "channels_mlp_dim": 16}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of a run on digits."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("runs") / "digits"
    model = mlpmixer.create_model("mixer_nano", image_size=8, **SHAPE)
    torch.nn.init.normal_(model.get_parameter("head.weight"))
    names = [str(digit) for digit in range(10)]
    model.save(folder / "model.safetensors", names, data="digits", seed=0)
    return folder


def test_a_run_is_looked_into_with_its_own_data(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(run), "--images", "24", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["page"] == str(run / "inspect" / "inspect.html")
    assert said["left_out"] == {}
    assert [block["units"] for block in said["token_mixing"]] == [8, 8]
    assert len(said["pictures"]) == 6
    wrong = [one["true"] != one["predicted"] for one in said["pictures"]]
    assert wrong == sorted(wrong)  # right answers come first
    assert sum(wrong) >= 3
    assert np.shape(said["pictures"][0]["occlusion"]) == (4, 4)
    for name in said["figures"]:
        assert (run / "inspect" / "figures" / f"{name}.svg").exists()


def test_a_picture_of_ones_own_is_explained(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, size in (("wide", (40, 20)), ("small", (8, 8))):
        Image.new("RGB", size, "teal").save(tmp_path / f"{name}.png")
    files = [str(tmp_path / f"{name}.png") for name in ("wide", "small")]
    options = ["--picture", *files, "--images", "8", "--out", str(tmp_path / "out")]
    assert main(["inspect", str(run), *options]) == 0
    assert capsys.readouterr().out.endswith(f"page: {tmp_path / 'out' / 'inspect.html'}\n")
    text = (tmp_path / "out" / "inspect.html").read_text()
    assert "wide.png" in text
    assert "small.png" in text
    assert "picture_02" in text
    assert "picture_03" not in text


def test_a_checkpoint_without_data_shows_its_weights_and_says_what_to_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mlpmixer.create_model("mixer_nano", image_size=(8, 12), **SHAPE).save("mine.safetensors")
    assert main(["inspect", "mine.safetensors"]) == 0
    said = capsys.readouterr().out
    assert "--picture FILE" in said
    text = (tmp_path / "inspect-mine" / "inspect.html").read_text()
    assert "8 units on 4×6 patches" in text
    assert "--picture FILE" in text


def test_data_that_moved_away_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = mlpmixer.load(run)
    model.save(tmp_path / "model.safetensors", data=str(tmp_path / "gone"), seed=0)
    assert main(["inspect", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert str(tmp_path / "gone") in said
    assert "--data" in said


def test_other_families_get_what_makes_sense_for_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlpmixer.inspect.examples.EXAMPLES", 1)
    file = tmp_path / "bit.safetensors"
    mlpmixer.create_model("bit_nano", image_size=16).save(file)
    options = ["--data", "digits", "--images", "16", "--out", str(tmp_path / "out"), "--json"]
    assert main(["inspect", str(file), *options]) == 0
    said = json.loads(capsys.readouterr().out)
    assert "no token-mixing MLPs" in said["left_out"]["token_mixing"]
    assert {"stem_filters", "similarities", "layer_alignment", "picture_01"} <= set(said["figures"])


def test_a_model_without_head_or_colours_is_still_looked_into(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, options in (("headless", {"num_classes": 0}), ("grey", {"in_channels": 1})):
        file = tmp_path / f"{name}.safetensors"
        mlpmixer.create_model("mixer_nano", image_size=8, **SHAPE, **options).save(
            file, data="digits"
        )
        out = ["--out", str(tmp_path / name), "--images", "4"]
        assert main(["inspect", str(file), *out]) == 0
        assert "Left out" in capsys.readouterr().out
    grey = ["inspect", str(tmp_path / "grey.safetensors"), "--data", "digits"]
    assert main([*grey, "--out", str(tmp_path / "grey")]) == 2
    assert "1 colour channel" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["{tmp}/nothing"], 2, "nothing"),
        (["{run}", "--picture", "{tmp}/none.jpg"], 2, "none.jpg"),
        (["{run}", "--picture", "{tmp}/notes.txt"], 1, "not an image"),
        (["{run}", "--out", "{tmp}/notes.txt"], 2, "is a file"),
        (["{run}", "--out", "{tmp}/notes.txt/below"], 2, "is a file"),
        (["{run}", "--data", "digit"], 2, "digits"),
        (["{run}", "--images", "0"], 2, "--images 0"),
        (["{run}", "--device", "tpu"], 2, "tpu"),
        (["{run}", "--pictures", "x.png"], 2, "--picture"),
    ],
)
def test_wrong_use_is_named_and_nothing_is_written(
    options: list[str],
    status: int,
    said: str,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    before = sorted(run.rglob("*"))
    arguments = [one.format(run=run, tmp=tmp_path) for one in options]
    assert main(["inspect", *arguments]) == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert said in lines[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert sorted(run.rglob("*")) == before

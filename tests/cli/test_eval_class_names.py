"""Weights that came without the names of their classes."""

import json
from pathlib import Path

import pytest
import torch

import mlpmixer
from mlpmixer.cli.main import main


@pytest.fixture
def nameless(tmp_path: Path) -> Path:
    """A model of three classes that always answers the second one, and names none."""
    model = mlpmixer.create_model("mixer_nano", image_size=16, depth=1, num_classes=3)
    with torch.no_grad():
        model.get_parameter("head.bias").copy_(torch.tensor([0.0, 1.0, 0.0]))
    model.save(tmp_path / "nameless.safetensors")
    return tmp_path / "nameless.safetensors"


def measured(
    model: Path, photos: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[dict[str, float], str]:
    """Return the accuracy of each class, and what went to standard error."""
    command = ["eval", str(model), "--data", str(photos), "--split", "test", "--workers", "1"]
    assert main([*command, "--json", *options]) == 0
    out, err = capsys.readouterr()
    return json.loads(out)["per_class"], err


def test_the_order_of_the_data_is_assumed_and_said_once(
    nameless: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, err = measured(nameless, photo_folder, capsys)
    assert found == {"one": 0.0, "seven": 1.0, "zero": 0.0}
    (warning,) = [line for line in err.splitlines() if line.startswith("warning")]
    assert "'one', 'seven', 'zero'" in warning
    assert "--class-names FILE" in warning


@pytest.mark.parametrize("content", ["zero\none\nseven\n", '["zero", "one", "seven"]'])
def test_a_file_names_them(
    content: str,
    nameless: Path,
    photo_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = tmp_path / "names.txt"
    names.write_text(content)
    found, err = measured(nameless, photo_folder, capsys, "--class-names", str(names))
    assert found == {"zero": 0.0, "one": 1.0, "seven": 0.0}
    assert "warning" not in err


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("zero\none\n", [], "2 class names, but the model 3 logits"),
        ("zero\none\neight\n", [], "1 class that the model does not know: 'seven'"),
        ("zero\none\nseven\n", ["--suite", "avg5"], "--class-names and --suite exclude each other"),
    ],
)
def test_names_that_do_not_fit_are_wrong_use(
    content: str,
    options: list[str],
    message: str,
    nameless: Path,
    photo_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = tmp_path / "names.txt"
    names.write_text(content)
    data = [] if options else ["--data", str(photo_folder)]
    command = ["eval", str(nameless), *data, "--class-names", str(names), *options]
    assert main(command) == 2
    assert message in capsys.readouterr().err


def test_another_number_of_classes_asks_for_names(
    nameless: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(nameless), "--data", "digits"]) == 2
    error = capsys.readouterr().err
    assert "3 logits without names, but digits has 10 classes" in error
    assert "--class-names FILE" in error

"""What a data source says of itself is said wherever it is measured on."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from mlpmixer.cli.main import main
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.registry import create_model


def two_classes(folder: Path) -> ImageModel:
    """Write six pictures of each of the classes a and b; return a model for them."""
    for name in "ab":
        (folder / "data" / name).mkdir(parents=True)
        for number in range(6):
            picture = Image.new("RGB", (8, 8), (number, 0, ord(name)))
            picture.save(folder / "data" / name / f"{number}.png")
    return create_model("mixer_nano", image_size=8, num_classes=2, patch_size=4, depth=1)


@pytest.mark.parametrize("verb", ["eval", "fewshot"])
def test_what_was_passed_over_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    model = two_classes(tmp_path)
    model.save(tmp_path / "model.safetensors", class_names=["a", "b"])
    (tmp_path / "data" / "a" / "1.dng").touch()
    arguments = {
        "eval": ["eval", str(tmp_path / "model.safetensors")],
        "fewshot": ["fewshot", "--from", str(tmp_path / "model.safetensors"), "--shots", "1"],
    }[verb]
    assert main([*arguments, "--data", str(tmp_path / "data"), "--workers", "0", "--json"]) == 0
    said = capsys.readouterr()
    assert "passed over: .dng files (1)" in said.err
    assert json.load(io.StringIO(said.out))


@pytest.mark.parametrize(("held_out", "warned"), [(0.0, True), (0.5, False)])
def test_it_is_said_where_the_images_are_those_of_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], held_out: float, warned: bool
) -> None:
    model = two_classes(tmp_path)
    data = f"{tmp_path}/data"
    model.facts = {"data": data, "splits": "own", "validation_fraction": held_out, "seed": 0}
    model.save(tmp_path / "model.safetensors", class_names=["a", "b"])
    arguments = ["eval", str(tmp_path / "model.safetensors"), "--data", f"{data}/", "--json"]
    assert main([*arguments, "--workers", "0"]) == 0
    said = capsys.readouterr()
    assert ("no images but those that the model was trained on" in said.err) == warned
    assert json.loads(said.out)["split"] == ("train" if warned else "validation")

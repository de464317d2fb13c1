"""Names for the logits of weights that come without them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.errors import UsageError

NAMES = ("cat", "dog", "größer Würfel")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights with three logits and no names."""
    model = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=3, depth=1)
    mlpmixer.export(model, tmp_path / "x.npz", "google")
    return tmp_path / "x.npz"


@pytest.mark.parametrize(
    "text",
    [
        "cat\ndog\ngrößer Würfel\n\n",
        "\ufeffcat\r\ndog\r\n  größer Würfel",
        "cat\ndog\ngro\u0308ßer Wu\u0308rfel",  # as macOS writes them
        json.dumps(NAMES),
        json.dumps(NAMES, ensure_ascii=False),
        json.dumps({str(index): name for index, name in enumerate(NAMES)}),
        json.dumps({name: index for index, name in reversed(list(enumerate(NAMES)))}),
    ],
)
def test_names_are_read_from_text_and_json(text: str, weights: Path, tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_bytes(text.encode())
    assert mlpmixer.load(weights).class_names is None
    assert mlpmixer.load(weights, class_names=file).class_names == NAMES
    assert mlpmixer.load(weights, class_names=NAMES).class_names == NAMES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"cat\ndog\n", "has 2 class names, but the model 3 logits"),
        (b"cat\ndog\ncow\nhen\n", "has 4 class names"),
        (b"", "has 0 class names"),
        (b"[]", "has 0 class names"),
        (b"cat\n\ndog\n", "name 2 is empty"),
        (b"cat\ndog\ncat\n", "names 1 and 3 are both 'cat'"),
        (b"caf\xe9\n", "no text in UTF-8"),
        (b"[1, 2, 3]", "does not hold class names.*JSON list"),
        (b'{"0": "a", "2": "b", "3": "c"}', "does not hold class names"),
        (b'{"a": 0, "b": 0, "c": 1}', "does not hold class names"),
        (b'["a", "b"', "is no valid JSON"),
    ],
)
def test_files_that_do_not_fit_are_named(
    text: bytes, message: str, weights: Path, tmp_path: Path
) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes(text)
    with pytest.raises(UsageError, match=rf"names\.txt.*{message}"):
        mlpmixer.load(weights, class_names=file)


def test_a_missing_file_is_named(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read class names from nothing"):
        mlpmixer.load(weights, class_names="nothing.txt")
    with pytest.raises(UsageError, match=f"cannot read class names from {tmp_path}"):
        mlpmixer.load(weights, class_names=tmp_path)


def test_convert_stores_the_names(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "names.txt", tmp_path / "named.safetensors"
    file.write_text("\n".join(NAMES), encoding="utf-8")
    given = ["--class-names", str(file)]
    assert main(["convert", str(weights), str(out), *given]) == 0
    assert mlpmixer.load(out).class_names == NAMES
    assert main(["convert", str(weights), str(tmp_path / "hub/"), *given]) == 0
    assert mlpmixer.load(tmp_path / "hub").class_names == NAMES
    assert json.loads((tmp_path / "hub/config.json").read_text())["class_names"] == list(NAMES)
    assert main(["convert", str(weights), str(tmp_path / "again.npz"), *given]) == 2
    assert "no place for class names" in capsys.readouterr().err
    assert not (tmp_path / "again.npz").exists()
    assert np.array_equal(mlpmixer.load(out).head.bias.detach(), np.load(weights)["head/bias"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat", "dog"], "2 class names do not fit a model of 3 logits"),
        ("cat", "class names must be a list of texts"),
        ([0, 1, 2], "class names must be a list of texts"),
    ],
)
def test_names_that_are_not_those_of_the_logits_are_not_saved(
    names: Any, message: str, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        mlpmixer.save(mlpmixer.load(weights), tmp_path / "x.safetensors", names)
    assert not (tmp_path / "x.safetensors").exists()

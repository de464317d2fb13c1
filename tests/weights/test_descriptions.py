"""What files of ours say of their model: damage is named, and nothing large is built of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mlpmixer
from mlpmixer.errors import MixerError


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=2, depth=1)
    mlpmixer.save(model, tmp_path / "model.safetensors", ["cat", "dog"])
    return tmp_path / "model.safetensors"


def describe(file: Path, options: dict[str, Any] | None = None, **changes: object) -> None:
    """Write a file of ours again with its description, or options in it, changed."""
    with safe_open(file, framework="pt") as stored:
        said = {**json.loads(stored.metadata()["mlpmixer"]), **changes}
    said["options"] = {**said["options"], **(options or {})}
    save_file(load_file(file), file, metadata={"mlpmixer": json.dumps(said)})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"image_size": []}, "is damaged: no mixer_nano can be built"),
        ({"image_size": "8"}, "is damaged"),
        ({"layer_norm_epsilon": "x"}, "is damaged"),
        ({"layer_norm_epsilon": -1}, r"model\.safetensors .* layer_norm_epsilon -1 is outside"),
        ({"input_mean": [0.5, 0.5]}, r"input_mean \(0\.5, 0\.5\) must be one finite number"),
        ({"input_std": [0]}, r"input_std \(0,\) must be positive"),
        ({"gelu": []}, "is damaged"),
        ({"depth": None}, "is damaged"),
    ],
)
def test_options_of_the_wrong_kind_are_named(
    options: dict[str, Any], reason: str, saved: Path
) -> None:
    describe(saved, options)
    with pytest.raises(MixerError, match=reason):
        mlpmixer.load(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"facts": None},
        {"facts": [1]},
        {"class_names": [0, 1]},
        {"class_names": "ab"},
        {"preprocessing": 3},
        {"preprocessing": {"crop_share": "x"}},
        {"name": None},
        {"loss": []},
    ],
)
def test_parts_of_the_wrong_kind_are_damage(changes: dict[str, object], saved: Path) -> None:
    describe(saved, **changes)
    with pytest.raises(MixerError, match=r"model\.safetensors is damaged"):
        mlpmixer.load(saved)


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 10**7},
        {"width": 2**62},
        {"image_size": [2**40, 2**40]},
        {"image_size": [50_000, 50_000], "input_shuffle": "pixels"},
        {"input_shuffle": "patches", "shuffle_patch_size": 2**62},
    ],
)
def test_a_model_larger_than_its_tensors_is_never_built(
    options: dict[str, Any], saved: Path
) -> None:
    describe(saved, options)
    with pytest.raises(MixerError, match=r"is damaged: its \w+ cannot be"):
        mlpmixer.load(saved)


def test_names_that_an_earlier_version_left_to_a_fresh_head_are_left_out(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    describe(saved, class_names=["cat"])
    assert mlpmixer.load(saved).class_names is None
    assert "its 1 class names are not those of its 2 logits" in caplog.text


def test_a_description_that_is_nested_without_end_is_damage(saved: Path) -> None:
    save_file(load_file(saved), saved, metadata={"mlpmixer": "[" * 100_000})
    with pytest.raises(MixerError, match="is damaged"):
        mlpmixer.load(saved)

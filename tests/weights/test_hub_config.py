"""timm's config.json beside weights: it is believed where it describes them."""

import json
from pathlib import Path

import pytest

import mlpmixer
from mlpmixer.errors import MixerError

MEAN = (0.4, 0.5, 0.6)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of two classes and 128 channels in timm's layout."""
    model = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=2, depth=1)
    mlpmixer.export(model, tmp_path / "model.safetensors", "timm")
    return tmp_path / "model.safetensors"


def describe(weights: Path, **changes: object) -> None:
    pretrained = {"mean": MEAN, "std": [0.2] * 3, "crop_pct": 0.9, "label_names": ["cat", "dog"]}
    said = {"architecture": "mixer_b16_224", "num_classes": 2, "num_features": 128}
    config = {**said, "pretrained_cfg": pretrained, **changes}
    (weights.parent / "config.json").write_text(json.dumps(config))


def test_a_file_by_its_path_is_read_as_its_folder_is(
    weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    describe(weights)
    model = mlpmixer.load(weights)
    assert model.options == mlpmixer.load(weights.parent).options
    assert model.options["input_mean"] == MEAN
    assert model.preprocessing.crop_share == 0.9
    assert model.class_names == ("cat", "dog")
    assert "normalisation, crop and class names are those of" in caplog.text


@pytest.mark.parametrize("changes", [{"num_classes": 3}, {"num_features": 64}])
def test_a_description_of_another_model_beside_a_file_is_not_believed(
    changes: dict[str, object], weights: Path
) -> None:
    describe(weights, **changes)
    assert mlpmixer.load(weights).options["input_mean"] == (0.5,)


@pytest.mark.parametrize("text", ["{", "[1]", '{"mean": "x"}', "\0"])
def test_a_file_of_that_name_that_is_none_of_timms_is_let_be(text: str, weights: Path) -> None:
    (weights.parent / "config.json").write_text(text)
    assert mlpmixer.load(weights).class_names is None


@pytest.mark.parametrize(
    "pretrained",
    [{"label_names": [0, 1]}, {"label_names": 3}, {"std": [0.0]}, {"mean": [0.5, 0.4]}],
)
def test_damage_in_a_description_is_named(pretrained: dict[str, object], weights: Path) -> None:
    describe(weights, pretrained_cfg=pretrained)
    with pytest.raises(MixerError, match=r"config\.json"):
        mlpmixer.load(weights.parent)


def test_a_damaged_folder_is_no_failure_of_the_network(weights: Path) -> None:
    (weights.parent / "config.json").write_text("{")
    with pytest.raises(MixerError, match=r"config\.json is damaged") as raised:
        mlpmixer.from_pretrained(weights.parent)
    assert "network" not in str(raised.value)

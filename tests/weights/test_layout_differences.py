"""What foreign layouts cannot carry is told when they are written."""

from pathlib import Path
from typing import Any

import pytest

import mlpmixer
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.preprocessing import Preprocessing


def build(**options: Any) -> ImageModel:
    shape = {"image_size": 8, "patch_size": 2, "num_classes": 2, "depth": 1}
    return mlpmixer.create_model("mixer_nano", **{**shape, **options})


@pytest.mark.parametrize(
    ("options", "layout", "told"),
    [
        ({}, "google", "gelu erf (there tanh)"),
        ({}, "lucidrains", "layer_norm_epsilon 1e-06 (there 1e-05)"),
        ({"image_size": (4, 16)}, "timm", "an image 4x16 (there a square)"),
        ({"in_channels": 12}, "lucidrains", "in_channels 12 (there 3)"),
        ({"input_mean": (0.4,)}, "timm", "input_mean (0.4,) (there (0.5,))"),
    ],
)
def test_numbers_that_would_come_back_as_others_are_told(
    options: dict[str, Any],
    layout: str,
    told: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mlpmixer.export(build(**options), tmp_path / "x.safetensors", layout)
    assert told in caplog.text


def test_what_has_no_place_in_a_layout_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = build()
    model.loss, model.class_names = "sigmoid", ("cat", "dog")
    model.preprocessing = Preprocessing(image_size=(8, 8), crop_share=1.0)
    mlpmixer.export(model, tmp_path / "x.safetensors", "timm")
    told = "cannot carry loss sigmoid, class names, how pictures are cropped and resized."
    assert told in caplog.text


def test_nothing_is_told_where_all_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mlpmixer.export(build(in_channels=1), tmp_path / "x.safetensors", "timm")
    assert caplog.text == ""

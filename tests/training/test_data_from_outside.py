"""Trainings on data as people have it: odd names, copies in the test split, files left out."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mlpmixer
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.train import train

pytestmark = pytest.mark.page

CPU = Runtime(torch.device("cpu"))
QUICK = {
    **{"steps": 2, "batch_size": 4, "depth": 1, "width": 8, "tokens_mlp_dim": 8},
    **{"channels_mlp_dim": 8, "patch_size": 4, "image_size": (8,), "evaluations": 1},
}


def fill(root: bytes, *classes: bytes) -> None:
    generator = np.random.default_rng(len(root))
    for name in classes:
        os.makedirs(os.path.join(root, name))
        for number in range(8):
            pixels = generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(os.path.join(root, name, b"%d\xff.png" % number))


def run(recipe: Recipe, out: Path, *, resume: bool = False) -> tuple[str, str]:
    """Train; return the messages and the report."""
    messages = io.StringIO()
    train(recipe, out, Console("plain", out=messages, err=messages), CPU, resume=resume)
    return messages.getvalue(), (out / "report.html").read_text("utf-8")


def test_names_that_are_no_text_reach_the_report_also_after_resuming(tmp_path: Path) -> None:
    data = os.path.join(os.fsencode(tmp_path), b"pict\xe9res")
    fill(data, b"caf\xe9", "the\u0301".encode(), b"a\tb\x1b")
    out = tmp_path / "run"
    recipe = find_recipe("quick").override({**QUICK, "data": os.fsdecode(data)})
    _, report = run(recipe, out)
    names = (r"a\tb\x1b", r"caf\xe9", "th\u00e9")
    assert mlpmixer.load(out).class_names == names
    assert all(name in report for name in names)
    stored = Recipe.from_toml(out / "recipe.toml")
    assert stored.data.data == rf"{tmp_path}/pict\xe9res"
    _, report = run(stored, out, resume=True)
    assert all(name in report for name in names)


@pytest.fixture
def leaking(tmp_path: Path) -> Path:
    """Return a folder with a test split of which two images are training images."""
    root = tmp_path / "leaking"
    for split in ("train", "test"):
        fill(os.fsencode(root / split), b"red", b"blue")
    for name in ("red", "blue"):
        source, *_ = sorted((root / "train" / name).iterdir())
        (root / "test" / name / "copy.png").write_bytes(source.read_bytes())
    (root / "train" / "red" / "1.dng").touch()
    return root


def test_copies_of_training_images_are_on_the_trust_card(leaking: Path, tmp_path: Path) -> None:
    recipe = find_recipe("quick").override({**QUICK, "data": str(leaking)})
    messages, report = run(recipe, tmp_path / "run")
    sentence = "test images that are copies of train images: 2 of 18"
    assert f"warning: {sentence}" in messages
    assert sentence in report
    assert "Train and test share pictures" in report
    assert "One picture, two labels" not in report
    assert "passed over: .dng files" in messages
    assert "passed over: .dng files" in report


def test_without_copies_the_trust_card_says_nothing_of_them(tmp_path: Path) -> None:
    fill(os.fsencode(tmp_path / "data"), b"red", b"blue")
    recipe = find_recipe("quick").override({**QUICK, "data": str(tmp_path / "data")})
    _, report = run(recipe, tmp_path / "run")
    assert "share pictures" not in report
    assert "copies of" not in report

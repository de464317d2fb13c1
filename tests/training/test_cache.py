"""Where images are kept decides on speed and memory: what is learned is the same to the bit."""

import io
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.train import train

CPU = Runtime(torch.device("cpu"))
QUICK = {
    "steps": 9,
    "batch_size": 12,
    "depth": 2,
    "width": 16,
    "tokens_mlp_dim": 8,
    "channels_mlp_dim": 32,
    "patch_size": 4,
    "evaluations": 2,
    "ema": 0.0,
    "mixup_alpha": 0.0,
    "flip": 0.5,
    "max_unreadable": 0.2,
}


def trained(out: Path, **changes: object) -> dict[str, object]:
    recipe = find_recipe("quick").override({**QUICK, **changes})
    console = Console("json", out=io.StringIO(), err=io.StringIO())
    return dict(train(recipe, out, console, CPU))


@pytest.mark.parametrize(
    ("image_size", "crop", "broken"), [(None, "pad", False), (12, "inception", True)]
)
def test_streaming_trains_the_same_weights_as_memory(
    tmp_path: Path,
    photo_folder: Path,
    image_size: int | None,
    crop: str,
    broken: bool,
) -> None:
    shutil.copytree(photo_folder, tmp_path / "photos")
    if broken:
        (tmp_path / "photos/train/one/05.png").write_bytes(b"no image")
        (tmp_path / "photos/test/zero/17.png").write_bytes(b"")
    size = {} if image_size is None else {"image_size": (image_size,)}
    outcomes = {}
    for cache in ("memory", "none"):
        changes = {"data": str(tmp_path / "photos"), "cache": cache, "workers": 2, **size}
        outcomes[cache] = trained(tmp_path / cache, **changes)
    kept, streamed = (load_file(tmp_path / cache / "model.safetensors") for cache in outcomes)
    assert all(torch.equal(kept[name], streamed[name]) for name in kept)
    for measure in ("accuracy", "validation_accuracy", "images", "steps"):
        assert outcomes["memory"][measure] == outcomes["none"][measure]
    for cache in outcomes:
        settled = Recipe.from_toml(tmp_path / cache / "recipe.toml").augment
        assert settled.crop == crop


def test_streamed_images_are_learned(tmp_path: Path) -> None:
    shape = {"width": 64, "tokens_mlp_dim": 32, "channels_mlp_dim": 128, "patch_size": 2}
    changes = {"steps": 160, "batch_size": 64, "flip": 0.0, "cache": "none", "workers": 2}
    assert trained(tmp_path / "run", **changes, **shape)["accuracy"] > 0.85

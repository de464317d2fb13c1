"""A small model with names and random pictures, for tests of what ships a model."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

import mlpmixer
from mlpmixer.models.interface import ImageModel

NAMES = ("daisy", "rose", "tulip")


def flower_model(names: tuple[str, ...] | None = NAMES, seed: int = 0) -> ImageModel:
    """Return a model of three classes whose answers differ from picture to picture."""
    torch.manual_seed(seed)
    model = mlpmixer.create_model("mixer_nano", image_size=32, num_classes=3)
    torch.nn.init.normal_(model.get_parameter("head.weight"))
    model.class_names = names
    return model.eval()


def save_pictures(folder: Path, count: int) -> list[Path]:
    """Write that many different pictures, 00.png and on."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(0)
    paths = []
    for number in range(count):
        small = Image.fromarray(chance.integers(0, 256, (5, 6, 3), np.uint8))
        paths.append(folder / f"{number:02}.png")
        small.resize((48, 40), Image.Resampling.BICUBIC).save(paths[-1])
    return paths

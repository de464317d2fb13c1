"""A small model that names flowers, for the tests of the server."""

from collections.abc import Callable
from pathlib import Path

import torch
from starlette.testclient import TestClient

import mlpmixer

NAMES = ("daisy", "rose", "tulip")
Serve = Callable[..., TestClient]


def write_model(path: Path, seed: int = 0, names: tuple[str, ...] | None = NAMES) -> Path:
    """Write a model whose answers differ from picture to picture."""
    torch.manual_seed(seed)
    classes = 3 if names is None else len(names)
    shape = {"width": 16, "depth": 1, "tokens_mlp_dim": 8, "channels_mlp_dim": 16}
    model = mlpmixer.create_model("mixer_nano", image_size=16, num_classes=classes, **shape)
    torch.nn.init.normal_(model.get_parameter("head.weight"))
    model.save(path, names)
    return path

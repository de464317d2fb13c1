"""What the studies' tests share: a recipe that trains a tiny Mixer in a moment."""

from pathlib import Path

import pytest

TINY_TRAINING = """
optimizer = "adamw"
batch_size = 16
learning_rate = 0.003
steps = 4
evaluations = 2
flip = 0.0
crop = "none"
"""
TINY_MIXER = """
width = 16
depth = 1
tokens_mlp_dim = 8
channels_mlp_dim = 32
patch_size = 2
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A TOML recipe of a tiny Mixer."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_TRAINING + TINY_MIXER)
    return path


@pytest.fixture
def finetuning(tmp_path: Path) -> Path:
    """The same training without a shape, for weights that bring their own."""
    path = tmp_path / "finetuning.toml"
    path.write_text(TINY_TRAINING)
    return path

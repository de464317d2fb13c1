"""What tests share: small real images on disk, one thread a process."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from training_steps import training_steps

from mlpmixer.files import write_text

__all__ = ["photo_folder", "training_steps"]

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _every_remark_is_caught(caplog: pytest.LogCaptureFixture) -> None:
    """Undo what a library does to the level of all handlers there are, pytest's own among them."""
    caplog.handler.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def _empty_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pages of trainings, most of a small one's time, to tests marked `page`."""
    if request.node.get_closest_marker("page") is None:
        monkeypatch.setattr(
            "mlpmixer.training.train.write_report", lambda path, _: write_text(path, "")
        )


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 20 handwritten digits each as 16x16 PNG files, split into train and test."""
    root = tmp_path_factory.mktemp("photos")
    digits = load_digits()
    for digit, name in ((0, "zero"), (1, "one"), (7, "seven")):
        chosen = np.flatnonzero(digits.target == digit)[:20]
        for number, index in enumerate(chosen):
            split = "train" if number < 15 else "test"
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            pixels = (digits.images[index] * 15).astype(np.uint8)
            Image.fromarray(pixels).resize((16, 16)).save(folder / f"{number:02}.png")
    return root

"""What a report is given of a training's data and predictions."""

from pathlib import Path

import numpy as np
from PIL import Image

from mlpmixer.data.splits import FileSplit
from mlpmixer.evaluation.classify import Predictions
from mlpmixer.training.run_report import worst_mistakes


def test_photographs_are_kept_in_the_size_of_a_page(tmp_path: Path) -> None:
    for name in ("wide.jpg", "wide.png"):
        Image.new("RGB", (3000, 2000)).save(tmp_path / name)
    Image.new("RGB", (30, 20)).save(tmp_path / "small.png")
    files = ["wide.jpg", "wide.png", "small.png"]
    wrong = Predictions(
        predicted=np.array([1, 1, 1]),
        confidence=np.array([0.9, 0.8, 0.7], np.float32),
        labels=np.zeros(3, np.int64),
        indices=np.arange(3),
    )
    split = FileSplit(tmp_path, files, [0, 0, 0])
    found = worst_mistakes(wrong, split, ("cat", "dog"), "full")
    assert [one.picture.size for one in found] == [(750, 500), (750, 500), (30, 20)]

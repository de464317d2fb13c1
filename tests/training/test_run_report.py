"""What a report is given of a training's data and predictions."""

from pathlib import Path

import numpy as np
from PIL import Image

from mlpmixer.data.splits import ArraySplit, FileSplit
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
    found = worst_mistakes(wrong, split, ("cat", "dog"), "full", source=str(tmp_path))
    assert [one.picture.size for one in found] == [(750, 500), (750, 500), (30, 20)]


def test_names_of_mistakes_are_told_without_the_keys_of_their_address() -> None:
    source = "https://me:SECRET@host/{0..3}.tar?key=SECRET"
    title = "https://me:SECRET@host/2.tar?key=SECRET:00001.png"
    split = ArraySplit(np.zeros((1, 8, 8, 3), np.uint8), [0], title)
    one = np.zeros(1, np.int64)
    wrong = Predictions(one + 1, np.ones(1, np.float32), one, one)
    (found,) = worst_mistakes(wrong, split, ("cat", "dog"), "full", source=source)
    assert found.name == "https://host/2.tar:00001.png image 0"

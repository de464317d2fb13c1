"""Subsets of the training images."""

import numpy as np
import pytest

from mlpmixer.data.dataset import Dataset
from mlpmixer.data.splits import ArraySplit
from mlpmixer.data.train_fraction import keep_share
from mlpmixer.errors import UsageError


@pytest.fixture
def dataset() -> Dataset:
    labels = np.repeat([0, 1, 2], [100, 60, 40])
    images = np.zeros((200, 1, 1, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(200)
    splits = {"train": ArraySplit(images, labels, "train"), "test": ArraySplit(images, labels, "t")}
    return Dataset("made up", ("a", "b", "c"), splits)


def members(dataset: Dataset) -> set[int]:
    train = dataset.splits["train"]
    pixels = [np.asarray(train.encoded(index)) for index in range(len(train))]
    return {int(one[0, 0, 0]) for one in pixels}


def test_a_smaller_share_is_part_of_a_larger_one(dataset: Dataset) -> None:
    subsets = [members(keep_share(dataset, share, seed=3)) for share in (0.03, 0.1, 0.3, 1.0)]
    assert [len(one) for one in subsets] == [6, 20, 60, 200]
    assert subsets[0] < subsets[1] < subsets[2] < subsets[3]


def test_every_class_gives_the_same_share(dataset: Dataset) -> None:
    labels = keep_share(dataset, 0.1, seed=0).splits["train"].labels
    assert np.bincount(labels).tolist() == [10, 6, 4]


def test_the_seed_chooses_and_other_splits_stay(dataset: Dataset) -> None:
    one, other = keep_share(dataset, 0.1, seed=0), keep_share(dataset, 0.1, seed=1)
    assert members(one) == members(keep_share(dataset, 0.1, seed=0))
    assert members(one) != members(other)
    assert one.splits["test"] is dataset.splits["test"]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, float("nan")])
def test_a_share_out_of_range_is_refused(dataset: Dataset, share: float) -> None:
    with pytest.raises(UsageError, match=r"outside \(0, 1\]"):
        keep_share(dataset, share, seed=0)


def test_fewer_images_than_classes_are_refused(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match=r"fewer than its 3 classes: use 0\.015 or more"):
        keep_share(dataset, 0.01, seed=0)

"""The splits that transfer protocols ask for."""

import numpy as np
import pytest

from mlpmixer.data.dataset import Dataset
from mlpmixer.data.protocol_splits import arrange_splits, joined, vtab_splits, with_test
from mlpmixer.data.splits import ArraySplit
from mlpmixer.errors import UsageError


def made_up(**images: int) -> Dataset:
    """Return splits of three classes at 1 : 2 : 3 whose pixels number the images of all splits."""
    splits, first = {}, 0
    for name, count in images.items():
        pixels = np.zeros((count, 1, 1, 3), dtype=np.uint8)
        numbers = np.arange(first, first + count)
        pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = numbers // 256, numbers % 256
        splits[name] = ArraySplit(pixels, np.resize([0, 1, 1, 2, 2, 2], count), name)
        first += count
    return Dataset("made-up", ("a", "b", "c"), splits)


def numbers(dataset: Dataset, split: str) -> list[int]:
    """Return which images a split holds."""
    images = dataset.splits[split]
    pixels = [np.asarray(images.encoded(i))[0, 0] for i in range(len(images))]
    return [int(pixel[0]) * 256 + int(pixel[1]) for pixel in pixels]


@pytest.mark.parametrize(
    "images",
    [
        {"train": 1500, "test": 30},
        {"train": 1200, "validation": 300, "test": 30},
        {"train": 900, "validation": 150, "test": 30},  # too few to take 200 of
        {"train": 1500, "validation": 60},
        {"train": 1500},
    ],
)
def test_vtabs_images_are_800_and_200_without_overlap_and_spread_over_the_classes(
    images: dict[str, int],
) -> None:
    dataset = with_test(made_up(**images), seed=1)
    chosen = vtab_splits(dataset, seed=1)
    train, validation = numbers(chosen, "train"), numbers(chosen, "validation")
    assert (len(set(train)), len(set(validation))) == (800, 200)
    assert not set(train) & set(validation)
    assert not set(train + validation) & set(numbers(dataset, "test"))
    assert numbers(chosen, "test") == numbers(dataset, "test")
    for split, count in (("train", 800), ("validation", 200)):
        shares = np.bincount(chosen.splits[split].labels) / count
        np.testing.assert_allclose(shares, [1 / 6, 2 / 6, 3 / 6], atol=0.01)
    whole, _ = arrange_splits(made_up(**images), "vtab1000", 0.1, seed=1)
    assert sorted(numbers(whole, "train")) == sorted(train + validation)
    assert list(whole.splits) == ["train", "test"]


def test_the_200_are_of_the_sources_own_validation_images() -> None:
    chosen = vtab_splits(made_up(train=1200, validation=300, test=30), seed=0)
    assert max(numbers(chosen, "train")) < 1200 <= min(numbers(chosen, "validation"))


def test_vtabs_images_follow_from_the_seed_and_their_labels_stay_with_them() -> None:
    dataset = made_up(train=1500, test=30)
    one, same, other = (numbers(vtab_splits(dataset, seed), "train") for seed in (0, 0, 1))
    assert one == same != other
    train = vtab_splits(dataset, 0).splits["train"]
    assert train.labels.tolist() == dataset.splits["train"].labels[one].tolist()


def test_more_classes_than_images_leave_some_out() -> None:
    """As in VTAB: SUN397 has 397 classes for 200 images."""
    pixels = np.zeros((1600, 1, 1, 3), dtype=np.uint8)
    train = ArraySplit(pixels, np.repeat(np.arange(400), 4), "train")
    dataset = Dataset("many", tuple(map(str, range(400))), {"train": train, "test": train})
    chosen = vtab_splits(dataset, seed=0)
    assert np.bincount(chosen.splits["validation"].labels, minlength=400).max() == 1
    assert np.bincount(chosen.splits["train"].labels, minlength=400).min() >= 1


def test_too_few_images_for_vtab_are_refused() -> None:
    with pytest.raises(UsageError, match="999"):
        vtab_splits(made_up(train=999, test=10), seed=0)


def test_validation_images_join_the_training_images() -> None:
    dataset = made_up(train=12, validation=6, test=6)
    whole = joined(dataset)
    assert numbers(whole, "train") == list(range(18))
    assert whole.splits["train"].labels.tolist() == [0, 1, 1, 2, 2, 2] * 3
    assert whole.splits["train"].name(13) == "validation image 1"
    assert list(whole.splits) == ["train", "test"]


def test_there_is_always_something_unseen_to_test_on() -> None:
    assert numbers(with_test(made_up(train=6, validation=6)), "test") == list(range(6, 12))
    alone = with_test(made_up(train=60), seed=0)
    assert len(numbers(alone, "test")) == 12
    assert not set(numbers(alone, "train")) & set(numbers(alone, "test"))
    with pytest.raises(UsageError, match="no training images"):
        with_test(made_up(test=6))

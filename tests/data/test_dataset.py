import numpy as np
import pytest

from mlpmixer.data.dataset import Dataset
from mlpmixer.data.held_out import hold_out_validation
from mlpmixer.data.splits import ArraySplit, Subset
from mlpmixer.errors import UsageError


def numbered(labels: list[int]) -> ArraySplit:
    """Return images whose pixels are their own number."""
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None].repeat(3, axis=-1)
    return ArraySplit(images, labels, "numbered")


def dataset(labels: list[int], **others: ArraySplit) -> Dataset:
    names = tuple(str(label) for label in range(max(labels) + 1))
    return Dataset("numbered", names, {"train": numbered(labels), **others})


def numbers(split: Subset) -> list[int]:
    return [int(split.encoded(index)[0, 0, 0]) for index in range(len(split))]


def test_subset_gives_the_chosen_images_in_the_chosen_order() -> None:
    subset = Subset(numbered([0, 1, 2, 3]), [3, 1])
    assert numbers(subset) == [3, 1]
    assert subset.labels.tolist() == [3, 1]
    assert subset.name(0) == "numbered image 3"


def test_held_out_images_are_stratified_and_leave_the_rest_for_training() -> None:
    held = hold_out_validation(dataset([0] * 40 + [1] * 20), 0.25, seed=3)
    train, validation = held.splits["train"], held.splits["validation"]
    assert np.bincount(validation.labels).tolist() == [10, 5]
    assert sorted(numbers(train) + numbers(validation)) == list(range(60))


def test_the_seed_decides_which_images_are_held_out() -> None:
    source = dataset([0] * 50 + [1] * 50)
    chosen = [
        numbers(hold_out_validation(source, 0.2, seed).splits["validation"]) for seed in (1, 1, 2)
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_small_classes_give_one_image_and_keep_one() -> None:
    held = hold_out_validation(dataset([0, 0, 1] + [2] * 5), 0.1, seed=0)
    assert np.bincount(held.splits["validation"].labels, minlength=3).tolist() == [1, 0, 1]
    assert np.bincount(held.splits["train"].labels).tolist() == [1, 1, 4]


def test_a_large_fraction_still_leaves_an_image_to_train_on() -> None:
    held = hold_out_validation(dataset([0, 0, 1, 1]), 0.9, seed=0)
    assert np.bincount(held.splits["train"].labels).tolist() == [1, 1]


def test_the_test_split_stays() -> None:
    test = numbered([0, 1])
    assert hold_out_validation(dataset([0, 0, 1, 1], test=test), 0.5, 0).splits["test"] is test


def test_single_images_cannot_be_held_out() -> None:
    with pytest.raises(UsageError, match="every class has only one"):
        hold_out_validation(dataset([0, 1, 2]), 0.1, seed=0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 10])
def test_the_fraction_must_leave_both_parts_something(fraction: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        hold_out_validation(dataset([0, 0, 1, 1]), fraction, seed=0)


def test_a_source_without_training_images_cannot_give_any() -> None:
    source = Dataset("numbered", ("0", "1"), {"test": numbered([0, 1])})
    with pytest.raises(UsageError, match="no training images"):
        hold_out_validation(source, 0.1, seed=0)

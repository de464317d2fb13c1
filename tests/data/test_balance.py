"""Classes of unequal size: drawn equally often, or weighted."""

from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pytest
import torch

from mlpmixer.data.balance import EvenClasses, balanced_order, class_weights, remark
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import AugmentOptions, DataOptions
from mlpmixer.errors import UsageError
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.ranks import Ranks

COUNTS = (60, 1, 12, 0, 27)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), COUNTS))
PRESENT = 4


def drawn(batch_size: int, first_step: int, steps: int, seed: int = 3) -> torch.Tensor:
    """Return the indices of some batches, (steps, batch_size)."""
    return torch.stack(list(islice(balanced_order(LABELS, batch_size, seed, first_step), steps)))


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_every_class_is_drawn_equally_often(batch_size: int) -> None:
    labels = LABELS[drawn(batch_size, 0, 40 * PRESENT).flatten().numpy()]
    counts = np.bincount(labels, minlength=5)
    assert counts[3] == 0
    assert set(counts[[0, 1, 2, 4]]) == {40 * batch_size}


def test_all_images_of_a_class_come_before_one_comes_again() -> None:
    indices = drawn(10, 0, 60).flatten().numpy()
    for label, count in enumerate(COUNTS):
        own = indices[LABELS[indices] == label]
        for begin in range(0, len(own) - count + 1, max(1, count)):
            assert len(set(own[begin : begin + count])) == count
    largest = indices[LABELS[indices] == 0][:120].reshape(2, 60)
    assert not np.array_equal(*largest)  # and each pass has an order of its own


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_order_from_a_step_on_is_that_of_an_uninterrupted_run(batch_size: int) -> None:
    whole = drawn(batch_size, 0, 40)
    for first in (1, 13, 39):
        assert torch.equal(drawn(batch_size, first, 40 - first), whole[first:])
    assert not torch.equal(drawn(batch_size, 0, 40, seed=4), whole)


def test_the_batch_size_does_not_change_what_stands_at_a_position() -> None:
    assert torch.equal(drawn(5, 0, 24).flatten(), drawn(30, 0, 4).flatten())


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(UsageError, match="batch size 101"):
        drawn(101, 0, 1)


def test_weights_let_each_class_count_the_same_and_have_a_mean_of_one() -> None:
    weights = class_weights(LABELS, 5)
    assert weights[LABELS].mean() == pytest.approx(1)
    sums = np.array(COUNTS) * weights
    assert sums[[0, 1, 2, 4]] == pytest.approx(len(LABELS) / PRESENT)
    assert weights[3] == 1
    assert class_weights(np.array([0, 1, 1, 0]), 2) == pytest.approx(1)


@pytest.mark.parametrize(
    ("balance", "told"),
    [
        ("none", "; --balance sampling or --balance weights lets each class count the same"),
        ("sampling", "; each class is drawn equally often"),
        ("weights", "; an image counts 0.417 to 25.0 times, so that each class counts the same"),
    ],
)
def test_unequal_classes_are_remarked(balance: str, told: str) -> None:
    names = ("ant", "bee", "cat", "dog", "emu")
    said = remark(LABELS, names, balance)
    assert said == f"classes have 1 (bee) to 60 (ant) training images{told}"
    assert remark(np.array([0, 0, 1]), names, balance) == ""


@dataclass
class Grey:
    """30 images of 8x8 pixels of a grey level that is their index: 24 of a class, 6 of another."""

    bad: set[int] = field(default_factory=set)

    @property
    def labels(self) -> np.ndarray:
        return (np.arange(30) >= 24).astype(np.int64)

    def __len__(self) -> int:
        return 30

    def sizes(self) -> np.ndarray:
        return np.full(30, 192)

    def encoded(self, index: int) -> bytes | np.ndarray:
        return b"no image" if index in self.bad else np.full((8, 8, 3), index, dtype=np.uint8)

    def name(self, index: int) -> str:
        return f"grey/{index}.png"


@pytest.mark.parametrize(("cache", "workers"), [("memory", 2), ("none", 0), ("none", 2)])
def test_batches_are_balanced_wherever_images_are_kept_and_whatever_cannot_be_read(
    cache: str, workers: int
) -> None:
    options = DataOptions(cache=cache, workers=workers, max_unreadable=0.5)  # type: ignore[arg-type]
    split = EvenClasses(Grey(bad={3, 25, 26}))
    images = open_images(
        split, Preprocessing(image_size=(8, 8)), options, AugmentOptions(crop="pad")
    )
    batches = list(islice(images.training_batches(10, 0, 2), 6))
    for batch in batches:
        assert batch.labels.sum() == 5
        assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.indices)
    assert not {3, 25, 26} & {int(one) for batch in batches for one in batch.indices}
    for rank in range(2):
        own = islice(images.training_batches(10, 0, 2, Ranks(rank, 2)), 6)
        for part, batch in zip(own, batches, strict=True):
            assert torch.equal(part.indices, batch.indices[rank::2])

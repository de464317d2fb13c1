"""Repeated augmentation: several views of an image in one batch."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from mlpmixer.cli.main import main
from mlpmixer.data.batches import Batch, Images
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import AugmentOptions, DataOptions
from mlpmixer.data.splits import ArraySplit
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.ranks import Ranks

WAYS = [("memory", 2), ("none", 0), ("none", 2)]
"""Where images are kept, and the workers that read them."""
COUNT = 24


class Noise(ArraySplit):
    """Random images of 12 pixels a side, which count how often each was decoded."""

    def __init__(self, bad: tuple[int, ...] = ()) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 12, 12, 3), dtype=np.uint8)
        super().__init__(pixels, np.arange(COUNT) % 3, "noise")
        self.decoded: Counter[int] = Counter()
        self.bad = bad

    def encoded(self, index: int) -> bytes | np.ndarray:
        self.decoded[index] += 1
        return b"no image" if index in self.bad else super().encoded(index)


def opened(
    cache: str, workers: int, repeats: int, crop: str = "pad", split: Noise | None = None
) -> Images:
    options = DataOptions(cache=cache, workers=workers, max_unreadable=0.5)  # type: ignore[arg-type]
    augment = AugmentOptions(crop=crop, pad=3, repeats=repeats)  # type: ignore[arg-type]
    return open_images(split or Noise(), Preprocessing(image_size=(12, 12)), options, augment)


def first_batches(images: Images, count: int, first_step: int = 0, ranks: Ranks | None = None):
    batches = images.training_batches(12, 0, first_step, ranks or Ranks())
    return list(itertools.islice(batches, count))


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("crop", ["pad", "inception"])
@pytest.mark.parametrize(("cache", "workers"), WAYS)
def test_each_image_is_in_its_batch_so_many_times_and_looks_different(
    cache: str, workers: int, crop: str
) -> None:
    for batch in first_batches(opened(cache, workers, 3, crop), 3):
        assert len(batch.images) == 12
        assert sorted(Counter(batch.indices.tolist()).values()) == [3] * 4
        assert torch.equal(batch.labels, batch.indices % 3)
        views = {view.numpy().tobytes() for view in batch.images}
        assert len(views) > 4 + 4  # more than one of each; few draws are equal


def test_every_image_comes_once_before_any_comes_again() -> None:
    batches = first_batches(opened("memory", 1, 3), COUNT // 4)
    seen = Counter(torch.cat([batch.indices for batch in batches]).tolist())
    assert seen == dict.fromkeys(range(COUNT), 3)


@pytest.mark.parametrize(("cache", "workers"), WAYS)
def test_views_follow_from_seed_step_and_position_alone(cache: str, workers: int) -> None:
    whole = first_batches(opened("memory", 1, 3), 8)
    assert all(map(same, first_batches(opened(cache, workers, 3), 8), whole))
    resumed = first_batches(opened(cache, workers, 3), 3, first_step=5)
    assert all(map(same, resumed, whole[5:]))
    for rank in range(2):
        ranks = Ranks(rank=rank, world=2)
        (own,) = first_batches(opened(cache, workers, 3), 1, ranks=ranks)
        assert same(own, Batch(*(part[rank::2] for part in whole[0])))


def test_a_copy_is_decoded_once() -> None:
    split = Noise()
    (batch,) = first_batches(opened("none", 0, 3, split=split), 1)
    wanted = set(batch.indices.tolist())
    assert {index: split.decoded[index] for index in wanted} == dict.fromkeys(wanted, 1)


@pytest.mark.parametrize(("cache", "workers"), WAYS)
def test_batches_stay_full_where_a_repeated_image_cannot_be_read(cache: str, workers: int) -> None:
    images = opened(cache, workers, 3, split=Noise(bad=(1, 2, 3)))
    whole = first_batches(opened("memory", 1, 3, split=Noise(bad=(1, 2, 3))), 6)
    batches = first_batches(images, 6)
    assert all(map(same, batches, whole))
    assert not {1, 2, 3} & set(torch.cat([batch.indices for batch in batches]).tolist())


def test_one_repeat_is_no_repeat() -> None:
    batches = first_batches(opened("memory", 1, 1), 2)
    assert sorted(torch.cat([batch.indices for batch in batches]).tolist()) == list(range(COUNT))


def test_repeats_that_do_not_divide_the_batch_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["train", "--recipe", "quick", "--data", "digits", "--batch-size", "64"]
    assert main([*command, "--repeats", "3"]) == 2
    assert "--repeats 3 does not divide the batch size 64: use --batch-size 66." in (
        capsys.readouterr().err
    )

"""Batches from memory and from worker processes: order, content, and what cannot be read."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mlpmixer.data.augment import Augmenter, prepare
from mlpmixer.data.batches import Batch, Unreadable, steps_per_epoch
from mlpmixer.data.dataset import Split
from mlpmixer.data.in_memory import InMemoryImages
from mlpmixer.data.loader import common_size, open_images, stored_size
from mlpmixer.data.options import AugmentOptions, DataOptions
from mlpmixer.data.sources import open_source
from mlpmixer.data.splits import ArraySplit
from mlpmixer.data.streaming import StreamedImages
from mlpmixer.errors import MixerError, UsageError


def split_of(count: int = 20, side: int = 8) -> ArraySplit:
    """Images that are recognised by their grey level, which is their index."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return ArraySplit(np.broadcast_to(pixels, (count, side, side, 3)), np.arange(count) % 3, "grey")


class Damaged:
    """A split in which some images are no images."""

    def __init__(self, split: Split, bad: set[int]) -> None:
        self.split = split
        self.bad = bad

    @property
    def labels(self) -> np.ndarray:
        return self.split.labels

    def __len__(self) -> int:
        return len(self.split)

    def encoded(self, index: int) -> bytes | np.ndarray:
        return b"no image" if index in self.bad else self.split.encoded(index)

    def name(self, index: int) -> str:
        return self.split.name(index)


def in_memory(split: Split, allowed: float = 0.0) -> InMemoryImages:
    return InMemoryImages(split, (8, 8), 2, Unreadable(len(split), allowed))


def streamed(split: Split, allowed: float = 0.0, workers: int = 0) -> StreamedImages:
    return StreamedImages(split, (8, 8), (0.5, 1.0), workers, Unreadable(len(split), allowed))


@pytest.mark.parametrize("kind", [in_memory, streamed])
def test_an_epoch_shows_every_image_once_with_its_label(kind: type) -> None:
    images = kind(split_of())
    batches = images.training_batches(5, seed=0, first_step=0)
    epoch = [next(batches) for _ in range(4)]
    seen = torch.cat([batch.images[:, 0, 0, 0] for batch in epoch])
    labels = torch.cat([batch.labels for batch in epoch])
    assert sorted(seen.tolist()) == list(range(20))
    assert seen.tolist() != list(range(20))
    assert torch.equal(labels, seen.long() % 3)
    again = torch.cat([next(batches).images[:, 0, 0, 0] for _ in range(4)])
    assert sorted(again.tolist()) == list(range(20))
    assert not torch.equal(again, seen)


@pytest.mark.parametrize("kind", [in_memory, streamed])
def test_batches_from_a_later_step_are_those_of_an_uninterrupted_run(kind: type) -> None:
    images = kind(split_of())
    whole = images.training_batches(6, seed=3, first_step=0)
    for _ in range(5):
        next(whole)
    resumed = images.training_batches(6, seed=3, first_step=5)
    for _ in range(4):
        one, other = next(whole), next(resumed)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.indices, other.indices)


@pytest.mark.parametrize("kind", [in_memory, streamed])
def test_evaluation_goes_through_all_images_in_order(kind: type) -> None:
    batches = list(kind(split_of()).evaluation_batches(8))
    assert [len(batch.labels) for batch in batches] == [8, 8, 4]
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(20))


@pytest.mark.parametrize("kind", [in_memory, streamed])
def test_an_unreadable_image_is_left_out_counted_and_named(kind: type) -> None:
    images = kind(Damaged(split_of(), {3}), allowed=0.1)
    seen = torch.cat([batch.indices for batch in images.evaluation_batches(8)])
    assert seen.tolist() == [index for index in range(20) if index != 3]
    assert list(images.unreadable.reasons) == [split_of().name(3)]


@pytest.mark.parametrize("kind", [in_memory, streamed])
def test_too_many_unreadable_images_stop_with_a_remedy(kind: type) -> None:
    with pytest.raises(MixerError, match="--max-unreadable"):
        list(kind(Damaged(split_of(), {3, 4, 5}), allowed=0.1).evaluation_batches(8))


def test_workers_deliver_what_one_process_does(photo_folder: Path) -> None:
    split = open_source(str(photo_folder)).splits["train"]

    def first(workers: int) -> Batch:
        return next(streamed(split, workers=workers).training_batches(8, 0, 0))

    alone, together = first(0), first(2)
    assert torch.equal(alone.images, together.images)
    assert torch.equal(alone.labels, together.labels)


def test_small_images_of_one_size_are_kept_as_they_are() -> None:
    assert stored_size(split_of(side=8), (8, 8)) == (8, 8)
    assert stored_size(split_of(side=8), (16, 16)) == (8, 8)
    assert stored_size(split_of(side=64), (28, 28)) == (32, 32)
    assert common_size(split_of(side=8)) == (8, 8)


def test_photos_of_many_shapes_are_squashed_and_restored(tmp_path: Path) -> None:
    from PIL import Image

    wide = Image.new("RGB", (64, 32))
    wide.paste((255, 255, 255), (24, 8, 40, 24))  # a white square of half the height
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        wide.save(tmp_path / name / "wide.png")
        wide.rotate(90, expand=True).save(tmp_path / name / "tall.png")
    split = open_source(str(tmp_path)).splits["train"]
    images = open_images(split, (28, 28), DataOptions(cache="memory"))
    assert images.size == (32, 32)
    batch = next(images.evaluation_batches(4))
    assert batch.aspect_ratios is not None
    assert sorted(batch.aspect_ratios.tolist()) == [0.5, 0.5, 2.0, 2.0]
    square = prepare(batch.images, (28, 28), batch.aspect_ratios)[:, 0] > 0
    heights, widths = square.any(2).sum(1), square.any(1).sum(1)
    assert (heights - widths).abs().max() <= 1  # a square again


def test_what_does_not_fit_in_memory_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpmixer.data.loader.MEMORY_SHARE", 0.0)
    images = open_images(split_of(), (8, 8), DataOptions(workers=0))
    assert not images.in_memory
    monkeypatch.undo()
    assert open_images(split_of(), (8, 8), DataOptions()).in_memory


def test_a_batch_larger_than_the_data_is_refused() -> None:
    assert steps_per_epoch(20, 6) == 3
    with pytest.raises(UsageError, match="batch size 21"):
        steps_per_epoch(20, 21)


def test_pixels_reach_the_model_between_minus_one_and_one() -> None:
    batch = next(in_memory(split_of()).evaluation_batches(20))
    augmenter = Augmenter(AugmentOptions(crop="none", flip=0.0), (8, 8), 3)
    pixels, targets = augmenter(batch.images, batch.labels, torch.Generator())
    assert pixels[0].unique().tolist() == [-1.0]
    assert pixels[19, 0, 0, 0].item() == pytest.approx(19 / 127.5 - 1)
    assert torch.equal(targets.argmax(1), batch.labels)

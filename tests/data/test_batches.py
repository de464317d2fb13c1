"""Batches from memory and from worker processes: order, size, and what cannot be read."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from mlpmixer.data.augment import normalize
from mlpmixer.data.batches import Images, steps_per_epoch
from mlpmixer.data.in_memory import InMemoryImages
from mlpmixer.data.loader import bytes_in_memory, fits, open_images
from mlpmixer.data.options import AugmentOptions, DataOptions
from mlpmixer.data.random_crops import RandomCrop
from mlpmixer.data.splits import ArraySplit
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.models.preprocessing import Preprocessing

SMALL = Preprocessing(image_size=(8, 8))
WAYS = [("memory", 2), ("none", 0), ("none", 2)]
"""Where images are kept, and the workers that read them."""


@dataclass
class Grey:
    """20 images of 8x8 pixels, recognised by their grey level, which is their index."""

    bad: set[int] = field(default_factory=set)
    """Those that are no images."""
    trap: Callable[[], None] | None = None
    """What happens on the way to image 7."""
    count: int = 20

    @property
    def labels(self) -> np.ndarray:
        return np.arange(self.count) % 3

    def __len__(self) -> int:
        return self.count

    def encoded(self, index: int) -> bytes | np.ndarray:
        if index == 7 and self.trap is not None:
            self.trap()
        return b"no image" if index in self.bad else np.full((8, 8, 3), index % 256, dtype=np.uint8)

    def name(self, index: int) -> str:
        return f"grey/{index}.png"


def opened(
    split: Grey, cache: str, workers: int, allowed: float = 0.0, crop: str = "pad"
) -> Images:
    options = DataOptions(cache=cache, workers=workers, max_unreadable=allowed)  # type: ignore[arg-type]
    return open_images(split, SMALL, options, AugmentOptions(crop=crop))  # type: ignore[arg-type]


@pytest.mark.parametrize(("cache", "workers"), WAYS)
def test_an_epoch_shows_every_image_once_with_its_label(cache: str, workers: int) -> None:
    batches = opened(Grey(), cache, workers).training_batches(5, seed=0, first_step=0)
    epoch = [next(batches) for _ in range(4)]
    seen = torch.cat([batch.images[:, 0, 0, 0] for batch in epoch])
    labels = torch.cat([batch.labels for batch in epoch])
    assert sorted(seen.tolist()) == list(range(20))
    assert seen.tolist() != list(range(20))
    assert torch.equal(labels, seen.long() % 3)
    again = torch.cat([next(batches).images[:, 0, 0, 0] for _ in range(4)])
    assert sorted(again.tolist()) == list(range(20))
    assert not torch.equal(again, seen)


@pytest.mark.parametrize(("cache", "workers"), WAYS)
def test_evaluation_goes_through_all_images_in_order(cache: str, workers: int) -> None:
    batches = list(opened(Grey(), cache, workers).evaluation_batches(8))
    assert [len(batch.labels) for batch in batches] == [8, 8, 4]
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(20))
    assert torch.cat([batch.images for batch in batches])[:, 1, 2, 3].tolist() == list(range(20))


@pytest.mark.parametrize(("cache", "workers"), WAYS)
def test_evaluation_leaves_out_an_unreadable_image_and_names_it(cache: str, workers: int) -> None:
    images = opened(Grey(bad={3}), cache, workers, allowed=0.1)
    seen = torch.cat([batch.indices for batch in images.evaluation_batches(8)])
    assert seen.tolist() == [index for index in range(20) if index != 3]
    assert images.unreadable.reasons == {"grey/3.png": "not an image of a known format"}


@pytest.mark.parametrize(("cache", "workers"), WAYS)
def test_a_batch_without_any_readable_image_is_passed_over(cache: str, workers: int) -> None:
    images = opened(Grey(bad={4, 5, 6, 7}), cache, workers, allowed=0.5)
    assert [batch.indices.tolist()[0] for batch in images.evaluation_batches(4)] == [0, 8, 12, 16]


@pytest.mark.parametrize("crop", ["pad", "inception"])
@pytest.mark.parametrize(("cache", "workers"), WAYS)
def test_a_training_batch_stays_full_when_images_cannot_be_read(
    cache: str, workers: int, crop: str
) -> None:
    images = opened(Grey(bad={3, 4, 5, 6}), cache, workers, allowed=0.5, crop=crop)
    assert len(images) == 20
    batches = images.training_batches(10, seed=0, first_step=0)
    for _ in range(4):  # two epochs
        batch = next(batches)
        assert batch.images.shape == (10, 3, 8, 8)
        assert not {3, 4, 5, 6} & set(batch.indices.tolist())
        assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.indices)
        assert torch.equal(batch.labels, batch.indices % 3)
    assert set(images.unreadable.reasons) == {f"grey/{index}.png" for index in (3, 4, 5, 6)}


@pytest.mark.parametrize("crop", ["pad", "inception"])
def test_the_digest_follows_from_the_images_and_not_from_what_memory_held(
    monkeypatch: pytest.MonkeyPatch, crop: str
) -> None:
    empty = torch.empty
    digests = set()
    for left_over in (17, 99):
        monkeypatch.setattr(
            torch, "empty", lambda *size, value=left_over, **how: empty(*size, **how).fill_(value)
        )
        images = opened(Grey(bad={3, 4}), "memory", 2, allowed=0.5, crop=crop)
        assert isinstance(images, InMemoryImages)
        digests.add(images.digest())
    assert len(digests) == 1


@pytest.mark.parametrize(("cache", "workers"), WAYS)
def test_too_many_unreadable_images_stop_with_a_remedy(cache: str, workers: int) -> None:
    with pytest.raises(MixerError, match="--max-unreadable"):
        list(opened(Grey(bad={3, 4, 5}), cache, workers, allowed=0.1).evaluation_batches(8))


@pytest.mark.parametrize(("cache", "workers"), WAYS)
def test_a_split_of_unreadable_images_ends_a_training(cache: str, workers: int) -> None:
    images = opened(Grey(bad=set(range(20))), cache, workers, allowed=1.0)
    with pytest.raises(MixerError, match="in place of an unreadable one"):
        next(images.training_batches(5, seed=0, first_step=0))


def bug() -> None:
    raise AttributeError("a defect of some library")


@pytest.mark.parametrize(("cache", "workers"), WAYS)
def test_an_unexpected_error_names_the_image(cache: str, workers: int) -> None:
    with pytest.raises(AttributeError, match=r"grey/7\.png"):
        list(opened(Grey(trap=bug), cache, workers).evaluation_batches(8))


def test_a_program_ends_though_an_error_still_holds_its_workers() -> None:
    program = """
import sys
sys.path.insert(0, "tests/data")
from test_batches import Grey, bug, opened

if __name__ == "__main__":
    try:
        list(opened(Grey(trap=bug), "none", 2).evaluation_batches(8))
    except AttributeError as error:
        sys.kept = error  # its traceback leads to the iterator, which is thus never closed
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert done.returncode == 0


def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_end_of_a_worker_process_names_the_image() -> None:
    with pytest.raises(MixerError, match=r"grey/7\.png ended"):
        list(opened(Grey(trap=crash), "none", 2).evaluation_batches(8))


def test_streaming_the_papers_batch_sizes_takes_few_file_descriptors() -> None:
    program = """
import resource, sys
sys.path.insert(0, "tests/data")
from test_batches import Grey, opened
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
batches = opened(Grey(count=4100), "none", 2).training_batches(2048, 0, 0)
print([len(next(batches).images) for _ in range(3)])
"""
    command = [sys.executable, "-c", program]
    # The time bounds a wait without end: the program leaves its workers at work when it ends.
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout == "[2048, 2048, 2048]\n", done.stderr


def test_what_does_not_fit_in_memory_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpmixer.data.loader.MEMORY_SHARE", 0.0)
    assert not opened(Grey(), "auto", 0).in_memory
    monkeypatch.undo()
    assert opened(Grey(), "auto", 0).in_memory


def test_images_are_kept_by_what_is_free_for_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container's limit leaves it, however much memory the machine has."""
    needed = bytes_in_memory(Grey(), SMALL, RandomCrop(AugmentOptions(crop="pad"), (8, 8)))
    for free, kept in ((4 * needed, True), (4 * needed - 4, False)):
        monkeypatch.setattr("mlpmixer.data.loader.free_memory", lambda device, free=free: free)
        assert opened(Grey(), "auto", 0).in_memory is kept


def test_the_memory_that_images_take_is_known_beforehand() -> None:
    large = ArraySplit(np.zeros((10, 60, 40, 3), dtype=np.uint8), [0] * 10, "black")
    whole, crops = (
        RandomCrop(AugmentOptions(crop=crop), (8, 8))  # type: ignore[arg-type]
        for crop in ("inception", "pad")
    )
    assert bytes_in_memory(large, SMALL, crops) == 10 * 3 * 8 * 8
    assert bytes_in_memory(large, SMALL, whole) == 10 * 3 * 30 * 20  # reduced by 2: 16 are enough
    assert fits(large, SMALL, whole)


def test_a_batch_larger_than_the_data_is_refused() -> None:
    assert steps_per_epoch(20, 6) == 3
    with pytest.raises(UsageError, match="batch size 21"):
        steps_per_epoch(20, 21)


def test_pixels_reach_the_model_between_minus_one_and_one() -> None:
    pixels = normalize(next(opened(Grey(), "memory", 1).evaluation_batches(20)).images)
    assert pixels[0].unique().tolist() == [-1.0]
    assert pixels[19, 0, 0, 0].item() == pytest.approx(19 / 127.5 - 1)


@pytest.mark.parametrize(("cache", "workers"), WAYS)
@pytest.mark.filterwarnings("error:.*not writable:UserWarning")
def test_labels_that_cannot_be_written_to_cause_no_warning(cache: str, workers: int) -> None:
    labels = np.arange(4)
    labels.flags.writeable = False  # as a column of a parquet file
    split = ArraySplit(np.zeros((4, 8, 8, 3), np.uint8), labels, "grey")
    options = DataOptions(cache=cache, workers=workers)  # type: ignore[arg-type]
    (batch,) = open_images(split, SMALL, options).evaluation_batches(4)
    assert batch.labels.tolist() == [0, 1, 2, 3]

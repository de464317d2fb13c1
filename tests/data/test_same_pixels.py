"""What a model sees is the same wherever the images are kept, however many workers read them."""

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from mlpmixer.data.batches import Batch, Images
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import AugmentOptions, DataOptions
from mlpmixer.data.random_crops import settle_crop
from mlpmixer.evaluation.forward import Forward
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.models.registry import create_model
from mlpmixer.ranks import Ranks
from mlpmixer.runtime import Runtime

SIZE = (16, 12)
MODEL = Preprocessing(image_size=SIZE)
SOURCE = load_sample_image("china.jpg")  # (427, 640, 3)


@dataclass
class Stored:
    """A split of encoded images or of pixels."""

    images: Sequence[bytes | np.ndarray]

    @property
    def labels(self) -> np.ndarray:
        return np.arange(len(self.images)) % 4

    def __len__(self) -> int:
        return len(self.images)

    def encoded(self, index: int) -> bytes | np.ndarray:
        return self.images[index]

    def name(self, index: int) -> str:
        return f"{index}.jpg"


def part(number: int, height: int, width: int) -> np.ndarray:
    """Cut a different piece out of the photo for each number."""
    top, left = number * 37 % (428 - height), number * 53 % (641 - width)
    return SOURCE[top : top + height, left : left + width]


def encode(pixels: np.ndarray, kind: str, orientation: int = 1) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def of_the_models_size() -> Stored:
    return Stored([part(number, *SIZE) for number in range(20)])


def of_one_larger_size() -> Stored:
    return Stored([encode(part(number, 30, 29), "PNG") for number in range(20)])


def of_one_size_that_is_reduced() -> Stored:
    return Stored([part(number, 140, 131) for number in range(20)])


def photos() -> Stored:
    """Of many sizes and formats, small and large, some lying on their side."""
    sizes = itertools.cycle([(427, 640), (9, 40), (300, 200), (133, 98), SIZE, (64, 65), (90, 401)])
    kinds = itertools.cycle(["JPEG", "JPEG", "PNG", "WEBP", "TIFF"])
    return Stored(
        [
            encode(part(number, *size), kind, number % 9)
            for number, size, kind in zip(range(20), sizes, kinds, strict=False)
        ]
    )


def of_one_size_but_for_an_exception() -> Stored:
    images: list[bytes | np.ndarray] = [part(number, 140, 131) for number in range(130)]
    images[97] = part(97, 20, 50)  # not among those looked at beforehand
    return Stored(images)


def some_damaged(stored: Stored) -> Stored:
    images = list(stored.images)
    whole = encode(part(0, 200, 200), "JPEG")
    images[5], images[11], images[17] = b"", b"no image", whole[: len(whole) // 2]
    return Stored(images)


SPLITS = {
    "the model's size": of_the_models_size,
    "one larger size": of_one_larger_size,
    "one size that is reduced": of_one_size_that_is_reduced,
    "photos": photos,
    "one size but for an exception": of_one_size_but_for_an_exception,
    "the model's size, some damaged": lambda: some_damaged(of_the_models_size()),
    "photos, some damaged": lambda: some_damaged(photos()),
}


def opened(split: Stored, cache: str, workers: int, crop: str = "auto") -> Images:
    augment = settle_crop(AugmentOptions(crop=crop), split, SIZE)  # type: ignore[arg-type]
    options = DataOptions(cache=cache, workers=workers, max_unreadable=0.5)  # type: ignore[arg-type]
    return open_images(split, MODEL, options, augment)


def assert_equal(some: Sequence[Batch], others: Sequence[Batch]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.images.shape[1:] == other.images.shape[1:] == (3, *SIZE)
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.images, other.images)


@pytest.mark.parametrize(("cache", "workers"), [("none", 0), ("none", 2)])
@pytest.mark.parametrize("kind", SPLITS)
def test_training_and_evaluation_see_the_same_pixels(kind: str, cache: str, workers: int) -> None:
    kept, other = opened(SPLITS[kind](), "memory", 1), opened(SPLITS[kind](), cache, workers)
    size = len(kept) * 4 // 10  # 2 batches an epoch, some images left over
    steps = list(itertools.islice(kept.training_batches(size, 3, 0), 6))
    assert_equal(steps, list(itertools.islice(other.training_batches(size, 3, 0), 6)))
    assert_equal(steps[3:], list(itertools.islice(other.training_batches(size, 3, 3), 3)))
    assert_equal(steps[3:], list(itertools.islice(kept.training_batches(size, 3, 3), 3)))
    assert len({batch.images.sum().item() for batch in steps}) == 6
    shown = list(kept.evaluation_batches(8))
    assert_equal(shown, list(other.evaluation_batches(8)))
    assert kept.unreadable.reasons == other.unreadable.reasons
    assert len(kept.unreadable.reasons) == 3 * ("damaged" in kind)


@pytest.mark.parametrize("crop", ["none", "pad", "inception"])
def test_every_crop_is_the_same_from_memory_and_from_workers(crop: str) -> None:
    kept, streamed = opened(photos(), "memory", 1, crop), opened(photos(), "none", 2, crop)
    steps = [
        list(itertools.islice(images.training_batches(8, 0, 0), 3)) for images in (kept, streamed)
    ]
    assert_equal(*steps)


def test_a_batch_of_several_workers_parts_is_the_same() -> None:
    split = Stored([part(number, 20, 20) for number in range(200)])
    steps = [
        list(itertools.islice(opened(split, cache, 2).training_batches(150, 0, 0), 2))
        for cache in ("memory", "none")
    ]
    assert_equal(*steps)
    shown = [list(opened(split, cache, 2).evaluation_batches(150)) for cache in ("memory", "none")]
    assert_equal(*shown)


@pytest.mark.parametrize("kind", SPLITS)
def test_predictions_are_the_same(kind: str) -> None:
    torch.manual_seed(0)
    model = create_model("mixer_nano", image_size=SIZE, num_classes=4, depth=2)
    torch.nn.init.normal_(model.get_submodule("head").weight, std=0.3)  # type: ignore[arg-type]
    runtime = Runtime(torch.device("cpu"))
    kept, streamed = (
        list(Forward(model, opened(SPLITS[kind](), cache, 0), runtime, batch_size=8))
        for cache in ("memory", "none")
    )
    for one, other in zip(kept, streamed, strict=True):
        assert torch.equal(one.values, other.values)
        assert torch.equal(one.indices, other.indices)


@pytest.mark.parametrize("kind", ["photos", "one larger size"])
def test_an_evaluation_crop_does_not_depend_on_how_training_images_are_cropped(kind: str) -> None:
    crops = [
        list(opened(SPLITS[kind](), cache, 0, crop).evaluation_batches(8))
        for cache in ("memory", "none")
        for crop in ("none", "inception")
    ]
    for other in crops[1:]:
        assert_equal(crops[0], other)


def test_the_key_of_the_pixels_changes_with_them_alone() -> None:
    def key(split: Stored, cache: str = "memory", crop: str = "none") -> str | None:
        return opened(split, cache, 0, crop).digest()

    assert key(photos()) == key(photos())
    assert key(photos(), crop="inception") == key(photos(), crop="inception")
    changed = photos()
    changed.images = [*changed.images[:-1], changed.images[0]]
    assert key(photos()) != key(changed)
    assert key(photos(), crop="inception") != key(changed, crop="inception")
    assert key(photos(), cache="none") is None


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize(("cache", "workers"), [("memory", 1), ("none", 0), ("none", 2)])
@pytest.mark.parametrize("kind", ["the model's size, some damaged", "photos, some damaged"])
def test_ranks_take_turns_at_the_images_of_one_process(
    kind: str, cache: str, workers: int, world: int
) -> None:
    images = opened(SPLITS[kind](), cache, workers)
    whole = list(itertools.islice(images.training_batches(8, 3, 1), 3))
    shown = list(images.evaluation_batches(4))
    for rank in range(world):
        ranks = Ranks(rank, world)
        own = list(itertools.islice(images.training_batches(8, 3, 1, ranks), 3))
        assert_equal(own, [Batch(*(column[rank::world] for column in batch)) for batch in whole])
        assert_equal(list(images.evaluation_batches(4, ranks)), shown[rank::world])


def test_the_share_of_a_rank_may_need_several_parts_of_a_worker() -> None:
    split = Stored([part(number, 20, 20) for number in range(400)])
    whole = next(opened(split, "memory", 1).training_batches(390, 0, 0))
    for rank in range(3):
        images = opened(split, "none", 2)
        own = next(images.training_batches(390, 0, 0, Ranks(rank, 3)))
        assert_equal([own], [Batch(*(column[rank::3] for column in whole))])

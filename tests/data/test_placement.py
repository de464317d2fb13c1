"""How much of a GPU images may take."""

from typing import Literal, cast

import numpy as np
import pytest
import torch

from mlpmixer.data.batches import Images
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import AugmentOptions, DataOptions
from mlpmixer.data.placement import DEVICE_SHARE, fitting, place_images
from mlpmixer.data.splits import ArraySplit
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.runtime import Runtime

GIB = 2**30
FREE = int(40 * GIB / DEVICE_SHARE)  # 40 GiB for images
GPU = torch.device("cuda", 1)


class NotedImages:
    """Images that note where they are told to lie."""

    def __init__(self, bytes_for_device: int) -> None:
        self.bytes_for_device = bytes_for_device
        self.told: list[str] = []

    def to(self, device: torch.device) -> None:
        self.told.append(f"to {device}")

    def pin(self) -> None:
        self.told.append("pin")


def told(sizes: dict[str, int], device: torch.device) -> dict[str, list[str]]:
    """Return what images of such sizes are told when they are placed."""
    images = {name: NotedImages(size) for name, size in sizes.items()}
    place_images({name: cast(Images, one) for name, one in images.items()}, Runtime(device))
    return {name: one.told for name, one in images.items()}


def give_free_memory(monkeypatch: pytest.MonkeyPatch, free: dict[torch.device, int]) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device], 80 * GIB))


def test_splits_that_fit_together_are_all_kept_on_the_device() -> None:
    assert fitting({"train": 30 * GIB, "test": 10 * GIB}, FREE) == {"train", "test"}


def test_splits_are_counted_together_and_the_first_ones_first() -> None:
    sizes = {"train": 30 * GIB, "validation": 20 * GIB, "test": 10 * GIB}
    assert fitting(sizes, FREE) == {"train", "test"}


def test_a_split_that_is_too_large_stays_and_leaves_room_for_others() -> None:
    assert fitting({"train": 41 * GIB, "test": 40 * GIB}, FREE) == {"test"}
    assert fitting({"train": 1}, 0) == set()


def test_what_cannot_be_kept_on_a_device_is_not_placed_there() -> None:
    assert fitting({"train": 0, "test": GIB}, FREE) == {"test"}


def test_only_images_in_one_tensor_ask_for_room_on_a_device() -> None:
    split = ArraySplit(np.zeros((10, 6, 4, 3), dtype=np.uint8), [0] * 10, "black")
    small = Preprocessing(image_size=(2, 2))

    def asked(cache: Literal["memory", "none"], crop: Literal["pad", "inception"]) -> int:
        options = DataOptions(cache=cache)
        return open_images(split, small, options, AugmentOptions(crop=crop)).bytes_for_device

    assert asked("memory", "pad") == 10 * 3 * 2 * 2
    assert asked("memory", "inception") == 10 * 3 * 6 * 4
    assert asked("none", "inception") == 0


def test_what_fits_into_a_quarter_of_the_free_memory_is_moved_and_the_rest_is_pinned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give_free_memory(monkeypatch, {GPU: 40 * GIB})
    sizes = {"train": 7 * GIB, "validation": 4 * GIB, "test": 3 * GIB, "streamed": 0}
    assert told(sizes, GPU) == {
        "train": ["to cuda:1"],
        "validation": ["pin"],
        "test": ["to cuda:1"],
        "streamed": ["pin"],
    }


def test_a_quarter_means_what_is_free_not_what_the_device_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give_free_memory(monkeypatch, {GPU: 4 * GIB})
    assert told({"train": GIB}, GPU) == {"train": ["to cuda:1"]}
    assert told({"train": GIB + 1}, GPU) == {"train": ["pin"]}


def test_on_a_cpu_images_are_neither_moved_nor_pinned() -> None:
    assert told({"train": GIB, "streamed": 0}, torch.device("cpu")) == {"train": [], "streamed": []}

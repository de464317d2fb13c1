"""How much of a GPU images may take."""

import numpy as np
import torch

from mlpmixer.data.loader import open_images
from mlpmixer.data.options import AugmentOptions, DataOptions
from mlpmixer.data.placement import DEVICE_SHARE, fitting, place_images
from mlpmixer.data.splits import ArraySplit
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.runtime import Runtime

GIB = 2**30
FREE = int(40 * GIB / DEVICE_SHARE)  # 40 GiB for images


def test_splits_that_fit_together_are_all_kept_on_the_device():
    assert fitting({"train": 30 * GIB, "test": 10 * GIB}, FREE) == {"train", "test"}


def test_splits_are_counted_together_and_the_first_ones_first():
    sizes = {"train": 30 * GIB, "validation": 20 * GIB, "test": 10 * GIB}
    assert fitting(sizes, FREE) == {"train", "test"}


def test_a_split_that_is_too_large_stays_and_leaves_room_for_others():
    assert fitting({"train": 41 * GIB, "test": 40 * GIB}, FREE) == {"test"}
    assert fitting({"train": 1}, 0) == set()


def test_what_cannot_be_kept_on_a_device_is_not_placed_there():
    assert fitting({"train": 0, "test": GIB}, FREE) == {"test"}


def test_only_images_in_one_tensor_ask_for_room_on_a_device():
    split = ArraySplit(np.zeros((10, 6, 4, 3), dtype=np.uint8), [0] * 10, "black")
    small = Preprocessing(image_size=(2, 2))

    def asked(cache, crop):
        options = DataOptions(cache=cache)
        return open_images(split, small, options, AugmentOptions(crop=crop)).bytes_for_device

    assert asked("memory", "pad") == 10 * 3 * 2 * 2
    assert asked("memory", "inception") == 10 * 3 * 6 * 4
    assert asked("none", "inception") == 0


def test_on_a_cpu_nothing_is_moved():
    split = ArraySplit(np.zeros((10, 2, 2, 3), dtype=np.uint8), [0] * 10, "black")
    images = open_images(split, Preprocessing(image_size=(2, 2)), DataOptions())
    place_images({"train": images}, Runtime(torch.device("cpu")))
    assert next(images.evaluation_batches(10)).images.device.type == "cpu"

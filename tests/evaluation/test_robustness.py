"""Damaged images as batches: the same however they are shared."""

import numpy as np
import torch

from mlpmixer.data.corruptions import corrupt
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import DataOptions
from mlpmixer.data.splits import ArraySplit
from mlpmixer.evaluation.robustness import CorruptedImages
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.ranks import Ranks


def test_batches_and_ranks_see_the_same_damage() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
    split = ArraySplit(pixels, np.arange(10) % 3, "noise")
    images = open_images(split, Preprocessing(image_size=(8, 8)), DataOptions())
    damaged = CorruptedImages(images, "gaussian_noise", 4)
    assert len(damaged) == 10
    (whole,) = damaged.evaluation_batches(10)
    stored = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    assert torch.equal(whole.images, corrupt(stored, range(10), "gaussian_noise", 4))
    assert torch.equal(whole.labels, torch.arange(10) % 3)
    shares = [list(damaged.evaluation_batches(4, Ranks(rank=rank, world=2))) for rank in (0, 1)]
    parts = [shares[0][0], shares[1][0], shares[0][1]]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.indices for part in parts]), torch.arange(10))

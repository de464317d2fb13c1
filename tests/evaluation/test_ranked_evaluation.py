"""Evaluations and features on several processes are those of one, to the bit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rank_processes import on_ranks

import mlpmixer
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import DataOptions
from mlpmixer.evaluation.classify import accuracy, classify
from mlpmixer.evaluation.features import extract
from mlpmixer.ranks import ALONE, Ranks
from mlpmixer.runtime import Runtime


@dataclass
class Noise:
    """75 images of 8x8 pixels; a whole batch of 8 and some others are none."""

    count: int = 75

    @property
    def labels(self) -> NDArray[np.int64]:
        return np.arange(self.count) % 5

    def __len__(self) -> int:
        return self.count

    def encoded(self, index: int) -> bytes | NDArray[np.uint8]:
        if 16 <= index < 24 or index % 20 == 3:
            return b"no image"
        return np.random.default_rng(index).integers(256, size=(8, 8, 3), dtype=np.uint8)

    def name(self, index: int) -> str:
        return f"noise/{index}.png"


def measured(ranks: Ranks, cache: str) -> list[Any]:
    torch.manual_seed(0)
    model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=2, num_classes=5, depth=1)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    options = DataOptions(cache=cache, workers=1, max_unreadable=0.5)  # type: ignore[arg-type]
    images = open_images(Noise(), model.preprocessing, options)
    runtime = Runtime(torch.device("cpu"), ranks=ranks)
    evaluation = classify(model, images, runtime, batch_size=8)
    features, labels = extract(model, images, runtime, batch_size=8, keep=False)
    found = evaluation.predictions
    return [
        *(found.predicted, found.confidence, found.labels, found.indices),
        *(features.numpy(), labels.numpy()),
        np.array(list(evaluation.metrics.values())),
        np.array(accuracy(model, images, runtime, batch_size=8)),
    ]


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_ranks_give_the_figures_of_one_process(cache: str) -> None:
    expected = measured(ALONE, cache)
    assert len(expected[0]) == 64
    for found in on_ranks(3, measured, cache):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_more_ranks_than_batches_do_not_wait_for_ever() -> None:
    for found in on_ranks(4, few):
        assert found == few(ALONE)


def few(ranks: Ranks) -> float:
    model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=2, num_classes=5, depth=1)
    images = open_images(Noise(10), model.preprocessing, DataOptions(max_unreadable=0.5))
    return accuracy(model, images, Runtime(torch.device("cpu"), ranks=ranks), batch_size=8)

"""Throughput: fair to all models."""

from collections.abc import Callable
from itertools import groupby
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mlpmixer
from mlpmixer.evaluation.throughput import latency, throughput
from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import Runtime

CPU = Runtime(torch.device("cpu"))
SHAPE: dict[str, Any] = {
    **{"patch_size": 4, "width": 8, "depth": 1},
    **{"tokens_mlp_dim": 4, "channels_mlp_dim": 8},
}


@pytest.fixture
def models() -> dict[str, ImageModel]:
    return {
        str(size): mlpmixer.create_model("mixer", image_size=size, num_classes=2, **SHAPE)
        for size in (8, 16)
    }


def test_images_are_counted_at_a_batch_size_of_each_models_own(
    models: dict[str, ImageModel],
) -> None:
    found = throughput(models, CPU, rounds=3, seconds=0.01, largest_batch=8)
    for one in found.values():
        assert one.batch_size in (1, 2, 4, 8)
        assert len(one.rounds) == 3
        assert sorted(one.rounds)[1] == one.images_per_second > 0


def note_batches(models: dict[str, ImageModel]) -> list[tuple[str, int]]:
    """Return a list that fills with the model and the number of images of each batch from now."""
    batches: list[tuple[str, int]] = []

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: batches.append((name, len(inputs[0])))

    for name, model in models.items():
        model.register_forward_pre_hook(note(name))
    return batches


def turns(batches: list[tuple[str, int]]) -> list[str]:
    return [name for name, _ in groupby(batches, key=lambda batch: batch[0])]


def test_models_take_turns(models: dict[str, ImageModel]) -> None:
    """So that a machine that slows down slows all of them down alike."""
    batches = note_batches(models)
    found = throughput(models, CPU, rounds=4, seconds=0.005, largest_batch=4)
    assert turns(batches) == ["8", "16"] * (1 + 4)  # the search for the batch size comes first
    rounds = [list(turn) for _, turn in groupby(batches, key=lambda batch: batch[0])][2:]
    for turn in rounds:
        assert {size for _, size in turn} == {found[turn[0][0]].batch_size}


def test_models_take_turns_with_single_images_too(models: dict[str, ImageModel]) -> None:
    batches = note_batches(models)
    for model in models.values():
        model.train()
    found = latency(models, CPU, rounds=4, seconds=0.005)
    assert turns(batches) == ["8", "16"] * 4
    assert {size for _, size in batches} == {1}
    assert not any(model.training for model in models.values())
    assert list(found) == ["8", "16"]
    assert all(seconds > 0 for seconds in found.values())

"""Throughput: fair to all models."""

from collections.abc import Callable
from itertools import groupby

import pytest
import torch
from torch import Tensor, nn

import mlpmixer
from mlpmixer.evaluation.throughput import throughput
from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import Runtime

CPU = Runtime(torch.device("cpu"))
SHAPE = {"patch_size": 4, "width": 8, "depth": 1, "tokens_mlp_dim": 4, "channels_mlp_dim": 8}


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


def test_models_take_turns(models: dict[str, ImageModel]) -> None:
    """So that a machine that slows down slows all of them down alike."""
    calls: list[tuple[str, int]] = []

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: calls.append((name, len(inputs[0])))

    for name, model in models.items():
        model.register_forward_pre_hook(note(name))
    found = throughput(models, CPU, rounds=4, seconds=0.005, largest_batch=4)
    turns = [name for name, _ in groupby(calls, key=lambda call: call[0])]
    assert turns == ["8", "16"] * (1 + 4)  # the search for the batch size comes first
    rounds = [list(calls) for _, calls in groupby(calls, key=lambda call: call[0])][2:]
    for turn in rounds:
        assert {size for _, size in turn} == {found[turn[0][0]].batch_size}

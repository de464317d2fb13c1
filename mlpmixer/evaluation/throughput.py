"""How many images a second models classify, measured side by side.

Machines change their speed from second to second, so the models take turns, several rounds, and
the median counts. Each runs at the batch size that suits it best.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mlpmixer.evaluation.forward import respond
from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import Runtime, keep_freed_memory

LARGEST_BATCH = 1024
_WORTH_IT = 1.03
"""A larger batch must be this much faster to be taken; two that are not end the search."""


@dataclass(frozen=True)
class Throughput:
    """The speed of one model."""

    batch_size: int
    images_per_second: float
    """Median of the rounds."""
    rounds: tuple[float, ...]
    """Images a second in each."""


def throughput(
    models: Mapping[str, ImageModel],
    runtime: Runtime,
    *,
    rounds: int = 7,
    seconds: float = 1.0,
    largest_batch: int = LARGEST_BATCH,
) -> dict[str, Throughput]:
    """Measure inference with random images, which lie on the device already.

    Args:
        models: by name; moved to the device and put into evaluation mode.
        runtime: where to run, and in which precision.
        rounds: turns of each model.
        seconds: length of a turn.
        largest_batch: no larger batch is tried.
    """
    keep_freed_memory()
    sizes = {}
    for name, model in models.items():
        model.to(runtime.device).eval()
        sizes[name] = best_batch_size(model, runtime, seconds / 2, largest_batch)
    speeds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            speeds[name].append(_speed(model, sizes[name], runtime, seconds))
    return {
        name: Throughput(sizes[name], statistics.median(found), tuple(found))
        for name, found in speeds.items()
    }


def latency(
    models: Mapping[str, ImageModel], runtime: Runtime, *, rounds: int = 7, seconds: float = 1.0
) -> dict[str, float]:
    """Return the seconds that one image takes, the median of rounds in turn.

    Args:
        models: by name; moved to the device and put into evaluation mode.
        runtime: where to run, and in which precision.
        rounds: turns of each model.
        seconds: length of a turn.
    """
    keep_freed_memory()
    taken: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            model.to(runtime.device).eval()
            taken[name].append(1 / _speed(model, 1, runtime, seconds))
    return {name: statistics.median(found) for name, found in taken.items()}


def best_batch_size(
    model: ImageModel, runtime: Runtime, seconds: float, largest: int = LARGEST_BATCH
) -> int:
    """Return the power of two at which a model classifies most images a second."""
    best, best_speed, size, in_vain = 1, 0.0, 1, 0
    while size <= largest and in_vain < 2:
        try:
            speed = _speed(model, size, runtime, seconds)
        except torch.OutOfMemoryError:
            break
        if speed > best_speed * _WORTH_IT:
            best, best_speed, in_vain = size, speed, 0
        else:
            in_vain += 1
        size *= 2
    return best


def _speed(model: ImageModel, size: int, runtime: Runtime, seconds: float) -> float:
    """Return images a second over at least `seconds`, after one batch of warm-up."""
    images = torch.rand(size, 3, *model.image_size, device=runtime.device) * 2 - 1
    respond(model, images, runtime)
    runtime.synchronize()
    begun, batches = time.perf_counter(), 0
    while batches == 0 or time.perf_counter() - begun < seconds:
        respond(model, images, runtime)
        runtime.synchronize()
        batches += 1
    return batches * size / (time.perf_counter() - begun)

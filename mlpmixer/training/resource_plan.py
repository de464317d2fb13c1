"""Which settings let a training fit on some devices, and how long its steps take."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from mlpmixer.errors import UsageError
from mlpmixer.models.hollow import hollow_copy
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.model_summary import FLOPS_PER_MAC, TRAINING_FLOPS_PER_MAC, count_macs
from mlpmixer.training.recipe import OptimizerOptions
from mlpmixer.training.step_memory import StepMemory, step_memory

RESERVE = 0.1
"""Share of a device's memory that is left to its libraries, and to gaps between blocks."""


@dataclass(frozen=True, kw_only=True)
class StepSetting:
    """A way to take a step, and what it takes on each device."""

    precision: str
    recompute: bool
    """Whether blocks are computed again in the backward pass: --grad-checkpointing."""
    sharded: bool
    """Whether weights, gradients and optimizer state are split over the devices."""
    accumulate: int
    memory: StepMemory
    fits: bool
    steps_per_day: float


@dataclass(frozen=True, kw_only=True)
class ResourcePlan:
    """Ways to take a step, from the plainest to the one that takes least."""

    model: str
    image_size: tuple[int, int]
    batch_size: int
    """Images a step, over all devices."""
    devices: int
    device_bytes: float
    settings: tuple[StepSetting, ...]
    chosen: int | None
    """The first setting that fits, if any does without sharding; None where none fits."""


def plan_resources(
    model: ImageModel,
    options: OptimizerOptions,
    *,
    devices: int,
    device_bytes: float,
    operations: float,
) -> ResourcePlan:
    """Return what a training step takes in several settings, up to the first that fits.

    Args:
        model: on any device, "meta" included; it stays as it is.
        options: the optimizer, with the images a step over all devices.
        devices: how many share the batch.
        device_bytes: memory of each.
        operations: floating-point operations a second that each sustains.

    Raises:
        UsageError: the batch cannot be split over the devices.
    """
    if options.images_a_step % devices:
        raise UsageError(
            f"a batch of {options.images_a_step} images cannot be split over {devices} GPUs: give "
            f"a --batch-size that is a multiple of {devices}."
        )
    macs = count_macs(model)
    own = replace(options, batch_size=options.images_a_step // devices)
    settings: list[StepSetting] = []
    for precision, recompute, sharded, accumulate in _ways(own.images_a_step, devices):
        if accumulate > 1 and any(one.fits and not one.sharded for one in settings):
            break
        copy = hollow_copy(model, "meta")
        copy.set_grad_checkpointing(recompute)
        parts = replace(own, accumulate=accumulate)
        memory = _on_each(
            copy, step_memory(copy, parts, getattr(torch, precision)), devices, sharded
        )
        again = FLOPS_PER_MAC if recompute else 0  # the forward pass is made twice
        seconds = macs * (TRAINING_FLOPS_PER_MAC + again) * own.images_a_step / operations
        settings.append(
            StepSetting(
                precision=precision,
                recompute=recompute,
                sharded=sharded,
                accumulate=accumulate,
                memory=memory,
                fits=memory.total <= (1 - RESERVE) * device_bytes,
                steps_per_day=86400 / seconds,
            )
        )
    fitting = [index for index, setting in enumerate(settings) if setting.fits]
    fitting.sort(key=lambda index: settings[index].sharded)  # whole models first
    return ResourcePlan(
        model=model.name,
        image_size=model.image_size,
        batch_size=options.images_a_step,
        devices=devices,
        device_bytes=device_bytes,
        settings=tuple(settings),
        chosen=fitting[0] if fitting else None,
    )


def _ways(images: int, devices: int) -> Iterator[tuple[str, bool, bool, int]]:
    """Yield precision, recomputation, sharding and parts; the plainest first."""
    yield "float32", False, False, 1
    yield "bfloat16", False, False, 1
    yield "bfloat16", True, False, 1
    if devices > 1:
        yield "bfloat16", True, True, 1
    parts = 2
    while images % parts == 0:
        yield "bfloat16", True, False, parts
        parts *= 2
    if devices > 1 and parts > 2:
        yield "bfloat16", True, True, parts // 2


def _on_each(model: ImageModel, alone: StepMemory, devices: int, sharded: bool) -> StepMemory:
    """Return what each of several devices takes, of what one takes alone."""
    if devices == 1:
        return alone
    size = max(one.element_size() for one in model.parameters())
    gradients = size * sum(one.numel() for one in model.parameters() if one.requires_grad)
    if not sharded:  # gradients wait in buckets until all devices have theirs
        return replace(alone, gradients=gradients)
    gathered = 2 * _largest_block(model)  # the one that computes, and the next one on its way
    return StepMemory(
        weights=alone.weights // devices + gathered,
        optimizer=alone.optimizer // devices,
        average=alone.average // devices,
        gradients=gradients // devices,
        activations=alone.activations,
    )


def _largest_block(model: ImageModel) -> int:
    """Return the bytes of the largest part of the model that is gathered as one."""
    sizes: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        numbered = [index for index, part in enumerate(parts) if part.isdigit()]
        part = ".".join(parts[: numbered[0] + 1] if numbered else parts[:1])
        sizes[part] = sizes.get(part, 0) + parameter.numel() * parameter.element_size()
    return max(sizes.values())

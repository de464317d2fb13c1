"""The memory of a training step, counted without taking it.

The trainer's own step runs on tensors without numbers (PyTorch's FakeTensorMode), and each storage
is counted while it lives. So optimizer, averaging, precision and recomputation need no formulas.
"""

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mlpmixer.models.hollow import hollow_copy
from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipe import OptimizerOptions, Recipe
from mlpmixer.training.step import TrainingStep


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """Bytes that a training step takes on one device."""

    weights: int
    """Of the model, buffers included."""
    optimizer: int
    """What the optimizer keeps between steps."""
    average: int
    """The averaged weights."""
    gradients: int
    """Where they are kept beside all activations: over parts of a batch, or for other devices."""
    activations: int
    """The rest at the peak: what the backward pass needs, with the gradients made by then."""

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        kept = self.weights + self.optimizer + self.average
        return kept + self.gradients + self.activations


def step_memory(model: ImageModel, options: OptimizerOptions, precision: torch.dtype) -> StepMemory:
    """Return what a training step of one device takes at its peak, in PyTorch's own operations.

    Args:
        model: on any device, "meta" included; it stays as it is. Its blocks are computed again in
            the backward pass where `set_grad_checkpointing` said so.
        options: the optimizer, with the images a step of this device as `batch_size`. With
            `accumulate` parts, one part is computed, beside the gradients of all.
        precision: of the matrix products.
    """
    parts = options.accumulate
    images_at_once = -(-options.images_a_step // parts)
    alone = replace(options, batch_size=images_at_once, accumulate=1, ema=0.0)
    with FakeTensorMode(), _LiveBytes() as memory:
        copy = hollow_copy(model, "cpu")
        # On a CPU native kernels compute steps in float32 and bfloat16, as on no other device.
        step = TrainingStep(copy, replace(Recipe(), optimizer=alone), _runtime(torch.float16))
        step.runtime = _runtime(precision)
        images = torch.empty(images_at_once, copy.in_channels, *copy.image_size)
        targets = torch.empty(images_at_once, copy.num_classes)
        step(images, targets, 0, 1.0)  # the optimizer makes its state
        memory.forget_peak()
        step(images, targets, alone.sam_every, 1.0)  # one that looks, if any does
        weights = _bytes([*copy.parameters(), *copy.buffers()])
        state = _bytes(_optimizer_state(step))
        average = weights if options.ema else 0  # a copy, which fake tensors cannot be put into
        gradients = _bytes(step.optimizers.parameters) if parts > 1 else 0
    return StepMemory(
        weights=weights,
        optimizer=state,
        average=average,
        gradients=gradients,
        activations=memory.peak - weights - state,
    )


def _runtime(precision: torch.dtype) -> Runtime:
    return Runtime(torch.device("cpu"), precision)


def _optimizer_state(step: TrainingStep) -> list[Tensor]:
    states = [state for one in step.optimizers.all for state in one.state.values()]
    return [value for state in states for value in state.values() if isinstance(value, Tensor)]


def _bytes(tensors: Iterable[Tensor]) -> int:
    storages = {one.untyped_storage()._cdata: one.untyped_storage() for one in tensors}
    return sum(storage.nbytes() for storage in storages.values())


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations made and that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation and count what it made."""
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, Tensor):
                self._count(one.untyped_storage())
        return made

    def forget_peak(self) -> None:
        """Let the peak begin at what lives now."""
        self.peak = self.live

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: Any) -> None:
            self._known.pop(key, None)
            self.live -= size

        self._known[key] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)

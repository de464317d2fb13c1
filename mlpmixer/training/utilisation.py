"""How well a long training uses its machine: memory, and its share of the peak arithmetic."""

import time

import torch

from mlpmixer.errors import MixerError
from mlpmixer.kernels.ceilings import product_ceiling
from mlpmixer.kernels.native import Precision
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.model_summary import TRAINING_FLOPS_PER_MAC, count_macs
from mlpmixer.runtime import Runtime, peak_memory

LONG_RUN = 120.0
"""Seconds of training after which the machine's peak is measured: it takes some seconds once, which
a short run would feel."""
_SIDE = 8192
"""Of the matrices whose product measures a GPU."""


class Utilisation:
    """Measures a training as it goes on.

    Args:
        model: what is trained.
        runtime: where, and in which precision the products are.
    """

    def __init__(self, model: ImageModel, runtime: Runtime) -> None:
        self._model = model
        self._runtime = runtime
        self._started = time.monotonic()
        self._peak: float | None = None
        self._operations: float | None = None
        self._measured = False

    def measure(self) -> None:
        """Measure the machine's peak, once and when the run is long.

        On a CPU while the loop waits for it: what else computes there lowers the peak.
        """
        if self._measured or time.monotonic() - self._started < LONG_RUN:
            return
        self._measured = True
        if all(parameter.requires_grad for parameter in self._model.parameters()):
            self._operations = TRAINING_FLOPS_PER_MAC * count_macs(self._model)
            self._peak = peak_operations(self._runtime)

    def facts(self, images_per_second: float) -> dict[str, float]:
        """Return "memory_bytes", the most so far, and "mfu" in [0, 1] where it is known.

        The model FLOPs utilisation is the operations that the model needs for so many images
        a second, over those that this device can do; what is computed twice to save memory does not
        count. It is not told for a model of which parts are frozen.
        """
        facts: dict[str, float] = {"memory_bytes": peak_memory(self._runtime.device)}
        if self._peak and self._operations:
            facts["mfu"] = images_per_second * self._operations / self._peak
        return facts


def peak_operations(runtime: Runtime) -> float | None:
    """Return the operations a second of matrix products here, measured; None where that fails."""
    if runtime.device.type == "cuda":
        return _gpu_peak(runtime)
    precision: Precision = "float32" if runtime.precision == torch.float32 else "bfloat16"
    try:
        return product_ceiling(precision)
    except MixerError:  # no native kernels here
        return None


def _gpu_peak(runtime: Runtime, repetitions: int = 5) -> float | None:
    """Return the speed of the best of some products of large square matrices."""
    try:
        left, right = torch.randn(2, _SIDE, _SIDE, device=runtime.device, dtype=runtime.precision)
        product = left @ right
    except torch.OutOfMemoryError:
        return None
    seconds = []
    for _ in range(repetitions):
        runtime.synchronize()
        begun = time.monotonic()
        torch.mm(left, right, out=product)
        runtime.synchronize()
        seconds.append(time.monotonic() - begun)
    return 2.0 * _SIDE**3 / min(seconds)

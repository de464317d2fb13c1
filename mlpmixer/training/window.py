"""What is averaged over some steps, and becomes a line of metrics."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

import torch
from torch import Tensor

from mlpmixer.ranks import Ranks
from mlpmixer.runtime import Runtime
from mlpmixer.training.step import StepResult

EXPLOSION_FACTOR = 10.0
"""A step's loss more than this many times the mean of the first steps has exploded. The mean counts
as 1 at least: after a start from good weights a hard batch may exceed a tiny one many times."""


class BadStep(NamedTuple):
    """A step that ruined the weights, or whose loss is no number or far above that of the start.

    The loss of one that ruined the weights is NaN.
    """

    step: int
    loss: float
    indices: Tensor
    """Positions of the batch's images in the split, int64 (B,)."""

    @classmethod
    def gathered(cls, ranks: Ranks, step: int, loss: float, indices: Tensor) -> Self:
        """Return the step of which each rank knows the positions of its own images."""
        return cls(step, loss, torch.stack(ranks.gather(indices), dim=1).flatten())


class Window:
    """The steps since the last line of metrics; losses stay on the device until the next one."""

    def __init__(self, runtime: Runtime) -> None:
        self._ranks = runtime.ranks
        self._on_gpu = runtime.device.type == "cuda"
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._batches: list[tuple[int, Tensor]] = []
        self._correct = torch.zeros((), device=runtime.device)
        self._images = 0
        self._waited = 0.0
        self._taught: float | None = None
        self._teaching: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._since = time.monotonic()

    def __len__(self) -> int:
        return len(self._losses)

    def add(self, number: int, result: StepResult, indices: Tensor) -> None:
        """Count a step on the images at these positions."""
        self._losses.append(result.loss)
        self._batches.append((number, indices))
        self._correct = self._correct + result.correct
        self._norms.append(result.gradient_norm)
        self._images += len(indices)

    def wait(self, seconds: float) -> None:
        """Count the time in which there was no batch to train on."""
        self._waited += seconds

    @contextmanager
    def teaching(self) -> Iterator[None]:
        """Count the time in which the block lets a teacher answer; on a GPU that of the device."""
        if self._on_gpu:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            yield
            end.record()
            self._teaching.append((begin, end))
            return
        begun = time.monotonic()
        yield
        self._taught = (self._taught or 0.0) + time.monotonic() - begun

    def leave_out(self, seconds: float) -> None:
        """Take a pause out of the time in which images were trained on."""
        self._since += seconds

    def bad_step(self, first_loss: float | None) -> BadStep | None:
        """Return the first step whose loss or gradient is no number, or whose loss has exploded.

        It waits for the device. A gradient that is no number has ruined the weights, whatever the
        loss at them was: `SharpnessAware` steps by one from above them.

        Args:
            first_loss: mean of the first steps; None while it is not known.
        """
        limit = math.inf if first_loss is None else EXPLOSION_FACTOR * max(first_loss, 1.0)
        if not self._losses:
            return None
        losses, norms = torch.stack(self._losses), torch.stack(self._norms)
        losses = torch.where(norms.isfinite(), losses, math.nan)
        for loss, (number, indices) in zip(
            self._ranks.mean(losses.tolist()), self._batches, strict=True
        ):
            if not math.isfinite(loss) or loss > limit:
                return BadStep.gathered(self._ranks, number, loss, indices)
        return None

    def means(self) -> dict[str, float]:
        """Return the means by the names that the training curves know; waits for the device.

        They are those of all ranks. "teacher_time", where there is a teacher, is its share of the
        time. "data_wait" is the share of the time in which the loop waited
        for its next batch. A GPU may have computed meanwhile, so it says from where on data cannot
        be the limit.
        """
        seconds = time.monotonic() - self._since
        own = {
            "loss": float(torch.stack(self._losses).mean()),
            "train_accuracy": float(self._correct) / self._images,
            "gradient_norm": float(torch.stack(self._norms).mean()),
            "images_per_second": self._images * self._ranks.world / seconds,
            "data_wait": min(1.0, self._waited / seconds),
        }
        taught = self._taught
        if self._teaching:
            self._teaching[-1][1].synchronize()
            taught = sum(begin.elapsed_time(end) for begin, end in self._teaching) / 1000
        if taught is not None:
            own["teacher_time"] = min(1.0, taught / seconds)
        return dict(zip(own, self._ranks.mean(list(own.values())), strict=True))

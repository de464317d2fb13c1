"""How long a training lasts, and how the learning rate runs over that time."""

import math
from dataclasses import dataclass
from typing import Self

from mlpmixer.data.batches import steps_per_epoch
from mlpmixer.errors import UsageError
from mlpmixer.training.recipe import Recipe, ScheduleOptions


@dataclass(frozen=True)
class Schedule:
    """A budget in steps or in minutes, and the learning rate at each place of it."""

    options: ScheduleOptions
    steps_per_epoch: int
    steps: int | None
    """The budget in steps; None where it is given in minutes."""

    @classmethod
    def of(cls, recipe: Recipe, images: int) -> Self:
        """Return the schedule of a recipe on that many training images.

        Raises:
            UsageError: the batch is larger than the data, or the warm-up longer than the budget.
        """
        options = recipe.schedule
        per_epoch = steps_per_epoch(images, recipe.optimizer.images_a_step)
        if options.minutes is not None:
            return cls(options, per_epoch, None)
        steps = options.steps or max(1, round((options.epochs or 0) * per_epoch))
        if options.warmup_steps is not None and options.warmup_steps >= steps:
            raise UsageError(
                f"a warm-up of {options.warmup_steps} steps does not fit a budget of {steps} "
                "steps. Use --warmup 0.05, or warmup = 0.05 in the recipe file, in its place: a "
                "twentieth of the budget."
            )
        return cls(options, per_epoch, steps)

    def share_done(self, step: int, seconds: float) -> float:
        """Return how much of the budget is spent after `step` steps and `seconds`, in [0, 1]."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        assert self.options.minutes is not None
        return min(1.0, seconds / (60 * self.options.minutes))

    def learning_rate_factor(self, step: int, seconds: float) -> float:
        """Return the share of the peak learning rate in the step that begins now."""
        warmup_steps = self.options.warmup_steps
        if self.steps is not None:
            warmup = None if warmup_steps is None else warmup_steps / self.steps
            return learning_rate_factor((step + 0.5) / self.steps, self.options, warmup)
        done = self.share_done(step, seconds)
        if warmup_steps is None:
            return learning_rate_factor(done, self.options)
        if step < warmup_steps:
            return (step + 0.5) / warmup_steps
        return learning_rate_factor(done, self.options, 0.0)


def learning_rate_factor(
    progress: float, options: ScheduleOptions, warmup: float | None = None
) -> float:
    """Return the share of the peak learning rate at `progress` in [0, 1] through the budget.

    A linear rise over the warm-up, then a cosine, a straight line or a plateau down to
    `final_learning_rate`. `warmup` is a share of the budget, by default that of the options.
    """
    warmup = options.warmup if warmup is None else warmup
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / max(1e-9, 1 - warmup)
    shape = {
        "cosine": (1 + math.cos(math.pi * min(rest, 1.0))) / 2,
        "linear": 1 - min(rest, 1.0),
        "constant": 1.0,
    }[options.schedule]
    return options.final_learning_rate + (1 - options.final_learning_rate) * shape

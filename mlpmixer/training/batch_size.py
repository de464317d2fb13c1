"""`--batch-size auto`: the largest batch that fits in memory, found by taking steps.

Sizes double from one to the next. Each is tried by the trainer's own step, and none is tried whose
forecast from the sizes before does not fit: on a CPU the system would end the process.
"""

import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from mlpmixer.errors import UsageError
from mlpmixer.formatting import memory
from mlpmixer.memory import forget_peak, free_memory, used_memory
from mlpmixer.ranks import Ranks
from mlpmixer.run.console import Console
from mlpmixer.runtime import peak_memory
from mlpmixer.training.batch_checks import check_batch
from mlpmixer.training.parallel import shards
from mlpmixer.training.plan import Plan
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.schedule import Schedule
from mlpmixer.training.step_memory import step_memory
from mlpmixer.training.trial import Trial

MOST = 1024
"""Images a step that `auto` stops at: beyond it, learning rates that suit usual batches do not."""
STEPS_AN_EPOCH = 8
"""Fewest steps that `auto` lets an epoch have: a batch of all images would be one."""
FEWEST = 8
"""Images a step that `auto` goes up to however few images there are."""
SAFE_SHARE = 0.8
"""Share of the free memory that a step may take: loading, validation and gaps need the rest."""
SLOW = 10.0
"""Seconds of a step after which larger batches are not tried, and taken by the forecast alone."""


@dataclass(frozen=True)
class StepCost:
    """What a step on so many images took."""

    images: int
    used: float
    """Bytes beyond what was in use before the first one."""
    seconds: float


class DoesNotFit(Exception):
    """A step takes more memory than there is for it."""

    def __init__(self, used: float | None = None) -> None:
        self.used = used
        """Bytes that it took, where that is known."""


def smallest_batch(recipe: Recipe, ranks: Ranks) -> Recipe:
    """Return the recipe with the smallest batch that `auto` may choose, to plan the training with.

    Raises:
        UsageError: the ranks can share no batch.
    """
    return _with(recipe, _candidates(recipe, ranks, MOST)[0])


def settle_batch_size(planned: Plan, console: Console) -> Plan:
    """Return the plan with the largest batch that fits, found by steps on a copy of its model.

    All ranks ask for it at once and get the same. The images should be in memory by then.

    Args:
        planned: with the batch of `smallest_batch`.
        console: is told what was found.

    Raises:
        UsageError: not even the smallest batch fits, the model is cut up over the ranks, or the
            schedule does not fit the batch.
    """
    recipe, runtime, images = planned.recipe, planned.runtime, len(planned.dataset.splits["train"])
    ranks = runtime.ranks
    most = min(MOST, max(min(FEWEST, images), images // STEPS_AN_EPOCH))
    sizes = _candidates(recipe, ranks, most)
    with ranks.together():
        if shards(planned.model, recipe, runtime):
            raise UsageError(
                "--batch-size auto cannot be measured for a model that is cut up over ranks: give "
                "a number, or --shard never."
            )
        free = free_memory(runtime.device)
        if runtime.device.type == "cpu":
            free //= ranks.local_world
        try:
            tried = largest(
                [size // ranks.world for size in sizes], SAFE_SHARE * free, measured_steps(planned)
            )
        except DoesNotFit as error:
            taken = "more" if error.used is None else memory(round(error.used))
            raise UsageError(
                f"a batch of {sizes[0]} takes {taken}, of {memory(free)} that are free: use "
                "--grad-checkpointing, a smaller --image-size or a smaller --model."
            ) from None
        finally:
            gc.collect()
            forget_peak(runtime.device)  # what the run reports is its own
    chosen = min(ranks.gather(tried.images)) * ranks.world
    limit = (
        "the largest that auto takes here" if chosen == sizes[-1] else "twice as many would not fit"
    )
    console.message(
        f"batches of {chosen:,} images: {limit}; a step takes {memory(round(tried.used))} of the "
        f"{memory(free)} that are free"
    )
    recipe = _with(recipe, chosen)
    with ranks.together():
        schedule = Schedule.of(recipe, images)
    return replace(planned, recipe=recipe, schedule=schedule)


def largest(sizes: list[int], limit: float, step: Callable[[int], StepCost]) -> StepCost:
    """Return what a step on the largest batch took that fits.

    Args:
        sizes: rising, in images.
        limit: bytes that a step may take.
        step: takes steps on so many images; raises DoesNotFit where memory does not suffice.

    Raises:
        DoesNotFit: not even the smallest one does.
    """
    before: StepCost | None = None
    best: StepCost | None = None
    for size in sizes:
        expected = _forecast(before, best, size)
        if expected is not None and expected.used > limit:
            break
        if expected is not None and before is not None and expected.seconds > SLOW:
            tried = expected
        else:
            try:
                tried = step(size)
                if tried.used > limit:
                    raise DoesNotFit(tried.used)
            except DoesNotFit:
                if best is None:
                    raise
                break
        before, best = best, tried
    assert best is not None
    return best


def _forecast(before: StepCost | None, last: StepCost | None, images: int) -> StepCost | None:
    """Return what a larger batch should take: memory grows in a straight line with the images."""
    if last is None:
        return None
    if before is None:
        growth = last.used / last.images  # too much: weights and moments do not grow
    else:
        growth = (last.used - before.used) / (last.images - before.images)
    more = images - last.images
    return StepCost(images, last.used + growth * more, last.seconds * images / last.images)


def measured_steps(planned: Plan) -> Callable[[int], StepCost]:
    """Return what takes steps of a training and tells what they took."""
    device, several = planned.runtime.device, planned.runtime.ranks.world > 1
    moved = [one for one in planned.model.parameters() if one.requires_grad]
    exchanged = sum(one.nbytes for one in moved) if several else 0  # gradients on their way
    before = used_memory(device)
    trial = Trial(planned, keep=True)

    def step(images: int) -> StepCost:
        measured = forget_peak(device)
        try:
            trial(images, 0)  # compiles, and makes the optimizer's state
            planned.runtime.synchronize()
            begun = time.monotonic()
            trial(images, 0)
            planned.runtime.synchronize()
        except torch.OutOfMemoryError:
            raise DoesNotFit from None
        finally:
            if device.type == "cuda":
                gc.collect()
                torch.cuda.empty_cache()
        seconds = time.monotonic() - begun
        if before is None or not measured:
            return StepCost(images, _planned(planned, images) + exchanged, seconds)
        return StepCost(images, peak_memory(device) - before + exchanged, seconds)

    return step


def _planned(planned: Plan, images: int) -> int:
    """Return what a step should take beside the model, where the system does not tell."""
    options = replace(planned.recipe.optimizer, batch_size=images)
    found = step_memory(planned.model, options, planned.runtime.precision)
    return found.total - found.weights


def _candidates(recipe: Recipe, ranks: Ranks, most: int) -> list[int]:
    """Return the sizes up to `most`, or else the smallest, that the ranks can share, rising."""
    unit = math.lcm(ranks.world * recipe.optimizer.accumulate, recipe.augment.repeats)
    found: list[int] = []
    size = unit
    while size <= most or not found:
        try:
            check_batch(_with(recipe, size), ranks)
        except UsageError:
            if size > MOST:
                raise
        else:
            found.append(size)
        size *= 2
    return found


def _with(recipe: Recipe, images: int) -> Recipe:
    return replace(recipe, optimizer=replace(recipe.optimizer, batch_size=images))

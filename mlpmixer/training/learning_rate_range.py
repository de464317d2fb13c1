"""A learning-rate range test: https://arxiv.org/abs/1506.01186, section 3.3.

The trainer's own step runs at learning rates that rise from step to step, here by a constant
factor, until the loss explodes. Where it falls, a rate is of use; where it rises again, too large.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlpmixer.data.augment import Augmenter
from mlpmixer.data.batches import Images
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import write_json
from mlpmixer.formatting import number
from mlpmixer.randomness import generator
from mlpmixer.report.figure_style import save_png
from mlpmixer.report.learning_rate_plots import learning_rate_figure
from mlpmixer.run.console import Console
from mlpmixer.run.directory import RunDirectory
from mlpmixer.run.progress import Progress
from mlpmixer.runtime import Runtime, keep_freed_memory
from mlpmixer.training.batch_size import settle_batch_size, smallest_batch
from mlpmixer.training.plan import Plan, plan
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.setup import read_images, training_step

STEPS = 200
"""Of a test that no explosion ends."""
LOWEST, HIGHEST = 1e-5, 10.0
"""Learning rates of the first and the last step."""
STOP_FACTOR = 4.0
"""The smoothed loss over the least one so far at which the test ends."""
_DECAY = 0.9
"""Of the running mean that tells an explosion."""
_WIDTH = 5.0
"""Steps: standard deviation of the Gaussian that smooths the curve to judge by."""
_LEAST_FALL = 0.02
"""Share of the loss at the start by which it has to fall for a suggestion."""
MOST_OF_THE_FALL = 0.95
"""Share of the whole fall of the smoothed loss: the curve is flat around its least value."""
SAFE_FACTOR = 3.0
"""What the suggestion stays below the lowest rate that does most of the fall."""


@dataclass(frozen=True)
class Curve:
    """The losses at rising learning rates."""

    rates: tuple[float, ...]
    """Learning rate of each step, as the recipe's `learning_rate` means it."""
    losses: tuple[float, ...]
    """Loss of each step, of all ranks; images count the same whatever --balance says."""
    exploded: bool
    """Whether the test ended because the loss did."""

    @property
    def smoothed(self) -> tuple[float, ...]:
        """The losses averaged over neighbouring steps."""
        places = np.arange(len(self.losses))
        kernel = np.exp(-0.5 * ((places[:, None] - places) / _WIDTH) ** 2)
        return tuple((kernel @ np.array(self.losses) / kernel.sum(axis=1)).tolist())

    @property
    def suggestion(self) -> float | None:
        """A peak learning rate: a third of the lowest that does most of the fall; None if none."""
        smoothed = np.array(self.smoothed)
        fall = smoothed[0] - smoothed.min()
        if fall < _LEAST_FALL * smoothed[0]:
            return None
        reached = int(np.argmax(smoothed <= smoothed[0] - MOST_OF_THE_FALL * fall))
        return float(f"{self.rates[reached] / SAFE_FACTOR:.2g}")


def find_learning_rate(
    recipe: Recipe, out: Path, console: Console, runtime: Runtime
) -> Mapping[str, Any]:
    """Test learning rates with a recipe's step, and write the curve as JSON and as a picture.

    No model is kept, and no run begun: `out` can become the folder of one.

    Args:
        recipe: of the training that is to follow. With several rates (Muon's for matrices, layers
            that learn more slowly) all rise alike, in the recipe's proportions.
        out: where the two files go: a folder without a run, made where it is missing.
        console: takes messages and progress.
        runtime: where to compute.

    Returns:
        As plain values: the learning rates to go on with, by the names of the recipe's fields, the
        batch size that they are for, and where the files are.

    Raises:
        UsageError: something that was asked for cannot be done, or `out` holds a run.
        MixerError: no learning rate lowered the loss.
    """
    keep_freed_memory()
    if not recipe.optimizer.learning_rate:
        raise UsageError("--learning-rate 0 cannot be scaled: give one above 0, such as 0.001.")
    ranks = runtime.ranks
    automatic = recipe.optimizer.batch_size == "auto"
    with ExitStack() as stack:
        with ranks.together():
            planned = plan(smallest_batch(recipe, ranks) if automatic else recipe, runtime)
            if ranks.leads:
                run = stack.enter_context(RunDirectory.prepare(out))
        for note in planned.notes:
            console.message(note)
        with ranks.together():
            images = read_images(planned, console, {"train"})
        if automatic:
            planned = settle_batch_size(planned, console)
        with console.progress("testing learning rates") as progress:
            curve = range_test(planned, images["train"], progress)
        optimizer = planned.recipe.optimizer
        found: dict[str, Any] = {
            "learning_rate": curve.suggestion,
            "batch_size": optimizer.images_a_step,
        }
        ratio = optimizer.matrix_learning_rate / optimizer.learning_rate
        if optimizer.optimizer == "muon" and curve.suggestion is not None:
            found["matrix_learning_rate"] = float(f"{curve.suggestion * ratio:.2g}")
        if ranks.leads:
            picture = run.figures / "learning_rates.png"
            write_json(run.learning_rates, _to_json(planned.recipe, curve, found))
            matrices = ratio if optimizer.optimizer == "muon" else None
            save_png(
                learning_rate_figure(
                    curve.rates, curve.losses, curve.smoothed, curve.suggestion, matrices
                ),
                picture,
            )
        with ranks.together():
            if curve.suggestion is None:
                raise MixerError(
                    f"no learning rate from {LOWEST:g} to {curve.rates[-1]:.2g} lowered the loss "
                    f"of {number(curve.smoothed[0])}; {out}/figures/learning_rates.png shows it. "
                    "Look at the data, or give a larger --batch-size."
                )
        if ranks.leads:
            found |= {"curve": str(run.learning_rates), "figure": str(picture)}
        return found


def range_test(planned: Plan, images: Images, progress: Progress) -> Curve:
    """Make steps at rising learning rates until the loss explodes, and return their losses.

    Of several ranks all make them together. The plan's model is of no use after it.
    """
    recipe, ranks, runtime = planned.recipe, planned.runtime.ranks, planned.runtime
    seed = recipe.compute.seed
    step, augmenter = training_step(planned), Augmenter(recipe.augment, planned.model.num_classes)
    rates: list[float] = []
    losses: list[float] = []
    mean, least = 0.0, math.inf
    batches = images.training_batches(recipe.optimizer.images_a_step, seed, 0, ranks)
    for place, batch in zip(range(STEPS), batches, strict=False):
        rate = LOWEST * (HIGHEST / LOWEST) ** (place / (STEPS - 1))
        inputs, targets = augmenter(
            runtime.place(batch.images),
            runtime.place(batch.labels),
            generator(seed, "augment", place),
            ranks,
        )
        factor = rate / recipe.optimizer.learning_rate
        teacher_logits = None if planned.teacher is None else planned.teacher(inputs)
        result = step(inputs, targets, place, factor, teacher_logits)
        (loss,) = ranks.mean([float(result.loss)])
        if not math.isfinite(loss):
            if not losses:
                raise MixerError(
                    f"the loss is {loss} before any step, so no learning rate can be found: look "
                    "at the weights and the images, or give --precision float32."
                )
            return Curve(tuple(rates), tuple(losses), exploded=True)
        rates.append(rate)
        losses.append(loss)
        mean = _DECAY * mean + (1 - _DECAY) * loss
        smoothed = mean / (1 - _DECAY ** (place + 1))
        least = min(least, smoothed)
        progress.update((place + 1) / STEPS, learning_rate=rate, loss=loss)
        if smoothed > STOP_FACTOR * least:
            return Curve(tuple(rates), tuple(losses), exploded=True)
    return Curve(tuple(rates), tuple(losses), exploded=False)


def _to_json(recipe: Recipe, curve: Curve, found: Mapping[str, Any]) -> dict[str, Any]:
    rows: Sequence[tuple[float, ...]] = (curve.rates, curve.losses, curve.smoothed)
    names = ("learning_rate", "loss", "smoothed_loss")
    points = [dict(zip(names, point, strict=True)) for point in zip(*rows, strict=True)]
    return {
        "suggested": dict(found),
        "ended_by": "explosion" if curve.exploded else "range",
        "optimizer": recipe.optimizer.optimizer,
        "steps": points,
    }

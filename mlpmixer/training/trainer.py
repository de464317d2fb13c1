"""The training loop."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mlpmixer.data.augment import Augmenter
from mlpmixer.data.batches import Images, steps_per_epoch
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.models.interface import ImageModel
from mlpmixer.randomness import derived_seed, generator
from mlpmixer.run.directory import RunDirectory
from mlpmixer.run.progress import Progress
from mlpmixer.runtime import autocast
from mlpmixer.training.interruption import Interruption
from mlpmixer.training.loss import classification_loss
from mlpmixer.training.optim import Optimizers, averaged, learning_rate_factor
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.state import Position, load_state, save_state

RECORDS = 200
"""Lines of training metrics that a run writes, spread over its steps or its minutes."""
SAVE_EVERY = 300.0
"""Seconds between two saved states."""

Validate = Callable[[ImageModel], float]
SaveModel = Callable[[ImageModel, Position], None]


@dataclass
class Window:
    """What is averaged between two lines of metrics; sums stay on the device until then."""

    loss: Tensor
    correct: Tensor
    gradient_norm: Tensor
    steps: int
    images: int
    since: float

    @classmethod
    def empty(cls, device: torch.device) -> "Window":
        """Start to average now."""
        zeros = torch.zeros(3, device=device)
        return cls(zeros[0], zeros[1], zeros[2], 0, 0, time.monotonic())


class Trainer:
    """Trains a model by a recipe.

    Args:
        recipe: what to do; its budget must have been checked.
        model: the model, on its device.
        images: the training images.
        augmenter: turns stored images into inputs and targets.
        validate: returns the accuracy of a model on the validation images, in [0, 1]; None if
            there are none.
        save_model: writes the model to where the best one belongs.
        run: takes the metrics and the states.
        precision: type of the matrix products.

    Raises:
        UsageError: the batch is larger than the data, or the warm-up longer than the budget.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: ImageModel,
        images: Images,
        augmenter: Augmenter,
        validate: Validate | None,
        save_model: SaveModel,
        run: RunDirectory,
        precision: torch.dtype,
    ) -> None:
        self.recipe = recipe
        self.model = model
        self.forward = torch.compile(model) if recipe.compute.compile else model
        self.images = images
        self.augmenter = augmenter
        self.validate = validate
        self.save_model = save_model
        self.run = run
        self.precision = precision
        self.device = next(model.parameters()).device
        self.optimizers = Optimizers(model, recipe.optimizer)
        decay = recipe.optimizer.ema
        self.average = averaged(model, decay) if decay else None
        self.steps_per_epoch = steps_per_epoch(len(images), recipe.optimizer.batch_size)
        self.total_steps = total_steps(recipe, len(images))
        self.position = Position()

    def resume(self) -> None:
        """Take up the state that an interrupted run left."""
        self.position = load_state(self.run.last, self.model, self.optimizers, self.average)
        self.run.truncate_after(self.position.step)

    def fit(self, progress: Progress) -> bool:
        """Train until the budget is spent.

        Returns:
            Whether it was; False if the training was interrupted and its state saved.

        Raises:
            MixerError: the loss is no longer a number.
        """
        here = self.position
        begun = last_saved = time.monotonic()
        seconds_before = here.seconds
        options = self.recipe.optimizer
        batches = self.images.training_batches(
            options.batch_size, self.recipe.compute.seed, here.step
        )
        window = Window.empty(self.device)
        with Interruption() as interruption:
            while (done := self._share_done()) < 1 and not interruption.wished:
                batch = next(batches)
                images, targets = self.augmenter(
                    batch.images.to(self.device, non_blocking=True),
                    batch.labels.to(self.device, non_blocking=True),
                    generator(self.recipe.compute.seed, "augment", here.step),
                    batch.aspect_ratios,
                )
                self._step(images, targets, window)
                here.step += 1
                here.seconds = seconds_before + time.monotonic() - begun
                now_done = self._share_done()
                if math.floor(now_done * RECORDS) > math.floor(done * RECORDS):
                    self._record(window, progress)
                    window = Window.empty(self.device)
                due = math.floor(now_done * self.recipe.schedule.evaluations)
                if due > here.evaluations:
                    here.evaluations = due
                    paused = time.monotonic()
                    self._validate(progress)
                    window.since += time.monotonic() - paused
                    here.seconds = seconds_before + time.monotonic() - begun
                if time.monotonic() - last_saved > SAVE_EVERY:
                    self._save()
                    last_saved = time.monotonic()
        self._save()
        finished = self._share_done() >= 1
        if finished and self.validate is None:
            self.save_model(self._evaluated(), here)
        return finished

    def _share_done(self) -> float:
        """Return how much of the budget is spent, in [0, 1]."""
        if self.total_steps is None:
            assert self.recipe.schedule.minutes is not None
            return min(1.0, self.position.seconds / (60 * self.recipe.schedule.minutes))
        return min(1.0, self.position.step / self.total_steps)

    def _learning_rate_factor(self) -> float:
        schedule, step = self.recipe.schedule, self.position.step
        if self.total_steps is not None:
            warmup = schedule.warmup
            if schedule.warmup_steps is not None:
                warmup = schedule.warmup_steps / self.total_steps
            return learning_rate_factor((step + 0.5) / self.total_steps, schedule, warmup)
        if schedule.warmup_steps is None:
            return learning_rate_factor(self._share_done(), schedule, schedule.warmup)
        if step < schedule.warmup_steps:
            return (step + 0.5) / schedule.warmup_steps
        return learning_rate_factor(self._share_done(), schedule, 0.0)

    def _step(self, images: Tensor, targets: Tensor, window: Window) -> None:
        seed = derived_seed(self.recipe.compute.seed, "dropout", self.position.step)
        torch.manual_seed(seed)
        self.model.train()
        parts = self.recipe.optimizer.accumulate
        for part, wanted in zip(images.chunk(parts), targets.chunk(parts), strict=True):
            with autocast(self.device, self.precision):
                logits = self.forward(part)
            loss = classification_loss(logits, wanted, self.recipe.loss)
            loss = loss * (len(part) / len(images))
            loss.backward()
            window.loss = window.loss + loss.detach()
            hits = logits.detach().argmax(dim=1) == wanted.argmax(dim=1)
            window.correct = window.correct + hits.sum()
        norm = self.optimizers.step(self._learning_rate_factor())
        window.gradient_norm = window.gradient_norm + norm
        window.steps += 1
        window.images += len(images)
        if self.average is not None:
            self.average.update_parameters(self.model)

    def _record(self, window: Window, progress: Progress) -> None:
        here = self.position
        loss = float(window.loss) / window.steps
        if not math.isfinite(loss):
            raise MixerError(
                f"the loss became {loss} before step {here.step}. Use a lower --learning-rate"
                f"{' or --precision float32' if self.precision != torch.float32 else ''}."
            )
        speed = window.images / (time.monotonic() - window.since)
        record = {
            "step": here.step,
            "epoch": here.step / self.steps_per_epoch,
            "seconds": here.seconds,
            "loss": loss,
            "train_accuracy": float(window.correct) / window.images,
            "learning_rate": self.optimizers.all[0].param_groups[0]["lr"],
            "gradient_norm": float(window.gradient_norm) / window.steps,
            "images_per_second": speed,
        }
        self.run.log(record)
        amount = (
            {"minutes": here.seconds / 60, "of_minutes": self.recipe.schedule.minutes}
            if self.total_steps is None
            else {"step": here.step, "steps": self.total_steps}
        )
        progress.update(
            self._share_done(),
            **amount,
            epoch=record["epoch"],
            loss=loss,
            train_accuracy=record["train_accuracy"],
            images_per_second=speed,
        )

    def _validate(self, progress: Progress) -> None:
        if self.validate is None:
            return
        here = self.position
        model = self._evaluated()
        accuracy = self.validate(model)
        self.run.log(
            {
                "step": here.step,
                "epoch": here.step / self.steps_per_epoch,
                "seconds": here.seconds,
                "validation_accuracy": accuracy,
            }
        )
        progress.update(self._share_done(), validation_accuracy=accuracy)
        if accuracy >= here.best_accuracy:
            here.best_accuracy, here.best_step = accuracy, here.step
            self.save_model(model, here)

    def _evaluated(self) -> ImageModel:
        """Return the weights that count: the averaged ones where there are."""
        if self.average is None:
            return self.model
        assert isinstance(self.average.module, ImageModel)
        return self.average.module

    def _save(self) -> None:
        save_state(self.run.last, self.position, self.model, self.optimizers, self.average)


def total_steps(recipe: Recipe, images: int) -> int | None:
    """Return the budget in steps; None where it is given in minutes.

    Raises:
        UsageError: the batch is larger than the data, or the warm-up longer than the budget.
    """
    schedule = recipe.schedule
    per_epoch = steps_per_epoch(images, recipe.optimizer.batch_size)
    if schedule.minutes is not None:
        return None
    steps = schedule.steps or max(1, round((schedule.epochs or 0) * per_epoch))
    if schedule.warmup_steps is not None and schedule.warmup_steps >= steps:
        raise UsageError(
            f"a warm-up of {schedule.warmup_steps} steps does not fit a budget of {steps} steps. "
            "Use --warmup 0.05 for a twentieth of the budget."
        )
    return steps

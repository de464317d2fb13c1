"""The training loop: steps until the budget is spent, validations, metrics and saved states."""

import math
import time
from collections.abc import Callable

import torch

from mlpmixer.data.augment import Augmenter
from mlpmixer.data.batches import Images
from mlpmixer.errors import MixerError
from mlpmixer.models.interface import ImageModel
from mlpmixer.randomness import generator
from mlpmixer.run.directory import RunDirectory
from mlpmixer.run.progress import Progress
from mlpmixer.training.interruption import Interruption
from mlpmixer.training.metrics import Window
from mlpmixer.training.schedule import Schedule
from mlpmixer.training.state import Position
from mlpmixer.training.step import TrainingStep

RECORDS = 200
"""Lines of training metrics that a run writes, spread over its steps or its minutes."""
SAVE_EVERY = 300.0
"""Seconds between two saved states."""

Validate = Callable[[ImageModel], float]
SaveModel = Callable[[ImageModel, Position], None]
SaveState = Callable[[Position], None]


class TrainingLoop:
    """Trains a model until its budget is spent.

    Args:
        step: moves the model; its recipe says the seed and the number of validations.
        schedule: the budget, and the learning rate at each place of it.
        images: the training images.
        augmenter: turns stored images into inputs and targets.
        validate: returns the accuracy of a model on the validation images, in [0, 1]; None where
            there are none, or no validation is wanted: then the last weights are kept.
        save_model: writes the model to where the best one belongs.
        save_state: writes what a resumed training needs.
        run: takes the metrics.
    """

    def __init__(
        self,
        step: TrainingStep,
        schedule: Schedule,
        images: Images,
        augmenter: Augmenter,
        validate: Validate | None,
        save_model: SaveModel,
        save_state: SaveState,
        run: RunDirectory,
    ) -> None:
        self.step = step
        self.schedule = schedule
        self.images = images
        self.augmenter = augmenter
        self.validate = validate
        self.save_model = save_model
        self.save_state = save_state
        self.run = run
        self.position = Position()

    def resume(self, position: Position) -> None:
        """Go on from where an interrupted run was; the step holds its weights again."""
        self.position = position
        self.run.truncate_after(position.step)

    def fit(self, progress: Progress) -> bool:
        """Train until the budget is spent.

        Returns:
            Whether it was; False if the training was interrupted and its state saved.

        Raises:
            MixerError: the loss is no longer a number.
        """
        here, recipe, runtime = self.position, self.step.recipe, self.step.runtime
        begun = last_saved = time.monotonic()
        seconds_before = here.seconds
        seed = recipe.compute.seed
        batches = self.images.training_batches(recipe.optimizer.batch_size, seed, here.step)
        window = Window(runtime.device)
        with Interruption() as interruption:
            while (done := self._share_done()) < 1 and not interruption.wished:
                batch = next(batches)
                images, targets = self.augmenter(
                    runtime.place(batch.images),
                    runtime.place(batch.labels),
                    generator(seed, "augment", here.step),
                )
                factor = self.schedule.learning_rate_factor(here.step, here.seconds)
                window.add(self.step(images, targets, here.step, factor), len(images))
                here.step += 1
                here.seconds = seconds_before + time.monotonic() - begun
                now_done = self._share_done()
                if math.floor(now_done * RECORDS) > math.floor(done * RECORDS):
                    self._record(window, progress)
                    window = Window(runtime.device)
                due = math.floor(now_done * recipe.schedule.evaluations)
                if due > here.evaluations:
                    here.evaluations = due
                    paused = time.monotonic()
                    self._validate(progress)
                    window.leave_out(time.monotonic() - paused)
                    here.seconds = seconds_before + time.monotonic() - begun
                if time.monotonic() - last_saved > SAVE_EVERY:
                    self.save_state(here)
                    last_saved = time.monotonic()
        self.save_state(here)
        finished = self._share_done() >= 1
        if finished and self.validate is None:
            self.save_model(self.step.evaluated, here)
        return finished

    def _share_done(self) -> float:
        return self.schedule.share_done(self.position.step, self.position.seconds)

    def _where(self) -> dict[str, float]:
        here = self.position
        epoch = here.step / self.schedule.steps_per_epoch
        return {"step": here.step, "epoch": epoch, "seconds": here.seconds}

    def _record(self, window: Window, progress: Progress) -> None:
        here, means = self.position, window.means()
        if not math.isfinite(means["loss"]):
            lower = (
                "" if self.step.runtime.precision == torch.float32 else " or --precision float32"
            )
            raise MixerError(
                f"the loss became {means['loss']} before step {here.step}. "
                f"Use a lower --learning-rate{lower}."
            )
        rate = self.step.optimizers.all[0].param_groups[0]["lr"]
        self.run.log({**self._where(), **means, "learning_rate": rate})
        amount = (
            {"minutes": here.seconds / 60, "of_minutes": self.schedule.options.minutes}
            if self.schedule.steps is None
            else {"step": here.step, "steps": self.schedule.steps}
        )
        shown = ("loss", "train_accuracy", "images_per_second")
        progress.update(
            self._share_done(),
            **amount,
            epoch=self._where()["epoch"],
            **{name: means[name] for name in shown},
        )

    def _validate(self, progress: Progress) -> None:
        if self.validate is None:
            return
        here, model = self.position, self.step.evaluated
        accuracy = self.validate(model)
        self.run.log({**self._where(), "validation_accuracy": accuracy})
        progress.update(self._share_done(), validation_accuracy=accuracy)
        if accuracy >= here.best_accuracy:
            here.best_accuracy, here.best_step = accuracy, here.step
            self.save_model(model, here)

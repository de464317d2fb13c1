"""The training loop: steps until it ends, validations, metrics and saved states.

It ends when the budget is spent, or when the recipe's patience is: after so many validations whose
accuracy is not better than the best before them.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from signal import Signals

import torch
from torch import Tensor

from mlpmixer.data.augment import Augmenter
from mlpmixer.data.batches import Images
from mlpmixer.errors import MixerError
from mlpmixer.evaluation.classify import NotFinite
from mlpmixer.models.interface import ImageModel
from mlpmixer.randomness import generator
from mlpmixer.run.progress import Progress
from mlpmixer.training.checkpointer import Checkpointer
from mlpmixer.training.interruption import Interruption
from mlpmixer.training.schedule import Schedule
from mlpmixer.training.state import Position
from mlpmixer.training.step import TrainingStep
from mlpmixer.training.teacher import Answer
from mlpmixer.training.utilisation import Utilisation
from mlpmixer.training.window import BadStep, Window

RECORDS = 200
"""Lines of training metrics that a run writes, spread over its steps or its minutes."""
SAVE_EVERY = 300.0
"""Seconds between two saved states."""

MOST_ROLLBACKS = 3
"""How often a training may go back to one state before its settings are to blame."""

Validate = Callable[[ImageModel], float]
Tell = Callable[[str], None]


class _Diverged(Exception):
    def __init__(self, bad: BadStep) -> None:
        self.bad = bad


class TrainingLoop:
    """Trains a model until its budget or its patience is spent.

    Where the loss of a step is no number or has exploded, or a validation after it finds that the
    model's answers are none, the training goes back to the last saved state and goes on without
    that step's batch.

    Args:
        step: moves the model; its recipe says the seed and the number of validations.
        schedule: the budget, and the learning rate at each place of it.
        images: the training images.
        augmenter: turns stored images into inputs and targets.
        validate: returns the accuracy of a model on the validation images, in [0, 1]; None where
            there are none, or no validation is wanted: then the last weights are kept.
        checkpointer: keeps models and states.
        warn: tells what the user should know.
        teacher: gives the answers to be learned; None where the labels are.
    """

    def __init__(
        self,
        step: TrainingStep,
        schedule: Schedule,
        images: Images,
        augmenter: Augmenter,
        validate: Validate | None,
        checkpointer: Checkpointer,
        warn: Tell,
        teacher: Answer | None = None,
    ) -> None:
        self.step = step
        self.schedule = schedule
        self.images = images
        self.augmenter = augmenter
        self.validate = validate
        self.checkpointer = checkpointer
        self.warn = warn
        self.teacher = teacher
        self.position = Position()
        self.stopped_by: Signals | None = None
        """The signal that interrupted the training; None if none did."""

    def resume(self, position: Position) -> None:
        """Go on from where an interrupted run was; the step holds its weights again."""
        self._take_up(position)
        self.checkpointer.forget_after(position.step)

    def _take_up(self, position: Position) -> None:
        """Go on from a saved position, by the budget that the recipe has now."""
        self.position = position
        evaluations = self.step.recipe.schedule.evaluations
        # Of a longer budget a smaller share is done: else its validations would begin too late.
        position.evaluations = min(
            position.evaluations, math.floor(self._share_done() * evaluations)
        )
        if self.schedule.options.minutes is not None:  # steps take the same way again, minutes not
            self.checkpointer.take_up_best(position)

    def fit(self, progress: Progress) -> bool:
        """Train until the budget or the patience is spent.

        Returns:
            Whether one was; False if the training was interrupted and its state saved.

        Raises:
            MixerError: the loss is no longer a number, though batches were passed over.
        """
        if not self.position.step:
            self.checkpointer.save_state(self.position)  # something to go back to
        begun = time.monotonic() - self.position.seconds
        with Interruption() as interruption:
            while True:
                try:
                    self._train(begun, interruption, progress)
                    break
                except _Diverged as divergence:
                    self._go_back(divergence.bad)
        self.checkpointer.finish()
        finished = self._done()
        if finished and (self.validate is None or not self.position.best_step):
            self.checkpointer.save_model(self.step.evaluated, self.position)
        return finished

    def _train(self, begun: float, interruption: Interruption, progress: Progress) -> None:
        """Train from where the position is; its clock began at `begun`."""
        here, recipe, runtime = self.position, self.step.recipe, self.step.runtime
        seed, batch_size, ranks = recipe.compute.seed, recipe.optimizer.images_a_step, runtime.ranks

        def agree() -> None:
            # One clock for all ranks, and what one of them is told to do: else they would part.
            here.seconds, wish = ranks.agree(time.monotonic() - begun, interruption.signal or 0)
            self.stopped_by = Signals(wish) if wish else None

        batches = self.images.training_batches(batch_size, seed, here.step, ranks)
        window = Window(runtime)
        utilisation = Utilisation(self.step.model, runtime)
        last_saved = here.seconds
        while not self._done() and self.stopped_by is None:
            done = self._share_done()
            asked = time.monotonic()
            batch = next(batches)
            window.wait(time.monotonic() - asked)
            if here.step not in here.skipped:
                images, targets = self.augmenter(
                    runtime.place(batch.images),
                    runtime.place(batch.labels),
                    generator(seed, "augment", here.step),
                    ranks,
                )
                factor = self.schedule.learning_rate_factor(here.step, here.seconds)
                teacher_logits = None
                if self.teacher is not None:
                    with window.teaching():
                        teacher_logits = self.teacher(images, batch.indices)
                result = self.step(images, targets, here.step, factor, teacher_logits)
                window.add(here.step, result, batch.indices)
            here.step += 1
            agree()
            now_done = self._share_done()
            if len(window) and math.floor(now_done * RECORDS) > math.floor(done * RECORDS):
                self._record(window, utilisation, progress)
                utilisation.measure()
                agree()
                window = Window(runtime)
                now_done = self._share_done()  # the budget may have ended meanwhile
            due = math.floor(now_done * recipe.schedule.evaluations)
            if due > here.evaluations:
                self._check(window)
                here.evaluations = due
                paused = time.monotonic()
                self._validate(batch.indices, progress)
                window.leave_out(time.monotonic() - paused)
                agree()
            if here.seconds - last_saved > SAVE_EVERY:
                self._save(window)
                last_saved = here.seconds
        self._save(window)

    def _save(self, window: Window) -> None:
        self._check(window)
        self.position.rollbacks = 0
        self.checkpointer.save_state(self.position)

    def _check(self, window: Window) -> None:
        """Raise _Diverged where a loss is no number or has exploded."""
        if (bad := window.bad_step(self.position.first_loss)) is not None:
            raise _Diverged(bad)

    def _go_back(self, bad: BadStep) -> None:
        """Put the last saved state in place; the step that went wrong will be passed over."""
        before = self.position
        if before.rollbacks >= MOST_ROLLBACKS:
            lower = (
                "" if self.step.runtime.precision == torch.float32 else " or --precision float32"
            )
            raise MixerError(
                f"the loss became {bad.loss:.4g} in step {bad.step}, the {MOST_ROLLBACKS + 1}th "
                f"time since the last state. Use a lower --learning-rate{lower}."
            )
        self.checkpointer.note_skipped(bad)
        restored = self.checkpointer.go_back()
        self._take_up(
            replace(
                restored,
                seconds=before.seconds,
                skipped=[*before.skipped, bad.step],
                rollbacks=before.rollbacks + 1,
            )
        )
        self.checkpointer.save_state(self.position)
        self.warn(
            f"the loss became {bad.loss:.4g} in step {bad.step}: back to step {restored.step}, and "
            f"on without that batch ({self.checkpointer.run.skipped_batches} names its images)"
        )

    @property
    def ended_early(self) -> bool:
        """Whether patience ended the training before its budget did."""
        return self._share_done() < 1 and self._out_of_patience()

    def _done(self) -> bool:
        return self._share_done() >= 1 or self._out_of_patience()

    def _out_of_patience(self) -> bool:
        """Tell whether the last validations were no better than the best before them.

        All ranks find the same: each counts the answers of all.
        """
        patience = self.step.recipe.schedule.patience
        return 0 < patience <= self.position.stalled

    def _share_done(self) -> float:
        return self.schedule.share_done(self.position.step, self.position.seconds)

    def _where(self) -> dict[str, float]:
        here = self.position
        epoch = here.step / self.schedule.steps_per_epoch
        return {"step": here.step, "epoch": epoch, "seconds": here.seconds}

    def _record(self, window: Window, utilisation: Utilisation, progress: Progress) -> None:
        self._check(window)
        here, means = self.position, window.means()
        own_speed = means["images_per_second"] / self.step.runtime.ranks.world
        means |= utilisation.facts(own_speed)
        if here.first_loss is None:
            here.first_loss = means["loss"]
        rate = self.step.optimizers.all[0].param_groups[0]["lr"]
        self.checkpointer.log({**self._where(), **means, "learning_rate": rate})
        amount = (
            {"minutes": here.seconds / 60, "of_minutes": self.schedule.options.minutes}
            if self.schedule.steps is None
            else {"step": here.step, "steps": self.schedule.steps}
        )
        shown = (
            *("loss", "train_accuracy", "images_per_second", "teacher_time", "data_wait"),
            *("memory_bytes", "mfu"),
        )
        progress.update(
            self._share_done(),
            **amount,
            epoch=self._where()["epoch"],
            **{name: means.get(name) for name in shown},
        )

    def _validate(self, indices: Tensor, progress: Progress) -> None:
        """Validate after the step on the images at these positions, which may have ruined it."""
        if self.validate is None:
            return
        here, model = self.position, self.step.evaluated
        try:
            accuracy = self.validate(model)
        except NotFinite:
            ranks = self.step.runtime.ranks
            raise _Diverged(BadStep.gathered(ranks, here.step - 1, math.nan, indices)) from None
        self.checkpointer.log({**self._where(), "validation_accuracy": accuracy})
        progress.update(self._share_done(), validation_accuracy=accuracy)
        here.stalled = 0 if accuracy > here.best_accuracy else here.stalled + 1
        if accuracy >= here.best_accuracy:
            here.best_accuracy, here.best_step = accuracy, here.step
            self.checkpointer.save_model(model, here)

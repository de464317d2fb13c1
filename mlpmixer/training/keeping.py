"""What a training keeps in its run directory, and takes back from there."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlpmixer.data.dataset import Split
from mlpmixer.errors import MixerError
from mlpmixer.files import write_json
from mlpmixer.models.interface import ImageModel
from mlpmixer.run.directory import RunDirectory
from mlpmixer.training.metrics import BadStep
from mlpmixer.training.state import Position, SavedState, save_state
from mlpmixer.training.step import TrainingStep
from mlpmixer.weights.checkpoint import save


class Keeper:
    """Keeps the best model, the states to go on from, and which batches were passed over.

    Of several ranks the leading one alone touches the run directory.

    Args:
        run: where.
        step: holds the weights and the optimizers.
        split: the training images.
        class_names: of the data.
        images_digest: of the data.
        facts: what the best model's file says of where it came from.
    """

    def __init__(
        self,
        run: RunDirectory,
        step: TrainingStep,
        split: Split,
        class_names: Sequence[str],
        images_digest: str,
        facts: Mapping[str, Any],
    ) -> None:
        self.run = run
        self.step = step
        self.split = split
        self.class_names = class_names
        self.images_digest = images_digest
        self.facts = facts
        self.ranks = step.runtime.ranks

    def log(self, record: Mapping[str, object]) -> None:
        """Append a line to the run's metrics."""
        if self.ranks.leads:
            self.run.log(record)

    def forget_after(self, step: int) -> None:
        """Forget the metrics after a step."""
        if self.ranks.leads:
            self.run.truncate_after(step)

    def save_model(self, model: ImageModel, position: Position) -> None:
        """Write the model that is now the best one."""
        if not self.ranks.leads:
            return
        where = {"step": position.step, "validation_accuracy": position.best_accuracy}
        save(model, self.run.model, self.class_names, **self.facts, **where)

    def save_state(self, position: Position) -> None:
        """Write what a resumed training needs."""
        if self.ranks.leads:
            save_state(self.run.last, position, self.step, self.class_names, self.images_digest)

    def go_back(self) -> Position:
        """Put the last saved state in place, and forget what was logged since."""
        saved = self.ranks.from_lead(lambda: SavedState.read(self.run.last))
        position = saved.restore(self.step)
        self.forget_after(position.step)
        return position

    def note_skipped(self, bad: BadStep) -> None:
        """Add a batch to those that were passed over.

        Raises:
            MixerError: the list cannot be written or is damaged.
        """
        if not self.ranks.leads:
            return
        path = self.run.skipped_batches
        try:
            entries = json.loads(path.read_text()) if path.exists() else []
        except (OSError, ValueError) as error:
            raise MixerError(f"{path} is damaged: {error}. Remove it.") from error
        names = [self.split.name(index) for index in bad.indices.tolist()]
        write_json(path, [*entries, {"step": bad.step, "loss": str(bad.loss), "images": names}])

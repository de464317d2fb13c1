"""What a training keeps in its run directory, and takes back from there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpmixer.data.dataset import Split
from mlpmixer.errors import MixerError
from mlpmixer.files import write_json
from mlpmixer.models.interface import ImageModel
from mlpmixer.ranks import ALONE, Ranks
from mlpmixer.run.directory import SHARDED_STATES, STATE_FILE, RunDirectory
from mlpmixer.training.state import Position, SavedState, TrainingIdentity, save_state
from mlpmixer.training.step import TrainingStep
from mlpmixer.training.window import BadStep
from mlpmixer.weights.checkpoint import save
from mlpmixer.weights.own_format import read_facts

if TYPE_CHECKING:
    from mlpmixer.training.sharded_state import ShardedSaving


def newest_state(folder: Path, ranks: Ranks = ALONE) -> SavedState:
    """Read the state that was saved last into a run's folder for states, sharded or not.

    All ranks ask for it at once.

    Raises:
        UsageError: there is nothing to resume from.
        MixerError: all that is there is damaged.
    """
    if not ranks.from_lead(lambda: _sharded_last(folder)):
        return ranks.from_lead(lambda: SavedState.read(folder))
    from mlpmixer.training.sharded_state import ShardedState  # slow to load

    return ShardedState.read_newest(folder, ranks)


def _sharded_last(folder: Path) -> bool:
    sharded = [path.stat().st_mtime for path in folder.glob(SHARDED_STATES)]
    single = folder / STATE_FILE
    return bool(sharded) and not (single.exists() and single.stat().st_mtime > max(sharded))


def _validated(file: Path) -> tuple[float, int] | None:
    """Return the validation accuracy of a model's file and its step; None where there is none."""
    try:
        facts = read_facts(file) if file.exists() else {}
        return float(facts["validation_accuracy"]), int(facts["step"])
    except (MixerError, KeyError, TypeError):
        return None


class Checkpointer:
    """Keeps the best model, the states to go on from, and which batches were passed over.

    Of several ranks the leading one alone touches the run directory.

    Args:
        run: where.
        step: holds the weights and the optimizers.
        split: the training images.
        identity: what the states belong to.
        facts: what the best model's file says of where it came from.
    """

    def __init__(
        self,
        run: RunDirectory,
        step: TrainingStep,
        split: Split,
        identity: TrainingIdentity,
        facts: Mapping[str, Any],
    ) -> None:
        self.run = run
        self.step = step
        self.split = split
        self.identity = identity
        self.facts = facts
        self.ranks = step.runtime.ranks
        self._sharded = self._sharded_saving() if step.sharded else None

    def log(self, record: Mapping[str, object]) -> None:
        """Append a line to the run's metrics."""
        if self.ranks.leads:
            self.run.log(record)

    def forget_after(self, step: int) -> None:
        """Forget the metrics after a step."""
        if self.ranks.leads:
            self.run.truncate_after(step)

    def _sharded_saving(self) -> "ShardedSaving":
        from mlpmixer.training.sharded_state import ShardedSaving  # slow to load

        return ShardedSaving(self.run.last, self.step, self.identity)

    def save_model(self, model: ImageModel, position: Position) -> None:
        """Write the model that is now the best one."""
        if not self.ranks.leads:
            return
        measured = position.best_accuracy if position.best_step else None
        where = {"step": position.step, "validation_accuracy": measured}
        save(model, self.run.model, self.identity.class_names, **self.facts, **where)

    def take_up_best(self, position: Position) -> None:
        """Count the model on the disk as the best so far where it was kept after the last state.

        A kill, or a step back, between the two would else let a worse one take its place.
        """
        found = self.ranks.from_lead(lambda: _validated(self.run.model))
        if found is not None and found[0] > position.best_accuracy:
            position.best_accuracy, position.best_step = found

    def save_state(self, position: Position) -> None:
        """Write what a resumed training needs; a sharded one goes on while it is written."""
        if self._sharded is not None:
            self._sharded.begin(position)
            return
        if self.ranks.leads:
            save_state(self.run.last, position, self.step, self.identity)

    def finish(self) -> None:
        """Wait until what is being written is on the disk.

        Raises:
            MixerError: it could not be written.
        """
        if self._sharded is not None:
            self._sharded.wait()

    def go_back(self) -> Position:
        """Put the last saved state in place, and forget what was logged since."""
        self.finish()
        position = newest_state(self.run.last, self.ranks).restore(self.step)
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

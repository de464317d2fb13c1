"""The full state of a training, saved so that it continues to the same bits.

Two states are kept, the newest and the one before: a disk that fills up, a killed process or a
damaged file costs what was done since, and no more.
"""

import os
import shlex
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import torch

from mlpmixer.errors import MixerError, UsageError, first_line
from mlpmixer.files import replacing
from mlpmixer.run.directory import MODEL, PREVIOUS_STATE_FILE, RECIPE, SHARDED_STATES, STATE_FILE
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.sharded_tensors import shards_like
from mlpmixer.training.step import TrainingStep

DAMAGED_STATE_FILE = "damaged.pt"
"""What a damaged newest state is called once a run goes on from the one before it."""
DAMAGE = (
    *(RuntimeError, ValueError, KeyError, TypeError, OSError, UnpicklingError),
    *(EOFError, zipfile.BadZipFile),
)
_FIXED = (
    *("model", "image_size", "patch_size", "width", "depth", "tokens_mlp_dim", "channels_mlp_dim"),
    *("gelu", "input_shuffle", "shuffle_patch_size", "optimizer", "train_last", "layer_decay"),
)
"""Fields of a recipe that say which tensors a state has, and what they stand for."""


@dataclass
class Position:
    """How far a training is. Random choices need no state: they follow from seed and step."""

    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Time spent training, over all sittings."""
    evaluations: int = 0
    """Validations done."""
    best_accuracy: float = -1.0
    """Best validation accuracy so far, in [0, 1]; -1 before the first."""
    best_step: int = 0
    """Step of the best validation."""
    stalled: int = 0
    """Validations since the accuracy rose last."""
    first_loss: float | None = None
    """Mean loss of the first steps, beside which an exploded one is seen."""
    skipped: list[int] = field(default_factory=list)
    """Steps whose batches made the loss explode: they are passed over."""
    rollbacks: int = 0
    """How often this state was gone back to."""


def flat_values(recipe: Recipe) -> dict[str, Any]:
    """Return all fields of a recipe by their flat names, as plain values."""
    return {name: value for group in asdict(recipe).values() for name, value in group.items()}


@dataclass(frozen=True)
class TrainingIdentity:
    """What a state belongs to, beside its recipe."""

    class_names: tuple[str, ...]
    """Of the data."""
    images_digest: str
    """Of the data."""
    teacher_digest: str | None = None
    """Of the teacher; None without one."""

    def facts(self, recipe: Recipe, position: Position) -> dict[str, Any]:
        """Return what every state says of itself, by the names in its file."""
        return {
            "recipe": flat_values(recipe),
            "class_names": self.class_names,
            "images": self.images_digest,
            "teacher": self.teacher_digest,
            "position": asdict(position),
        }


def save_state(
    folder: Path, position: Position, step: TrainingStep, identity: TrainingIdentity
) -> None:
    """Write everything that a resumed training needs into `folder`, whole or not at all.

    The state that was there stays, as the one before.

    Args:
        folder: the run's folder for it.
        position: how far the training is.
        step: holds weights, optimizers and averaged weights.
        identity: what the state belongs to.

    Raises:
        MixerError: it cannot be written, for example on a full disk; those that were there are
            there still.
    """
    state: dict[str, Any] = {
        **identity.facts(step.recipe, position),
        "model": step.model.state_dict(),
        "optimizers": step.optimizers.state_dict(),
        "sharpness": None if step.sharpness is None else step.sharpness.state_dict(),
        "average": None if step.average is None else step.average.state_dict(),
    }
    newest = folder / STATE_FILE
    try:
        with replacing(newest) as path:
            with path.open("wb") as file:  # its errors name the reason, PyTorch's writer's do not
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())  # before the one that it replaces is moved away
            if newest.exists():
                newest.replace(folder / PREVIOUS_STATE_FILE)
    except MixerError as error:
        raise MixerError(
            f"{error} What was saved before is whole: make room, and go on by "
            f"`mixer train --resume {shlex.quote(str(folder.parent))}`."
        ) from error


def clear_up(folder: Path, saved: "SavedState") -> None:
    """Make the folder fit to be saved into again; only for who holds the run.

    What a killed save left half written goes. A damaged newest state gets another name: else the
    next save would put it in the place of the good one that the run goes on from.
    """
    for name in (STATE_FILE, PREVIOUS_STATE_FILE):
        for leftover in folder.glob(f".{Path(name).stem}.*{Path(name).suffix}"):
            leftover.unlink()
    if saved.damage and saved.path.is_dir():
        for newer in folder.glob(SHARDED_STATES):
            if newer.parent > saved.path:
                newer.unlink()  # so it counts no longer
    elif saved.damage:
        (folder / STATE_FILE).replace(folder / DAMAGED_STATE_FILE)


class SavedState:
    """A state as it was read; `restore` puts it in place."""

    def __init__(self, path: Path, content: Mapping[str, Any], damage: str = "") -> None:
        self.path = path
        self._content = content
        self.damage = damage
        """Why it is the state before the newest one; empty where it is the newest."""
        self.images: str = content["images"]
        """The digest of the data that it was trained on."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what `save_state` wrote: the newest state, or the one before if that is damaged.

        Raises:
            UsageError: there is nothing to resume from.
            MixerError: all that is there is damaged.
        """
        paths = [folder / name for name in (STATE_FILE, PREVIOUS_STATE_FILE)]
        present = [path for path in paths if path.exists()]
        if not present:
            raise UsageError(
                f"{paths[0]} is not there: the run was stopped before its first saved state. "
                "Start it anew, by its first command, or in another folder."
            )
        damage: list[MixerError] = []
        for path in present:
            try:
                content = _load(path)
            except DAMAGE as error:
                damage.append(_damaged(path, error))
            else:
                return cls(path, content, str(damage[0]) if damage else "")
        raise damage[0] from damage[0].__cause__

    def check(self, recipe: Recipe, identity: TrainingIdentity) -> list[str]:
        """Find out whether it fits a recipe, the classes of the data and a teacher.

        Other images are no matter of this: see `mlpmixer.training.inventory.changes`.

        Returns:
            The fields that were changed and may be, as "learning_rate 0.1, was 0.2".

        Raises:
            UsageError: it does not fit; says which field or class differs, or which teacher.
        """
        now = flat_values(recipe)
        usual = flat_values(Recipe())  # of options that a later version brought
        before = {**usual, **self._content["recipe"]}
        changed = [name for name in now if now[name] != before.get(name)]
        for name in changed:
            averages = name == "ema" and bool(now[name]) != bool(before.get(name))
            if name in _FIXED or averages:
                was, file = before.get(name), self.path.parent.parent / RECIPE
                how = f"without {name}" if was is None else f"with {name} = {was!r}"
                says = "has none" if now[name] is None else f"says {now[name]!r}"
                back = f"take it out of {file}" if was is None else f"put it back in {file}"
                raise UsageError(
                    f"{self.path} was saved {how}, and the recipe {says}: {back}, or start a new "
                    "run with it."
                )
        old, new = self._content["class_names"], identity.class_names
        if old != new:
            names = [f"{name!r} is new" for name in new if name not in old]
            names += [f"{name!r} is gone" for name in old if name not in new]
            run = self.path.parent.parent
            best = (run / MODEL).exists()
            raise UsageError(
                f"{self.path} was saved for {len(old)} classes, the data has {len(new)}: "
                f"{', '.join(names[:3]) or 'their order changed'}. Put them back, or start a new "
                + (f"run by `mixer finetune --from {run}`." if best else "run for them.")
            )
        self._check_teacher(identity.teacher_digest, before, now)
        return [f"{name} {now[name]}, was {before.get(name)}" for name in changed]

    def _check_teacher(
        self, digest: str | None, before: Mapping[str, Any], now: Mapping[str, Any]
    ) -> None:
        """Raise UsageError where it would not answer as it did when the state was saved."""
        if self._content.get("teacher") == digest:
            return
        decide = ("teacher", "loss", "teacher_class_names")
        changed = next((name for name in decide if before.get(name) != now[name]), None)
        if changed is None:
            teacher = now["teacher"]
            reason = (
                f"{teacher} is not the teacher that {self.path} was trained with: put that back"
            )
        else:
            reason = (
                f"{self.path} was trained with {changed} = {before.get(changed)!r}, and the recipe "
                f"says {now[changed]!r}, so that the teacher's answers are others: put it back in "
                f"{self.path.parent.parent / RECIPE}"
            )
        raise UsageError(f"{reason}, or start a new run.")

    def restore(self, step: TrainingStep) -> Position:
        """Put weights, optimizers and averages in place, and return how far the training is.

        Raises:
            MixerError: the file is damaged.
        """
        try:
            weights = step.model.state_dict()
            step.model.load_state_dict(shards_like(self._content["model"], weights))
            step.optimizers.load_state_dict(self._content["optimizers"])
            if step.sharpness is not None:
                step.sharpness.load_state_dict(self._content.get("sharpness") or [])
            if step.average is not None:
                averages = step.average.state_dict()
                step.average.load_state_dict(shards_like(self._content["average"], averages))
            return Position(**self._content["position"])
        except DAMAGE as error:
            raise _damaged(self.path, error) from error


def _load(path: Path) -> Mapping[str, Any]:
    with zipfile.ZipFile(path) as archive:  # PyTorch writes checksums and does not look at them
        if wrong := archive.testzip():
            raise zipfile.BadZipFile(f"wrong checksum of {wrong}")
    content: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _damaged(path: Path, error: Exception) -> MixerError:
    damaged = MixerError(
        f"{path} is damaged: {first_line(error)}. Start the run anew in another folder."
    )
    damaged.__cause__ = error
    return damaged

"""The full state of a training, saved so that it continues to the same bits."""

from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import replacing
from mlpmixer.training.step import TrainingStep

STATE_FILE = "state.pt"

_DAMAGE = (RuntimeError, ValueError, KeyError, TypeError, OSError, UnpicklingError)


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


def save_state(folder: Path, position: Position, step: TrainingStep) -> None:
    """Write everything that `load_state` needs into `folder`, whole or not at all."""
    state: dict[str, Any] = {
        "position": asdict(position),
        "model": step.model.state_dict(),
        "optimizers": step.optimizers.state_dict(),
        "average": None if step.average is None else step.average.state_dict(),
    }
    with replacing(folder / STATE_FILE) as path:
        torch.save(state, path)


def load_state(folder: Path, step: TrainingStep) -> Position:
    """Take up the training that `save_state` wrote, and return how far it is.

    Raises:
        UsageError: there is nothing to resume from.
        MixerError: the file is damaged, or belongs to another recipe.
    """
    path = folder / STATE_FILE
    if not path.exists():
        raise UsageError(f"{path} is not there: the run was stopped before its first saved state.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        step.model.load_state_dict(state["model"])
        step.optimizers.load_state_dict(state["optimizers"])
        if step.average is not None:
            step.average.load_state_dict(state["average"])
        return Position(**state["position"])
    except _DAMAGE as error:
        reason = str(error).splitlines()[0]
        raise MixerError(f"{path} does not fit this run's recipe: {reason}") from error

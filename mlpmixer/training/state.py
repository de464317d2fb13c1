"""The full state of a training, saved so that it continues to the same bits."""

from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import replacing
from mlpmixer.training.optim import Optimizers

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


def save_state(
    folder: Path,
    position: Position,
    model: nn.Module,
    optimizers: Optimizers,
    average: AveragedModel | None,
) -> None:
    """Write everything that `load_state` needs into `folder`, whole or not at all."""
    state: dict[str, Any] = {
        "position": asdict(position),
        "model": model.state_dict(),
        "optimizers": optimizers.state_dict(),
        "average": None if average is None else average.state_dict(),
    }
    with replacing(folder / STATE_FILE) as path:
        torch.save(state, path)


def load_state(
    folder: Path, model: nn.Module, optimizers: Optimizers, average: AveragedModel | None
) -> Position:
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
        model.load_state_dict(state["model"])
        optimizers.load_state_dict(state["optimizers"])
        if average is not None:
            average.load_state_dict(state["average"])
        return Position(**state["position"])
    except _DAMAGE as error:
        reason = str(error).splitlines()[0]
        raise MixerError(f"{path} does not fit this run's recipe: {reason}") from error

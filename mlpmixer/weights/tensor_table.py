"""Tensors by name, not read yet: what every kind of weights file is turned into."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mlpmixer.errors import MixerError

_WITHIN = re.compile(r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What wrappers of single modules leave in the middle of names."""


@dataclass(frozen=True)
class TensorTable:
    """The tensors of a file, or of one part of it.

    Names and shapes are known before a number is read, so that a file of the wrong kind costs
    nothing; numbers are mapped from the disk where the format allows it, so that a large model is
    in memory once.
    """

    path: Path
    """The file, for messages."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of each tensor, by name."""
    read: Callable[[str], Tensor]
    """Returns the tensor of a name."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the file says beside them."""
    part: str = ""
    """Where in the file they are, such as "state_dict_ema"; "" for the file itself."""

    def real_numbers(self, name: str) -> Tensor:
        """Return the tensor of a name in float32.

        Raises:
            MixerError: it is of whole or complex numbers.
        """
        tensor = self.read(name)
        if not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise MixerError(f"{self.path}: the tensor {name!r} is of {kind}, not of real numbers.")
        return tensor.float()

    def renamed(self, part: str, names: Mapping[str, str]) -> "TensorTable":
        """Return some of the tensors as another part, under new names.

        Args:
            part: where the new table says it is from.
            names: of the tensors here, by their new names.
        """
        shapes = {new: self.shapes[old] for new, old in names.items()}
        return TensorTable(
            self.path, shapes, lambda new: self.read(names[new]), self.metadata, part
        )


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Return the names as they are by what they are without wrappers of single modules."""
    return {_WITHIN.sub("", name): name for name in names}


def check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise MixerError if a tensor has a value that is not a finite number."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor.sum(dtype=torch.float64)):
            raise MixerError(f"{source}: the tensor {name!r} has values that are not finite.")

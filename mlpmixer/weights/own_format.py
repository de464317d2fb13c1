"""A model in a file: its tensors, and what builds it again. `mlpmixer.weights` reads it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from mlpmixer.files import replacing

FORMAT = "mlpmixer"
"""The metadata's key under which a safetensors file of ours describes its model."""
MODEL_FILE = "model.safetensors"
"""What a model's file is called in a folder."""
HUB_CONFIG = "config.json"
"""What lies beside it in a repository of the Hugging Face hub."""


class Describable(Protocol):
    """What a model tells of itself."""

    name: str
    class_names: tuple[str, ...] | None

    @property
    def options(self) -> dict[str, Any]:
        """What `create_model(self.name, **self.options)` needs to build this model again."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return its tensors by name."""


def save_model(
    model: Describable,
    path: str | Path,
    class_names: Sequence[str] | None,
    facts: Mapping[str, Any],
) -> None:
    """Write a model with its class names and JSON values worth knowing, whole or not at all.

    Raises:
        MixerError: the file cannot be written.
    """
    description = {
        "name": model.name,
        "options": model.options,
        "class_names": None if class_names is None else list(class_names),
        "facts": dict(facts),
    }
    write_tensors(model.state_dict(), path, {FORMAT: json.dumps(description)})


def write_tensors(
    tensors: Mapping[str, Tensor], path: str | Path, metadata: dict[str, str]
) -> None:
    """Write a safetensors file, whole or not at all."""
    from safetensors.torch import save_file

    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(whole, temporary, metadata=metadata)

"""A model in one file: safetensors, with what is needed to build and use it in the metadata."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import replacing
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.registry import create_model

FORMAT = "mlpmixer"
MODEL_FILE = "model.safetensors"


def save(
    model: ImageModel,
    path: str | Path,
    class_names: Sequence[str] | None = None,
    **facts: Any,
) -> None:
    """Write a model to a safetensors file, whole or not at all.

    Args:
        model: a model of `create_model`.
        path: the file.
        class_names: the name of each logit; None keeps those that the model was loaded with.
        facts: anything else worth knowing, as JSON values (the step, the accuracy).

    Raises:
        MixerError: the file cannot be written.
    """
    names = class_names if class_names is not None else model.class_names
    description = {
        "name": model.name,
        "options": model.options,
        "class_names": None if names is None else list(names),
        "facts": facts,
    }
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={FORMAT: json.dumps(description)})


def load(path: str | Path) -> ImageModel:
    """Read a model from a safetensors file of `save`, or from a run directory.

    Returns:
        The model in evaluation mode, on the CPU; `model.class_names` holds the names of its
        logits (None if unknown), `model.facts` what was saved beside them.

    Raises:
        UsageError: there is no such file, or it is not one of ours.
        MixerError: it is damaged.
    """
    path = Path(path)
    file = path / MODEL_FILE if path.is_dir() else path
    if not file.exists():
        kind = "run directory" if path.is_dir() else "file"
        missing = f" (it has no {MODEL_FILE})" if path.is_dir() else ""
        raise UsageError(f"no model in the {kind} {str(path)!r}{missing}.")
    try:
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            if FORMAT not in metadata:
                raise UsageError(f"{file} was not written by mlpmixer: its metadata is missing.")
            description = json.loads(metadata[FORMAT])
            with torch.device("meta"):
                model = create_model(description["name"], **description["options"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        if isinstance(error, UsageError):
            raise
        raise MixerError(f"{file} is damaged: {error}") from error
    _check(file, model, tensors)
    model.load_state_dict(tensors, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    names = description["class_names"]
    model.class_names = None if names is None else tuple(names)
    model.facts = description["facts"]
    return model.eval()


def _check(file: Path, model: ImageModel, tensors: dict[str, torch.Tensor]) -> None:
    """Raise MixerError unless the tensors are just those that the model has."""
    expected = model.state_dict()
    for name in [*expected, *tensors]:
        if name not in tensors:
            raise MixerError(f"{file} lacks the tensor {name!r}.")
        if name not in expected:
            raise MixerError(f"{file} has a tensor {name!r} that its model does not have.")
        if expected[name].shape != tensors[name].shape:
            raise MixerError(
                f"{file}: the tensor {name!r} has the shape {tuple(tensors[name].shape)}, "
                f"expected {tuple(expected[name].shape)}."
            )

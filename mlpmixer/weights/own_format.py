"""Our file of a model: its tensors as safetensors, with all that builds and uses it again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlpmixer.errors import MixerError
from mlpmixer.files import replacing
from mlpmixer.formatting import printable
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.registry import create_model
from mlpmixer.weights.class_names import check_names
from mlpmixer.weights.tensor_files import open_tensors
from mlpmixer.weights.tensor_table import TensorTable, check_finite, plain_names

FORMAT = "mlpmixer"
"""The metadata's key under which a safetensors file of ours describes its model."""
MODEL_FILE = "model.safetensors"
"""What a model's file is called in a folder."""
_CHOSEN = ("crop_share", "resampling", "sixteen_bit")
"""What of the preprocessing does not follow from the model."""


def write_model(
    model: ImageModel,
    path: str | Path,
    class_names: Sequence[str] | None,
    facts: Mapping[str, Any],
) -> None:
    """Write a model with its class names and JSON values worth knowing, whole or not at all.

    Raises:
        UsageError: the model is an exported file, whose weights cannot be taken out, or the names
            are not one for each logit.
        MixerError: the file cannot be written.
    """
    model.check_layers()
    if class_names is not None:
        check_names(class_names, model.num_classes)
    description = {
        "name": model.name,
        "options": model.options,
        "class_names": None if class_names is None else list(class_names),
        "loss": model.loss,
        "preprocessing": model.preprocessing.to_json(),
        "facts": dict(facts),
    }
    write_tensors(plain_state(model), path, {FORMAT: json.dumps(description)})


def plain_state(model: ImageModel) -> dict[str, Tensor]:
    """Return a model's tensors on the CPU, by the names that they have where nothing is wrapped."""
    state = model.state_dict()
    return {name: state[own].cpu() for name, own in plain_names(state).items()}


def write_tensors(
    tensors: Mapping[str, Tensor], path: str | Path, metadata: dict[str, str]
) -> None:
    """Write a safetensors file, whole or not at all.

    Raises:
        MixerError: it cannot be written, for example on a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(whole, temporary, metadata=metadata)
        except SafetensorError as error:  # its text ends in the system's reason
            raise MixerError(f"cannot write {path}: {str(error).split(': ')[-1]}.") from error


def read_facts(path: Path) -> dict[str, Any]:
    """Return what a file of ours says of how its model came about, without its tensors.

    Raises:
        MixerError: it is damaged, or another file.
    """
    (file,) = open_tensors(path)
    try:
        return dict(json.loads(file.metadata[FORMAT])["facts"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise MixerError(f"{path} is damaged: its description lacks {error}.") from error


def read_model(file: TensorTable) -> ImageModel:
    """Build the model that a file of ours describes, in evaluation mode.

    Raises:
        MixerError: the description is damaged, or tensors are missing, too many, of the wrong
            shape, or not finite.
    """
    try:
        description = json.loads(file.metadata[FORMAT])
        with torch.device("meta"):
            model = create_model(description["name"], **description["options"])
        class_names, facts = description["class_names"], description["facts"]
        model.loss = description.get("loss", "softmax")  # older files do not say it
        said = description.get("preprocessing", {})  # nor this
        chosen = {name: said[name] for name in _CHOSEN if name in said}
        model.preprocessing = replace(model.preprocessing, **chosen)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise MixerError(f"{file.path} is damaged: its description lacks {error}.") from error
    if model.loss not in ("softmax", "sigmoid"):
        raise MixerError(f"{file.path} is damaged: its loss {model.loss!r} is unknown.")
    _check(file, model)
    tensors = {name: file.read(name) for name in model.state_dict()}
    check_finite(tensors, str(file.path))
    model.load_state_dict(tensors, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    if any(buffer.is_meta for buffer in model.buffers()):
        _fill_buffers(model, create_model(description["name"], **description["options"]))
    model.class_names = None if class_names is None else tuple(map(printable, class_names))
    model.facts = facts
    return model.eval()


def _check(file: TensorTable, model: ImageModel) -> None:
    """Raise MixerError where the file's tensors are not those of the model."""
    expected = model.state_dict()
    for name in [*expected, *file.shapes]:
        if name not in file.shapes:
            raise MixerError(f"{file.path} lacks the tensor {name!r}.")
        if name not in expected:
            raise MixerError(f"{file.path} has a tensor {name!r} that its model does not have.")
        if tuple(expected[name].shape) != file.shapes[name]:
            raise MixerError(
                f"{file.path}: the tensor {name!r} has the shape {file.shapes[name]}, "
                f"expected {tuple(expected[name].shape)}."
            )


def _fill_buffers(model: ImageModel, built: ImageModel) -> None:
    """Give a model the buffers that files leave out, which follow from its shape."""
    for path, module in built.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            mine = model.get_submodule(path)
            if mine.get_buffer(name).is_meta:
                mine.register_buffer(name, buffer, persistent=False)

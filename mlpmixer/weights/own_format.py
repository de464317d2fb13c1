"""Our file of a model: its tensors as safetensors, with all that builds and uses it again."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlpmixer.errors import MixerError
from mlpmixer.files import replacing
from mlpmixer.models.interface import ImageModel
from mlpmixer.weights.class_names import check_names
from mlpmixer.weights.own_description import FORMAT, described_model, read_description
from mlpmixer.weights.tensor_files import open_tensors
from mlpmixer.weights.tensor_table import TensorTable, check_finite, plain_names

MODEL_FILE = "model.safetensors"
"""What a model's file is called in a folder."""


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
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise MixerError(f"{path} is damaged: its description lacks {error}.") from error


def read_model(file: TensorTable) -> ImageModel:
    """Build the model that a file of ours describes, in evaluation mode and in float32.

    Raises:
        MixerError: the description is damaged, or tensors are missing, too many, of the wrong
            shape, not of real numbers, or not finite.
    """
    description = read_description(file)
    model = described_model(description, file)
    expected = model.state_dict()
    _check(file, expected)
    tensors = {name: _numbers(file, name, one.dtype) for name, one in expected.items()}
    check_finite(tensors, str(file.path))
    model.load_state_dict(tensors, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    if any(buffer.is_meta for buffer in model.buffers()):
        _fill_buffers(model, description.build("cpu"))
    return model.eval()


def _numbers(file: TensorTable, name: str, expected: torch.dtype) -> Tensor:
    """Return a tensor of the file as its model needs it: real numbers in float32."""
    if expected.is_floating_point:
        return file.real_numbers(name)
    tensor = file.read(name)
    if tensor.dtype != expected:
        raise MixerError(
            f"{file.path}: the tensor {name!r} is of {_kind(tensor.dtype)}, not {_kind(expected)}."
        )
    return tensor


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _check(file: TensorTable, expected: Mapping[str, Tensor]) -> None:
    """Raise MixerError where the file's tensors are not those that a model has."""
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

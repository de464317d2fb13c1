"""What a file of ours says of its model, gone through before anything is built of it.

It may be damaged, or made to harm: the type of everything in it is checked, and no model is built
that is larger than the file's tensors bear out.
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.formatting import printable
from mlpmixer.models.interface import ImageModel, Loss
from mlpmixer.models.registry import create_model
from mlpmixer.weights.tensor_table import TensorTable

FORMAT = "mlpmixer"
"""The metadata's key under which a safetensors file of ours describes its model."""
_CHOSEN = ("crop_share", "resampling", "sixteen_bit")
"""What of the preprocessing does not follow from the model."""
_LAYERS = ("depth", "depths", "layers")
"""Options that count layers, each of which has a tensor at least."""
_SMALL = 2**16
"""Numbers that are no harm, whatever the tensors: the sides of an image for a small network."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnDescription:
    """What a file of ours says, of the types that it must have."""

    name: str
    options: dict[str, Any]
    class_names: list[str] | None
    facts: dict[str, Any]
    loss: Loss
    preprocessing: dict[str, Any]

    def build(self, device: str) -> ImageModel:
        """Build the model on `device`, with fresh weights.

        Raises:
            UsageError: it is unknown, or its numbers do not fit each other.
        """
        with torch.device(device):
            return create_model(self.name, **self.options)


def read_description(file: TensorTable) -> OwnDescription:
    """Read what a file says of its model.

    Raises:
        MixerError: it is damaged.
    """
    try:
        said = json.loads(file.metadata[FORMAT])
        description = OwnDescription(
            name=said["name"],
            options=said["options"],
            class_names=said["class_names"],
            facts=said["facts"],
            loss=said.get("loss", "softmax"),  # older files do not say it
            preprocessing=said.get("preprocessing", {}),  # nor this
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise MixerError(f"{file.path} is damaged: its description lacks {error}.") from error
    kinds = {"name": str, "options": dict, "facts": dict, "preprocessing": dict}
    for name, kind in kinds.items():
        if not isinstance(getattr(description, name), kind):
            raise _damaged(file, name, getattr(description, name))
    names = description.class_names
    texts = isinstance(names, list) and all(isinstance(one, str) for one in names)
    if names is not None and not texts:
        raise _damaged(file, "class_names", names)
    if description.loss not in ("softmax", "sigmoid"):
        raise _damaged(file, "loss", description.loss)
    _check_extent(description.options, file)
    return description


def described_model(description: OwnDescription, file: TensorTable) -> ImageModel:
    """Build the model that a file describes, without numbers, with all that is said of it.

    Raises:
        UsageError: its name or an option is unknown, or its numbers do not fit each other.
        MixerError: they are of the wrong types.
    """
    try:
        model = description.build("meta")
        said = description.preprocessing
        chosen = {name: said[name] for name in _CHOSEN if name in said}
        model.preprocessing = replace(model.preprocessing, **chosen)
    except UsageError as error:
        raise UsageError(f"{file.path} describes a model that cannot be: {error}") from error
    except Exception as error:  # whatever options of wrong types lead to, in timm's code as in ours
        reason = str(error).partition("\n")[0]
        raise MixerError(
            f"{file.path} is damaged: no {description.name} can be built as it says ({reason})."
        ) from error
    model.loss, model.facts = description.loss, description.facts
    names = description.class_names
    if names is not None and len(names) != model.num_classes:
        # Earlier versions kept a replaced head's names.
        _log.warning(
            f"{file.path}: its {len(names)} class names are not those of its {model.num_classes} "
            "logits, and left out."
        )
        names = None
    model.class_names = None if names is None else tuple(map(printable, names))
    return model


def _check_extent(options: Mapping[str, Any], file: TensorTable) -> None:
    """Refuse a model of sizes that the file's tensors do not have: to build it might take hours."""
    values = sum(math.prod(shape) for shape in file.shapes.values())
    for name, value in options.items():
        if name == "shuffle_seed":
            continue
        numbers = list(_integers(value))
        layers = sum(numbers) if name in _LAYERS else 0
        if layers > len(file.shapes) or max(numbers, default=0) > max(values, _SMALL):
            raise _damaged(file, name, value)
    if options.get("input_shuffle") is not None:  # the order of all pixels is among the tensors
        size = list(_integers(options.get("image_size"))) or [1]
        if size[0] * size[-1] > max(values, _SMALL):
            raise _damaged(file, "image_size", options["image_size"])


def _integers(value: object) -> Iterator[int]:
    """Yield the whole numbers in a value of JSON."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _integers(one)


def _damaged(file: TensorTable, name: str, value: object) -> MixerError:
    return MixerError(f"{file.path} is damaged: its {name} cannot be {str(value)[:80]!r}.")
